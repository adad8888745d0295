"""Staged rows, and statements that insert them or replace rows of their key (loading.md 2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import LiteralString

from treadle.destinations.layout import partition_columns
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join, join_conditions, where
from treadle.tables.model import RelationRows


@dataclass(frozen=True, slots=True)
class StagedRows:
    """Rows for a relation, in a table that statements name `s` and that goes with the load.

    Attributes:
        name: the table.
        columns: relation's column -> the table's.
        entries: it has the column `entry`, which tells the log entry that a row came from.
        forms: relation's column -> the expression of its value, where it is staged as another type.
    """

    name: Quoted
    columns: Mapping[str, Quoted]
    entries: bool
    forms: Mapping[str, Quoted] = field(default_factory=dict)

    def value(self, column: str) -> Quoted:
        """Return the staged value for a column of the relation."""
        return self.forms.get(column) or compose("s.{column}", column=self.columns[column])

    def match(self, dialect: SqlDialect, alias: str, pairs: Iterable[tuple[str, str]]) -> Quoted:
        """Return the condition that, for each (column, other), `alias` has the value in other."""
        return join(
            " AND ",
            (
                compose(dialect.equals, one=dialect.quote(alias, other), two=self.value(column))
                for column, other in pairs
            ),
        )


@dataclass(frozen=True, slots=True)
class StagedUpsert:
    """Staged rows that are to be inserted, or to replace rows of their key.

    Managed columns without values become NULL (loading.md 2.2).

    Attributes:
        target: the relation's place.
        rows: what is staged.
        stage: where, as `s`.
        condition: which rows of `s` take part; empty for all.
        wins: which rows of the relation, as `t`, give way to the row of their key, whose sequence
            is `{sequence}`; empty for all.
    """

    target: Quoted
    rows: RelationRows
    stage: StagedRows
    condition: Quoted = NOTHING
    wins: LiteralString = ""

    def winning(self, sequence: Quoted) -> Quoted:
        """Return the condition `wins` for a sequence."""
        return compose(self.wins, sequence=sequence)


def insert(dialect: SqlDialect, upsert: StagedUpsert, on_conflict: Quoted = NOTHING) -> Quoted:
    """Return the statement that inserts the staged rows."""
    given, missing = partition_columns(upsert.rows)
    return compose(
        "INSERT INTO {target} {alias} ({columns})"
        " SELECT {values} FROM {stage} s {where} {conflict}",
        target=upsert.target,
        alias=Quoted("AS t" if on_conflict else ""),
        columns=dialect.quote_all(column.name for column in (*given, *missing)),
        values=join(
            ", ",
            [
                *(upsert.stage.value(column.name) for column in given),
                *(Quoted("NULL") for _ in missing),
            ],
        ),
        stage=upsert.stage.name,
        where=where(upsert.condition),
        conflict=on_conflict,
    )


def find_rounded(dialect: SqlDialect, upsert: StagedUpsert, name: str, there: Quoted) -> Quoted:
    """Return the statement that gives a row if the relation's column would change a staged value.

    Args:
        dialect: of the database.
        upsert: the rows.
        name: of the column.
        there: its type in the database, which is not the one that treadle gave it.
    """
    type_ = next(one.type for one in upsert.rows.relation.columns if one.name == name)
    return compose(
        "SELECT 1 FROM {stage} s"
        " WHERE CAST(CAST({value} AS {there}) AS {type}) IS DISTINCT FROM {value} LIMIT 1",
        stage=upsert.stage.name,
        value=upsert.stage.value(name),
        there=there,
        type=dialect.types[type_],
    )


def describe_rounding(name: str, type_: str) -> str:
    """Return why a record is refused whose value a column would change."""
    return f'the column "{name}" has the type {type_} in the destination, which changes the value'


def insert_or_update(dialect: SqlDialect, upsert: StagedUpsert) -> Quoted:
    """Return the statement that inserts, or updates in place where a row has the key."""
    relation = upsert.rows.relation
    if not relation.key:  # the user may have dropped it
        return insert(dialect, upsert)
    given, missing = partition_columns(upsert.rows)
    names = [dialect.quote(column.name) for column in given if column.name not in relation.key]
    on_conflict = compose(
        "ON CONFLICT ({key}) DO UPDATE SET {assignments} {where}",
        key=dialect.quote_all(relation.key),
        assignments=join(
            ", ",
            [
                *(compose("{name} = excluded.{name}", name=name) for name in names),
                *(compose("{name} = NULL", name=dialect.quote(each.name)) for each in missing),
            ],
        ),
        where=where(upsert.winning(Quoted("excluded._sdc_sequence"))),
    )
    return insert(dialect, upsert, on_conflict)


def update_replaced(dialect: SqlDialect, upsert: StagedUpsert) -> Quoted:
    """Return the statement that updates the rows that give way; `insert_absent` follows."""
    given, missing = partition_columns(upsert.rows)
    key = upsert.rows.relation.key
    alias = ["t"] if dialect.qualifies_assigned else []
    sequence = upsert.stage.columns.get("_sdc_sequence", NOTHING)
    return compose(
        dialect.update_matching,
        target=upsert.target,
        stage=upsert.stage.name,
        assignments=join(
            ", ",
            [
                *(
                    compose(
                        "{name} = {value}",
                        name=dialect.quote(*alias, column.name),
                        value=upsert.stage.value(column.name),
                    )
                    for column in given
                    if column.name not in key
                ),
                *(
                    compose("{name} = NULL", name=dialect.quote(*alias, each.name))
                    for each in missing
                ),
            ],
        ),
        condition=join_conditions(
            _match_key(dialect, upsert),
            upsert.winning(compose("s.{sequence}", sequence=sequence)),
            upsert.condition,
        ),
    )


def delete_replaced(dialect: SqlDialect, upsert: StagedUpsert) -> Quoted:
    """Return the statement that deletes the rows that are to give way; `insert_absent` follows."""
    sequence = upsert.stage.columns.get("_sdc_sequence", NOTHING)
    return delete_matching(
        dialect,
        upsert.target,
        "t",
        upsert.rows.relation.key,
        compose("{stage} s", stage=upsert.stage.name),
        join_conditions(
            _match_key(dialect, upsert),
            upsert.winning(compose("s.{sequence}", sequence=sequence)),
            upsert.condition,
        ),
    )


def delete_matching(
    dialect: SqlDialect,
    target: Quoted,
    alias: LiteralString,
    key: Iterable[str],
    others: Quoted,
    condition: Quoted,
) -> Quoted:
    """Return the statement that deletes the rows of a relation that others meet a condition with.

    Args:
        dialect: of the database.
        target: the relation's place.
        alias: that the condition has for it.
        key: columns that tell the rows that meet the condition from all others.
        others: tables, with their aliases.
        condition: that is to be met.
    """
    names = tuple(key)
    return compose(
        dialect.delete_matching,
        target=target,
        alias=Quoted(alias),
        key=dialect.quote_all(names),
        its_key=dialect.quote_all(names, alias),
        others=others,
        condition=condition,
    )


def insert_absent(dialect: SqlDialect, upsert: StagedUpsert) -> Quoted:
    """Return the statement that inserts those staged rows whose key no row has."""
    return insert(dialect, choose_absent(dialect, upsert))


def choose_absent(dialect: SqlDialect, upsert: StagedUpsert) -> StagedUpsert:
    """Return the same of only those staged rows whose key no row has."""
    absent = compose(
        "NOT EXISTS (SELECT 1 FROM {target} t WHERE {same_key})",
        target=upsert.target,
        same_key=_match_key(dialect, upsert),
    )
    return replace(upsert, condition=join_conditions(absent, upsert.condition))


def merge(dialect: SqlDialect, upsert: StagedUpsert) -> Quoted:
    """Return the MERGE that inserts, or updates where a row has the key."""
    key = upsert.rows.relation.key
    if not key:  # the user may have dropped it
        return insert(dialect, upsert)
    given, missing = partition_columns(upsert.rows)
    stage = upsert.stage.name
    staged = compose(
        "(SELECT s.* FROM {stage} s {where})", stage=stage, where=where(upsert.condition)
    )
    sequence = upsert.stage.columns.get("_sdc_sequence", NOTHING)
    wins = upsert.winning(compose("s.{sequence}", sequence=sequence))
    assignments = {
        column.name: upsert.stage.value(column.name) for column in given if column.name not in key
    } | {column.name: Quoted("NULL") for column in missing}
    return compose(
        "MERGE INTO {target} t USING {staged} s ON {same_key}"
        " WHEN MATCHED{wins} THEN UPDATE SET {assignments}"
        " WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({values})",
        target=upsert.target,
        staged=staged if upsert.condition else stage,
        same_key=_match_key(dialect, upsert),
        wins=compose(" AND ({wins})", wins=wins) if wins else NOTHING,
        assignments=join(
            ", ",
            (
                compose("{name} = {value}", name=dialect.quote(name), value=value)
                for name, value in assignments.items()
            ),
        ),
        columns=dialect.quote_all(column.name for column in (*given, *missing)),
        values=join(
            ", ",
            [
                *(upsert.stage.value(column.name) for column in given),
                *(Quoted("NULL") for _ in missing),
            ],
        ),
    )


def _match_key(dialect: SqlDialect, upsert: StagedUpsert) -> Quoted:
    key = upsert.rows.relation.key
    return upsert.stage.match(dialect, "t", [(name, name) for name in key])
