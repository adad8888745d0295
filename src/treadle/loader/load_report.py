"""Load reports, and the outcomes of the entries that a load took.

Most of a report is known before the load. That part is a `PlannedReport`, which the destination
commits beside the offset. So a loader that dies after COMMIT leaves behind all that the next one
needs to write the report (`Session.committed`).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any

import msgspec

from treadle.destinations.protocol import LoadResult
from treadle.loader.chunk import EntryChunk
from treadle.loader.schema_changes import describe_schema_changes
from treadle.log.protocol import LogEntry
from treadle.store.model import EntryOutcome, KeptColumns, LoadReport, RecordRejection
from treadle.tables.model import AddColumn, KeyConflict, LoadPlan, RenameColumn, Table
from treadle.tables.names import is_repeated
from treadle.tables.prepare.key_mismatch import describe_conflict
from treadle.tables.rejection_reason import RejectionCode
from treadle.tracking.field_notes import TEXT_MAX, encode_notes


class PlannedReport(msgspec.Struct, frozen=True, array_like=True):
    """The part of a load report that is known before the load.

    Attributes:
        records: accepted with the entries that the load takes.
        superseded: position -> records that lost against another record of the load or were of an
            older table version.
        rejected: position -> the rejected records of the entry.
        details: the parts of the load report that only the plan knows.
        columns: of the table after the load, where the store may not have them.
        received: when the first of the records was accepted, and the median one; None where no
            sound entry says so.
        anchor: of the entry at `last`, by which a log that was brought back to an earlier state is
            told from the one that was loaded; None where it is not known.
    """

    load_id: str
    source_id: int
    table_name: str
    first: int
    last: int
    started_at: int
    records: int
    superseded: dict[int, int]
    rejected: dict[int, list[RecordRejection]]
    details: dict[str, Any]
    columns: KeptColumns | None = None
    received: tuple[int, int] | None = None
    anchor: bytes | None = None

    def encode(self) -> str:
        """Return the text that the destination keeps."""
        return msgspec.json.encode(self).decode()


def decode_planned_report(text: str) -> PlannedReport:
    """Read what `PlannedReport.encode` wrote."""
    return msgspec.json.decode(text, type=PlannedReport)


def plan_report(
    chunk: EntryChunk,
    plan: LoadPlan,
    load_id: str,
    started_at: int,
    columns: KeptColumns | None = None,
    received: tuple[int, int] | None = None,
) -> PlannedReport:
    """Report what the plan of a load says before it is executed.

    Args:
        chunk: what is loaded.
        plan: of the load.
        load_id: of the load.
        started_at: microseconds since 1970.
        columns: of the table after the load, where the store may not have them.
        received: what `measure_received` says of the chunk.
    """
    superseded: dict[int, int] = defaultdict(int)
    for counts in (plan.superseded, plan.ignored):
        for index, count in counts.items():
            superseded[chunk.entries[index].position] += count
    rejected: dict[int, list[RecordRejection]] = defaultdict(list)
    for rejection in plan.rejections:
        if rejection.entry >= 0:
            position = chunk.entries[rejection.entry].position
            rejected[position].append(
                RecordRejection(rejection.index, rejection.reason, rejection.code, rejection.field)
            )
    for damaged in chunk.damaged:
        rejected[damaged.position] = [
            RecordRejection(index, damaged.why, RejectionCode.DAMAGED_ENTRY)
            for index in range(damaged.records)
        ]
    positions = [entry.position for entry in chunk.entries]
    details = _describe_plan(plan, positions)
    if chunk.damaged:
        details["damaged_entries"] = len(chunk.damaged)
    details["trouble"] = describe_load_trouble(
        plan.key_conflicts, positions, rejected, chunk.records
    )
    return PlannedReport(
        load_id=load_id,
        source_id=chunk.key[0],
        table_name=chunk.key[1],
        first=chunk.first,
        last=chunk.last,
        started_at=started_at,
        records=chunk.records,
        superseded=dict(superseded),
        rejected=dict(rejected),
        details=details,
        columns=columns,
        received=received,
        anchor=chunk.anchor,
    )


def measure_received(entries: Sequence[LogEntry]) -> tuple[int, int] | None:
    """Return when the first record of some entries was accepted, and the median one.

    Args:
        entries: in order of position, in which their times hardly differ from their own order.

    Returns:
        Microseconds since 1970; None without a record.
    """
    counts = list(accumulate(map(attrgetter("records"), entries)))
    if not counts or not counts[-1]:
        return None
    middle = entries[bisect_left(counts, (counts[-1] + 1) // 2)]
    return min(map(attrgetter("received_at"), entries)), middle.received_at


def describe_load_trouble(
    conflicts: Sequence[KeyConflict],
    positions: Sequence[int],
    rejected: Mapping[int, Sequence[RecordRejection]],
    records: int,
) -> str | None:
    """Return what somebody should know of a load that is committed; None when all is well.

    That is that it rejected everything, or records for the type of their key (loading.md 5.4).

    Args:
        conflicts: of the plan.
        positions: of the entries of the load.
        rejected: position -> the rejected records of the entry.
        records: of the load.
    """
    told = []
    count = sum(map(len, rejected.values()))
    if count and count == records:
        position = min(place for place, several in rejected.items() if several)
        index, reason = min(rejected[position])[:2]
        if count > 1:
            said = f"all {count} records of the last load were rejected; the first, "
        else:
            said = "the only record of the last load was rejected; "
        told.append(f"{said}{position}.{index}: {reason[:TEXT_MAX]}")
    told += [
        describe_conflict(conflict, f"{positions[conflict.entry]}.{conflict.index}")
        for conflict in conflicts
    ]
    return "; ".join(told) or None


def complete_report(
    planned: PlannedReport,
    result: LoadResult,
    finished_at: int,
    positions: Callable[[], Sequence[int]],
) -> tuple[LoadReport, list[EntryOutcome]]:
    """Build the load report (loading.md 11.2) of a committed load, and its outcomes per entry.

    Args:
        planned: known before the load.
        result: what the destination did.
        finished_at: microseconds since 1970.
        positions: returns the positions of the sound entries, in order; none where the log has
            them no more. To find them may take reading the log, so it is called only if rows were
            superseded in the table.
    """
    superseded = dict(planned.superseded)
    unplaced = 0
    if result.superseded:
        order = positions()
        for index, count in result.superseded.items():
            if index < len(order):
                superseded[order[index]] = superseded.get(order[index], 0) + count
            else:  # the load counts them, and no entry
                unplaced += count
    outcomes = [
        EntryOutcome(
            position,
            planned.source_id,
            planned.table_name,
            superseded.get(position, 0),
            tuple(planned.rejected.get(position, ())),
        )
        for position in sorted(superseded.keys() | planned.rejected.keys())
    ]
    discarded = sum(superseded.values()) + unplaced
    details = planned.details
    if result.objects is not None:
        details = {**details, "objects": result.objects}
    received = planned.received
    rejected = sum(len(reasons) for reasons in planned.rejected.values())
    load = LoadReport(
        id=planned.load_id,
        source_id=planned.source_id,
        table_name=planned.table_name,
        first=planned.first,
        last=planned.last,
        started_at=planned.started_at,
        finished_at=finished_at,
        rows_received=planned.records,
        rows_loaded=planned.records - discarded - rejected,
        rows_discarded=discarded,
        rows_rejected=rejected,
        tables=dict(result.rows),
        details=details,
        error=None,
        columns=planned.columns,
        waited_max_us=None if received is None else max(0, finished_at - received[0]),
        waited_p50_us=None if received is None else max(0, finished_at - received[1]),
    )
    return load, outcomes


def build_failure_report(
    chunk: EntryChunk, error: str, load_id: str, started_at: int, finished_at: int
) -> LoadReport:
    """Build the load report of a try that changed nothing."""
    return LoadReport(
        id=load_id,
        source_id=chunk.key[0],
        table_name=chunk.key[1],
        first=chunk.first,
        last=chunk.last,
        started_at=started_at,
        finished_at=finished_at,
        rows_received=chunk.records,
        rows_loaded=0,
        rows_discarded=0,
        rows_rejected=0,
        tables={},
        details={},
        error=error,
    )


def _describe_plan(plan: LoadPlan, positions: Sequence[int]) -> dict[str, Any]:
    """Return the parts of a load report that only the plan knows.

    Args:
        plan: of the load.
        positions: of its entries.
    """
    after = plan.table_after
    relations = after.relations if after else ()
    changes = describe_schema_changes(plan, positions)
    return {
        "relations": [[relation.source_name, relation.name] for relation in relations],
        "fields_left_out": list(dict.fromkeys(note.field for note in plan.left_out)),
        "left_out": encode_notes(plan.left_out, positions),
        "rounded": encode_notes(plan.rounded, positions),
        "columns_added": [
            [change.relation, change.column.name]
            for change in plan.changes
            if isinstance(change, AddColumn) and not change.private
        ],
        "columns_renamed": [
            [change.relation, change.old, change.new]
            for change in plan.changes
            if isinstance(change, RenameColumn) and not change.private
        ],
        "nul_characters_removed": plan.nul_removed,
        **({"schema_changes": changes} if changes else {}),
        **({"mode": "append" if after.append or after.keyless else "upsert"} if after else {}),
        **({"primary_keys": _list_keys(after)} if after and after.append else {}),
        "table_version": after.version if after else 0,
        "new_version": plan.new_version,
        "batched_at": plan.batched_at,
        "extracted_max": plan.extracted_max,
        "bookmarks": [list(bookmark) for bookmark in plan.bookmarks],
    }


def _list_keys(table: Table) -> dict[str, list[str]]:
    """Return the columns by which the rows of each relation are told apart.

    A subtable repeats the key of its table, that of any time before too, and has places in arrays.
    """
    return {
        relation.name: [column.name for column in relation.columns if is_repeated(column.name)]
        if relation.path
        else [key.name for key in table.keys]
        for relation in table.relations
    }
