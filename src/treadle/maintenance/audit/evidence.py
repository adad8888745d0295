"""Gathers what an audit compares: loads of the store, keys of the log, counts of the destination.

The records of the log are planned once more, as for a load, but their keys are looked up instead of
written. So names, types, table versions and generated keys are the same as in the load. A database
that only one process can open is closed after each part, so that the loader can go on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from treadle.destinations.layout import find_live_tombstones
from treadle.destinations.planning import plan_with_session
from treadle.destinations.protocol import Destination, Session
from treadle.destinations.retry import open_with_retry
from treadle.errors import TableStoppedError, TreadleError
from treadle.log.joined import get_log_id
from treadle.log.protocol import LogEntry, LogReader
from treadle.maintenance.audit.differences import RecordPlace, TableEvidence
from treadle.records.message_batch import decode_batch
from treadle.store.load_folding import count_parts, list_parts
from treadle.store.model import ConfiguredDestination, LoadReport, Source
from treadle.store.store import Store
from treadle.tables.arrow_column import to_values
from treadle.tables.model import OffsetCommit, Relation, Table, TableState, TableWrite
from treadle.tables.options import make_options
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, RecordRef, prepare_load
from treadle.tables.rejection_reason import RejectionReason

PART_RECORDS_MAX: Final = 50_000
PART_BYTES_MAX: Final = 20_000_000
"""At most so much is looked up at once, before the database is closed for the loader."""
LOADS_PAGE: Final = 1000
NEVER: Final = 2**63
"""A time that no load ends at, microseconds since 1970."""


@dataclass(slots=True)
class _TableLoads:
    """The loads of one table of a destination, under all names that clients send it as.

    Attributes:
        first: name as sent -> the first position in its loads.
        counts: `_sdc_batched_at` -> (rows by relation, rows loaded).
    """

    first: dict[str, int] = field(default_factory=dict)
    counts: dict[int, tuple[Mapping[str, int], int]] = field(default_factory=dict)


def gather_evidence(
    store: Store,
    reader: LogReader,
    open_destination: Callable[[str], Destination],
    sources: Sequence[Source],
    *,
    table: str | None = None,
    keys: bool = True,
    now: int,
) -> Iterator[TableEvidence]:
    """Gather the evidence of every table that was loaded, ordered by source and table.

    Args:
        store: has the reports of loads.
        reader: of the log.
        open_destination: makes the destination of a URL.
        sources: whose tables to compare.
        table: only this one, named as clients send it; None for all.
        keys: look up the keys of the records in the log.
        now: microseconds since 1970.
    """
    for source in sources:
        row = store.destinations.find_destination_of_source(source.id)
        if row is None:
            continue
        destination = open_destination(row.url)
        for name, loads in sorted(_collect_loads(store, source, row, table).items()):
            found = TableEvidence(source.name, source.id, name, tuple(sorted(loads.first)))
            try:
                _gather_table(found, store, reader, destination, source, loads, keys=keys, now=now)
            except TreadleError as error:
                found.skipped = str(error)
            yield found


def _collect_loads(
    store: Store, source: Source, row: ConfiguredDestination, table: str | None
) -> dict[str, _TableLoads]:
    """Return root relation -> its loads into the present destination."""
    found: dict[str, _TableLoads] = defaultdict(_TableLoads)
    rebuilt = {
        each.table_name: each.rebuilt_at or 0 for each in store.tables.list_statuses(source.id)
    }
    since = row.present_since
    move = store.moves.find_move(source.id)
    if move is not None and move.destination_id == row.id:
        # What was loaded before is in the former destination.
        since = max(since, NEVER if move.settled_at is None else move.settled_at)
    before: str | None = None
    while page := store.loads.list_loads(source_id=source.id, limit=LOADS_PAGE, before=before):
        before = page[-1].id
        for load in page:
            root = _find_root(load)
            if load.error is not None or root is None or load.finished_at < since:
                continue
            its = found[root]
            its.first[load.table_name] = min(load.first, its.first.get(load.table_name, load.first))
            # After all rows were rebuilt, the counts of earlier loads say nothing about them.
            if load.finished_at >= rebuilt.get(load.table_name, 0):
                if count_parts(load) == 1:
                    its.counts[load.details["batched_at"]] = (load.tables, load.rows_loaded)
                    continue
                for part in list_parts(load):
                    if part.batched_at is not None:
                        its.counts[part.batched_at] = ({}, part.rows)
    return {root: its for root, its in found.items() if table is None or table in its.first}


def _find_root(load: LoadReport) -> str | None:
    """Return the table that a load wrote to, as named in the destination; None if it made none."""
    names = [name for _, name in load.details.get("relations", [])]
    return names[0] if names and "batched_at" in load.details else None


def _gather_table(
    found: TableEvidence,
    store: Store,
    reader: LogReader,
    destination: Destination,
    source: Source,
    loads: _TableLoads,
    *,
    keys: bool,
    now: int,
) -> None:
    with open_with_retry(destination.preview) as session:
        state = session.state(source.schema, found.table)
        table = state.table
        if table is None or not table.relations:
            found.loads = {at: loaded for at, (_, loaded) in loads.counts.items()}
            found.exists = table is not None or found.table in state.physical
            if found.exists:
                found.skipped = "the destination's catalogue does not say what is in it"
            return
        root = table.relations[0]
        found.replaces = _may_replace_rows(table)
        found.loads = {
            at: rows.get(root.name, 0) if rows else loaded
            for at, (rows, loaded) in loads.counts.items()
        }
        found.exists = root.name in state.physical
        if not found.exists:
            if not loads.counts:
                found.skipped = "it is gone, and was not loaded since it was built again"
            return
        counts = session.counts(source.schema, root, min(loads.counts, default=now))
    found.rows = counts.rows
    found.duplicates = 0 if table.append else counts.duplicates
    # Rows of newer loads were committed after the reports were read. Rows without a time are
    # a user's own.
    newest = max(loads.counts, default=0)
    found.batches = {
        at: count for at, count in counts.batches.items() if at is not None and at <= newest
    }
    if keys:
        for name, first in sorted(loads.first.items()):
            _look_up_records(found, store, reader, destination, source, name, first, now)


def _may_replace_rows(table: Table) -> bool:
    """Return whether rows of a load may rightly be gone: replaced, deleted or outdated."""
    return not (table.keyless or table.append) or bool(
        table.version or table.stages or table.tombstones
    )


def _look_up_records(
    found: TableEvidence,
    store: Store,
    reader: LogReader,
    destination: Destination,
    source: Source,
    name: str,
    first: int,
    now: int,
) -> None:
    """Look up the key of every loaded record that the log still has."""
    statuses = {one.table_name: one.loaded for one in store.tables.list_statuses(source.id)}
    loaded = statuses.get(name, 0)
    after = first - 1
    while items := reader.read(source.id, name, after, PART_RECORDS_MAX, PART_BYTES_MAX):
        after = items[-1].position
        entries = [one for one in items if isinstance(one, LogEntry) and one.position <= loaded]
        if not entries:
            return
        prepared = prepare_load(
            [LogBatch(decode_batch(one.payload), one.position, one.received_at) for one in entries],
            schema=source.schema,
            source_name=name,
            profile=destination.profile,
            options=make_options(source.settings, name),
        )
        prepared = prepared.reject_records(_find_rejected(store, source.log, entries))
        with open_with_retry(destination.preview) as session:
            _compare_entries(
                found, session, prepared, get_log_id(reader, source.id), source, entries, now
            )


def _find_rejected(
    store: Store, log: int, entries: Sequence[LogEntry]
) -> dict[RecordRef, RejectionReason]:
    places = {entry.position: index for index, entry in enumerate(entries)}
    found = store.outcomes.find_rejected_records(
        log, {entry.position: entry.records for entry in entries}
    )
    return {
        RecordRef(places[position], index): reason for (position, index), reason in found.items()
    }


def _compare_entries(
    found: TableEvidence,
    session: Session,
    prepared: PreparedLoad,
    log_id: str,
    source: Source,
    entries: Sequence[LogEntry],
    now: int,
) -> None:
    mark = OffsetCommit(log_id, source.id, prepared.source_name, -1, entries[-1].position)
    try:
        plan = plan_with_session(session, prepared, offset=mark, now=now)
    except TableStoppedError as stopped:
        raise TableStoppedError(f"its records cannot be planned again: {stopped}") from stopped
    if plan.new_version:
        return  # this part of the log begins a table version that was not activated in it
    state = session.state(source.schema, found.table)
    if state.table is None or not state.table.relations:
        return
    root = state.table.relations[0]
    if state.table.append or not root.key:
        return  # several rows may have a key
    for write in plan.writes:
        if write.private or not len(write.root):
            continue
        _compare_write(found, session, prepared, write, root, state, entries)


def _compare_write(
    found: TableEvidence,
    session: Session,
    prepared: PreparedLoad,
    write: TableWrite,
    root: Relation,
    state: TableState,
    entries: Sequence[LogEntry],
) -> None:
    columns = [
        to_values(write.root.columns[_find_current_column(write, root, name)]) for name in root.key
    ]
    sequences = to_values(write.root.columns["_sdc_sequence"])
    there = session.sequences(prepared.schema, root, columns, False)
    buried: list[int | None] = [None] * len(there)
    if state.table is not None and state.table.tombstones and None in there:
        grave = replace(
            root,
            name=find_live_tombstones(
                state.table, prepared.schema, prepared.profile.fold(root.name)
            ),
        )
        with suppress(TreadleError):  # the table of tombstones exists only after a first delete
            buried = session.sequences(prepared.schema, grave, columns, True)
    found.compared += len(there)
    for row, (sequence, held) in enumerate(zip(sequences, there, strict=True)):
        if held is not None and held >= sequence:
            continue
        if held is None and (buried[row] or -1) >= sequence:
            continue
        place = RecordPlace(
            entries[write.root.entries[row]].position,
            {name: column[row] for name, column in zip(root.key, columns, strict=True)},
        )
        (found.missing if held is None else found.outdated).append(place)


def _find_current_column(write: TableWrite, root: Relation, name: str) -> str:
    """Return the column of a planned write for a key column of the table as it is now."""
    fields = {column.name: column.field for column in root.columns}
    names = {column.field: column.name for column in write.root.relation.columns}
    return names[fields[name]]
