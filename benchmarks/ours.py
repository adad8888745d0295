"""treadle as a contender: real processes, default settings, an empty data folder."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from tests.servers.treadle import Client, TreadleServer

from benchmarks.contender import (
    NotFor,
    Place,
    Run,
    in_clickhouse,
    in_duckdb,
    in_files,
    in_iceberg,
    in_mysql,
    in_postgres,
    tables,
)
from benchmarks.sender import request, send
from benchmarks.workloads import CLIENT, Workload
from treadle.log.slots import SLOTS
from treadle.log.sqlite.log import SqliteReader

CONNECTIONS = 4
APPENDED = ("W1", "W3", "W4")
"""Workloads in which no record takes the place of another one."""
LOOK = 0.02
NAMES = {
    "postgres": "treadle",
    "duckdb": "treadle (DuckDB)",
    "mysql": "treadle (MariaDB)",
    "clickhouse": "treadle (ClickHouse)",
    "iceberg": "treadle (Iceberg)",
    "files": "treadle (files)",
}

REST_SECONDS = 0.3
"""Without work of any process for so long, a server has started; records wait for no start then."""

START_SECONDS_MAX = 20.0
"""A server has started after so long, whatever its processes do."""

SLOTS_HELD = """
SELECT count(unit) FROM members LEFT JOIN units ON holder = id AND unit LIKE 'log:%'
WHERE role = 'loader' GROUP BY id
"""
"""Of each loader that a store knows; a file that one process loads is a unit too, and no slot."""


class Treadle:
    """treadle into one kind of database."""

    share = 1.0

    def __init__(self, database: str, loaders: int = 1) -> None:
        self.name = NAMES[database]
        if loaders > 1:
            self.name += f", {loaders} loaders"
        self.database = database
        self._loaders = loaders
        self._settings = {"loaders": str(loaders)} if loaders > 1 else {}
        if database in ("files", "iceberg"):  # whose default waits a minute for more
            self._settings["load_age_seconds"] = "1"

    def ready(self) -> str:
        from importlib.metadata import version

        return version("treadle")

    def run(self, workload: Workload, place: Place) -> Run:
        if self.database == "files" and workload.name not in APPENDED:
            raise NotFor("replaces no rows")
        with started(place, self.database, self._settings) as server:
            port, source, token, client = begin(server)
            requests = [
                request(workload.path, token, port, body)
                for body in with_client(workload.requests, client)
            ]
            log = SqliteReader(server.data / "log.sqlite")
            wait_until_started(server, self._loaders)
            began = time.perf_counter()
            try:
                sent = send(port, requests, CONNECTIONS)
            except RuntimeError as error:
                error.add_note(server.log.read_text()[-5_000:])
                raise
            while log.list_backlogs():
                time.sleep(LOOK)
            seconds = time.perf_counter() - began
            log.close()
            figures = {
                "accepted a second": workload.records / sent.seconds,
                "sender us a record": sent.client / workload.records * 1e6,
                **usage(server),
            }
        schema = schema_of(source)
        if self.database == "postgres":
            found = in_postgres(place.postgres, schema, tables(workload))
        elif self.database == "iceberg":
            found = in_iceberg(place.iceberg, schema, tables(workload))
        elif self.database == "files":
            found = in_files(place.files, schema, tables(workload))
        elif self.database == "clickhouse":
            found = in_clickhouse(place.clickhouse, schema, tables(workload))
        elif self.database == "mysql":
            found = in_mysql(place.mysql, schema, tables(workload))
        else:
            found = in_duckdb(place.duckdb, schema, tables(workload))
        return Run(seconds, found, figures)


def started(place: Place, database: str, settings: dict[str, str] | None = None) -> TreadleServer:
    """A server that is about to start on a fresh data folder."""
    url = {
        "postgres": place.postgres,
        "duckdb": f"duckdb://{place.duckdb}",
        "mysql": place.mysql,
        "clickhouse": place.clickhouse,
        "iceberg": place.iceberg,
        "files": f"files://{place.files}",
    }[database]
    return TreadleServer(place.folder / "treadle", url, settings)


def begin(server: TreadleServer) -> tuple[int, str, str, int]:
    """Port, name of a new source, its token, the client id."""
    client_id, account = server.account()
    client = Client(server, client_id, account)
    _, token = client.create_source("bench")
    return server.port, "bench", token, client_id


def wait_until_started(server: TreadleServer, loaders: int = 1) -> None:
    """Wait until no process of a server has anything to do, and its loaders share the tables.

    Several loaders share them some time after the server answers, and each process loads what it
    imports late. That is no part of a load, and some runs take no longer than a start.
    """
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end and not are_shared(count_slots(server), loaders):
        time.sleep(LOOK)
    before = -1
    while time.monotonic() < end:
        spent = sum(read_ticks(pid) for pid in server.processes().values())
        if spent <= before + 1:
            return
        before = spent
        time.sleep(REST_SECONDS)


def are_shared(slots: list[int], loaders: int) -> bool:
    """Whether so many loaders have their even part of the log's slots each."""
    return len(slots) == loaders and sum(slots) == SLOTS and max(slots) <= -(-SLOTS // loaders)


def count_slots(server: TreadleServer) -> list[int]:
    """How many slots of the log each loader has."""
    with closing(sqlite3.connect(server.data / "store.sqlite", timeout=30)) as store:
        return [count for (count,) in store.execute(SLOTS_HELD)]


def read_ticks(pid: int) -> int:
    """Processor time of a process, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def schema_of(source: str) -> str:
    return source


def with_client(bodies: list[bytes], client: int) -> list[bytes]:
    """Bodies with the client id in its place."""
    mark, there = f'"{CLIENT}"'.encode(), str(client).encode()
    return [body.replace(mark, there) for body in bodies]


def usage(server: TreadleServer) -> dict[str, Any]:
    """Peak memory and processor seconds of each process."""
    found: dict[str, Any] = {}
    for name, pid in server.processes().items():
        status = Path(f"/proc/{pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        found[f"{name} MB"] = round(int(peak.split()[1]) / 1024)
        found[f"{name} cpu"] = read_ticks(pid) / 100
    return found


def fresh(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url, autocommit=True)
