"""`python -m tests.faults.outage`: PostgreSQL killed and stopped under load, a right revoked.

A cycle is one of them, with requests coming in all the while. They are accepted, nothing is lost,
and everything is loaded once the server, or the right, is back.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import psycopg
from tests.faults.command import Tally, command, folder
from tests.faults.traffic import Rig
from tests.servers.postgres import PostgresServer

TABLES = {"orders": True, "events": False}
KINDS = ("killed", "stopped", "revoked")


def as_owner(server: PostgresServer, database: str, statement: str) -> None:
    """Run a statement as the superuser."""
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        connection.execute(statement.encode())


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


def cycles(path: Path, server: PostgresServer, count: int, seed: int, tally: Tally) -> None:
    """Some outages of one server."""
    dice = random.Random(seed)
    name = str(psycopg.conninfo.conninfo_to_dict(server.create_database())["dbname"])
    as_owner(server, name, "CREATE ROLE loader LOGIN PASSWORD 'secret-word'")
    as_owner(server, name, f"GRANT CREATE ON DATABASE {name} TO loader")
    rig = Rig(path, server.url(name, user="loader", password="secret-word"), TABLES, seed=seed)
    with rig.running():
        rig.gate.set()
        time.sleep(2.0)
        for cycle in range(count):
            kind = KINDS[cycle % len(KINDS)]
            rig.gate.set()
            time.sleep(dice.uniform(0.2, 0.6))
            before = rig.witness.acknowledged
            suffer(server, name, kind, dice.uniform(0.3, 1.5))
            tally.add(**{"acknowledged meanwhile": rig.witness.acknowledged - before})
            rig.pause()
            tally.note(f"cycle {cycle}, {kind}", rig.violations())
            tally.add(**{f"times {kind}": 1})


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """All cycles with one server."""
    with PostgresServer() as server, folder() as path:
        cycles(path, server, arguments.cycles, arguments.seed, tally)


if __name__ == "__main__":
    sys.exit(command("outage", str(__doc__), run, cycles=30))
