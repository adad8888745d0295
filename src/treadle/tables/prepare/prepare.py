"""The heavy part of a load, independent of what the table holds (loading.md 1.2 steps 1 to 3).

`prepare_load` decodes the batches of one table, flattens and types their records by column, finds
what cannot be stored, and drops records that lose against another of the same load. What comes
out waits for `plan`, which knows the table.
"""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import Any, NamedTuple

from treadle.records import record_reader
from treadle.records.message_batch import MessageBatch
from treadle.records.row_decoder import RowDecoder, ShapePredictor
from treadle.tables import names
from treadle.tables.model import ColumnType, Rejection, TableOptions
from treadle.tables.names import Namer
from treadle.tables.prepare import timestamp_text
from treadle.tables.prepare.arrow_column import has_none, to_values
from treadle.tables.prepare.deduplicate import find_latest_rows
from treadle.tables.prepare.flatten import (
    FlattenContext,
    Flattener,
    OmittedField,
    SparseRecordsError,
)
from treadle.tables.prepare.frame import Frame, RelationPath, concatenate_frames, take_rows
from treadle.tables.prepare.schema_types import compile_schema
from treadle.tables.prepare.type_rules import TRANSIT_RULES, VALUE_RULES
from treadle.tables.profile import DestinationProfile
from treadle.text import make_storable

RECORD_BYTES_MAX = 64 * 1024
"""How much of a rejected record is kept (loading.md 8.1)."""

FIELDS_MAX = 10_000
"""Most different fields of one relation in a load where the destination names no limit.

As many as one record may have data points (import-api.md 5); they are held by column, so that more
of them over many records would need memory without bound.
"""

TOO_MANY_COLUMNS = "ERROR: too many columns"
"""Reason of loading.md 6.5 for all records of the load."""

FLATTENED_TOGETHER = 2048
"""Records flattened at a time: few enough to stay in the processor's cache meanwhile."""


class LogBatch(NamedTuple):
    """One log entry: its batch, its position, and when it was received (microseconds)."""

    batch: MessageBatch
    position: int
    received_at: int


