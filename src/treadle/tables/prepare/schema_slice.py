"""Records that share their typing, flattened some at a time while they are in the cache.

The records of a load are cut into slices by table version, activation, key names and schema. Each
slice becomes one group of rows.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any, Final, NamedTuple

from treadle.records import record_reader
from treadle.records.row_decoder import RowDecoder, ShapePredictor
from treadle.tables import names
from treadle.tables.arrow_column import has_none, to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import KeyConflict
from treadle.tables.names import Namer
from treadle.tables.prepare.flatten import (
    FlattenContext,
    Flattener,
    OmittedField,
    SparseRecordsError,
    make_key_reason,
)
from treadle.tables.prepare.frame import Frame, RelationPath, concatenate_frames
from treadle.tables.prepare.key_mismatch import (
    WRONG_KEY_TYPE,
    WRONG_KEYS,
    AppendMismatch,
    KeyMismatch,
)
from treadle.tables.prepare.schema_types import compile_schema
from treadle.tables.prepare.timestamp_text import find_timestamp
from treadle.tables.prepare.type_rules import TRANSIT_RULES, VALUE_RULES
from treadle.tables.prepare.version_group import (
    KeyColumn,
    LogBatch,
    RecordRef,
    VersionGroup,
    drop_duplicates,
)
from treadle.tables.profile import DestinationProfile
from treadle.tables.rejection_reason import RejectionCode, RejectionReason

FIELDS_MAX: Final = 10_000
"""Most different fields of one relation in a load where the destination names no limit.

As many as one record may have data points (import-api.md 5). They are held by column, so that more
of them over many records would need memory without bound.
"""

TOO_MANY_COLUMNS: Final = RejectionReason("ERROR: too many columns", RejectionCode.TOO_MANY_COLUMNS)
"""Reason of loading.md 6.5 for all records of the load."""

FLATTENED_TOGETHER: Final = 2048
"""Records flattened at a time: few enough to stay in the processor's cache meanwhile."""


@dataclass(frozen=True, slots=True)
class LoadInput:
    """The entries and names that all slices of a load share.

    Attributes:
        log_batches: the entries of the load.
        namer: for the destination and the table's options.
        table_name: canonical.
        source_name: the table's name as sent.
        refused: records to reject for a reason that was found elsewhere.
        mismatches: records to reject for their key, in the order to look for them.
    """

    log_batches: Sequence[LogBatch]
    namer: Namer
    table_name: str
    source_name: str
    refused: Mapping[RecordRef, RejectionReason]
    mismatches: tuple[AppendMismatch | KeyMismatch, ...] = ()


class OmittedKey(NamedTuple):
    """A field left out, which is reported once per load, table and name."""

    table_name: str
    name: str
    reason: RejectionReason


class OmittedPlaces(NamedTuple):
    """The records that are loaded without a field: the first one, and how many of each entry."""

    first: RecordRef
    counts: dict[int, int]


@dataclass(slots=True)
class SliceResult:
    """The rows and the rejected records of a slice.

    Attributes:
        group: the rows; None when there are none.
        first: the first record that is not rejected, when there is a group.
        rejected: records that are rejected, and why.
        omitted: fields left out of records that are not rejected.
        rounded: (table, field) -> (entry -> values of records not rejected that were rounded).
        superseded: entry -> how many of its records lost against another.
        nul_removed: NUL characters removed.
        key_conflicts: rejected records whose key has another type than the table's.
    """

    group: VersionGroup | None = None
    first: RecordRef | None = None
    rejected: dict[RecordRef, RejectionReason] = field(default_factory=dict)
    omitted: dict[OmittedKey, OmittedPlaces] = field(default_factory=dict)
    rounded: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    superseded: dict[int, int] = field(default_factory=dict)
    nul_removed: int = 0
    key_conflicts: list[KeyConflict] = field(default_factory=list)


class _SliceKey(NamedTuple):
    """The version, key names and schema that the records of a slice share.

    Attributes:
        append_only: see `MessageBatch`.
    """

    segment: int
    version: int
    keys: tuple[str, ...]
    value_form: str
    schema: bytes
    append_only: bool


