"""Records of a load by table version: their origin, keys and rows."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple

from treadle.records.message_batch import MessageBatch
from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import TableOptions
from treadle.tables.prepare.deduplicate import find_latest_rows
from treadle.tables.prepare.frame import Frame, concatenate_frames, take_rows
from treadle.tables.profile import DestinationProfile


class LogBatch(NamedTuple):
    """One log entry: its batch, its position, and when it was received (microseconds)."""

    batch: MessageBatch
    position: int
    received_at: int


class RecordRef(NamedTuple):
    """A record of a load: the index of its entry, and its index in the entry."""

    entry: int
    record: int


class KeyColumn(NamedTuple):
    """A key column of some records: folded field, canonical name, logical types it came with."""

    folded: str
    name: str
    types: frozenset[ColumnType]


@dataclass(slots=True)
class VersionGroup:
    """Records of one table version between two activations, with one list of key names.

    Attributes:
        segment: how many activations of the load come before them.
        version: as sent, 0 for none.
        keys: by name; empty for a table with the generated key.
        frames: root first. Rejected records are not in them, nor records that lost.
        entries, indexes: of each root row: where it came from.
        sequences, received: of each root row; received in microseconds.
        append_only: their senders may only append (`MessageBatch.append_only`).
        versions: of each root row, where several versions were joined; else empty.
    """

    segment: int
    version: int
    keys: tuple[KeyColumn, ...]
    frames: list[Frame]
    entries: Sequence[int]
    indexes: Sequence[int]
    sequences: Sequence[int]
    received: Sequence[int]
    append_only: bool = False
    versions: Sequence[int] = ()

    @property
    def size(self) -> int:
        """Number of records."""
        return self.frames[0].size

    def get_ref(self, row: int) -> RecordRef:
        """Return the record that a root row came from."""
        return RecordRef(self.entries[row], self.indexes[row])

    def find_first_ref(self, rows: Sequence[int]) -> RecordRef:
        """Return the record that came first of those of some root rows, of which there are some.

        In two passes over numbers: pairs to compare took three times as long, which was felt where
        each load of a wide table brought a column.
        """
        entries, indexes = self.entries, self.indexes
        if rows == range(self.size):
            entry = min(entries)
            return RecordRef(entry, min(compress(indexes, map(entry.__eq__, entries))))
        entry = min(map(entries.__getitem__, rows))
        return RecordRef(entry, min(indexes[row] for row in rows if entries[row] == entry))

    def key_values(self) -> Sequence[Any]:
        """Return for each root row what tells it from others: a value, or a tuple of them."""
        fields = self.frames[0].fields
        columns = [next(iter(fields[key.folded].columns.values())) for key in self.keys]
        parts = list(map(to_values, columns))
        return parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))

    def take_rows(self, rows: Sequence[int]) -> "VersionGroup":
        """Return the group with only some of its root rows."""

        def pick(column: Sequence[int]) -> list[int]:
            return list(map(column.__getitem__, rows))

        return VersionGroup(
            self.segment,
            self.version,
            self.keys,
            take_rows(self.frames, rows),
            pick(self.entries),
            pick(self.indexes),
            pick(self.sequences),
            pick(self.received),
            self.append_only,
            pick(self.versions) if self.versions else (),
        )


def drop_duplicates(
    group: VersionGroup, options: TableOptions, superseded: dict[int, int], *, ordered: bool = False
) -> VersionGroup:
    """Keep of the rows with one key the latest one; count the others by entry.

    Args:
        group: with a key.
        options: of the table.
        superseded: entry -> how many of its records lost; counted further here.
        ordered: the rows stand in order of arrival.
    """
    order = None
    if not ordered:
        # Groups that are joined may share an entry, their records in turns.
        places = list(zip(group.entries, group.indexes, strict=True))
        if any(map(operator.gt, places, places[1:])):
            order = sorted(range(group.size), key=places.__getitem__)
    kept = find_latest_rows(group.key_values(), group.sequences, options.sequence_tie, order)
    if kept is None:
        return group
    stay = set(kept)
    for row, entry in enumerate(group.entries):
        if row not in stay:
            superseded[entry] = superseded.get(entry, 0) + 1
    return group.take_rows(kept)


def merge_groups(
    groups: Sequence[VersionGroup],
    profile: DestinationProfile,
    superseded: dict[int, int],
    options: TableOptions,
) -> VersionGroup | None:
    """Make one group of several, with the latest row of each key; None of none.

    They are of one version, but where rows are only added: there the rows of all versions are, and
    sequences are compared inside of each.
    """
    if len(groups) < 2:
        return groups[0] if groups else None
    if profile.append_only:
        versions = dict.fromkeys(group.version for group in groups)
        if len(versions) > 1:
            parts = (
                merge_groups(
                    [group for group in groups if group.version == version],
                    profile,
                    superseded,
                    options,
                )
                for version in versions
            )
            return _join_groups([part for part in parts if part is not None], profile)
    joined = _join_groups(groups, profile)
    key_names = {tuple(key.folded for key in group.keys) for group in groups}
    if () in key_names or len(key_names) > 1:  # without a key, or with several (key_change: append)
        return joined
    return drop_duplicates(joined, options, superseded)


def _join_groups(groups: Sequence[VersionGroup], profile: DestinationProfile) -> VersionGroup:
    """Return the rows of several groups in one, in their order."""
    first = groups[0]
    several = len({group.version for group in groups}) > 1
    return VersionGroup(
        first.segment,
        first.version,
        first.keys,
        concatenate_frames([group.frames for group in groups], profile.fold),
        [entry for group in groups for entry in group.entries],
        [index for group in groups for index in group.indexes],
        [sequence for group in groups for sequence in group.sequences],
        [received for group in groups for received in group.received],
        versions=[group.version for group in groups for _ in range(group.size)] if several else (),
    )
