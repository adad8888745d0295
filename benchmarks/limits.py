"""What the machine and the databases can do at most, measured in the same run."""

import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
from tests.servers.database_server import free_port
from tests.servers.postgres import wheel_binaries

from benchmarks.contender import (
    Missing,
    NotFor,
    Place,
    Run,
    Wrong,
    ask_clickhouse,
    in_clickhouse,
    in_duckdb,
    in_files,
    in_iceberg,
    in_mysql,
    in_postgres,
    login_of,
)
from benchmarks.sender import request, send, send_many
from benchmarks.workloads import Workload

COLUMNS = {
    "id": "bigint",
    "name": "text",
    "email": "text",
    "amount": "double precision",
    "quantity": "bigint",
    "active": "boolean",
    "created_at": "timestamp with time zone",
    "note": "text",
    "_sdc_batched_at": "timestamp with time zone",
    "_sdc_received_at": "timestamp with time zone",
    "_sdc_sequence": "bigint",
    "_sdc_table_version": "bigint",
}
"""The columns of treadle's table: the limit writes the same rows."""

LOAD_ROWS = 77_000
"""Rows of a merge into Iceberg: as many as a load of treadle takes, of 16 MB in the log."""

MOMENT = "2024-06-01 12:00:00+00"
_PLAIN = ("W1", "W2", "W5")


def parts(workload: Workload) -> list[list[tuple[int, dict[str, Any]]]]:
    """The records in parts with no key twice, as one statement can take them; later ones win."""
    latest: dict[int, tuple[int, dict[str, Any]]] = {}
    found = []
    for _, sequence, record in workload.messages():
        if workload.name == "W2" and record["id"] in latest:
            found.append(list(latest.values()))
            latest = {}
        latest[record["id"]] = sequence, record
    return [*found, list(latest.values())]