class SchemaSlice:
    """The records of one slice, in order of arrival."""

    def __init__(self, key: _SliceKey, load: LoadInput) -> None:
        default_rules = TRANSIT_RULES if key.value_form == "transit" else VALUE_RULES
        by_schema = key.value_form == "schema"
        rules = compile_schema(key.schema).rules if by_schema else default_rules
        self._context = FlattenContext(
            load.namer,
            load.table_name,
            load.source_name,
            frozenset(key.keys),
            rules,
            default_rules,
        )
        self._key = key
        self._load = load
        self._exact = _needs_exact_numbers(key.value_form, key.schema)
        # A method here would tie the slice into a cycle, and what it holds is let go of late.
        allowed = partial(_is_order_free, self._context, key.value_form)
        self._predictor = ShapePredictor(exact=self._exact, allowed=allowed)
        self._decoded: tuple[int, list[dict[str, Any]]] = (-1, [])
        self._decoder: RowDecoder | None = None
        self._waiting: list[Any] = []
        self._pieces: list[list[Frame]] = []
        self._flattened = 0
        self._fields: dict[RelationPath, set[str]] = {}
        self._too_wide = False
        self._rejected: dict[int, RejectionReason] = {}
        self._omitted: list[tuple[int, OmittedField]] = []
        self._rounded: dict[tuple[str, str], list[int]] = {}
        self._nul_removed = 0
        self._entries: list[int] = []
        self._indexes: list[int] = []
        self._sequences: list[int] = []
        self._received: list[int] = []
        self._extracted: list[str | None] = []

    def add_batch(self, entry: int, log_batch: LogBatch) -> None:
        """Add all records of an entry."""
        batch = log_batch.batch
        found = self._predictor.decode_rows(batch)
        if found is not None:
            self.add_records(entry, log_batch, found[1], range(len(batch)), found[0])
            return
        records = record_reader.read_records(batch, exact=self._exact) if len(batch) else []
        self._predictor.learn_keys(records)
        self.add_records(entry, log_batch, records, range(len(batch)))

    def add_records(
        self,
        entry: int,
        log_batch: LogBatch,
        records: list[Any],
        indexes: Sequence[int],
        decoder: RowDecoder | None = None,
    ) -> None:
        """Add some records of an entry.

        Args:
            entry: its index in the load.
            log_batch: the entry.
            records: all of its records: dictionaries, or rows of a shape.
            indexes: which of them.
            decoder: of the records that are rows.
        """
        if decoder is not self._decoder and self._waiting:
            self._flatten(self._waiting)
            self._waiting = []
        self._decoder = decoder
        batch = log_batch.batch
        count = len(indexes)
        everything = count == len(records)
        before = len(self._entries)
        self._waiting += records if everything else map(records.__getitem__, indexes)
        self._entries += repeat(entry, count)
        self._indexes += indexes
        self._sequences += (
            batch.sequences if everything else map(batch.sequences.__getitem__, indexes)
        )
        self._received += repeat(log_batch.received_at, count)
        if batch.extracted is not None:
            self._extracted += repeat(None, before - len(self._extracted))
            self._extracted += map(batch.extracted.__getitem__, indexes)
        while len(self._waiting) >= FLATTENED_TOGETHER:
            self._flatten(self._waiting[:FLATTENED_TOGETHER])
            del self._waiting[:FLATTENED_TOGETHER]

    def _decode_record(self, row: int) -> dict[str, Any]:
        """Return a record as a dictionary."""
        at = self._record_ref(row)
        if self._decoded[0] != at.entry:
            batch = self._load.log_batches[at.entry].batch
            self._decoded = at.entry, record_reader.read_records(batch, exact=self._exact)
        return self._decoded[1][at.record]

    def _flatten(self, records: list[Any]) -> None:
        if self._too_wide:
            return
        first = self._flattened

        def original(row: int) -> dict[str, Any]:
            return self._decode_record(first + row)

        decoder = self._decoder
        try:
            flattened = Flattener(
                self._context, records, decoder, original if decoder else None
            ).flatten()
        except SparseRecordsError:
            half = len(records) // 2
            self._flatten(records[:half])
            self._flatten(records[half:])
            return
        self._pieces.append(flattened.frames)
        profile = self._load.namer.profile
        fold, limit = profile.fold, min(profile.columns_max or FIELDS_MAX, FIELDS_MAX)
        for frame in flattened.frames:
            known = self._fields.setdefault(tuple(map(fold, frame.path)), set())
            known.update(frame.fields)
            self._too_wide = self._too_wide or len(known) > limit
        self._rejected.update(
            (self._flattened + row, why) for row, why in flattened.rejected.items()
        )
        self._omitted += ((self._flattened, left) for left in flattened.omitted)
        for place, rows in flattened.rounded.items():
            known_rows = self._rounded.setdefault(place, [])
            known_rows += (self._flattened + row for row in rows)
        self._nul_removed += flattened.nul_removed
        self._flattened += len(records)

    def make_result(self) -> SliceResult:
        """Make a group of the records, and say which of them are rejected."""
        if self._waiting:
            self._flatten(self._waiting)
            self._waiting = []
        if not self._pieces:
            return SliceResult()
        if self._too_wide:
            refs = map(RecordRef, self._entries, self._indexes)
            refused = self._load.refused
            return SliceResult(
                rejected={ref: TOO_MANY_COLUMNS for ref in refs if ref not in refused}
            )
        frames = self._join_pieces()
        keys, incomplete = _find_keys(self._load.namer, self._key.keys, frames[0])
        for row, reason in incomplete.items():
            self._rejected.setdefault(row, reason)
        if self._load.refused:
            for row, ref in enumerate(map(RecordRef, self._entries, self._indexes)):
                if ref in self._load.refused:
                    self._rejected.setdefault(row, self._load.refused[ref])
        conflicts = self._reject_keys(keys, frames[0])
        result = SliceResult(
            key_conflicts=conflicts,
            rejected={self._record_ref(row): why for row, why in self._rejected.items()},
            omitted=self._find_omitted(),
            rounded=self._count_rounded(),
            nul_removed=self._nul_removed,
        )
        _add_extracted(frames[0], self._extracted, self._load.namer.profile)
        group = VersionGroup(
            self._key.segment,
            self._key.version,
            keys,
            frames,
            self._entries,
            self._indexes,
            self._sequences,
            self._received,
            self._key.append_only,
        )
        if self._rejected:
            group = group.take_rows([row for row in range(group.size) if row not in self._rejected])
            group.keys = _find_keys(self._load.namer, self._key.keys, group.frames[0])[0]
        if group.size:
            result.first = group.get_ref(0)
            if keys and all(len(key.types) == 1 for key in group.keys):
                options = self._load.namer.options
                group = drop_duplicates(group, options, result.superseded, ordered=True)
            result.group = group
        return result

    def _reject_keys(self, keys: Sequence[KeyColumn], root: Frame) -> list[KeyConflict]:
        """Reject the records that the key of their table refuses (loading.md 5.4)."""
        names_by_field = {key.folded: key.name for key in keys}
        found: list[KeyConflict] = []
        for mismatch in self._load.mismatches:
            if (mismatch.segment, mismatch.version) != (self._key.segment, self._key.version):
                continue
            if isinstance(mismatch, AppendMismatch):
                if self._key.append_only:
                    for row in range(root.size):
                        self._rejected.setdefault(row, WRONG_KEYS)
                continue
            if mismatch.folded not in names_by_field or mismatch.folded not in root.fields:
                continue
            column = root.fields[mismatch.folded].columns.get(mismatch.record_type, ())
            rows = [
                row
                for row, value in enumerate(to_values(column))
                if value is not None and row not in self._rejected
            ]
            if rows:
                reason = WRONG_KEY_TYPE.with_field(names_by_field[mismatch.folded])
                self._rejected.update(dict.fromkeys(rows, reason))
                found.append(
                    KeyConflict(
                        names_by_field[mismatch.folded],
                        mismatch.table_type,
                        mismatch.record_type,
                        len(rows),
                        *self._record_ref(rows[0]),
                    )
                )
        return found

    def _join_pieces(self) -> list[Frame]:
        """Return the frames of all pieces, parents before children however the records were cut."""
        fold = self._load.namer.profile.fold
        frames = concatenate_frames(self._pieces, fold)
        self._pieces = []
        return sorted(frames, key=lambda frame: tuple(map(fold, frame.path)))

    def _find_omitted(self) -> dict[OmittedKey, OmittedPlaces]:
        """Return the fields left out of records that are not rejected."""
        found: dict[OmittedKey, OmittedPlaces] = {}
        for base, left in self._omitted:
            rows = sorted({base + row for row in left.rows} - self._rejected.keys())
            if not rows:
                continue
            key = OmittedKey(left.table_name, left.name, left.reason)
            first = self._record_ref(rows[0])
            known = found.get(key)
            counts = {} if known is None else known.counts
            add_counts(counts, Counter(map(self._entries.__getitem__, rows)))
            found[key] = OmittedPlaces(first if known is None else min(known.first, first), counts)
        return found

    def _count_rounded(self) -> dict[tuple[str, str], dict[int, int]]:
        """Return by field and entry how many values of records not rejected were rounded."""
        found = {
            place: Counter(self._entries[row] for row in rows if row not in self._rejected)
            for place, rows in self._rounded.items()
        }
        return {place: dict(counts) for place, counts in found.items() if counts}

    def _record_ref(self, row: int) -> RecordRef:
        return RecordRef(self._entries[row], self._indexes[row])