class RecordRef(NamedTuple):
    """A record of a load: index of its entry, and its index in the entry."""

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
    """

    segment: int
    version: int
    keys: tuple[KeyColumn, ...]
    frames: list[Frame]
    entries: Sequence[int]
    indexes: Sequence[int]
    sequences: Sequence[int]
    received: Sequence[int]

    @property
    def size(self) -> int:
        """How many records."""
        return self.frames[0].size

    def key_values(self) -> Sequence[Any]:
        """Of each row what tells it from others: a value, or a tuple of them."""
        fields = self.frames[0].fields
        columns = [next(iter(fields[key.folded].columns.values())) for key in self.keys]
        parts = list(map(to_values, columns))
        return parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))

    def take_rows(self, rows: Sequence[int]) -> "VersionGroup":
        """The same with some of its rows."""

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
        )


@dataclass(slots=True)
class PreparedLoad:
    """What the records of one load come to, whatever the table holds.

    Attributes:
        schema: the destination schema.
        source_name: the table's name as sent.
        table_name: canonical.
        arrivals: the log entries.
        groups: in order of their first record that is not rejected.
        activations: versions, in order of arrival; the n-th ends segment n - 1.
        rejections: records that fit nowhere, in order of arrival; then fields left out.
        left_out: names of fields left out, for the report.
        duplicates: entry -> records that lost against another of their group.
        received: how many records there are.
        nul_removed: NUL characters removed.
        extracted_max: greatest time_extracted, else greatest received time.
        bookmark_names: as sent.
    """

    schema: str
    source_name: str
    table_name: str
    log_batches: Sequence[LogBatch]
    profile: DestinationProfile
    options: TableOptions
    groups: list[VersionGroup] = field(default_factory=list)
    activations: list[int] = field(default_factory=list)
    rejections: tuple[Rejection, ...] = ()
    omitted_fields: tuple[str, ...] = ()
    duplicates: dict[int, int] = field(default_factory=dict)
    received: int = 0
    nul_removed: int = 0
    extracted_max: int | None = None
    bookmark_names: tuple[str, ...] = ()
    _rejected: Mapping[RecordRef, str] = field(default_factory=dict)

    def reject_records(self, refused: Mapping[RecordRef, str]) -> "PreparedLoad":
        """The same load with more records rejected, so that those they beat may win."""
        return prepare_load(
            self.log_batches,
            profile=self.profile,
            options=self.options,
            schema=self.schema,
            source_name=self.source_name,
            refused={**self._rejected, **refused},
        )


def prepare_load(
    arrivals: Sequence[LogBatch],
    *,
    profile: DestinationProfile,
    options: TableOptions,
    schema: str,
    source_name: str | None = None,
    refused: Mapping[RecordRef, str] | None = None,
) -> PreparedLoad:
    """Work out what the records of one load come to.

    Args:
        arrivals: the entries of one table, by position.
        profile: of the destination.
        options: of the table.
        schema: the destination schema.
        source_name: the table's name as sent; the first batch's when not given.
        refused: records to reject for a reason found elsewhere.
    """
    if source_name is None:
        source_name = arrivals[0].batch.table_name if arrivals else ""
    namer = Namer(profile, options)
    table_name, reason = namer.name_table(source_name)
    prepared = PreparedLoad(schema, source_name, table_name, arrivals, profile, options)
    prepared._rejected = dict(refused or {})
    prepared.received = sum(len(arrival.batch) for arrival in arrivals)
    prepared.activations = [v for a in arrivals for _, v in a.batch.activations]
    prepared.bookmark_names = tuple(
        dict.fromkeys(name for a in arrivals for name in a.batch.bookmark_names)
    )
    if reason is not None:
        everything = {
            RecordRef(entry, index): reason
            for entry, arrival in enumerate(arrivals)
            for index in range(len(arrival.batch))
        }
        prepared.rejections = _make_rejections(arrivals, everything, source_name)
        return prepared
    bad: dict[RecordRef, str] = dict(prepared._rejected)
    left_out: dict[_OmittedKey, RecordRef] = {}
    found = [part.make_group(prepared, bad, left_out) for part in _make_slices(prepared, namer)]
    groups = [each for each in found if each is not None]
    # A rejected record comes before nothing: the first one that stays tells which is first.
    prepared.groups = [group for _, group in sorted(groups, key=lambda each: each[0])]
    prepared.rejections = (
        *_make_rejections(arrivals, bad, table_name),
        *(
            Rejection(encode_record(arrivals, at), left.reason, left.table_name, -1, -1)
            for left, at in sorted(left_out.items(), key=lambda item: item[1])
        ),
    )
    prepared.omitted_fields = tuple(dict.fromkeys(left.name for left in left_out))
    prepared.extracted_max = _find_extracted_max(arrivals)
    return prepared


# --- slices: records that are walked together -----------------------------------------------------


class _OmittedKey(NamedTuple):
    """A field left out, logged once per load, table and name."""

    table_name: str
    name: str
    reason: str


class _SliceKey(NamedTuple):
    """What the records of a slice share."""

    segment: int
    version: int
    keys: tuple[str, ...]
    value_form: str
    schema: bytes


class SchemaSlice:
    """Records that share their typing, walked some at a time while they are in the cache."""

    def __init__(self, same: _SliceKey, namer: Namer, prepared: PreparedLoad) -> None:
        plain = TRANSIT_RULES if same.value_form == "transit" else VALUE_RULES
        typing = compile_schema(same.schema).rules if same.value_form == "schema" else plain
        self._context = FlattenContext(
            namer, prepared.table_name, prepared.source_name, frozenset(same.keys), typing, plain
        )
        self._key = same
        self._namer = namer
        self._arrivals = prepared.log_batches
        self._exact = _needs_exact_numbers(same.value_form, same.schema)
        # A method here would tie the slice into a cycle, and what it holds is let go of late.
        allowed = partial(_is_order_free, self._context, same.value_form, keyed=bool(same.keys))
        self._predictor = ShapePredictor(exact=self._exact, allowed=allowed)
        self._decoded: tuple[int, list[dict[str, Any]]] = (-1, [])
        self._decoder: RowDecoder | None = None
        self._waiting: list[Any] = []
        self._pieces: list[list[Frame]] = []
        self._flattened = 0
        self._fields: dict[RelationPath, set[str]] = {}
        self._too_wide = False
        self._rejected: dict[int, str] = {}
        self._omitted: list[tuple[int, OmittedField]] = []
        self._nul_removed = 0
        self._entries: list[int] = []
        self._indexes: list[int] = []
        self._sequences: list[int] = []
        self._received: list[int] = []
        self._extracted: list[str | None] = []

    def add_batch(self, entry: int, arrival: LogBatch) -> None:
        """All of an entry's records."""
        batch = arrival.batch
        found = self._predictor.decode_rows(batch)
        if found is not None:
            self.add_records(entry, arrival, found[1], range(len(batch)), found[0])
            return
        records = record_reader.read_records(batch, exact=self._exact) if len(batch) else []
        self._predictor.learn_keys(records)
        self.add_records(entry, arrival, records, range(len(batch)))

    def add_records(
        self,
        entry: int,
        arrival: LogBatch,
        records: list[Any],
        indexes: Sequence[int],
        shape: RowDecoder | None = None,
    ) -> None:
        """Some of an entry's records: dictionaries, or rows of a shape."""
        if shape is not self._decoder and self._waiting:
            self._flatten(self._waiting)
            self._waiting = []
        self._decoder = shape
        batch = arrival.batch
        count = len(indexes)
        everything = count == len(records)
        before = len(self._entries)
        self._waiting += records if everything else map(records.__getitem__, indexes)
        self._entries += repeat(entry, count)
        self._indexes += indexes
        self._sequences += (
            batch.sequences if everything else map(batch.sequences.__getitem__, indexes)
        )
        self._received += repeat(arrival.received_at, count)
        if batch.extracted is not None:
            self._extracted += repeat(None, before - len(self._extracted))
            self._extracted += map(batch.extracted.__getitem__, indexes)
        while len(self._waiting) >= FLATTENED_TOGETHER:
            self._flatten(self._waiting[:FLATTENED_TOGETHER])
            del self._waiting[:FLATTENED_TOGETHER]

    def _decode_record(self, row: int) -> dict[str, Any]:
        """A record as a dictionary."""
        at = self._record_ref(row)
        if self._decoded[0] != at.entry:
            batch = self._arrivals[at.entry].batch
            self._decoded = at.entry, record_reader.read_records(batch, exact=self._exact)
        return self._decoded[1][at.record]

    def _flatten(self, records: list[Any]) -> None:
        if self._too_wide:
            return
        first = self._flattened

        def original(row: int) -> dict[str, Any]:
            return self._decode_record(first + row)

        shape = self._decoder
        try:
            walk = Flattener(self._context, records, shape, original if shape else None).flatten()
        except SparseRecordsError:
            half = len(records) // 2
            self._flatten(records[:half])
            self._flatten(records[half:])
            return
        self._pieces.append(walk.frames)
        fold, limit = self._namer.profile.fold, self._namer.profile.columns_max or FIELDS_MAX
        for frame in walk.frames:
            known = self._fields.setdefault(tuple(map(fold, frame.path)), set())
            known.update(frame.fields)
            self._too_wide = self._too_wide or len(known) > limit
        self._rejected.update((self._flattened + row, why) for row, why in walk.rejected.items())
        self._omitted += ((self._flattened, left) for left in walk.omitted)
        self._nul_removed += walk.nul_removed
        self._flattened += len(records)

    def make_group(
        self,
        prepared: PreparedLoad,
        bad: dict[RecordRef, str],
        left_out: dict[_OmittedKey, RecordRef],
    ) -> tuple[RecordRef, VersionGroup] | None:
        """The group and where its first record stands; what is rejected, what is left out."""
        if self._waiting:
            self._flatten(self._waiting)
            self._waiting = []
        if not self._pieces:
            return None
        profile = self._namer.profile
        if self._too_wide:
            everything = map(RecordRef, self._entries, self._indexes)
            bad.update((at, TOO_MANY_COLUMNS) for at in everything if at not in bad)
            return None
        # In one order, however the records were cut into pieces: parents before children.
        frames = sorted(
            concatenate_frames(self._pieces, profile.fold),
            key=lambda frame: tuple(map(profile.fold, frame.path)),
        )
        self._pieces = []
        keys, incomplete = _find_keys(self._namer, self._key.keys, frames[0])
        for row in incomplete:
            self._rejected.setdefault(row, incomplete[row])
        if prepared._rejected:
            for row, at in enumerate(map(RecordRef, self._entries, self._indexes)):
                if at in prepared._rejected:
                    self._rejected.setdefault(row, prepared._rejected[at])
        for row, why in self._rejected.items():
            bad[self._record_ref(row)] = why
        for base, left in self._omitted:
            first = next((base + r for r in left.rows if base + r not in self._rejected), None)
            if first is not None:
                place = _OmittedKey(left.table_name, left.name, left.reason)
                left_out[place] = min(
                    left_out.get(place, self._record_ref(first)), self._record_ref(first)
                )
        prepared.nul_removed += self._nul_removed
        _add_extracted(frames[0], self._extracted, profile)
        group = VersionGroup(
            self._key.segment,
            self._key.version,
            keys,
            frames,
            self._entries,
            self._indexes,
            self._sequences,
            self._received,
        )
        if self._rejected:
            group = group.take_rows([row for row in range(group.size) if row not in self._rejected])
            group.keys = _find_keys(self._namer, self._key.keys, group.frames[0])[0]
        if not group.size:
            return None
        begins = RecordRef(group.entries[0], group.indexes[0])
        if keys and all(len(key.types) == 1 for key in group.keys):
            group = drop_duplicates(group, prepared.options, prepared.duplicates, ordered=True)
        return begins, group

    def _record_ref(self, row: int) -> RecordRef:
        return RecordRef(self._entries[row], self._indexes[row])


