"""Pairs the relations and columns of two builds of one table. Pure."""

from collections.abc import Collection, Iterator

from treadle.destinations.layout import BATCHED_AT
from treadle.destinations.protocol import RelationPair
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation, Table
from treadle.tables.profile import DestinationProfile


def pair_relations(
    here: Table | None, there: Table | None, profile: DestinationProfile, present: Collection[str]
) -> list[RelationPair]:
    """Pair the relations of two catalogue entries, the root first.

    Relations are the same by their path, columns by field and type, since a split may have come in
    another order. The time at which a row was loaded is left out.

    Args:
        here: one entry; None for no table.
        there: the other.
        profile: of the destination.
        present: names of the relations of `here` that the destination really has.
    """
    folded = set(map(profile.fold, present))
    ours = {
        _path(relation, profile): relation
        for relation in (here.relations if here is not None else ())
        if profile.fold(relation.name) in folded
    }
    theirs = {
        _path(relation, profile): relation
        for relation in (there.relations if there is not None else ())
    }
    keyed = all(table is None or not table.append for table in (here, there))
    return [
        _pair(ours.get(path), theirs.get(path), profile, keyed=keyed)
        for path in sorted(ours.keys() | theirs.keys())
    ]


def _path(relation: Relation, profile: DestinationProfile) -> tuple[str, ...]:
    return tuple(map(profile.fold, relation.path))


def _pair(
    here: Relation | None, there: Relation | None, profile: DestinationProfile, *, keyed: bool
) -> RelationPair:
    ours, theirs = dict(_placed(here, profile)), dict(_placed(there, profile))
    columns: list[tuple[str | None, str | None]] = []
    key: list[tuple[str, str]] = []
    texts: set[str] = set()
    one_key = _key(here, profile) == _key(there, profile) != frozenset()
    for place in sorted(ours.keys() | theirs.keys(), key=lambda each: (each[0], each[1].value)):
        left, right = ours.get(place), theirs.get(place)
        if (
            left is not None
            and right is not None
            and keyed
            and one_key
            and place in _key(here, profile)
        ):
            key.append((left.name, right.name))
            continue
        columns.append((_name(left), _name(right)))
        if place[1] is ColumnType.JSON:  # which databases cannot compare
            texts.update(column.name for column in (left, right) if column is not None)
    return RelationPair(
        here.name if here is not None else None,
        there.name if there is not None else None,
        tuple(key),
        tuple(columns),
        frozenset(texts),
    )


_Place = tuple[str, ColumnType]


def _placed(
    relation: Relation | None, profile: DestinationProfile
) -> Iterator[tuple[_Place, Column]]:
    for column in relation.columns if relation is not None else ():
        if column.name != BATCHED_AT:
            yield (profile.fold(column.field), column.type), column


def _key(relation: Relation | None, profile: DestinationProfile) -> frozenset[_Place]:
    """Return the key's columns; none for no key."""
    names = set(relation.key) if relation is not None else set()
    return frozenset(place for place, column in _placed(relation, profile) if column.name in names)


def _name(column: Column | None) -> str | None:
    return None if column is None else column.name
