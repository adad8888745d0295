"""Compares treadle's catalogue with what the destination really holds (loading.md 5.2)."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from treadle.errors import TableStoppedError
from treadle.tables import names
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    PhysicalRelation,
    Relation,
    Table,
    TableState,
)
from treadle.tables.plan.keys import GENERATED_KEY_COLUMNS
from treadle.tables.prepare.frame import RelationPath
from treadle.tables.profile import DestinationProfile

SYSTEM_COLUMNS: tuple[Column, ...] = (
    Column(names.BATCHED_AT, names.BATCHED_AT, ColumnType.TIMESTAMP),
    Column(names.RECEIVED_AT, names.RECEIVED_AT, ColumnType.TIMESTAMP),
    Column(names.SEQUENCE, names.SEQUENCE, ColumnType.BIGINT),
    Column(names.VERSION, names.VERSION, ColumnType.BIGINT),
)
"""System columns of every relation (loading.md 1.3)."""

_SYSTEM_NAMES = frozenset(column.name for column in SYSTEM_COLUMNS)
_LONG_SUFFIXES = {
    "bigint": ColumnType.BIGINT,
    "boolean": ColumnType.BOOLEAN,
    "decimal": ColumnType.DECIMAL,
    "double": ColumnType.DOUBLE,
    "string": ColumnType.TEXT,
    "timestamp": ColumnType.TIMESTAMP,
}


@dataclass(frozen=True, slots=True)
class LiveRelations:
    """The live relations of a table as they are.

    Attributes:
        root: None when there is no such table.
        children: by folded path; may be there although the root was dropped.
        keys: key columns, by name.
        constrained: the root has the primary key of the catalogue.
        adopted: treadle did not make the table, and has loaded nothing into it yet.
        unknown_columns: relation name -> columns that are not in the catalogue entry.
        column_counts: relation name -> how many columns it has in the destination.
    """

    root: Relation | None
    children: Mapping[RelationPath, Relation]
    keys: tuple[Column, ...] = ()
    constrained: bool = True
    adopted: bool = False
    unknown_columns: Mapping[str, Mapping[str, ColumnType | None]] = field(default_factory=dict)
    column_counts: Mapping[str, int] = field(default_factory=dict)


def reconcile_table(
    state: TableState, name: str, source: str, profile: DestinationProfile
) -> LiveRelations:
    """Return the relations that there are to load into.

    Args:
        state: what the destination holds.
        name: of the table, canonical.
        source: the source of the table, as the operator names it to a command.
        profile: of the destination.

    Raises:
        TableStoppedError: the user changed something that loading needs, or a table that treadle
            did not make is in the way.
    """
    table = state.table
    if table is None or not table.relations:
        for there_name in state.physical:
            if profile.fold(there_name) == profile.fold(name):
                raise TableStoppedError(_describe_unknown(source, there_name))
        if table is None:
            return LiveRelations(None, {})
    physical = {profile.fold(n): p for n, p in state.physical.items()}
    root: Relation | None = None
    children: dict[RelationPath, Relation] = {}
    constrained = True
    unknown_columns: dict[str, Mapping[str, ColumnType | None]] = {}
    column_counts: dict[str, int] = {}
    for relation in table.relations:
        there = physical.get(profile.fold(relation.name))
        if there is None:
            continue
        kept, same_key = _reconcile_relation(relation, there, table, profile)
        known = {profile.fold(column.name) for column in kept.columns}
        unknown_columns[relation.name] = {
            n: t for n, t in there.columns.items() if profile.fold(n) not in known
        }
        column_counts[relation.name] = len(there.columns)
        if relation.path:
            children[tuple(map(profile.fold, relation.path))] = (
                kept if same_key else replace(kept, key=())
            )
        else:
            root, constrained = kept, same_key
    return LiveRelations(
        root,
        children,
        table.keys,
        constrained,
        table.adopted,
        unknown_columns,
        column_counts,
    )


def _reconcile_relation(
    relation: Relation, there: PhysicalRelation, table: Table, profile: DestinationProfile
) -> tuple[Relation, bool]:
    """Return a relation without the columns the user dropped, and whether it has its key."""
    fold = profile.fold
    present = set(map(fold, there.columns))
    missing = [column for column in relation.columns if fold(column.name) not in present]
    key = set(map(fold, relation.key or (column.name for column in table.keys)))
    same_key = set(map(fold, there.key)) == key
    if relation.path and not relation.key:
        same_key = not there.key
    keys = {fold(column.name) for column in table.keys}
    for column in missing:
        is_key = not relation.path and fold(column.name) in keys
        if is_key and not table.keyless and profile.dropped_key == "append":
            continue
        split = column.name != column.field or any(
            other.field == column.field for other in relation.columns if other is not column
        )
        if (
            is_key
            or split
            or column.name in _SYSTEM_NAMES
            or column.name in relation.key
            or column.name == names.GENERATED_KEY
        ):
            kind = "key" if is_key else "split" if split else "system"
            raise TableStoppedError(
                f'The {kind} column "{column.name}" of table "{relation.name}" was dropped in '
                "the destination. Put it back, or drop the table and send its data again."
            )
    if not same_key and relation.key and profile.dropped_key == "stop":
        raise TableStoppedError(
            f'The primary key of table "{relation.name}" was dropped or changed in the '
            f"destination; expected {_join_names(relation.key)}, found {_join_names(there.key)}. "
            "Put it back, or drop the table and send its data again."
        )
    kept = tuple(column for column in relation.columns if column not in missing)
    constraint = relation.key
    if same_key and not constraint and not relation.path:
        # The user gave an append-only table the constraint of its keys.
        constraint = tuple(sorted(there.key, key=names.byte_order))
    return replace(relation, columns=kept, key=constraint), same_key


def _join_names(columns: Iterable[str]) -> str:
    return ", ".join(sorted(columns)) or "none"


# --- a table treadle did not make -----------------------------------------------------------------


def _describe_unknown(source: str, name: str) -> str:
    return (
        f'A table "{name}" is there already, and treadle did not make it. To load into it, run '
        f"`treadle source adopt {source} {shlex.quote(name)}`; or drop or rename it."
    )


def adopt_table(
    name: str, physical: Mapping[str, PhysicalRelation], schema: str, profile: DestinationProfile
) -> Table:
    """Return the catalogue entry of a table that treadle did not make, from what is there.

    Nothing says which version it holds: the first one that is sent is taken (`Table.adopted`).

    Args:
        name: of the table as the destination spells it.
        physical: the relations of the schema that are in no catalogue entry, by name. Those of
            them that can be subtables are taken, too.
        schema: the table's.
        profile: of the destination.

    Raises:
        TableStoppedError: the table has no primary key, or lacks a system column.
    """
    fold = profile.fold
    columns, key = _describe_relation(name, physical[name], profile)
    if not key:
        raise TableStoppedError(
            f'The table "{name}" has no primary key. Give it the key that the records have, or '
            "drop or rename it."
        )
    children = []
    for other, there in sorted(physical.items(), key=lambda item: names.byte_order(item[0])):
        if not fold(other).startswith(fold(name) + names.SEPARATOR):
            continue
        path = _infer_path(other[len(name) + len(names.SEPARATOR) :], there)
        if path is not None:
            inner, inner_key = _describe_relation(other, there, profile)
            children.append(Relation(path, other, inner, inner_key, path[-1]))
    keys = tuple(
        sorted(
            (column for column in columns if column.name in key),
            key=lambda column: names.byte_order(column.field),
        )
    )
    return Table(
        schema=schema,
        name=name,
        keys=keys,
        keyless=keys == GENERATED_KEY_COLUMNS,
        append=False,
        version=0,
        relations=(Relation((), name, columns, key, name), *children),
        adopted=True,
    )


def _describe_relation(
    name: str, there: PhysicalRelation, profile: DestinationProfile
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Return the columns and the key of a relation that treadle did not make."""
    columns = tuple(_infer_columns(there, profile))
    _check_system_columns(name, there, columns)
    return columns, tuple(sorted(there.key, key=names.byte_order))