def _is_order_free(setting: FlattenContext, form: str, keys: Sequence[str], *, keyed: bool) -> bool:
    """Whether it makes no difference in which order a record has these keys."""
    namer = setting.namer
    if form == "transit" or namer.options.collisions == "hash":
        return False
    if len(setting.rules.objects) > 1:  # which of them holds is asked of a whole record
        return False
    folded = {namer.name_field(None, key, not keyed).folded for key in keys}
    return len(folded) == len(keys)


def _make_slices(prepared: PreparedLoad, namer: Namer) -> list[SchemaSlice]:
    slices: dict[_SliceKey, SchemaSlice] = {}

    def slice_of(same: _SliceKey) -> SchemaSlice:
        part = slices.get(same)
        if part is None:
            part = slices[same] = SchemaSlice(same, namer, prepared)
        return part

    segment = 0
    for entry, arrival in enumerate(prepared.log_batches):
        batch = arrival.batch
        keys = tuple(sorted(set(batch.key_names)))
        if isinstance(batch.versions, int) and not batch.activations:
            same = _SliceKey(segment, batch.versions, keys, batch.form, batch.schema)
            slice_of(same).add_batch(entry, arrival)
            continue
        exact = _needs_exact_numbers(batch.form, batch.schema)
        records = record_reader.read_records(batch, exact=exact) if len(batch) else []
        versions = (
            [batch.versions] * len(records) if isinstance(batch.versions, int) else batch.versions
        )
        activations = [at for at, _ in batch.activations]
        parts: dict[_SliceKey, list[int]] = {}
        passed = 0
        for index, version in enumerate(versions):
            while passed < len(activations) and activations[passed] <= index:
                passed += 1
            same = _SliceKey(segment + passed, version, keys, batch.form, batch.schema)
            parts.setdefault(same, []).append(index)
        segment += len(activations)
        for same, indexes in parts.items():
            slice_of(same).add_records(entry, arrival, records, indexes)
    return list(slices.values())


