"""The heavy part of a load, independent of what the table holds (loading.md 1.2 steps 1 to 3).

`prepare_load` decodes the batches of one table, flattens and types their records by column, finds
what cannot be stored, and drops records that lose against another of the same load. What comes out
waits for the planner, which knows the table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from treadle.tables.model import FieldNote, KeyConflict, Rejection, TableOptions
from treadle.tables.names import Namer
from treadle.tables.prepare.key_mismatch import AppendMismatch, KeyMismatch, KeyMismatches
from treadle.tables.prepare.rejections import encode_record, make_rejection, make_rejections
from treadle.tables.prepare.schema_slice import (
    LoadInput,
    OmittedKey,
    OmittedPlaces,
    add_counts,
    make_slices,
)
from treadle.tables.prepare.timestamp_text import find_timestamp
from treadle.tables.prepare.version_group import LogBatch, RecordRef, VersionGroup
from treadle.tables.profile import DestinationProfile
from treadle.tables.rejection_reason import RejectionReason
from treadle.tables.schema_owner import UNOWNED, SchemaOwner

__all__ = ["LogBatch", "PreparedLoad", "RecordRef", "prepare_load"]


@dataclass(slots=True)
class PreparedLoad:
    """The records of one load, flattened and checked, whatever the table holds.

    Attributes:
        schema: the destination schema.
        source_name: the table's name as sent.
        table_name: canonical.
        log_batches: the log entries.
        groups: in order of their first record that is not rejected.
        activations: versions, in order of arrival; the n-th ends segment n - 1.
        rejections: records that fit nowhere, in order of arrival; then fields left out.
        left_out: fields left out; `rounded`: fields with values that were rounded.
        superseded: entry -> records that lost against another of their group.
        received: how many records there are.
        nul_removed: NUL characters removed.
        extracted_max: greatest time_extracted, else greatest received time.
        bookmark_names: as sent.
        owner: of the schema.
        key_conflicts: the rejected records whose key has another type than the table's.
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
    left_out: tuple[FieldNote, ...] = ()
    rounded: tuple[FieldNote, ...] = ()
    superseded: dict[int, int] = field(default_factory=dict)
    received: int = 0
    nul_removed: int = 0
    extracted_max: int | None = None
    bookmark_names: tuple[str, ...] = ()
    owner: SchemaOwner = UNOWNED
    key_conflicts: tuple[KeyConflict, ...] = ()
    _rejected: Mapping[RecordRef, RejectionReason] = field(default_factory=dict)
    _mismatches: KeyMismatches = frozenset()

    def reject_records(
        self,
        refused: Mapping[RecordRef, RejectionReason],
        keys: Iterable[AppendMismatch | KeyMismatch] = (),
    ) -> "PreparedLoad":
        """Prepare the load again with more records rejected, so that those they beat may win.

        Args:
            refused: single records, and why.
            keys: records that are rejected for their key, those that lost among them.
        """
        return prepare_load(
            self.log_batches,
            profile=self.profile,
            options=self.options,
            schema=self.schema,
            source_name=self.source_name,
            owner=self.owner,
            refused={**self._rejected, **refused},
            mismatches=self._mismatches.union(keys),
        )


def prepare_load(
    log_batches: Sequence[LogBatch],
    *,
    profile: DestinationProfile,
    options: TableOptions,
    schema: str,
    source_name: str | None = None,
    refused: Mapping[RecordRef, RejectionReason] | None = None,
    mismatches: KeyMismatches = frozenset(),
    owner: SchemaOwner = UNOWNED,
) -> PreparedLoad:
    """Flatten, check and deduplicate the records of one load.

    Args:
        log_batches: the entries of one table, by position.
        profile: of the destination.
        options: of the table.
        schema: the destination schema.
        source_name: the table's name as sent; the first batch's when not given.
        refused: records to reject for a reason found elsewhere.
        mismatches: records to reject for their key.
        owner: of the schema.
    """
    if source_name is None:
        source_name = log_batches[0].batch.table_name if log_batches else ""
    namer = Namer(profile, options)
    table_name, reason = namer.name_table(source_name)
    prepared = PreparedLoad(schema, source_name, table_name, log_batches, profile, options)
    prepared._rejected = dict(refused or {})
    prepared._mismatches = mismatches
    prepared.owner = owner
    prepared.received = sum(len(one.batch) for one in log_batches)
    prepared.activations = [v for one in log_batches for _, v in one.batch.activations]
    prepared.bookmark_names = tuple(
        dict.fromkeys(name for one in log_batches for name in one.batch.bookmark_names)
    )
    if reason is not None:
        everything = {
            RecordRef(entry, index): reason
            for entry, one in enumerate(log_batches)
            for index in range(len(one.batch))
        }
        prepared.rejections = make_rejections(log_batches, everything, source_name)
        prepared.activations = []  # of a table that there cannot be
        return prepared
    rejected = dict(prepared._rejected)
    omitted: dict[OmittedKey, OmittedPlaces] = {}
    rounded: dict[tuple[str, str], dict[int, int]] = {}
    groups: list[tuple[RecordRef, VersionGroup]] = []
    conflicts: list[KeyConflict] = []
    load = LoadInput(
        log_batches,
        namer,
        table_name,
        source_name,
        prepared._rejected,
        tuple(sorted(mismatches)),
    )
    for part in make_slices(load):
        result = part.make_result()
        rejected |= result.rejected
        for key, places in result.omitted.items():
            known = omitted.setdefault(key, places)
            if known is not places:
                add_counts(known.counts, places.counts)
                omitted[key] = OmittedPlaces(min(known.first, places.first), known.counts)
        for place, counts in result.rounded.items():
            add_counts(rounded.setdefault(place, {}), counts)
        for entry, count in result.superseded.items():
            prepared.superseded[entry] = prepared.superseded.get(entry, 0) + count
        prepared.nul_removed += result.nul_removed
        conflicts += result.key_conflicts
        if result.group is not None and result.first is not None:
            groups.append((result.first, result.group))
    # A rejected record comes before nothing: the first one that stays tells which is first.
    prepared.groups = [group for _, group in sorted(groups, key=lambda each: each[0])]
    left_out = sorted(omitted.items(), key=lambda item: (item[1].first, item[0]))
    prepared.rejections = (
        *make_rejections(log_batches, rejected, table_name),
        *(
            make_rejection(encode_record(log_batches, places.first), key.reason, key.table_name)
            for key, places in left_out
        ),
    )
    prepared.key_conflicts = _merge_conflicts(conflicts)
    prepared.left_out = tuple(
        FieldNote(key.table_name, key.name, places.counts, key.reason.text)
        for key, places in left_out
    )
    prepared.rounded = tuple(FieldNote(*place, counts) for place, counts in sorted(rounded.items()))
    prepared.extracted_max = _find_extracted_max(log_batches)
    return prepared


def _merge_conflicts(found: Iterable[KeyConflict]) -> tuple[KeyConflict, ...]:
    """Return one conflict for each key field and its two types, by the first record."""
    merged: dict[tuple[str, str, str], KeyConflict] = {}
    for each in sorted(found, key=lambda each: (each.entry, each.index)):
        kind = (each.field, each.table_type.value, each.record_type.value)
        known = merged.get(kind)
        merged[kind] = (
            each if known is None else replace(known, records=known.records + each.records)
        )
    return tuple(merged.values())


def _find_extracted_max(log_batches: Sequence[LogBatch]) -> int | None:
    times = [
        moment
        for one in log_batches
        for moment in map(find_timestamp, one.batch.extracted or ())
        if moment is not None
    ]
    return max(times or (one.received_at for one in log_batches), default=None)