def add_counts(counts: dict[int, int], more: Mapping[int, int]) -> None:
    """Add numbers to the numbers of the same entries."""
    for entry, count in more.items():
        counts[entry] = counts.get(entry, 0) + count


def make_slices(load: LoadInput) -> list[SchemaSlice]:
    """Cut the records of a load into slices."""
    slices: dict[_SliceKey, SchemaSlice] = {}

    def slice_of(key: _SliceKey) -> SchemaSlice:
        part = slices.get(key)
        if part is None:
            part = slices[key] = SchemaSlice(key, load)
        return part

    segment = 0
    for entry, log_batch in enumerate(load.log_batches):
        batch = log_batch.batch
        keys = tuple(sorted(set(batch.key_names)))
        if isinstance(batch.versions, int) and not batch.activations:
            key = _SliceKey(
                segment, batch.versions, keys, batch.form, batch.schema, batch.append_only
            )
            slice_of(key).add_batch(entry, log_batch)
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
            key = _SliceKey(
                segment + passed, version, keys, batch.form, batch.schema, batch.append_only
            )
            parts.setdefault(key, []).append(index)
        segment += len(activations)
        for key, indexes in parts.items():
            slice_of(key).add_records(entry, log_batch, records, indexes)
    return list(slices.values())


def _needs_exact_numbers(form: str, schema: bytes) -> bool:
    return form == "schema" and compile_schema(schema).exact