def _needs_exact_numbers(form: str, schema: bytes) -> bool:
    return form == "schema" and compile_schema(schema).exact


def drop_duplicates(
    group: VersionGroup, options: TableOptions, duplicates: dict[int, int], *, ordered: bool = False
) -> VersionGroup:
    """The rows that stay among those with one key; counts the others by entry.

    Args:
        group: with a key.
        options: of the table.
        duplicates: counted further.
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
            duplicates[entry] = duplicates.get(entry, 0) + 1
    return group.take_rows(kept)


def _find_keys(
    namer: Namer, sent: Sequence[str], root: Frame
) -> tuple[tuple[KeyColumn, ...], dict[int, str]]:
    """Key columns by name; and rows without a value in one, with the reason."""
    keys = []
    incomplete: dict[int, str] = {}
    for literal in sent:
        name = namer.name_field(None, literal)
        known = root.fields.get(name.folded)
        types = frozenset(known.columns) if known is not None else frozenset()
        keys.append(KeyColumn(name.folded, name.full if known is None else known.name, types))
        missing: Sequence[int] = range(root.size)
        if known is not None:
            if len(types) == 1 and not has_none(next(iter(known.columns.values()))):
                continue
            held = zip(*map(to_values, known.columns.values()), strict=True)
            missing = [row for row, v in enumerate(held) if v.count(None) == len(v)]
        for row in missing:
            incomplete.setdefault(row, f"Key field {name.full} holds no single value")
    return tuple(sorted(keys, key=lambda key: names.byte_order(key.name))), incomplete


def _add_extracted(root: Frame, texts: Sequence[str | None], profile: DestinationProfile) -> None:
    """`time_extracted` of the messages as `_sdc_extracted_at`, unless the record has its own."""
    if not texts:
        return
    column = [*map(_parse_or_none, texts), *repeat(None, root.size - len(texts))]
    folded = profile.fold(names.EXTRACTED_AT)
    own = root.fields.get(folded)
    if own is not None:
        held = list(zip(*map(to_values, own.columns.values()), strict=True))
        column = [
            v if own_values.count(None) == len(own_values) else None
            for v, own_values in zip(column, held, strict=True)
        ]
    if any(value is not None for value in column):
        root.add_column(folded, names.EXTRACTED_AT, ColumnType.TIMESTAMP, column)


def _parse_or_none(text: str | None) -> int | None:
    try:
        return None if text is None else timestamp_text.parse_timestamp(text)
    except timestamp_text.TimestampRangeError:
        return None


def _find_extracted_max(arrivals: Sequence[LogBatch]) -> int | None:
    times = [
        moment
        for arrival in arrivals
        for moment in map(_parse_or_none, arrival.batch.extracted or ())
        if moment is not None
    ]
    return max(chain(times or (arrival.received_at for arrival in arrivals)), default=None)


# --- rejections -----------------------------------------------------------------------------------


def _make_rejections(
    arrivals: Sequence[LogBatch], bad: Mapping[RecordRef, str], table_name: str
) -> tuple[Rejection, ...]:
    by_entry: dict[int, list[int]] = {}
    for at in sorted(bad):
        by_entry.setdefault(at.entry, []).append(at.record)
    return tuple(
        Rejection(text, make_storable(bad[RecordRef(entry, index)]), table_name, entry, index)
        for entry, indexes in by_entry.items()
        for index, text in zip(indexes, _encode_records(arrivals, entry, indexes), strict=True)
    )


def _encode_records(arrivals: Sequence[LogBatch], entry: int, indexes: Sequence[int]) -> list[str]:
    return [_truncate(text) for text in record_reader.extract_texts(arrivals[entry].batch, indexes)]


def encode_record(arrivals: Sequence[LogBatch], at: RecordRef) -> str:
    """A record as `_sdc_rejected` keeps it."""
    return _encode_records(arrivals, at.entry, [at.record])[0]


def _truncate(text: str) -> str:
    text = make_storable(text)
    if len(text) * 4 <= RECORD_BYTES_MAX:
        return text
    return text.encode()[:RECORD_BYTES_MAX].decode("utf-8", "ignore")
