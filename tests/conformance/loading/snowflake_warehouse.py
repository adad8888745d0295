"""Looks into the emulator of Snowflake with the service's driver, not with treadle's code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from snowflake.connector import connect
from tests.conformance.loading.warehouse import plain

from treadle.destinations.conformance.loading.warehouse import FoundTable

KINDS = {
    "BOOLEAN": "boolean",
    "FLOAT": "double",
    "NUMBER(38,0)": "bigint",
    "NUMBER(38,6)": "decimal",
    "TIMESTAMP_TZ(9)": "timestamp",
    "VARCHAR(16777216)": "text",
    "VARIANT": "json",
}
"""Type names of the service -> logical type."""


class Snowflake:
    """A schema of a database. Names are in upper case there, and in lower case in the cases."""

    name = "snowflake"
    display_name = "Snowflake"

    def __init__(self, url: str, schema: str) -> None:
        parts = urlsplit(url)
        self._login: dict[str, Any] = {
            "account": "treadle",
            "host": parts.hostname,
            "port": parts.port,
            "protocol": "http",
            "user": parts.username,
            "password": parts.password,
            "database": parts.path.strip("/"),
            "login_timeout": 5,
            "session_parameters": {"CLIENT_TELEMETRY_ENABLED": False},
        }
        self._schema = schema.upper()

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        connection = connect(**self._login)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT schema_name FROM information_schema.schemata")
                if (self._schema,) in cursor.fetchall():
                    cursor.execute(f'USE SCHEMA "{self._schema}"')
                yield cursor
        finally:
            connection.close()

    def run(self, statement: str) -> None:
        with self._cursor() as cursor:
            for one in statement.split("; "):
                cursor.execute(one)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            cursor.execute(statement)
            return [tuple(map(plain, row)) for row in cursor.fetchall()]

    def tables(self) -> dict[str, FoundTable]:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
                " AND table_type = 'BASE TABLE'",
                (self._schema,),
            )
            names = [name for (name,) in cursor.fetchall()]
            return {name.lower(): self._table(cursor, name) for name in names}

    def _table(self, cursor: Any, name: str) -> FoundTable:
        place = f'"{self._schema}"."{name}"'
        cursor.execute(f"DESCRIBE TABLE {place}")
        columns = [(row[0].lower(), KINDS.get(row[1], row[1])) for row in cursor.fetchall()]
        cursor.execute(f'SHOW PRIMARY KEYS IN SCHEMA "{self._schema}"')
        key = frozenset(row[4].lower() for row in cursor.fetchall() if row[3] == name)
        cursor.execute(f"SELECT * FROM {place}")
        rows = [
            tuple(
                int(value) if kind == "bigint" and value is not None else plain(value)
                for value, (_, kind) in zip(row, columns, strict=True)
            )
            for row in cursor.fetchall()
        ]
        return FoundTable(columns, key, rows)
