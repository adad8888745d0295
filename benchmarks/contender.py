"""What takes part: something that brings a workload into a database and says how long it took."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg

from benchmarks.model import Found
from benchmarks.workloads import Workload


@dataclass
class Place:
    """Where one run happens: its own folder and its own database.

    Attributes:
        folder: empty.
        postgres: URL of an empty database.
        another: makes the URL of one more.
    """

    folder: Path
    postgres: str
    another: Callable[[], str]

    @property
    def duckdb(self) -> Path:
        return self.folder / "data.duckdb"

    @property
    def iceberg(self) -> str:
        """URL of a catalogue in a file, which the first load makes."""
        return f"iceberg+sql://{self.folder / 'lake.db'}"


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
    """"postgres", "duckdb", "iceberg" or "sqlite"."""
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


def tables(workload: Workload) -> list[str]:
    if workload.tables == 1:
        return ["orders"]
    return [f"table_{number:05}" for number in range(workload.tables)]
