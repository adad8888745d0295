"""`python -m tests.faults.outage`: what may happen to PostgreSQL, under load.

A cycle is one of these, with requests coming in all the while: the server is killed or stopped, a
right is revoked, its disk is full (needs a user who may mount one). They are accepted, nothing is
lost, and everything is loaded once the server, the right or the room is back. Or the schema is
dropped between two loads: all that comes afterwards is loaded into a new one.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from tests.faults.command import Tally, command, folder
from tests.faults.full import fill, small_disk
from tests.faults.traffic import SETTLE_SECONDS_MAX, Rig
from tests.servers.postgres import PostgresServer

MEGABYTES = 96
TABLES = {"orders": True, "events": False}
KINDS = ("killed", "stopped", "revoked", "dropped", "full")
FULL = "No space left on device"
"""How the server's log tells of it."""


def as_owner(server: PostgresServer, database: str, statement: str) -> None:
    """Run a statement as the superuser."""
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        connection.execute(statement.encode())


def fill_up(server: PostgresServer, ballast: Path, seconds: float) -> list[str]:
    """The disk of its tables is full, until a load has met that and for some seconds more."""
    before = server.log.count(FULL)
    fill(ballast)
    try:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while server.log.count(FULL) == before:
            if time.monotonic() > deadline:
                return ["no load met the full disk"]
            time.sleep(0.05)
        time.sleep(seconds)
    finally:
        ballast.unlink()
    return []


def suffer(server: PostgresServer, database: str, kind: str, seconds: float) -> None:
    """One outage."""
    if kind == "revoked":
        as_owner(server, database, f"REVOKE CREATE ON DATABASE {database} FROM loader")
        as_owner(server, database, 'ALTER TABLE "web"."orders" OWNER TO treadle_test')
        time.sleep(seconds)
        as_owner(server, database, 'ALTER TABLE "web"."orders" OWNER TO loader')
        as_owner(server, database, f"GRANT CREATE ON DATABASE {database} TO loader")
        return
    if kind == "killed":
        server.kill()
    else:
        server.stop()
    time.sleep(seconds)
    server.start()


def cycles(
    path: Path,
    server: PostgresServer,
    disk: Path | None,
    count: int,
    seed: int,
    tally: Tally,
) -> None:
    """Some outages of one server, whose tables are on the small disk where there is one."""
    dice = random.Random(seed)
    url = server.create_database()
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    if disk is not None:
        (disk / "tables").mkdir()
        server.create_tablespace("small", disk / "tables")
        as_owner(server, "postgres", f"ALTER DATABASE {name} SET TABLESPACE small")
    as_owner(server, name, "CREATE ROLE loader LOGIN PASSWORD 'secret-word'")
    as_owner(server, name, f"GRANT CREATE ON DATABASE {name} TO loader")
    rig = Rig(path, server.url(name, user="loader", password="secret-word"), TABLES, seed=seed)
    kinds = [kind for kind in KINDS if kind != "full" or disk is not None]
    with rig.running():
        rig.gate.set()
        wait_for_rows(rig)
        for cycle in range(count):
            kind = kinds[cycle % len(kinds)]
            rig.gate.set()
            time.sleep(dice.uniform(0.2, 0.6))
            before = rig.witness.acknowledged
            seconds = dice.uniform(0.3, 1.5)
            found: list[str] = []
            if kind == "dropped":
                rig.pause()
                found += rig.violations()
                as_owner(server, name, 'DROP SCHEMA "web" CASCADE')
                rig.forget()
                before = 0
                rig.gate.set()
                wait_for_rows(rig)
            elif kind == "full" and disk is not None:
                found += fill_up(server, disk / "ballast", seconds)
            else:
                suffer(server, name, kind, seconds)
            tally.add(**{"acknowledged meanwhile": rig.witness.acknowledged - before})
            rig.pause()
            tally.note(f"cycle {cycle}, {kind}", found + rig.violations())
            tally.add(**{f"times {kind}": 1})


def wait_for_rows(rig: Rig) -> None:
    """Wait until every table has some."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while not all(rig.rows(table) for table in rig.tables) and time.monotonic() < deadline:
        time.sleep(0.05)


@contextlib.contextmanager
def maybe_disk(path: Path) -> Iterator[Path | None]:
    """A small disk that the server's account reaches; None where no disk may be mounted."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(small_disk(path, MEGABYTES))
        except (OSError, subprocess.CalledProcessError):
            (path / "disk").rmdir()
            yield None
            return
        yield found


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """All cycles with one server."""
    with PostgresServer() as server, folder() as path, folder() as below:
        below.chmod(0o755)
        with maybe_disk(below) as disk:
            cycles(path, server, disk, arguments.cycles, arguments.seed, tally)
            server.stop(immediate=True)  # it holds files of the disk


if __name__ == "__main__":
    sys.exit(command("outage", str(__doc__), run, cycles=30))
