"""What takes part: something that brings a workload into a database and says how long it took."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import duckdb
import psycopg
import pymysql

from benchmarks.model import Found
from benchmarks.workloads import Workload


@dataclass
class Place:
    """Where one run happens: its own folder and its own database.

    Attributes:
        folder: empty.
        postgres: URL of an empty database.
        another: makes the URL of one more.
        mysql: URL of an empty MariaDB; empty where none runs.
        empty_mysql: leaves it so again.
        clickhouse: URL of an empty ClickHouse; empty where none runs.
    """

    folder: Path
    postgres: str
    another: Callable[[], str]
    mysql: str = ""
    empty_mysql: Callable[[], None] = lambda: None
    clickhouse: str = ""

    @property
    def duckdb(self) -> Path:
        return self.folder / "data.duckdb"

    @property
    def iceberg(self) -> str:
        """URL of a catalogue in a file, which the first load makes."""
        return f"iceberg+sql://{self.folder / 'lake.db'}"

    @property
    def files(self) -> Path:
        """A folder for files, which the first load makes."""
        return self.folder / "files"


@dataclass
class Run:
    """One run of one contender.

    Attributes:
        seconds: from the first byte until the last row was visible.
        found: its tables, to be checked while the place is still there.
        figures: whatever else was measured.
    """

    seconds: float
    found: Found | None = None
    figures: dict[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """A loader, or a limit."""

    name: str
    database: str
    """"postgres", "duckdb", "mysql", "clickhouse", "iceberg", "files" or "sqlite"."""
    share: float
    """How many of a workload's records it gets: slow ones get fewer, rates are compared."""

    def ready(self) -> str:
        """Install what is needed; gives the version. Raises Missing."""

    def run(self, workload: Workload, place: Place) -> Run:
        """Load a workload. Raises Wrong, and NotFor before anything else."""


class Missing(Exception):  # noqa: N818 - says what is
    """It cannot be had here."""


class NotFor(Exception):  # noqa: N818 - says what is
    """It is not made for this workload, and takes no part in it."""


class Wrong(Exception):  # noqa: N818 - says what is
    """It ended with an error."""


def in_postgres(url: str, schema: str, tables: list[str]) -> Found:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET TIME ZONE 'UTC'")
    return Found(
        lambda statement: connection.execute(statement.encode()).fetchall(),
        schema,
        tables,
        "postgres",
    )


def in_duckdb(path: Path, schema: str, tables: list[str]) -> Found:
    connection = duckdb.connect(str(path), read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    return Found(
        lambda statement: connection.execute(statement).fetchall(), schema, tables, "duckdb"
    )


def in_iceberg(url: str, schema: str, tables: list[str]) -> Found:
    """Tables of a catalogue, read by pyiceberg and asked by DuckDB."""
    from tests.servers.iceberg_hand import open_catalog

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f'CREATE SCHEMA "{schema}"')
    catalog = open_catalog(url)
    for number, name in enumerate(tables):
        connection.register(f"rows{number}", catalog.load_table((schema, name)).scan().to_arrow())
        connection.execute(f'CREATE VIEW "{schema}"."{name}" AS SELECT * FROM rows{number}')
    return Found(
        lambda statement: connection.execute(statement).fetchall(), schema, tables, "duckdb"
    )


def in_files(folder: Path, schema: str, tables: list[str]) -> Found:
    """Tables of Parquet files, asked by DuckDB."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f'CREATE SCHEMA "{schema}"')
    for name in tables:
        files = f"read_parquet('{folder / schema / name}/*.parquet', union_by_name = true)"
        connection.execute(f'CREATE VIEW "{schema}"."{name}" AS SELECT * FROM {files}')
    return Found(
        lambda statement: connection.execute(statement).fetchall(), schema, tables, "duckdb"
    )


def login_of(url: str) -> dict[str, Any]:
    """What the drivers and programs of MySQL are told of a URL."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": unquote(parts.password or ""),
    }


def in_mysql(url: str, schema: str, tables: list[str]) -> Found:
    connection = pymysql.connect(
        **login_of(url), autocommit=True, charset="utf8mb4", init_command="SET time_zone = '+00:00'"
    )

    def query(statement: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    return Found(query, schema, tables, "mysql")


def ask_clickhouse(url: str) -> Any:
    """A client of the driver, for which rows that were replaced are gone."""
    from clickhouse_connect import get_client
    from urllib3 import PoolManager

    login = login_of(url)
    login["username"] = login.pop("user")
    settings = {"final": 1}
    return get_client(**login, compress=False, pool_mgr=PoolManager(), settings=settings)


def in_clickhouse(url: str, schema: str, tables: list[str]) -> Found:
    client = ask_clickhouse(url)
    return Found(
        lambda statement: list(client.query(statement).result_rows), schema, tables, "clickhouse"
    )


def tables(workload: Workload) -> list[str]:
    if workload.tables == 1:
        return ["orders"]
    return [f"table_{number:05}" for number in range(workload.tables)]
