"""Statements for DuckDB, put together from literal text and quoted names.

DuckDB has no placeholder for a name. `duckdb.col` is its own tool that writes any name,
quotes doubled, as SQL; `Quoted` marks texts that came from it, and `compose` takes nothing else.
"""

from collections.abc import Iterable, Sequence
from typing import LiteralString, NewType

import duckdb

from treadle.tables.model import Column, ColumnType

Quoted = NewType("Quoted", str)
"""SQL text that holds no name or value that was not quoted."""

STORED: dict[ColumnType, Quoted] = {
    ColumnType.BIGINT: Quoted("BIGINT"),
    ColumnType.BOOLEAN: Quoted("BOOLEAN"),
    ColumnType.DECIMAL: Quoted("DECIMAL(38,9)"),
    ColumnType.DOUBLE: Quoted("DOUBLE"),
    ColumnType.JSON: Quoted("JSON"),
    ColumnType.TEXT: Quoted("VARCHAR"),
    ColumnType.TIMESTAMP: Quoted("TIMESTAMPTZ"),
}
"""Logical types as DuckDB stores them (loading.md 3.2)."""


def name(*parts: str) -> Quoted:
    """A name, or a name qualified by those before it, as SQL."""
    return Quoted(str(duckdb.col(*parts)))


def names(columns: Iterable[str], alias: str = "") -> Quoted:
    """Names with commas between, each behind an alias if one is given."""
    return joined(", ", (name(alias, column) if alias else name(column) for column in columns))


def compose(template: LiteralString, **parts: Quoted) -> Quoted:
    """A literal template with `{part}` filled in."""
    return Quoted(template.format(**parts))


def joined(separator: LiteralString, parts: Iterable[Quoted]) -> Quoted:
    """Parts with a literal text between."""
    return Quoted(separator.join(parts))


def definitions(columns: Sequence[Column]) -> Quoted:
    """Column definitions for CREATE TABLE."""
    return joined(
        ", ",
        (
            compose(
                "{name} {type}" if column.nullable else "{name} {type} NOT NULL",
                name=name(column.name),
                type=STORED[column.type],
            )
            for column in columns
        ),
    )


def same(left: str, right: str, pairs: Iterable[tuple[str, str]]) -> Quoted:
    """Condition: for every pair, column one of alias `left` equals column two of `right`."""
    return joined(
        " AND ",
        (compose("{one} = {two}", one=name(left, one), two=name(right, two)) for one, two in pairs),
    )