class PostgresLimit:
    """COPY into an unlogged table and one INSERT ... ON CONFLICT, by psql, of ready-made rows."""

    name = "limit: COPY and merge"
    database = "postgres"
    share = 1.0

    def ready(self) -> str:
        done = subprocess.run([str(self._psql()), "--version"], capture_output=True, check=True)
        return done.stdout.decode().split()[-1]

    @staticmethod
    def _psql() -> Path:
        return wheel_binaries() / "psql"

    def run(self, workload: Workload, place: Place) -> Run:
        if workload.name not in _PLAIN:
            raise NotFor("is for W1, W2 and W5")
        names = ", ".join(COLUMNS)
        listed = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        with psycopg.connect(place.postgres, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA bench")
            connection.execute(f"CREATE TABLE bench.orders ({listed}, PRIMARY KEY (id))".encode())
        script = []
        for number, rows in enumerate(parts(workload)):
            path = place.folder / f"rows{number}.bin"
            self._write(place, rows, path, listed)
            stage = f"bench.stage{number}"
            assigned = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")
            script += [
                "BEGIN;",
                f"CREATE UNLOGGED TABLE {stage} ({listed});",
                f"\\copy {stage} from '{path}' (format binary)",
                (
                    f"INSERT INTO bench.orders AS t ({names}) SELECT {names} FROM {stage}"
                    f" ON CONFLICT (id) DO UPDATE SET {assigned}"
                    " WHERE excluded._sdc_sequence > t._sdc_sequence;"
                ),
                f"DROP TABLE {stage};",
                "COMMIT;",
            ]
        began = time.perf_counter()
        done = subprocess.run(
            [str(self._psql()), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", place.postgres],
            input="\n".join(script),
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise Wrong(done.stderr.strip()[:300])
        return Run(seconds, in_postgres(place.postgres, "bench", ["orders"]))

    @staticmethod
    def _write(
        place: Place, rows: Sequence[tuple[int, dict[str, Any]]], path: Path, listed: str
    ) -> None:
        """Rows in COPY's binary form, the quickest to read, written by the server itself."""
        with psycopg.connect(place.another(), autocommit=True) as connection:
            connection.execute(f"CREATE UNLOGGED TABLE made ({listed})".encode())
            with connection.cursor().copy("COPY made FROM STDIN") as copy:
                for sequence, record in rows:
                    copy.write_row((*record.values(), MOMENT, MOMENT, sequence, 0))
            with (
                path.open("wb") as file,
                connection.cursor().copy("COPY made TO STDOUT (FORMAT binary)") as copy,
            ):
                for piece in copy:
                    file.write(piece)


MYSQL_TYPES = {
    "text": "longtext",
    "double precision": "double",
    "boolean": "tinyint(1)",
    "timestamp with time zone": "datetime(6)",
}
"""Types of `COLUMNS` as treadle has them there, where they differ."""


class MysqlLimit:
    """LOAD DATA into a temporary table, UPDATE and INSERT, by the server's own client."""

    name = "limit: LOAD DATA, update and insert"
    database = "mysql"
    share = 1.0

    def ready(self) -> str:
        done = subprocess.run([self._client(), "--version"], capture_output=True, check=True)
        found = re.search(r"\d+\.\d+\.\d+-MariaDB", done.stdout.decode())
        return "unknown" if found is None else found[0]

    @staticmethod
    def _client() -> str:
        found = shutil.which("mariadb")
        if found is None:
            raise Missing("there is no program called mariadb")
        return found

    def run(self, workload: Workload, place: Place) -> Run:
        if workload.name not in _PLAIN:
            raise NotFor("is for W1, W2 and W5")
        names = ", ".join(COLUMNS)
        listed = ", ".join(
            f"{name} {MYSQL_TYPES.get(type_, type_)}" for name, type_ in COLUMNS.items()
        )
        options = "ENGINE InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
        assigned = ", ".join(f"t.{name} = s.{name}" for name in COLUMNS if name != "id")
        script = [
            "SET time_zone = '+00:00';",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;",
            "CREATE DATABASE bench; USE bench;",
            f"CREATE TABLE orders ({listed}, PRIMARY KEY (id)) {options};",
        ]
        for number, rows in enumerate(parts(workload)):
            path = place.folder / f"rows{number}.tsv"
            self._write(rows, path)
            script += [
                f"CREATE TEMPORARY TABLE stage ({listed}) {options};",
                "BEGIN;",
                (
                    f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE stage CHARACTER SET utf8mb4"
                    f" ({names});"
                ),
                (
                    f"UPDATE orders t, stage s SET {assigned}"
                    " WHERE t.id = s.id AND s._sdc_sequence > t._sdc_sequence;"
                ),
                (
                    f"INSERT INTO orders ({names}) SELECT {names} FROM stage s"
                    " WHERE NOT EXISTS (SELECT 1 FROM orders t WHERE t.id = s.id);"
                ),
                "COMMIT;",
                "DROP TEMPORARY TABLE stage;",
            ]
        login = login_of(place.mysql)
        command = [self._client(), "--no-defaults", "--local-infile=1", "--protocol=tcp"]
        command += [f"--host={login['host']}", f"--port={login['port']}", f"--user={login['user']}"]
        began = time.perf_counter()
        done = subprocess.run(
            command,
            input="\n".join(script),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "MYSQL_PWD": login["password"]},
        )
        seconds = time.perf_counter() - began
        if done.returncode:
            raise Wrong(done.stderr.strip()[:300])
        return Run(seconds, in_mysql(place.mysql, "bench", ["orders"]))

    @staticmethod
    def _write(rows: Sequence[tuple[int, dict[str, Any]]], path: Path) -> None:
        """Rows as LOAD DATA reads them by default; no text has a tab or a backslash."""
        moment = MOMENT.removesuffix("+00")
        with path.open("w") as file:
            for sequence, record in rows:
                sent = {
                    **record,
                    "active": int(record["active"]),
                    "created_at": record["created_at"].replace("T", " ").removesuffix("Z"),
                }
                row = (*sent.values(), moment, moment, sequence, 0)
                file.write("\t".join(map(str, row)) + "\n")


class DuckDBLimit:
    """read_json into a table, then delete and insert by key, in one transaction."""

    name = "limit: read_json and delete+insert"
    database = "duckdb"
    share = 1.0

    def ready(self) -> str:
        return str(duckdb.__version__)

    def run(self, workload: Workload, place: Place) -> Run:
        if workload.name not in _PLAIN:
            raise NotFor("is for W1, W2 and W5")
        listed = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
        sent = {n: t for n, t in COLUMNS.items() if not n.startswith("_sdc")}
        described = ", ".join(f"{name}: '{type_}'" for name, type_ in sent.items())
        every = parts(workload)
        for number, rows in enumerate(every):
            one = Workload(
                "",
                "",
                len(rows),
                lambda rows=rows: (("orders", s, r) for s, r in rows),  # type: ignore[misc]
                lambda: iter(()),
            )
            with (place.folder / f"rows{number}.json").open("wb") as file:
                file.writelines(line + b"\n" for _, line in one.lines())
        began = time.perf_counter()
        with closing(duckdb.connect(str(place.duckdb))) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("CREATE SCHEMA bench")
            connection.execute(f"CREATE TABLE bench.orders ({listed})")
            for number in range(len(every)):
                path = place.folder / f"rows{number}.json"
                connection.execute("BEGIN")
                connection.execute(
                    f"CREATE TEMP TABLE stage AS SELECT *, '{MOMENT}'::timestamptz AS a,"
                    f" '{MOMENT}'::timestamptz AS b, {number}::bigint AS c, 0::bigint AS d"
                    f" FROM read_json('{path}', format = 'newline_delimited',"
                    f" columns = {{{described}}})"
                )
                connection.execute("DELETE FROM bench.orders t USING stage s WHERE t.id = s.id")
                connection.execute("INSERT INTO bench.orders SELECT * FROM stage")
                connection.execute("COMMIT")
                connection.execute("DROP TABLE stage")
        seconds = time.perf_counter() - began
        return Run(seconds, in_duckdb(place.duckdb, "bench", ["orders"]))


def make_arrow(rows: Sequence[tuple[int, dict[str, Any]]]) -> Any:
    """Rows as an Arrow table with the types of the columns."""
    arrow: dict[str, Any] = {
        "bigint": pa.int64(),
        "text": pa.string(),
        "double precision": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp with time zone": pa.timestamp("us", "UTC"),
    }
    moment = datetime.fromisoformat(MOMENT)
    values = [
        {**record, "_sdc_sequence": sequence, "_sdc_table_version": 0} for sequence, record in rows
    ]
    columns = []
    for name, type_ in COLUMNS.items():
        found = [row.get(name, moment) for row in values]
        if name == "created_at":
            found = [datetime.fromisoformat(each) for each in found]
        columns.append(pa.array(found, arrow[type_]))
    return pa.table(columns, names=list(COLUMNS))


CLICKHOUSE_TYPES = {
    "bigint": "Int64",
    "text": "String",
    "double precision": "Float64",
    "boolean": "Bool",
    "timestamp with time zone": "DateTime64(6, 'UTC')",
}
"""Types of `COLUMNS` as treadle has them there."""


class ClickhouseLimit:
    """INSERT of the rows, ready-made as Arrow, into a table of the engine that treadle's has."""

    name = "limit: INSERT of Arrow"
    database = "clickhouse"
    share = 1.0

    def ready(self) -> str:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return f"chDB {version('chdb-core')}"
        except PackageNotFoundError as error:
            raise Missing("chDB is not installed; make clickhouse-needs installs it") from error

    def run(self, workload: Workload, place: Place) -> Run:
        if workload.name not in _PLAIN:
            raise NotFor("is for W1, W2 and W5")
        names = ", ".join(COLUMNS)
        listed = ", ".join(
            f"{name} {self._choose_type(name, type_)}" for name, type_ in COLUMNS.items()
        )
        structure = listed.replace("'", "\\'")
        insert = (
            f"INSERT INTO bench.orders ({names}) SELECT {names} FROM input('{structure}')"
            " FORMAT ArrowStream\n"
        )
        bodies = [insert.encode() + self._encode(make_arrow(rows)) for rows in parts(workload)]
        client = ask_clickhouse(place.clickhouse)
        client.command("CREATE DATABASE bench")
        client.command(
            f"CREATE TABLE bench.orders ({listed}, gone UInt8 MATERIALIZED 0)"
            " ENGINE = ReplacingMergeTree(_sdc_sequence, gone) ORDER BY id"
        )
        began = time.perf_counter()
        for body in bodies:
            client.raw_insert("", insert_block=body)
        seconds = time.perf_counter() - began
        client.close_connections()
        return Run(seconds, in_clickhouse(place.clickhouse, "bench", ["orders"]))

    @staticmethod
    def _choose_type(name: str, type_: str) -> str:
        bare = CLICKHOUSE_TYPES[type_]
        return bare if name in ("id", "_sdc_sequence") else f"Nullable({bare})"

    @staticmethod
    def _encode(table: Any) -> bytes:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()


class IcebergLimit:
    """The merge that treadle makes, with the rows at hand as Arrow tables: no JSON and no plan.

    Its files are written through to the disk before each commit, as treadle's are.
    """

    name = "limit: the same merge of Arrow tables"
    database = "iceberg"
    share = 1.0

    def ready(self) -> str:
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("pyiceberg")
        except PackageNotFoundError as error:
            raise Missing("pyiceberg is not installed") from error

    def run(self, workload: Workload, place: Place) -> Run:
        from tests.servers.iceberg_hand import open_catalog

        from treadle.destinations.iceberg.catalogue import FILE_IO
        from treadle.destinations.iceberg.key_search import KeySearch
        from treadle.destinations.iceberg.relation_draft import RelationDraft

        if workload.name not in _PLAIN:
            raise NotFor("is for W1, W2 and W5")
        every = [make_arrow(rows) for rows in parts(workload)]
        catalog = open_catalog(place.iceberg, **{"py-io-impl": FILE_IO})
        catalog.create_namespace("bench")
        catalog.create_table("bench.orders", every[0].schema)
        search = KeySearch()
        began = time.perf_counter()
        for whole in every:
            for at in range(0, whole.num_rows, LOAD_ROWS):
                rows = whole.slice(at, LOAD_ROWS)
                draft = RelationDraft(catalog.load_table("bench.orders"), None)
                keys = rows.select(["id"])
                live = draft.find_keys(["id"], keys)
                found = search.find_rows(live, ["id"], keys, ["_sdc_sequence"])
                draft.remove_rows(live, found.select(["file", "pos"]))
                draft.add_rows(rows)
                draft.commit()
        seconds = time.perf_counter() - began
        search.close()
        return Run(seconds, in_iceberg(place.iceberg, "bench", ["orders"]))


class FilesLimit:
    """The Parquet files that treadle writes, with the rows at hand as Arrow tables.

    Each is written through to the disk, with its name.
    """

    name = "limit: the same Parquet files by pyarrow"
    database = "files"
    share = 1.0

    def ready(self) -> str:
        return str(pa.__version__)

    def run(self, workload: Workload, place: Place) -> Run:
        from treadle.destinations.files.parquet_format import encode_parquet
        from treadle.files import sync_folder

        if workload.name != "W1":
            raise NotFor("is for W1")
        every = [make_arrow(rows) for rows in parts(workload)]
        folder = place.files / "bench/orders"
        folder.mkdir(parents=True)
        began = time.perf_counter()
        for number, whole in enumerate(every):
            for at in range(0, whole.num_rows, LOAD_ROWS):
                data = encode_parquet(whole.slice(at, LOAD_ROWS))
                with (folder / f"{number}_{at}.parquet").open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                sync_folder(folder)
        seconds = time.perf_counter() - began
        return Run(seconds, in_files(place.files, "bench", ["orders"]))


class Bare:
    """The bare ASGI endpoint, in a process of its own; `with Bare() as port`."""

    def __enter__(self) -> int:
        port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("bare.py")), str(port)]
        )
        for _ in range(200):
            try:
                send(port, [request("/", "", port, b"[]")], 1)
            except OSError:
                time.sleep(0.05)
            else:
                return port
        raise RuntimeError("the bare endpoint did not start")

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait()


