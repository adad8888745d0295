"""Keys of incoming records against a table's (loading.md 5.4)."""

from collections.abc import Sequence

from treadle.errors import TableStopped
from treadle.tables import names
from treadle.tables.model import Column, ColumnType, Relation
from treadle.tables.names import Namer
from treadle.tables.prepare import Group
from treadle.tables.profile import Profile

KEYS_DIFFER = "Keys for table do not match Primary Keys of incoming data"
KEY_TYPE_DIFFERS = "Incoming Primary Key type does not match Primary Key type in existing table"

GENERATED = (Column(names.GENERATED_KEY, names.GENERATED_KEY, ColumnType.TEXT, nullable=False),)
"""Key columns of a table born without key names."""


def incoming(groups: Sequence[Group]) -> tuple[Column, ...]:
    """Key columns as the first group's records give them, by name.

    Raises:
        TableStopped: its records do not agree on a type.
    """
    keys = groups[0].keys
    if not keys:
        return GENERATED
    if any(len(key.types) != 1 for key in keys):
        raise TableStopped(KEY_TYPE_DIFFERS)
    return tuple(Column(key.name, key.name, next(iter(key.types)), nullable=False) for key in keys)


def same_names(held: Sequence[Column], groups: Sequence[Group], profile: Profile) -> bool:
    """Whether all records have the key fields of a table."""
    expected = frozenset() if tuple(held) == GENERATED else {profile.fold(c.field) for c in held}
    return all({key.folded for key in group.keys} == expected for group in groups)


def check(held: Sequence[Column], groups: Sequence[Group], profile: Profile) -> None:
    """Compare the keys of records with a table's key columns.

    Raises:
        TableStopped: names or types differ.
    """
    if not same_names(held, groups, profile):
        raise TableStopped(KEYS_DIFFER)
    types = {profile.fold(column.field): column.type for column in held}
    for group in groups:
        for key in group.keys:
            if key.types != {types[key.folded]}:
                raise TableStopped(KEY_TYPE_DIFFERS)


def check_orphans(children: Sequence[Relation], keys: Sequence[Column], namer: Namer) -> None:
    """Compare subtables that outlived their table with the key it is to have.

    Raises:
        TableStopped: they were made for another key.
    """
    for relation in children:
        columns = {column.name: column.type for column in relation.columns}
        for key in keys:
            if columns.get(namer.source_key(key.name)[0]) is not key.type:
                raise TableStopped(
                    f'Table "{relation.name}" is still there and has another key than its parent '
                    "is to have. Drop it too."
                )
