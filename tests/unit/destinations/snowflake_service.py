"""A service for the units of Snowflake's session: DuckDB, with a clock that tests set.

What DuckDB does not know is noted and not run. The driver is the service's in name only.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self, cast

import duckdb
from snowflake.connector import SnowflakeConnection as Driver
from snowflake.connector.errors import OperationalError, ProgrammingError

from treadle.destinations.snowflake.connection import SnowflakeConnection
from treadle.destinations.snowflake.session import NOW, PREPARATIONS, SnowflakeTransactions

NOTED = (
    *("ALTER ", "BEGIN ", "COMMIT", "COPY ", "CREATE OR REPLACE ", "PUT ", "REMOVE ", "ROLLBACK"),
    "SHOW PRIMARY KEYS",
    'DROP TABLE "_TREADLE"."DRAFT_',
    'UPDATE "_TREADLE"."DRAFT_',
)
"""Beginnings of statements that are noted and not run."""

UNANSWERED = OperationalError("the connection was reset", errno=250003)
LOCKED = ProgrammingError("a lock is another's", errno=625)


class SnowflakeService:
    """The tables of one database, and what was sent.

    Attributes:
        clock: microseconds since 1970.
        sent: the statements, in order.
        answers: beginning of a statement -> its rows, in place of DuckDB's.
        faults: beginning of a statement -> what it raises, each time.
        hooks: beginning of a statement -> what is called before it, once.
    """

    def __init__(self) -> None:
        self.tables = duckdb.connect()
        self.clock = 1_700_000_000_000_000
        self.sent: list[str] = []
        self.answers: dict[str, list[tuple[Any, ...]]] = {
            "SELECT CURRENT_TRANSACTION()": [("1700000000000000001",)]
        }
        self.faults: dict[str, Exception] = {}
        self.hooks: dict[str, Callable[[], None]] = {}

    def execute(self, text: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Take a statement, and return its rows; of one that writes, how many it wrote."""
        self.sent.append(text)
        for begin in [each for each in self.hooks if text.startswith(each)]:
            self.hooks.pop(begin)()
        for begin, fault in self.faults.items():
            if text.startswith(begin):
                raise fault
        for begin, rows in self.answers.items():
            if text.startswith(begin):
                return rows
        if text.startswith(NOTED):
            return []
        text = text.replace(str(NOW), str(self.clock)).replace("NUMBER(", "DECIMAL(")
        try:
            return self.tables.execute(text, list(values)).fetchall()
        except duckdb.CatalogException as error:
            raise ProgrammingError(str(error), errno=2003) from error

    def count_sent(self, begin: str) -> int:
        """Return how many statements began so."""
        return sum(text.startswith(begin) for text in self.sent)

    def leases(self) -> list[tuple[Any, ...]]:
        """Return name and holder of each lease."""
        return self.tables.execute(
            'SELECT lease, holder FROM "_TREADLE"."LEASES" ORDER BY ALL'
        ).fetchall()

    def prepare(self, statements: Sequence[str] = PREPARATIONS) -> None:
        """Make what has to be there before the first lease."""
        places = {
            "own": '"_TREADLE"',
            "leases": '"_TREADLE"."LEASES"',
            "turns": '"_TREADLE"."TURNS"',
        }
        for statement in statements:
            self.execute(statement.format(**places), ())
        self.sent.clear()

    def connect(self, holder: str) -> SnowflakeConnection:
        """Return a connection of its own."""
        return SnowflakeConnection(cast("Driver", SnowflakeDriver(self)), "Shop", holder)

    def open(self, holder: str) -> SnowflakeTransactions:
        """Return a session of a holder."""
        return SnowflakeTransactions(self.connect(holder), holder)


class SnowflakeDriver:
    """Stands for the driver of the service."""

    def __init__(self, service: SnowflakeService) -> None:
        self.service = service

    def cursor(self) -> "SnowflakeCursor":
        return SnowflakeCursor(self.service)

    def close(self, *, retry: bool) -> None:
        self.service.sent.append("closed")


class SnowflakeCursor:
    """Stands for its cursor."""

    def __init__(self, service: SnowflakeService) -> None:
        self._service = service
        self._rows: list[tuple[Any, ...]] = []
        self.rowcount = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def execute(self, text: str, values: Sequence[object] | None, **options: Any) -> None:
        self._rows = self._service.execute(text, values or ())
        wrote = text.startswith(("UPDATE", "DELETE")) and self._rows
        self.rowcount = int(self._rows[0][0]) if wrote else 0

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows
