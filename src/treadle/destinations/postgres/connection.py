"""A connection to PostgreSQL by psycopg 3, with rows sent by COPY."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import postgres

from treadle.destinations.layout import partition_columns
from treadle.destinations.libpq.connection import LibpqConnection, noting_statement
from treadle.destinations.postgres import copy_format
from treadle.destinations.postgres.dialect import PostgresDialect
from treadle.destinations.protocol import RowRefusedError
from treadle.destinations.sql.connection import Field
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.destinations.sql.upsert import (
    StagedUpsert,
    describe_rounding,
    find_rounded,
    insert,
)
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, RelationRows

_COPIED_AS: Final = {
    ColumnType.BIGINT: "int8",
    ColumnType.BOOLEAN: "bool",
    ColumnType.DECIMAL: "numeric",
    ColumnType.DOUBLE: "float8",
    ColumnType.JSON: "bytea",
    ColumnType.TEXT: "text",
    ColumnType.TIMESTAMP: "int8",
}

_TAKEN_AS: Final = {
    **{type_: frozenset({postgres.types[name].oid}) for type_, name in _COPIED_AS.items()},
    ColumnType.JSON: frozenset({postgres.types["jsonb"].oid}),
    ColumnType.TEXT: frozenset(postgres.types[name].oid for name in ("text", "varchar")),
    ColumnType.TIMESTAMP: frozenset({postgres.types["timestamptz"].oid}),
}
"""Logical type -> ids of the types that take what COPY sends for it."""

_BOUNDED: Final = (ColumnType.DECIMAL, ColumnType.TIMESTAMP)
"""Types that round to the digits that a column has, where it has a number of them."""

_NARROWER: Final = re.compile(r"smallint$|integer$|bigint$|numeric\(|date$|timestamp")
"""Types, as PostgreSQL spells them, that may round what is cast to them."""

SPELL_TYPE: Final = Quoted("SELECT pg_catalog.format_type($1::oid, $2::integer)")

_MICROSECONDS_TO_2000: Final = 946_684_800_000_000


class PostgresConnection(LibpqConnection):
    """One connection; see `LibpqConnection`."""

    def __init__(
        self, driver: psycopg.Connection[tuple[Any, ...]], *, read_only: bool = False
    ) -> None:
        super().__init__(PostgresDialect(), driver, read_only=read_only)
        self._casts = 0
        self._changed: dict[tuple[Quoted, tuple[Quoted, ...]], Mapping[str, Quoted]] = {}
        """What `_find_changed` has found in this transaction."""

    def check_deferred(self) -> None:
        """Check the constraints that are deferred, and run such triggers."""
        self.run(Quoted("SET CONSTRAINTS ALL IMMEDIATE"))

    def send(self, title: str, fields: Sequence[Field]) -> Quoted:
        """Copy values into a new temporary table that goes with the transaction."""
        place = self.dialect.quote("pg_temp", title)
        types = self.dialect.types
        self.define(
            compose(
                "CREATE TEMPORARY TABLE {place} ({columns}) ON COMMIT DROP",
                place=place,
                columns=join(
                    ", ",
                    (
                        compose("{name} {type}", name=name, type=types[type_])
                        for name, type_, _ in fields
                    ),
                ),
            )
        )
        self._copy(place, fields)
        return place

    def insert(self, target: Quoted, rows: RelationRows) -> int:
        """Write rows into a relation; returns how many were written.

        They are copied where each column takes the bytes of its values. COPY casts nothing, and
        the server does not look at the type of what it is sent: where a person has changed a type,
        the eight bytes of an integer would be read as another value. So the types are asked for in
        the transaction of each copy. Where one differs the rows are staged, and the database casts
        them as in every INSERT.
        """
        given, _ = partition_columns(rows)
        changed = self._find_changed(target, given)
        if not changed:
            return self._copy(
                target,
                [(self.dialect.quote(one.name), one.type, rows.columns[one.name]) for one in given],
            )
        self._casts += 1
        stage = self.stage(rows, f"treadle_cast_{self._casts:d}")
        staged = StagedUpsert(target, rows, stage)
        self._refuse_rounded(staged, changed)
        return self.run(insert(self.dialect, staged))

    def upsert(self, upsert: StagedUpsert) -> int:
        """Insert staged rows, or replace rows of their key; returns how many were written."""
        given, _ = partition_columns(upsert.rows)
        self._refuse_rounded(upsert, self._find_changed(upsert.target, given))
        return super().upsert(upsert)

    def begin(self, purpose: str = "load") -> None:
        """Begin a transaction; for the purposes see `SqlDialect.begin`."""
        self._changed.clear()
        super().begin(purpose)

    def _find_changed(self, target: Quoted, given: Sequence[Column]) -> Mapping[str, Quoted]:
        """Return column -> its type, of those that do not take the bytes that COPY sends to them.

        The statement locks the relation until the transaction ends, so nobody changes a type before
        the rows are there, and it is asked once. The server describes a domain as the type that it
        is over.
        """
        names = tuple(self.dialect.quote(one.name) for one in given)
        found = self._changed.get((target, names))
        if found is None:
            statement = compose(
                "SELECT {names} FROM {target} WHERE false", names=join(", ", names), target=target
            )
            with noting_statement(statement):
                result = self.driver.execute(statement.encode()).pgresult
            assert result is not None  # noqa: S101 - for the type: the statement was executed
            found = {}
            for at, column in enumerate(given):
                oid, modifier = result.ftype(at), result.fmod(at)
                is_bounded = modifier >= 0 and column.type in _BOUNDED
                if oid not in _TAKEN_AS[column.type] or is_bounded:
                    [(spelled,)] = self.rows(SPELL_TYPE, str(oid), str(modifier))
                    found[column.name] = Quoted(spelled)
            self._changed[target, names] = found
        return found

    def _refuse_rounded(self, upsert: StagedUpsert, changed: Mapping[str, Quoted]) -> None:
        """Refuse values that the type of a column would change without a word.

        Raises:
            RowRefusedError: there is one.
        """
        for name, type_ in changed.items():
            if _NARROWER.match(type_) and self.rows(
                find_rounded(self.dialect, upsert, name, type_)
            ):
                raise RowRefusedError(describe_rounding(name, type_))

    def _copy(self, target: Quoted, fields: Sequence[Field]) -> int:
        order = copy_format.order_fields([type_ for _, type_, _ in fields])
        sent = [(fields[at][1], fields[at][2]) for at in order]
        statement = compose(
            "COPY {target} ({names}) FROM STDIN (FORMAT binary)",
            target=target,
            names=join(", ", (fields[at][0] for at in order)),
        )
        cursor = self.driver.cursor()
        stream = copy_format.encode_rows(sent)
        with noting_statement(statement), cursor.copy(statement.encode()) as copy:
            if stream is not None:
                for piece in stream:
                    copy.write(piece)
            else:
                copy.set_types([_COPIED_AS[type_] for type_, _ in sent])
                write = copy.write_row
                values = [_wire_values(type_, to_values(column)) for type_, column in sent]
                for row in zip(*values, strict=True):
                    write(row)
        return cursor.rowcount


def _wire_values(type_: ColumnType, values: Sequence[Any]) -> Sequence[Any]:
    if type_ is ColumnType.TIMESTAMP:
        return [None if at is None else at - _MICROSECONDS_TO_2000 for at in values]
    if type_ is ColumnType.JSON:
        return [None if text is None else b"\x01" + text.encode() for text in values]
    return values
