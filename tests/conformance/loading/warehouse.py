"""Looks into a destination with its own driver, not with treadle's code."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import psycopg
from psycopg import sql

from treadle.destinations.conformance.loading.warehouse import FoundTable, Warehouse

__all__ = ["DuckDB", "FoundTable", "Postgres", "Warehouse"]

LOGICAL = {
    "bigint": "bigint",
    "double precision": "double",
    "numeric": "decimal",
    "boolean": "boolean",
    "timestamp with time zone": "timestamp",
    "text": "text",
    "jsonb": "json",
    "json": "json",
    "double": "double",
    "decimal(38,9)": "decimal",
    "varchar": "text",
}
"""Type names of both engines, lower case -> logical type."""


def plain(value: Any) -> Any:
    """A value as cases spell it."""
    match value:
        case datetime():
            at = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
            return at.replace(".000000Z", "Z")
        case Decimal():
            text = format(value, "f")
            return text.rstrip("0").rstrip(".") if "." in text else text
        case _:
            return value


class Postgres:
    """A schema of a PostgreSQL database."""

    name = "pg"
    display_name = "PostgreSQL"

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            connection.execute(
                sql.SQL("SET search_path TO {}").format(sql.Identifier(self._schema))
            )
            yield connection

    def run(self, statement: str) -> None:
        with self._connection() as connection:
            connection.execute(statement.encode())

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return [tuple(map(plain, row)) for row in connection.execute(statement.encode())]

    def tables(self) -> dict[str, FoundTable]:
        with self._connection() as connection:
            names = connection.execute(
                "SELECT table_name FROM information_schema.tables "
                "WHERE table_schema = %s AND table_type = 'BASE TABLE'",
                (self._schema,),
            ).fetchall()
            return {name: self._table(connection, name) for (name,) in names}

    def _table(self, connection: psycopg.Connection[tuple[Any, ...]], name: str) -> FoundTable:
        columns = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
            (self._schema, name),
        ).fetchall()
        key = connection.execute(
            "SELECT a.attname FROM pg_index i JOIN pg_attribute a "
            "ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
            "WHERE i.indisprimary AND i.indrelid = "
            "(SELECT oid FROM pg_class WHERE relname = %s AND relnamespace = %s::regnamespace)",
            (name, f'"{self._schema}"'),
        ).fetchall()
        rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
        return FoundTable(
            [(column, LOGICAL.get(kind.lower(), kind)) for column, kind in columns],
            frozenset(column for (column,) in key),
            [tuple(map(plain, row)) for row in rows],
        )


DROP_COLUMN = re.compile(r'ALTER TABLE (\w+|".+") DROP COLUMN (\w+|".+");?', re.IGNORECASE)

ENGINE = {"text": "VARCHAR", "decimal": "DECIMAL(38,9)"}
"""Logical types that are no names of types in DuckDB."""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain_name(written: str) -> str:
    return written[1:-1].replace('""', '"') if written.startswith('"') else written


def _rows(connection: duckdb.DuckDBPyConnection, statement: str) -> list[tuple[Any, ...]]:
    """By way of Arrow, whose timestamps need no further library in Python."""
    relation = connection.sql(statement)
    columns = [] if relation is None else relation.to_arrow_table().columns
    return [tuple(map(plain, row)) for row in zip(*(c.to_pylist() for c in columns), strict=True)]


class DuckDB:
    """A schema of a DuckDB file."""

    name = "duckdb"
    display_name = "DuckDB"

    def __init__(self, path: str, schema: str) -> None:
        self._path = path
        self._schema = schema

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with closing(duckdb.connect(self._path, config={"threads": 1})) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            known = connection.execute(
                "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?", [self._schema]
            ).fetchall()
            if known:
                connection.execute(f"SET schema = '{self._schema}'")
            yield connection

    def run(self, statement: str) -> None:
        with self._connection() as connection:
            try:
                connection.execute(statement)
            except duckdb.Error:
                found = DROP_COLUMN.fullmatch(statement)
                if found is None:
                    raise
                self._rebuild(connection, *map(_plain_name, found.groups()))

    def _rebuild(self, connection: duckdb.DuckDBPyConnection, table: str, column: str) -> None:
        """Drop a column as a user has to.

        DuckDB refuses ALTER TABLE ... DROP COLUMN for a column of the primary key, and for one
        before it ("an index depends on a column after it").
        """
        found = self._table(connection, table)
        assert found.key is not None
        declared = ", ".join(
            f"{_quoted(name)} {'TIMESTAMPTZ' if kind == 'timestamp' else ENGINE.get(kind, kind)}"
            for name, kind in found.columns
            if name != column
        )
        key = ", ".join(map(_quoted, sorted(found.key)))
        connection.execute(
            f"CREATE TABLE rebuilt ({declared}"
            + (f", PRIMARY KEY ({key}))" if key and column not in found.key else ")")
        )
        connection.execute(
            f"INSERT INTO rebuilt SELECT * EXCLUDE ({_quoted(column)}) FROM {_quoted(table)}"
        )
        connection.execute(f"DROP TABLE {_quoted(table)}")
        connection.execute(f"ALTER TABLE rebuilt RENAME TO {_quoted(table)}")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection() as connection:
            return _rows(connection, statement)

    def tables(self) -> dict[str, FoundTable]:
        with self._connection() as connection:
            names = connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE schema_name = ?", [self._schema]
            ).fetchall()
            return {name: self._table(connection, name) for (name,) in names}

    def _table(self, connection: duckdb.DuckDBPyConnection, name: str) -> FoundTable:
        columns = connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = ? AND table_name = ? ORDER BY column_index",
            [self._schema, name],
        ).fetchall()
        key = connection.execute(
            "SELECT unnest(constraint_column_names) FROM duckdb_constraints() "
            "WHERE schema_name = ? AND table_name = ? AND constraint_type = 'PRIMARY KEY'",
            [self._schema, name],
        ).fetchall()
        rows = _rows(connection, f"SELECT * FROM {_quoted(name)}")
        return FoundTable(
            [(column, LOGICAL.get(kind.lower(), kind)) for column, kind in columns],
            frozenset(column for (column,) in key),
            rows,
        )
