"""Looks into MySQL and MariaDB with PyMySQL, not with treadle's code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
from tests.conformance.loading.warehouse import plain

from treadle.destinations.conformance.loading.warehouse import FoundTable

KINDS = {
    "bigint": "bigint",
    "bigint(20)": "bigint",
    "int": "integer",
    "int(11)": "integer",
    "double": "double",
    "decimal(38,6)": "decimal",
    "tinyint(1)": "boolean",
    "datetime(6)": "timestamp",
    "longtext": "text",
}
"""Type names of the server -> logical type; of a key, texts are VARCHAR."""


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        value = value.replace(tzinfo=UTC)
    return plain(value)


class Mysql:
    """A database of a server, which is what a schema is elsewhere."""

    name = "mysql"
    display_name = "MySQL"

    def __init__(self, url: str, schema: str) -> None:
        parts = urlsplit(url)
        self._login = {
            "host": parts.hostname,
            "port": parts.port or 3306,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
        }
        self._schema = schema

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with (
            pymysql.connect(**self._login, autocommit=True, charset="utf8mb4") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SHOW DATABASES")
            if (self._schema,) in cursor.fetchall():
                connection.select_db(self._schema)
            yield cursor

    def run(self, statement: str) -> None:
        with self._cursor() as cursor:
            for one in statement.split("; "):
                cursor.execute(one)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            cursor.execute(statement)
            return [tuple(map(_plain, row)) for row in cursor.fetchall()]

    def tables(self) -> dict[str, FoundTable]:
        with self._cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.tables"
                " WHERE table_schema = %s AND table_type = 'BASE TABLE'",
                (self._schema,),
            )
            return {name: self._table(cursor, name) for (name,) in cursor.fetchall()}

    def _table(self, cursor: Any, name: str) -> FoundTable:
        cursor.execute(
            "SELECT column_name, column_type, column_key = 'PRI', column_comment"
            " FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (self._schema, name),
        )
        described = cursor.fetchall()
        columns = []
        for column, kind, in_key, comment in described:
            logical = "json" if comment == "json" else KINDS.get(kind, kind)
            if in_key and re.fullmatch(r"varchar\(\d+\)", kind):
                logical = "text"
            columns.append((column, logical))
        cursor.execute(f"SELECT * FROM `{name.replace('`', '``')}`")
        rows = [
            tuple(
                bool(value) if kind == "boolean" and value is not None else _plain(value)
                for value, (_, kind) in zip(row, columns, strict=True)
            )
            for row in cursor.fetchall()
        ]
        return FoundTable(columns, frozenset(c for c, _, in_key, _ in described if in_key), rows)
