"""Compares the keys of incoming records with a table's (loading.md 5.4)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from treadle.errors import TableStoppedError
from treadle.tables import names
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, Relation
from treadle.tables.names import Namer
from treadle.tables.prepare.key_mismatch import (
    KEY_TYPE_DIFFERS,
    KEYS_DIFFER,
    AppendMismatch,
    KeyMismatch,
    KeyMismatches,
    describe_stop,
)
from treadle.tables.prepare.version_group import KeyColumn, LogBatch, RecordRef, VersionGroup
from treadle.tables.profile import DestinationProfile

__all__ = ["KEYS_DIFFER", "KEY_TYPE_DIFFERS"]

GENERATED_KEY_COLUMNS = (
    Column(names.GENERATED_KEY, names.GENERATED_KEY, ColumnType.TEXT, nullable=False),
)
"""Key columns of a table born without key names."""


def find_key_columns(groups: Sequence[VersionGroup]) -> tuple[Column, ...]:
    """Return the key columns that a new table gets from the first of its records, by name."""
    first = groups[0]
    if not first.keys:
        return GENERATED_KEY_COLUMNS
    return tuple(
        Column(key.name, key.name, _find_first_type(first, key), nullable=False)
        for key in first.keys
    )


def _find_first_type(group: VersionGroup, key: KeyColumn) -> ColumnType:
    """Return the type of a key field in the first record.

    A group with several types of a key is whole (`drop_duplicates`), so its first row is the first
    record.
    """
    if len(key.types) == 1:
        return next(iter(key.types))
    columns = group.frames[0].fields[key.folded].columns
    return next(type_ for type_, column in columns.items() if to_values(column)[0] is not None)


def have_same_names(
    held: Sequence[Column], groups: Sequence[VersionGroup], profile: DestinationProfile
) -> bool:
    """Return whether all records have the key fields of a table."""
    expected = _fold_names(held, profile)
    return all({key.folded for key in group.keys} == expected for group in groups)


def _fold_names(held: Sequence[Column], profile: DestinationProfile) -> set[str]:
    if tuple(held) == GENERATED_KEY_COLUMNS:
        return set()
    return {profile.fold(column.field) for column in held}


def find_mismatches(
    held: Sequence[Column],
    groups: Sequence[VersionGroup],
    profile: DestinationProfile,
    log_batches: Sequence[LogBatch],
) -> KeyMismatches:
    """Compare the keys of records with a table's key columns; return what is to be rejected.

    Args:
        held: the key columns.
        groups: the records.
        profile: of the destination.
        log_batches: the entries that they are from.

    Raises:
        TableStoppedError: names differ.
    """
    expected = _fold_names(held, profile)
    refused: set[AppendMismatch | KeyMismatch] = set()
    types = {profile.fold(column.field): column.type for column in held}
    for group in groups:
        if group.append_only and expected:
            refused.add(AppendMismatch(group.segment, group.version))
        elif {key.folded for key in group.keys} != expected:
            there = _join_fields(column.field for column in held) if expected else "no key"
            here = _join_fields(key.name for key in group.keys) if group.keys else "no key"
            raise TableStoppedError(
                f"{KEYS_DIFFER}: the table has {there}, "
                f"record {name_record(log_batches, group.get_ref(0))} has {here}"
            )
        else:
            refused.update(_find_other_types(group, types))
    return frozenset(refused)


def _find_other_types(
    group: VersionGroup, types: Mapping[str, ColumnType]
) -> Iterator[KeyMismatch]:
    for key in group.keys:
        for type_ in key.types - {types[key.folded]}:
            yield KeyMismatch(group.segment, group.version, key.folded, types[key.folded], type_)


def raise_stop(
    refused: KeyMismatches, groups: Sequence[VersionGroup], log_batches: Sequence[LogBatch]
) -> None:
    """Stop the table for records with another type of key, if there are any (option key_types).

    Args:
        refused: what is to be rejected without the option.
        groups: the records.
        log_batches: the entries that they are from.

    Raises:
        TableStoppedError: the table stops; the text names the key, both types and the first record.
    """
    found: list[tuple[RecordRef, str, KeyMismatch]] = []
    for mismatch in refused:
        if isinstance(mismatch, AppendMismatch):
            continue
        for group in groups:
            if (group.segment, group.version) == (mismatch.segment, mismatch.version):
                field = group.frames[0].fields.get(mismatch.folded)
                column = to_values(field.columns.get(mismatch.record_type, ())) if field else ()
                rows = [group.get_ref(r) for r, value in enumerate(column) if value is not None]
                if field is not None and rows:
                    found.append((min(rows), field.name, mismatch))
    if found:
        ref, name, first = min(found)
        where = f"record {name_record(log_batches, ref)}"
        raise TableStoppedError(
            describe_stop(name, first.table_type, first.record_type, where)
            + ". Send it as before, drop the table, or have such records rejected with the option "
            "key_types=reject."
        )


def name_record(log_batches: Sequence[LogBatch], ref: RecordRef) -> str:
    """Name a record as `treadle rejects` does: the position of its entry, and its index in it."""
    return f"{log_batches[ref.entry].position}.{ref.record}"


def _join_fields(fields: Iterable[str]) -> str:
    return "the key " + ", ".join(fields)


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
