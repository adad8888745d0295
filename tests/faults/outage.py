"""`python -m tests.faults.outage`: what may happen to a database server, under load.

A cycle is one of these, with requests coming in all the while, which are accepted:

- killed, stopped: the server is away for a moment;
- away: for ten minutes, which the clock of treadle skips through. The pauses between tries grow to
  their longest and no further, and the operator is told, by the status, the metrics and the log;
- table, schema revoked: the right to one table, or to a source's schema, is taken. Other tables go
  on being loaded;
- dropped: the schema, between two loads. What comes afterwards is loaded into a new one, and other
  schemas go on being loaded;
- full: the disk of all tables (needs a user who may mount one). Records of all of them wait.

With `--destination mysql` it is MariaDB. Its user has the rights to rows by table there, since the
right to one table cannot be taken from who has it by the schema.

Nothing is lost or doubled, everything is loaded once the server, the right or the room is back, and
the ledger is balanced.
"""

import argparse
import contextlib
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pymysql
from tests.faults.command import Tally, command, folder
from tests.faults.full import fill, small_disk
from tests.faults.traffic import SETTLE_SECONDS_MAX, Rig
from tests.faults.witness import RECORDS
from tests.servers.database_server import DatabaseServer
from tests.servers.mariadb import SPEED_OVER_SAFETY, MariaServer
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import Client

from treadle.config import Config
from treadle.log.sqlite.log import SqliteReader
from treadle.server.factories import open_store
from treadle.tracking.ledger import LedgerLine, compute_ledger

MEGABYTES, MYSQL_MEGABYTES = 96, 192
TABLES = {"orders": True, "events": False}
KINDS = ("killed", "stopped", "away", "table revoked", "schema revoked", "dropped", "full")
FULL = "No space left on device"
"""How the log of PostgreSQL tells of it."""

MYSQL_FULL = re.compile(r"MySQL cannot take the load now: .*(is full|No space left on device)")
"""How the log of treadle tells of a full disk of MariaDB."""

MYSQL_SETTINGS = {**SPEED_OVER_SAFETY, "innodb_log_file_size": "16M"}
"""Little of what does not grow, since all of it is on the small disk."""

STRUCTURE = "CREATE, ALTER, DROP, INDEX, CREATE TEMPORARY TABLES"
"""Rights to a schema of MariaDB without those to the rows of its tables."""

ROW_TABLES = (*TABLES, "_sdc_rejected")
"""The tables of the first source, to which the user has rights of their own."""

AWAY_SECONDS = 600.0
STEP_SECONDS = 15.0
"""The longest pause between two tries of a destination: after so long there is one."""

PAUSED = re.compile(r"cannot be used, records wait: .*; retrying in ([\d.]+) s")