def _is_order_free(context: FlattenContext, form: str, keys: Sequence[str]) -> bool:
    """Return whether it makes no difference in which order a record has these keys."""
    namer = context.namer
    if form == "transit" or namer.options.collisions == "hash":
        return False
    if len(context.rules.objects) > 1:  # which of them holds is asked of a whole record
        return False
    folded = {namer.name_field(None, key).folded for key in keys}
    return len(folded) == len(keys)


def _find_keys(
    namer: Namer, sent: Sequence[str], root: Frame
) -> tuple[tuple[KeyColumn, ...], dict[int, RejectionReason]]:
    """Return the key columns by name, and why rows without a value in one are rejected."""
    keys = []
    incomplete: dict[int, RejectionReason] = {}
    for literal in sent:
        name = namer.name_field(None, literal)
        known = root.fields.get(name.folded)
        types = frozenset(known.columns) if known is not None else frozenset()
        keys.append(KeyColumn(name.folded, name.full if known is None else known.name, types))
        missing: Sequence[int] = range(root.size)
        if known is not None:
            if len(types) == 1 and not has_none(next(iter(known.columns.values()))):
                continue
            missing = [row for row, is_missing in enumerate(known.find_missing()) if is_missing]
        for row in missing:
            incomplete.setdefault(row, make_key_reason(name.full))
    return tuple(sorted(keys, key=lambda key: names.byte_order(key.name))), incomplete


def _add_extracted(root: Frame, texts: Sequence[str | None], profile: DestinationProfile) -> None:
    """Add the messages' `time_extracted` as `_sdc_extracted_at`, unless a record has its own."""
    if not texts:
        return
    column = [*map(find_timestamp, texts), *repeat(None, root.size - len(texts))]
    folded = profile.fold(names.EXTRACTED_AT)
    own = root.fields.get(folded)
    if own is not None:
        missing = own.find_missing()
        column = [v if gone else None for v, gone in zip(column, missing, strict=True)]
    if any(value is not None for value in column):
        root.add_column(folded, names.EXTRACTED_AT, ColumnType.TIMESTAMP, column)
