"""Redshift's SQL: PostgreSQL 8.0 without its indexes, arrays, RETURNING and ON CONFLICT.

A string literal holds no backslash, which Redshift reads otherwise than PostgreSQL.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import ClassVar

from psycopg import postgres, sql

from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.schema_changes import SchemaStatements
from treadle.destinations.sql.text import NOTHING, Quoted, compose
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, Column, Relation
from treadle.tables.profiles import REDSHIFT

JSON_COMMENT = "json"
"""The comment of a column that holds JSON texts."""


class RedshiftDialect(SqlDialect):
    """Amazon Redshift, a cluster or serverless."""

    profile = REDSHIFT
    types: ClassVar = {
        ColumnType.BIGINT: Quoted("bigint"),
        ColumnType.BOOLEAN: Quoted("boolean"),
        ColumnType.DECIMAL: Quoted("decimal(38,9)"),
        ColumnType.DOUBLE: Quoted("double precision"),
        ColumnType.JSON: Quoted("varchar(65535)"),
        ColumnType.TEXT: Quoted("varchar(65535)"),  # text is varchar(256)
        ColumnType.TIMESTAMP: Quoted("timestamp"),
    }
    logical_types: ClassVar = {
        postgres.types[name].oid: type_
        for name, type_ in {
            "bool": ColumnType.BOOLEAN,
            "float8": ColumnType.DOUBLE,
            "int8": ColumnType.BIGINT,
            "numeric": ColumnType.DECIMAL,
            "text": ColumnType.TEXT,
            "timestamp": ColumnType.TIMESTAMP,
            "varchar": ColumnType.TEXT,
        }.items()
    }
    text_forms: ClassVar = {
        ColumnType.DECIMAL: "rtrim(rtrim(CAST({name} AS varchar(64)), '0'), '.')",
        ColumnType.DOUBLE: (
            "CASE WHEN {name} = trunc({name}) AND abs({name}) < 1e16"
            " THEN CAST(CAST({name} AS bigint) AS varchar(64))"
            " ELSE CAST({name} AS varchar(64)) END"
        ),
        ColumnType.TIMESTAMP: (
            "regexp_replace(to_char({name}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '[.]?0+$', '') || 'Z'"
        ),
    }
    instant_literal = "TIMESTAMP '{text}'"
    # Not the fraction of epoch, which Redshift leaves out.
    microseconds = (
        "CAST(extract(epoch FROM date_trunc('second', {at})) AS bigint) * 1000000"
        " + CAST(extract(microseconds FROM {at}) AS bigint) % 1000000"
    )
    # A table that rows are deleted from has no alias.
    delete_matching = (
        "DELETE FROM {target} WHERE ({key}) IN"
        " (SELECT {its_key} FROM {target} {alias}, {others} WHERE {condition})"
    )
    update_matching = "UPDATE {target} AS t SET {assignments} FROM {stage} s WHERE {condition}"
    qualifies_assigned = False
    differs = (
        "({one} <> {two} OR ({one} IS NULL AND {two} IS NOT NULL)"
        " OR ({one} IS NOT NULL AND {two} IS NULL))"
    )
    column_absent = NOTHING
    joins_fully = False
    excepts_all = False
    begin: ClassVar = dict.fromkeys(("load", "lookup", "snapshot"), Quoted("BEGIN"))
    rights_to_prepare = "grant CREATE on the database to treadle's user"
    finds_all = True
    find_schema = Quoted("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1")
    find_table = Quoted(
        "SELECT 1 FROM pg_catalog.pg_class r"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE n.nspname = $1 AND r.relname = $2"
    )
    list_relations = Quoted(
        "SELECT r.relname FROM pg_catalog.pg_class r"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE n.nspname = $1 AND r.relkind IN ('r', 'v', 'm', 'f', 'S')"
    )
    list_columns = """
        SELECT r.relname, a.attname, a.atttypid, obj_description(r.oid, 'pg_class'),
          col_description(r.oid, a.attnum)
        FROM pg_catalog.pg_class r
        JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
        LEFT JOIN pg_catalog.pg_attribute a
          ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE n.nspname = $1 AND r.relname IN ({names}) AND r.relkind IN ('r', 'v', 'm', 'f')
        ORDER BY r.relname, a.attnum
        """
    clock = Quoted("SELECT CAST(extract(epoch FROM now()) * 1000000 AS bigint)")

    def quote(self, *parts: str) -> Quoted:
        """Return a name, qualified by those before it, as psycopg quotes it."""
        return Quoted(sql.Identifier(*parts).as_string(None))

    def define(self, columns: Iterable[Column], key: Collection[str] = ()) -> Quoted:
        """Return column definitions; all take NULL, which no later statement could allow."""
        return super().define([replace(column, nullable=True) for column in columns], key)

    def define_key(self, key: tuple[str, ...]) -> Quoted:
        """Return nothing: the comment of a table names its key (loading.md 2.1)."""
        return NOTHING

    def literal(self, text: str) -> Quoted:
        """Return a text without a backslash as a literal, as psycopg quotes it."""
        return Quoted(sql.Literal(text).as_string(None))


def write_key(key: tuple[str, ...]) -> str:
    """Return the comment of a table with a key (loading.md 2.1)."""
    return json.dumps({"primary_keys": list(key)}, ensure_ascii=False)


def read_key(comment: str | None) -> frozenset[str]:
    """Return the key that the comment of a table names; empty where it names none."""
    try:
        found = json.loads(comment or "")["primary_keys"]
    except (KeyError, TypeError, ValueError):
        return frozenset()
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()


class RedshiftSchemaStatements(SchemaStatements):
    """Schema changes with keys in comments, and columns whose type never changes."""

    _dialect: RedshiftDialect

    def _create(self, schema: str, relation: Relation) -> Iterator[Quoted]:
        yield from super()._create(schema, relation)
        place = self._dialect.place(schema, relation.name)
        if relation.key:
            yield self._note_key(place, relation.key)
        yield from self._note_json(place, relation.columns)

    def _add_columns(self, additions: list[AddColumn]) -> Iterator[Quoted]:
        yield from super()._add_columns(additions)
        place = self._place(additions[0].relation, additions[0].private)
        yield from self._note_json(place, [each.column for each in additions])

    def _widen(self, target: Quoted, column: Column, old: ColumnType) -> Iterator[Quoted]:
        """Put a column of the wider type in the place of one: no type can be changed."""
        parts = {
            "target": target,
            "name": self._dialect.quote(column.name),
            "wide": self._dialect.quote(f"{column.name}__wide"),
            "type": self._dialect.types[column.type],
            "value": self._dialect.widen(column, old),
        }
        yield compose("ALTER TABLE {target} ADD COLUMN {wide} {type}", **parts)
        yield compose("UPDATE {target} SET {wide} = {value}", **parts)
        yield compose("ALTER TABLE {target} DROP COLUMN {name}", **parts)
        yield compose("ALTER TABLE {target} RENAME COLUMN {wide} TO {name}", **parts)

    def _change_key(
        self, relation: str, old: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[Quoted]:
        yield self._note_key(self._place(relation), key)

    def _note_key(self, place: Quoted, key: tuple[str, ...]) -> Quoted:
        return compose(
            "COMMENT ON TABLE {place} IS {comment}",
            place=place,
            comment=self._dialect.literal(write_key(key)),
        )

    def _note_json(
        self, place: Quoted, columns: tuple[Column, ...] | list[Column]
    ) -> Iterator[Quoted]:
        for column in columns:
            if column.type is ColumnType.JSON:
                yield compose(
                    "COMMENT ON COLUMN {place}.{name} IS {comment}",
                    place=place,
                    name=self._dialect.quote(column.name),
                    comment=self._dialect.literal(JSON_COMMENT),
                )