def bare_batches(bodies: Sequence[bytes], connections: int) -> tuple[float, float]:
    """Seconds that the bare endpoint and its sender take for large bodies: wall, client's CPU."""
    with Bare() as port:
        sent = send(port, [request("/", "x" * 67, port, body) for body in bodies], connections)
    return sent.seconds, sent.client


def bare_singles(bodies: Sequence[bytes], connections: int) -> Any:
    """What the bare endpoint does with small bodies."""
    with Bare() as port:
        return send_many(port, [request("/", "x" * 67, port, body) for body in bodies], connections)


def fdatasync_rate(folder: Path, seconds: float = 1.0) -> float:
    """fdatasyncs a second after appends of 4 KiB."""
    descriptor = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY)
    try:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            os.write(descriptor, b"x" * 4096)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - began)
    finally:
        os.close(descriptor)


def sqlite_rate(folder: Path, group: int = 64, seconds: float = 1.0) -> tuple[float, float]:
    """(durable commits of one small row a second, rows a second in groups)."""
    with closing(sqlite3.connect(folder / "group.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE t (position INTEGER PRIMARY KEY, data BLOB)")
        rates = []
        for size in (1, group):
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT INTO t (data) VALUES (?)", [(b"x" * 200,)] * size)
                connection.execute("COMMIT")
                count += size
            rates.append(count / (time.perf_counter() - began))
        return rates[0], rates[1]
