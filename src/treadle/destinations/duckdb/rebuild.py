"""Comparing two builds of a table in DuckDB, and dropping one of them."""

from typing import Final

from treadle.destinations.duckdb.bookkeeping import catalogue_key
from treadle.destinations.duckdb.quoting import Quoted, compose, joined, name, same
from treadle.destinations.duckdb.rows import Database
from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    REJECTED_COLUMNS,
    tombstones_name,
)
from treadle.destinations.protocol import RelationPair, RowDiff
from treadle.tables.model import Table
from treadle.tables.profiles import DUCKDB

_NULL: Final = Quoted("NULL")


def compare(database: Database, schema: str, other: str, pair: RelationPair) -> RowDiff:
    """Compare the rows of two relations; see `Session.compare`."""
    if pair.here is None or pair.there is None:
        here = 0 if pair.here is None else _count(database, database.place(schema, pair.here))
        there = 0 if pair.there is None else _count(database, database.place(other, pair.there))
        return RowDiff(here, there, 0)
    ours, theirs = database.place(schema, pair.here), database.place(other, pair.there)
    if not pair.key:
        left = joined(", ", [_value("a", one, pair) for one, _ in pair.columns])
        right = joined(", ", [_value("b", two, pair) for _, two in pair.columns])
        a = compose("SELECT {values} FROM {t} a", values=left, t=ours)
        b = compose("SELECT {values} FROM {t} b", values=right, t=theirs)
        return RowDiff(
            _number(database, compose("SELECT count(*) FROM ({a} EXCEPT ALL {b})", a=a, b=b)),
            _number(database, compose("SELECT count(*) FROM ({b} EXCEPT ALL {a})", a=a, b=b)),
            0,
        )
    one, two = pair.key[0]
    differs = joined(
        " OR ",
        [
            compose(
                "{a} IS DISTINCT FROM {b}",
                a=_value("a", left_, pair),
                b=_value("b", right_, pair),
            )
            for left_, right_ in pair.columns
        ],
    )
    [(here, there, different)] = database.rows(
        compose(
            "SELECT count(*) FILTER (WHERE {two} IS NULL), count(*) FILTER (WHERE {one} IS NULL),"
            " count(*) FILTER (WHERE {one} IS NOT NULL AND {two} IS NOT NULL AND ({differs}))"
            " FROM {ours} a FULL JOIN {theirs} b ON {same_key}",
            one=name("a", one),
            two=name("b", two),
            differs=differs or Quoted("false"),
            ours=ours,
            theirs=theirs,
            same_key=same("a", "b", pair.key),
        )
    )
    return RowDiff(here, there, different)


def relations(database: Database, schema: str) -> list[str]:
    """The tables, views and sequences in a schema; see `Session.relations`."""
    found = sorted(_names(database, schema))
    if REJECTED in found:
        place = database.place(schema, REJECTED)
        columns = database.rows(Quoted("SELECT name FROM pragma_table_info(?)"), place)
        if [called for (called,) in columns] == [column.name for column in REJECTED_COLUMNS]:
            holds = compose("SELECT count(*) FROM (SELECT 1 FROM {t} LIMIT 1)", t=place)
            if not _number(database, holds):
                found.remove(REJECTED)
    return found


def _names(database: Database, schema: str) -> set[str]:
    rows = database.rows(
        Quoted(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
            " AND schema_name = ? UNION ALL SELECT view_name FROM duckdb_views()"
            " WHERE database_name = current_database() AND schema_name = ?"
            " UNION ALL SELECT sequence_name FROM duckdb_sequences()"
            " WHERE database_name = current_database() AND schema_name = ?"
        ),
        schema,
        schema,
        schema,
    )
    return {str(called) for (called,) in rows}


def remove(database: Database, schema: str, table: str, entry: Table | None, log_id: str) -> None:
    """Drop a table and what is kept of it, inside a transaction; see `Session.remove`."""
    relations = entry.relations if entry is not None else ()
    stages = entry.stages if entry is not None else ()
    dropped = [(schema, relation.name) for relation in relations]
    dropped += [(PRIVATE_SCHEMA, each.name) for stage in stages for each in stage.relations]
    for place, relation in dropped:
        database.run(compose("DROP TABLE IF EXISTS {t}", t=database.place(place, relation)))
        buried = database.private(tombstones_name(place, DUCKDB.fold(relation)))
        database.run(compose("DROP TABLE IF EXISTS {t}", t=buried))
    database.run(
        compose(
            "DELETE FROM {catalogue} WHERE schema_name = ? AND table_key = ?",
            catalogue=database.private("catalogue"),
        ),
        schema,
        catalogue_key(table),
    )
    database.run(
        compose(
            "DELETE FROM {positions} WHERE log_id = ?", positions=database.private("positions")
        ),
        log_id,
    )
    left = _names(database, schema)
    rejected = database.place(schema, REJECTED)
    if left <= {REJECTED}:
        database.run(compose("DROP TABLE IF EXISTS {rejected}", rejected=rejected))
        if REJECTED in left:
            database.run(compose("DROP SCHEMA {schema}", schema=database.schema(schema)))
    elif REJECTED in left:
        database.run(
            compose("DELETE FROM {rejected} WHERE table_name = ?", rejected=rejected), table
        )


def _value(alias: str, column: str | None, pair: RelationPair) -> Quoted:
    if column is None:
        return _NULL
    if column in pair.texts:
        return compose("CAST({column} AS VARCHAR)", column=name(alias, column))
    return name(alias, column)


def _count(database: Database, place: Quoted) -> int:
    return _number(database, compose("SELECT count(*) FROM {t}", t=place))


def _number(database: Database, statement: Quoted) -> int:
    [(number,)] = database.rows(statement)
    return int(number)
