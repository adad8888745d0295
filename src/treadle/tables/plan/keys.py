"""Compares the keys of incoming records with a table's (loading.md 5.4)."""

from collections.abc import Sequence

from treadle.errors import TableStoppedError
from treadle.tables import names
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation
from treadle.tables.names import Namer
from treadle.tables.prepare.version_group import VersionGroup
from treadle.tables.profile import DestinationProfile

KEYS_DIFFER = "Keys for table do not match Primary Keys of incoming data"
KEY_TYPE_DIFFERS = "Incoming Primary Key type does not match Primary Key type in existing table"

GENERATED_KEY_COLUMNS = (
    Column(names.GENERATED_KEY, names.GENERATED_KEY, ColumnType.TEXT, nullable=False),
)
"""Key columns of a table born without key names."""


def find_key_columns(groups: Sequence[VersionGroup]) -> tuple[Column, ...]:
    """Return the key columns that the first group's records have, by name.

    Raises:
        TableStoppedError: its records do not agree on a type.
    """
    keys = groups[0].keys
    if not keys:
        return GENERATED_KEY_COLUMNS
    if any(len(key.types) != 1 for key in keys):
        raise TableStoppedError(KEY_TYPE_DIFFERS)
    return tuple(Column(key.name, key.name, next(iter(key.types)), nullable=False) for key in keys)


def have_same_names(
    held: Sequence[Column], groups: Sequence[VersionGroup], profile: DestinationProfile
) -> bool:
    """Return whether all records have the key fields of a table."""
    expected = (
        frozenset()
        if tuple(held) == GENERATED_KEY_COLUMNS
        else {profile.fold(c.field) for c in held}
    )
    return all({key.folded for key in group.keys} == expected for group in groups)


def check_keys(
    held: Sequence[Column], groups: Sequence[VersionGroup], profile: DestinationProfile
) -> None:
    """Compare the keys of records with a table's key columns.

    Raises:
        TableStoppedError: names or types differ.
    """
    if not have_same_names(held, groups, profile):
        raise TableStoppedError(KEYS_DIFFER)
    types = {profile.fold(column.field): column.type for column in held}
    for group in groups:
        for key in group.keys:
            if key.types != {types[key.folded]}:
                raise TableStoppedError(KEY_TYPE_DIFFERS)


def check_orphan_keys(children: Sequence[Relation], keys: Sequence[Column], namer: Namer) -> None:
    """Compare subtables that outlived their table with the key it is to have.

    Raises:
        TableStoppedError: they were made for another key.
    """
    for relation in children:
        columns = {column.name: column.type for column in relation.columns}
        for key in keys:
            if columns.get(namer.name_source_key(key.name)[0]) is not key.type:
                raise TableStoppedError(
                    f'Table "{relation.name}" is still there and has another key than its parent '
                    "is to have. Drop it too."
                )
