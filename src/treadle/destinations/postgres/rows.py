"""How rows travel to PostgreSQL: binary COPY, into a relation or a staging table.

A timestamp's binary form is microseconds since 2000 as an int8, and that of jsonb is its text
behind a version byte, so both are written without making a Python object of their own kind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from treadle.destinations.layout import partition_columns
from treadle.destinations.postgres import copy_format
from treadle.tables.model import Column, ColumnType, RelationRows

Connection = psycopg.Connection[tuple[Any, ...]]

STORED: Final = {
    ColumnType.BIGINT: sql.SQL("bigint"),
    ColumnType.BOOLEAN: sql.SQL("boolean"),
    ColumnType.DECIMAL: sql.SQL("numeric"),
    ColumnType.DOUBLE: sql.SQL("double precision"),
    ColumnType.JSON: sql.SQL("jsonb"),
    ColumnType.TEXT: sql.SQL("text"),
    ColumnType.TIMESTAMP: sql.SQL("timestamp with time zone"),
}
"""Logical types as PostgreSQL stores them (loading.md 3.2)."""

_COPIED_AS: Final = {
    ColumnType.BIGINT: "int8",
    ColumnType.BOOLEAN: "bool",
    ColumnType.DECIMAL: "numeric",
    ColumnType.DOUBLE: "float8",
    ColumnType.JSON: "bytea",
    ColumnType.TEXT: "text",
    ColumnType.TIMESTAMP: "int8",
}

_MICROSECONDS_TO_2000: Final = 946_684_800_000_000


def definitions(columns: Iterable[Column]) -> sql.Composed:
    """Column definitions for CREATE TABLE."""
    return sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(
            sql.Identifier(column.name),
            STORED[column.type],
            sql.SQL("" if column.nullable else " NOT NULL"),
        )
        for column in columns
    )


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Quoted names with commas between."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


@dataclass(frozen=True, slots=True)
class Stage:
    """A temporary table of this transaction with rows for a relation.

    Attributes:
        name: the table.
        columns: relation's column -> the stage's.
        entries: it has the column `entry`.
    """

    name: sql.Identifier
    columns: dict[str, sql.Identifier]
    entries: bool

    def matches(self, alias: str, pairs: Iterable[tuple[str, str]]) -> sql.Composed:
        """Condition: for every (column, other), stage `s`'s column equals `alias`'s other."""
        return sql.SQL(" AND ").join(
            sql.SQL("{} = s.{}").format(sql.Identifier(alias, other), self.columns[name])
            for name, other in pairs
        )


def stage_rows(connection: Connection, rows: RelationRows, name: str) -> Stage:
    """Copy rows into a new temporary table that goes with the transaction."""
    given = _given(rows)
    entries = len(rows.entries) == len(rows)
    stage = Stage(
        sql.Identifier("pg_temp", name),
        {column.name: sql.Identifier(f"c{number}") for number, column in enumerate(given)},
        entries,
    )
    described: list[sql.Composable] = [
        sql.SQL("{} {}").format(stage.columns[column.name], STORED[column.type]) for column in given
    ]
    if entries:
        described.insert(0, sql.SQL("entry bigint"))
    connection.execute(
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            stage.name, sql.SQL(", ").join(described)
        )
    )
    _copy(
        connection,
        sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(stage.name),
        given,
        rows,
        rows.entries if entries else (),
    )
    return stage


def copy_into(connection: Connection, target: sql.Identifier, rows: RelationRows) -> int:
    """Copy rows into a relation; returns how many there were."""
    given = _given(rows)
    return _copy(
        connection,
        sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            target, identifiers(column.name for column in given)
        ),
        given,
        rows,
        (),
    )


def _given(rows: RelationRows) -> list[Column]:
    """The columns that rows have values for, in the order in which they are sent."""
    given, _ = partition_columns(rows)
    return [given[at] for at in copy_format.order_fields([column.type for column in given])]


def _copy(
    connection: Connection,
    statement: sql.Composed,
    columns: Sequence[Column],
    rows: RelationRows,
    entries: Sequence[int],
) -> int:
    sent = [(column.type, rows.columns[column.name]) for column in columns]
    if entries:
        sent.insert(0, (ColumnType.BIGINT, entries))
    cursor = connection.cursor()
    stream = copy_format.encode_rows(sent)
    with cursor.copy(statement) as copy:
        if stream is not None:
            for piece in stream:
                copy.write(piece)
        else:
            copy.set_types([_COPIED_AS[type_] for type_, _ in sent])
            write = copy.write_row
            for row in zip(*(_wire_values(*each) for each in sent), strict=True):
                write(row)
    return cursor.rowcount


def _wire_values(type_: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
    if type_ is ColumnType.TIMESTAMP:
        return [None if at is None else at - _MICROSECONDS_TO_2000 for at in values]
    if type_ is ColumnType.JSON:
        return [None if text is None else b"\x01" + text.encode() for text in values]
    return values