def as_owner(server: DatabaseServer, database: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as the superuser; its rows."""
    if isinstance(server, MariaServer):
        return server.execute(statement)
    assert isinstance(server, PostgresServer)
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def wait(condition: Callable[[], bool], otherwise: str) -> list[str]:
    """Wait until something is so; says so when it does not come."""
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            return [otherwise]
        time.sleep(0.02)
    return []


@dataclass
class Scene:
    """A server, the database it loads into, and a second source whose table is not attacked."""

    rig: Rig
    server: DatabaseServer
    database: str
    disk: Path | None
    dice: random.Random
    client: Client = field(init=False)
    token: str = field(init=False)
    sent: int = 0

    def begin(self) -> None:
        """Make the second source and load into every table once."""
        self.client = Client(self.rig.server, *self.rig.server.account())
        _, self.token = self.client.create_source("side")
        self.rig.gate.set()
        self.wait_for_rows()

    def wait_for_rows(self) -> None:
        """Wait until every table has some."""
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while not all(self.rig.rows(table) for table in self.rig.tables):
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)

    def run(self, *statements: str) -> None:
        """As the owner of the database."""
        for statement in statements:
            as_owner(self.server, self.database, statement)

    def count(self, relation: str) -> int:
        """Rows, as the owner sees them; 0 where it is missing."""
        try:
            [(rows,)] = as_owner(self.server, self.database, f"SELECT count(*) FROM {relation}")
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return 0
        except pymysql.Error as error:
            if error.args[0] in (1049, 1146):
                return 0
            raise
        return int(rows)

    # --- what is to be seen meanwhile -------------------------------------------------------------

    def goes_on(self, *, grows: tuple[str, ...] = ()) -> list[str]:
        """Push to the second source and wait for its row, and for rows in further tables."""
        before = {relation: self.count(relation) for relation in grows}
        self.sent += 1
        answer = self.client.push(self.token, [{"id": self.sent}], table="notes")
        if answer.status_code != 201:
            return [f"the second source is answered {answer.status_code}: {answer.text}"]
        found = wait(
            lambda: self.count("side.notes") == self.sent,
            "the table of another source is not loaded meanwhile",
        )
        for relation, rows in before.items():
            found += wait(
                lambda relation=relation, rows=rows: self.count(relation) > rows,  # type: ignore[misc]
                f"{relation} is not loaded meanwhile",
            )
        return found

    def told(self, text: str) -> int:
        """How often the server's log has a text."""
        return self.rig.server.log.read_text().count(text)

    def figures(self, name: str) -> list[float]:
        """The values of a metric."""
        lines = httpx.get(f"{self.rig.server.url}/metrics", timeout=120).text.splitlines()
        return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{")]

    def is_up(self, *, up: bool) -> bool:
        """Whether the status and the metrics say that the destination can be used, or cannot."""
        answer = httpx.get(f"{self.rig.server.url}/v2/import/status", timeout=120).json()
        waits = "waits for loading into" in str(answer["reason"])
        ups = self.figures("treadle_destination_up")
        return answer["status"] == "OK" and waits is not up and ups == [float(up)]

    def ledger(self) -> list[LedgerLine]:
        """What became of everything."""
        config = Config(data=self.rig.server.data)
        with (
            closing(open_store(config)) as store,
            closing(SqliteReader(config.log_path)) as reader,
        ):
            return compute_ledger(store, reader)

    def balance(self) -> list[str]:
        """What the ledger says with everything loaded, when it is wrong."""

        def wrong() -> list[str]:
            return [
                f"the ledger is not balanced: {line}"
                for line in self.ledger()
                if line.waiting or line.accepted != line.loaded + line.superseded + line.rejected
            ]

        # A row is seen before its load is noted.
        return wrong() if wait(lambda: not wrong(), "it is not") else []

    def accepted(self) -> int:
        """Records of the first source, by the ledger."""
        return sum(line.accepted for line in self.ledger() if line.table_name in self.rig.tables)

    # --- what may happen --------------------------------------------------------------------------

    def happen(self, kind: str) -> list[str]:
        """One of them, to its end."""
        seconds = self.dice.uniform(0.3, 1.5)
        if kind in ("killed", "stopped"):
            self.server.kill() if kind == "killed" else self.server.stop()
            time.sleep(seconds)
            self.server.start()
            return []
        if kind == "away":
            return self.away()
        if kind.endswith("revoked") and isinstance(self.server, MariaServer):
            one = kind == "table revoked"
            places = ["web.orders"] if one else ["web.*", *(f"web.{name}" for name in ROW_TABLES)]
            return self.revoked(
                [f"REVOKE ALL ON {place} FROM loader" for place in places],
                grant_rows(*places),
                "command denied to user",
                grows=("web.events",) if one else (),
            )
        if kind == "table revoked":
            return self.revoked(
                ['REVOKE ALL ON "web"."orders" FROM loader'],
                ['GRANT ALL ON "web"."orders" TO loader'],
                "permission denied for table orders",
                grows=('"web"."events"',),
            )
        if kind == "schema revoked":
            return self.revoked(
                ['REVOKE ALL ON SCHEMA "web" FROM loader'],
                ['GRANT ALL ON SCHEMA "web" TO loader'],
                "permission denied for schema web",
            )
        assert self.disk is not None
        return self.full(self.disk / "ballast", seconds)

    def away(self) -> list[str]:
        """The server is away for ten minutes."""
        witness, log = self.rig.witness, self.rig.server.log
        self.rig.pause()
        found = self.rig.violations()
        records, acknowledged = self.accepted(), witness.acknowledged
        before = len(PAUSED.findall(log.read_text()))
        self.server.stop()
        self.rig.gate.set()
        try:
            for step in range(round(AWAY_SECONDS / STEP_SECONDS)):
                tries, taken = len(PAUSED.findall(log.read_text())), witness.acknowledged
                self.rig.pass_by(STEP_SECONDS)
                found += wait(
                    lambda tries=tries: len(PAUSED.findall(log.read_text())) > tries,  # type: ignore[misc]
                    f"no try in step {step}",
                )
                found += wait(
                    lambda taken=taken: witness.acknowledged > taken,  # type: ignore[misc]
                    f"nothing is accepted in step {step}",
                )
                if found:
                    break
            found += wait(lambda: self.is_up(up=False), "nobody is told of the outage")
            pauses = [float(one) for one in PAUSED.findall(log.read_text())[before:]]
            if pauses != sorted(pauses) or pauses[-1] != STEP_SECONDS:
                found.append(f"the pauses between tries are {pauses}")
            oldest = max(self.figures("treadle_oldest_waiting_seconds"), default=0.0)
            if oldest < AWAY_SECONDS - STEP_SECONDS:
                found.append(f"the oldest record waits for {oldest} s by the metrics")
        finally:
            back = self.told(" is back")
            self.server.start()
        self.rig.pass_by(STEP_SECONDS)
        found += wait(lambda: self.told(" is back") > back, "it is not used again")
        found += wait(lambda: self.is_up(up=True), "the outage is told of after its end")
        self.rig.pause()
        found += self.rig.settle()
        taken = witness.acknowledged - acknowledged
        if self.accepted() - records != taken * RECORDS:
            found.append(
                f"the ledger has {self.accepted() - records} records more, and "
                f"{taken * RECORDS} were acknowledged"
            )
        return found

    def revoked(
        self,
        revoke: Sequence[str],
        grant: Sequence[str],
        told: str,
        *,
        grows: tuple[str, ...] = (),
    ) -> list[str]:
        """A right is taken, until loads failed for it and others were done."""
        before = self.told(told)
        self.run(*revoke)
        try:
            found = wait(lambda: self.told(told) > before, f"the log does not say: {told}")
            found += self.goes_on(grows=grows)
        finally:
            self.run(*grant)
        return found

    def full(self, ballast: Path, seconds: float) -> list[str]:
        """The disk of the tables is full, until a load has met that and for some seconds more."""
        before = self.met_full()
        fill(ballast)
        try:
            found = wait(lambda: self.met_full() > before, "no load met the full disk")
            time.sleep(seconds)
        finally:
            ballast.unlink()
        return found

    def met_full(self) -> int:
        """How often it was told that the disk is full."""
        if isinstance(self.server, MariaServer):
            return len(MYSQL_FULL.findall(self.rig.server.log.read_text()))
        return self.server.log.count(FULL)

    def dropped(self) -> list[str]:
        """The schema is dropped between two loads."""
        self.rig.pause()
        found = self.rig.violations()
        is_mysql = isinstance(self.server, MariaServer)
        self.run("DROP SCHEMA web" if is_mysql else 'DROP SCHEMA "web" CASCADE')
        self.rig.forget()
        found += self.goes_on()
        self.rig.gate.set()
        self.wait_for_rows()
        return found


def cycles(scene: Scene, count: int, tally: Tally) -> None:
    """Some outages of one server."""
    rig = scene.rig
    kinds = [kind for kind in KINDS if kind != "full" or scene.disk is not None]
    with rig.running():
        scene.begin()
        for cycle in range(count):
            kind = kinds[cycle % len(kinds)]
            rig.gate.set()
            time.sleep(scene.dice.uniform(0.2, 0.6))
            if kind == "dropped":
                before, found = 0, scene.dropped()
            else:
                before = rig.witness.acknowledged
                found = scene.happen(kind)
            tally.add(**{"acknowledged meanwhile": rig.witness.acknowledged - before})
            rig.pause()
            found += rig.violations() + scene.goes_on() + scene.balance()
            tally.note(f"cycle {cycle}, {kind}", found)
            tally.add(**{f"times {kind}": 1})
        scene.client.http.close()


@contextlib.contextmanager
def maybe_disk(path: Path, megabytes: int = MEGABYTES) -> Iterator[Path | None]:
    """A small disk that the server's account reaches; None where no disk may be mounted."""
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(small_disk(path, megabytes))
        except (OSError, subprocess.CalledProcessError):
            (path / "disk").rmdir()
            yield None
            return
        yield found


def prepared(server: PostgresServer, disk: Path | None) -> str:
    """A database, on the small disk where there is one, and a user who may make schemas in it."""
    url = server.create_database()
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    if disk is not None:
        (disk / "tables").mkdir()
        server.create_tablespace("small", disk / "tables")
        as_owner(server, "postgres", f"ALTER DATABASE {name} SET TABLESPACE small")
    as_owner(server, name, "CREATE ROLE loader LOGIN PASSWORD 'secret-word'")
    as_owner(server, name, f"GRANT CREATE ON DATABASE {name} TO loader")
    return name


def grant_rows(*places: str) -> list[str]:
    """Statements that let the loader write into tables of MariaDB, and make them in a schema."""
    return [
        f"GRANT {STRUCTURE if place.endswith('.*') else 'ALL'} ON {place} TO loader"
        for place in places
    ]


def run_mysql(arguments: argparse.Namespace, tally: Tally) -> None:
    """All cycles with one MariaDB."""
    with contextlib.ExitStack() as stack:
        path, below = stack.enter_context(folder()), stack.enter_context(folder())
        below.chmod(0o755)
        disk = stack.enter_context(maybe_disk(below, MYSQL_MEGABYTES))
        data = None
        if disk is not None:
            data = disk / "data"
            data.mkdir()
        server = stack.enter_context(MariaServer(MYSQL_SETTINGS, data))
        server.execute(
            "CREATE USER loader IDENTIFIED BY 'secret-word'",
            "GRANT ALL ON _treadle.* TO loader",
            "GRANT ALL ON side.* TO loader",
            *grant_rows("web.*", *(f"web.{name}" for name in ROW_TABLES)),
        )
        url = server.url(user="loader", password="secret-word")
        debug = {"log_level": "debug"}  # each try has a line
        rig = Rig(path, url, TABLES, seed=arguments.seed, settings=debug, clocked=True)
        scene = Scene(rig, server, "", disk, random.Random(arguments.seed))
        cycles(scene, arguments.cycles, tally)


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """All cycles with one server."""
    if arguments.destination == ["mysql"]:
        run_mysql(arguments, tally)
        return
    with PostgresServer() as server, folder() as path, folder() as below:
        below.chmod(0o755)
        with maybe_disk(below) as disk:
            name = prepared(server, disk)
            url = server.url(name, user="loader", password="secret-word")
            debug = {"log_level": "debug"}  # each try has a line
            rig = Rig(path, url, TABLES, seed=arguments.seed, settings=debug, clocked=True)
            scene = Scene(rig, server, name, disk, random.Random(arguments.seed))
            cycles(scene, arguments.cycles, tally)
            server.stop(immediate=True)  # it holds files of the disk


if __name__ == "__main__":
    sys.exit(command("outage", str(__doc__), run, cycles=35))
