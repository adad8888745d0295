"""Counts, compares and removes tables (see `Inspection` and `Rebuild`)."""

from typing import LiteralString

from treadle.destinations.layout import (
    BATCHED_AT,
    CAUSE_COLUMNS,
    REJECTED,
    REJECTED_COLUMNS,
    find_live_tombstones,
    find_stage_tombstones,
)
from treadle.destinations.protocol import AccessDeniedError, RelationPair, RowCounts, RowDiff
from treadle.destinations.sql.catalogue import OWNERS, forget, forget_owner
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Relation, Table


def list_relations(connection: SqlConnection, schema: str) -> set[str]:
    """Return the tables, views and sequences in a schema; not those that each schema has."""
    return connection.list_relations(schema) - connection.dialect.schema_tables.keys()


def is_unused_rejections(connection: SqlConnection, schema: str) -> bool:
    """Return whether `_sdc_rejected` is as `prepare` makes it and has no rows."""
    there = connection.describe(schema, [REJECTED])[REJECTED].columns
    made = [column.name for column in REJECTED_COLUMNS]
    if list(there) not in (made, made[: -len(CAUSE_COLUMNS)]):
        return False
    place = connection.dialect.place(schema, REJECTED)
    try:
        return not connection.rows(compose("SELECT 1 FROM {table} LIMIT 1", table=place))
    except connection.errors as error:
        if isinstance(connection.translate(error), AccessDeniedError):
            return False  # somebody else's
        raise


def count_rows(connection: SqlConnection, schema: str, relation: Relation, since: int) -> RowCounts:
    """Count the rows of a live root relation; see `Inspection.counts`."""
    dialect = connection.dialect
    table = dialect.place(schema, relation.name)
    [(rows,)] = connection.rows(compose("SELECT count(*) FROM {table}", table=table))
    duplicates = 0
    if relation.key:
        [(duplicates,)] = connection.rows(
            compose(
                "SELECT coalesce(sum(n - 1), 0)"
                " FROM (SELECT count(*) AS n FROM {table} GROUP BY {key}) AS k",
                table=table,
                key=dialect.quote_all(relation.key),
            )
        )
    at = dialect.quote(BATCHED_AT)
    batches = connection.rows(
        compose(
            "SELECT {microseconds}, n FROM"
            " (SELECT {at}, count(*) AS n FROM {table}"
            " WHERE {at} IS NULL OR {at} >= {since} GROUP BY {at}) AS batches",
            microseconds=compose(dialect.microseconds, at=at),
            at=at,
            table=table,
            since=dialect.instant(since),
        )
    )
    return RowCounts(int(rows), int(duplicates), dict(batches))


def compare_rows(connection: SqlConnection, schema: str, other: str, pair: RelationPair) -> RowDiff:
    """Compare the rows of two relations; see `Inspection.compare`."""
    dialect = connection.dialect
    ours = None if pair.here is None else dialect.place(schema, pair.here)
    theirs = None if pair.there is None else dialect.place(other, pair.there)
    if ours is None or theirs is None:
        count: list[int] = []
        for table in (ours, theirs):
            found = [(0,)]
            if table is not None:
                found = connection.rows(compose("SELECT count(*) FROM {table}", table=table))
            count.append(int(found[0][0]))
        return RowDiff(count[0], count[1], 0)
    left = [_value(dialect, "a", column, pair) for column, _ in pair.columns]
    right = [_value(dialect, "b", column, pair) for _, column in pair.columns]
    if not dialect.joins_fully:
        return _compare_simply(connection, ours, theirs, pair)
    if not pair.key and not dialect.excepts_all:
        return _compare_simply(connection, ours, theirs, pair)
    if not pair.key:
        # Rows as a whole, as often as they are there.
        a = compose("SELECT {values} FROM {table} a", values=join(", ", left), table=ours)
        b = compose("SELECT {values} FROM {table} b", values=join(", ", right), table=theirs)
        only = [
            connection.rows(
                compose("SELECT count(*) FROM (({a}) EXCEPT ALL ({b})) AS rest", a=one, b=two)
            )
            for one, two in ((a, b), (b, a))
        ]
        return RowDiff(int(only[0][0][0]), int(only[1][0][0]), 0)
    differs = join(
        " OR ",
        (compose(dialect.differs, one=one, two=two) for one, two in zip(left, right, strict=True)),
    )
    one, two = pair.key[0]
    [(here, there, different)] = connection.rows(
        compose(
            "SELECT count(*) FILTER (WHERE {two} IS NULL), count(*) FILTER (WHERE {one} IS NULL),"
            " count(*) FILTER (WHERE {one} IS NOT NULL AND {two} IS NOT NULL AND ({differs}))"
            " FROM {ours} a FULL JOIN {theirs} b ON {same_key}",
            one=dialect.quote("a", one),
            two=dialect.quote("b", two),
            differs=differs or Quoted("false"),
            ours=ours,
            theirs=theirs,
            same_key=dialect.match("a", "b", pair.key),
        )
    )
    return RowDiff(here, there, different)