def _infer_path(rest: str, there: PhysicalRelation) -> tuple[str, ...] | None:
    """Return the path that a subtable's name stands for, as far as its level columns tell."""
    depth = sum(1 for n in range(100) if names.level_column(n) in there.columns)
    if not depth:
        return None
    parts = rest.split(names.SEPARATOR)
    if depth == 1 or len(parts) < depth:
        return (rest,)
    return (names.SEPARATOR.join(parts[: len(parts) - depth + 1]), *parts[len(parts) - depth + 1 :])


def _infer_columns(there: PhysicalRelation, profile: DestinationProfile) -> list[Column]:
    fold = profile.fold
    suffixes = {suffix: type_ for type_, suffix in profile.split_suffixes.items()} | _LONG_SUFFIXES
    bare = {fold(name) for name in there.columns}
    made = []
    for name, type_ in there.columns.items():
        if type_ is None:
            continue
        stem, separator, suffix = name.rpartition(names.SEPARATOR)
        base = name
        if separator and stem and suffixes.get(suffix.lower()) is type_:
            siblings = any(
                other != name
                and other.rpartition(names.SEPARATOR)[0] == stem
                and other.rpartition(names.SEPARATOR)[2].lower() in suffixes
                for other in there.columns
            )
            # A lone suffix may be part of an ordinary name, so it takes two columns to tell.
            if siblings or fold(stem) in bare:
                base = stem
        made.append(Column(name, base, type_, name not in there.key))
    return made


def _check_system_columns(name: str, there: PhysicalRelation, columns: tuple[Column, ...]) -> None:
    types = {column.name: column.type for column in columns}
    for column in SYSTEM_COLUMNS:
        if types.get(column.name) is not column.type:
            raise TableStoppedError(
                f'A table "{name}" that treadle did not make does not fit: its column '
                f'"{column.name}" should be of type {column.type.value} and is '
                f"{_describe_column(there, column.name)}. Drop or rename the table."
            )


def _describe_column(there: PhysicalRelation, name: str) -> str:
    if name not in there.columns:
        return "not there"
    type_ = there.columns[name]
    return "of another type" if type_ is None else type_.value
