"""Comparing two builds of a table in PostgreSQL, and dropping one of them."""

import psycopg
from psycopg import sql

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    REJECTED_COLUMNS,
    digest_name,
    tombstones_name,
)
from treadle.destinations.postgres.rows import Connection
from treadle.destinations.protocol import RelationPair, RowDiff
from treadle.tables.model import Table


def compare(connection: Connection, schema: str, other: str, pair: RelationPair) -> RowDiff:
    """Compare the rows of two relations; see `Session.compare`."""
    ours = None if pair.here is None else sql.Identifier(schema, pair.here)
    theirs = None if pair.there is None else sql.Identifier(other, pair.there)
    if ours is None or theirs is None:
        count = sql.SQL("SELECT count(*) FROM {}")
        here = 0 if ours is None else _number(connection, count.format(ours))
        there = 0 if theirs is None else _number(connection, count.format(theirs))
        return RowDiff(here, there, 0)
    if not pair.key:
        a = sql.SQL("SELECT {} FROM {} a").format(
            sql.SQL(", ").join(_value("a", one, pair) for one, _ in pair.columns), ours
        )
        b = sql.SQL("SELECT {} FROM {} b").format(
            sql.SQL(", ").join(_value("b", two, pair) for _, two in pair.columns), theirs
        )
        only = sql.SQL("SELECT count(*) FROM (({}) EXCEPT ALL ({})) AS rest")
        return RowDiff(
            _number(connection, only.format(a, b)), _number(connection, only.format(b, a)), 0
        )
    one, two = pair.key[0]
    differs = sql.SQL(" OR ").join(
        sql.SQL("{} IS DISTINCT FROM {}").format(_value("a", left, pair), _value("b", right, pair))
        for left, right in pair.columns
    )
    row = connection.execute(
        sql.SQL(
            "SELECT count(*) FILTER (WHERE {two} IS NULL), count(*) FILTER (WHERE {one} IS NULL),"
            " count(*) FILTER (WHERE {one} IS NOT NULL AND {two} IS NOT NULL AND ({differs}))"
            " FROM {ours} a FULL JOIN {theirs} b ON {same_key}"
        ).format(
            one=sql.Identifier("a", one),
            two=sql.Identifier("b", two),
            differs=differs if pair.columns else sql.SQL("false"),
            ours=ours,
            theirs=theirs,
            same_key=sql.SQL(" AND ").join(
                sql.SQL("{} = {}").format(sql.Identifier("a", left), sql.Identifier("b", right))
                for left, right in pair.key
            ),
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - an aggregate has always one
    return RowDiff(*row)


def relations(connection: Connection, schema: str) -> list[str]:
    """The tables, views and sequences in a schema; see `Session.relations`."""
    found = sorted(_names(connection, schema))
    if REJECTED in found and _is_empty_rejected(connection, schema):
        found.remove(REJECTED)
    return found


def _is_empty_rejected(connection: Connection, schema: str) -> bool:
    columns = connection.execute(
        "SELECT a.attname FROM pg_catalog.pg_attribute a"
        " JOIN pg_catalog.pg_class r ON r.oid = a.attrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE n.nspname = %s AND r.relname = %s AND a.attnum > 0 AND NOT a.attisdropped"
        " ORDER BY a.attnum",
        [schema, REJECTED],
    ).fetchall()
    if [name for (name,) in columns] != [column.name for column in REJECTED_COLUMNS]:
        return False
    holds = sql.SQL("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT 1) r")
    try:
        return not _number(connection, holds.format(sql.Identifier(schema, REJECTED)))
    except psycopg.errors.InsufficientPrivilege:
        return False  # somebody else's


def _names(connection: Connection, schema: str) -> set[str]:
    rows = connection.execute(
        "SELECT r.relname FROM pg_catalog.pg_class r"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE n.nspname = %s AND r.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')",
        [schema],
    ).fetchall()
    return {name for (name,) in rows}


def remove(
    connection: Connection, schema: str, table: str, entry: Table | None, log_id: str
) -> None:
    """Drop a table and what is kept of it, inside a transaction; see `Session.remove`."""
    relations = entry.relations if entry is not None else ()
    stages = entry.stages if entry is not None else ()
    dropped = [(schema, relation.name) for relation in relations]
    dropped += [(PRIVATE_SCHEMA, each.name) for stage in stages for each in stage.relations]
    for place, relation in dropped:
        for name in (
            sql.Identifier(place, relation),
            sql.Identifier(PRIVATE_SCHEMA, tombstones_name(place, relation)),
        ):
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    connection.execute(
        "DELETE FROM _treadle.catalogue WHERE schema_name = %s AND table_key = %s",
        [schema, digest_name(table)],
    )
    connection.execute("DELETE FROM _treadle.positions WHERE log_id = %s", [log_id])
    left = _names(connection, schema)
    rejected = sql.Identifier(schema, REJECTED)
    if left == {REJECTED}:
        connection.execute(sql.SQL("DROP TABLE {}").format(rejected))
        connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(schema)))
    elif REJECTED in left:
        connection.execute(
            sql.SQL("DELETE FROM {} WHERE table_name = %s").format(rejected), [table]
        )


def _value(alias: str, column: str | None, pair: RelationPair) -> sql.Composable:
    if column is None:
        return sql.SQL("NULL")
    found = sql.Identifier(alias, column)
    return sql.SQL("{}::text").format(found) if column in pair.texts else found


def _number(connection: Connection, statement: sql.Composed) -> int:
    row = connection.execute(statement).fetchone()
    assert row is not None  # noqa: S101 - an aggregate has always one
    return int(row[0])