def _compare_simply(
    connection: SqlConnection, ours: Quoted, theirs: Quoted, pair: RelationPair
) -> RowDiff:
    """Compare the rows of two relations by what every database knows."""
    dialect = connection.dialect

    def count(statement: Quoted) -> int:
        return int(connection.rows(statement)[0][0] or 0)

    left = [_value(dialect, "a", column, pair) for column, _ in pair.columns]
    right = [_value(dialect, "b", column, pair) for _, column in pair.columns]
    if not pair.key:
        # How much more often the one has a row than the other.
        names = [Quoted(f"v{number:d}") for number in range(len(left))]
        sides = [
            compose(
                "SELECT {values}, {weight} AS w FROM {table} {alias}",
                values=join(
                    ", ",
                    (
                        compose("{value} AS {name}", value=value, name=name)
                        for value, name in zip(values, names, strict=True)
                    ),
                ),
                weight=Quoted(weight),
                table=table,
                alias=Quoted(alias),
            )
            for values, weight, table, alias in (
                (left, "1", ours, "a"),
                (right, "-1", theirs, "b"),
            )
        ]
        [(here, there)] = connection.rows(
            compose(
                "SELECT sum(CASE WHEN n > 0 THEN n END), sum(CASE WHEN n < 0 THEN -n END)"
                " FROM (SELECT sum(w) AS n FROM ({sides}) AS u GROUP BY {names}) AS g",
                sides=join(" UNION ALL ", sides),
                names=join(", ", names),
            )
        )
        return RowDiff(int(here or 0), int(there or 0), 0)
    same_key = dialect.match("a", "b", pair.key)
    a = compose("{table} a", table=ours)
    b = compose("{table} b", table=theirs)
    missing: LiteralString = (
        "SELECT count(*) FROM {one} WHERE NOT EXISTS (SELECT 1 FROM {other} WHERE {same_key})"
    )
    differs = join(
        " OR ",
        (compose(dialect.differs, one=one, two=two) for one, two in zip(left, right, strict=True)),
    )
    return RowDiff(
        count(compose(missing, one=a, other=b, same_key=same_key)),
        count(compose(missing, one=b, other=a, same_key=same_key)),
        count(
            compose(
                "SELECT count(*) FROM {a} JOIN {b} ON {same_key} WHERE {differs}",
                a=a,
                b=b,
                same_key=same_key,
                differs=differs or Quoted("1 = 0"),
            )
        ),
    )


def _value(dialect: SqlDialect, alias: str, column: str | None, pair: RelationPair) -> Quoted:
    if column is None:
        return Quoted("NULL")
    value = dialect.quote(alias, column)
    if column in pair.texts:
        return compose(dialect.cast_as_text, value=value, type=dialect.types[ColumnType.TEXT])
    return compose(dialect.comparable, value=value)


def remove_table(
    connection: SqlConnection, schema: str, table: str, entry: Table | None, log_id: str
) -> None:
    """Drop a table and what is kept of it, inside a transaction; see `Rebuild.remove`."""
    dialect = connection.dialect
    relations = entry.relations if entry is not None else ()
    stages = entry.stages if entry is not None else ()
    fold = dialect.profile.fold
    dropped = [dialect.place(schema, relation.name) for relation in relations]
    if relations:
        dropped.append(dialect.own(find_live_tombstones(entry, schema, fold(relations[0].name))))
    for each in (relation for stage in stages for relation in stage.relations):
        dropped.append(dialect.own(each.name))
        if not each.path:
            dropped.append(dialect.own(find_stage_tombstones(fold(each.name))))
    for place in dropped:
        connection.run(compose("DROP TABLE IF EXISTS {table}", table=place))
    forget(connection, schema, table, log_id)
    left = list_relations(connection, schema)
    rejected = dialect.place(schema, REJECTED)
    if left == {REJECTED}:
        for name in (*dialect.schema_tables, REJECTED):
            connection.run(
                compose("DROP TABLE IF EXISTS {table}", table=dialect.place(schema, name))
            )
        connection.run(
            compose("DROP {word} {schema}", word=dialect.schema_word, schema=dialect.schema(schema))
        )
        if connection.holds_own_table(OWNERS.name):  # an earlier version made the others
            forget_owner(connection, schema)
    elif REJECTED in left:
        connection.run(compose("DELETE FROM {table} WHERE table_name = $1", table=rejected), table)
