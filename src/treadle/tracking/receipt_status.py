"""The status of a receipt: what became of the entries of an accepted request."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.store.model import (
    ConfiguredDestination,
    DestinationCheck,
    EntryOutcome,
    LoadReport,
    RecordRejection,
    TableLoadStatus,
)
from treadle.store.store import Store
from treadle.timestamps import format_microseconds
from treadle.tracking.field_notes import render_left_out, render_rounded, select_notes
from treadle.tracking.load_progress import is_stopped
from treadle.tracking.receipts import Receipt, ReceiptCodec
from treadle.tracking.rejects import RejectPlace, find_resent_receipts, format_reject_id

TABLES_MAX = 1000
"""Entries described in one answer; a push may hold 20,000."""


def read_receipt_status(
    text: str,
    receipt: Receipt,
    entries: Sequence[LogEntry | DamagedEntry],
    statuses: Mapping[str, TableLoadStatus],
    *,
    store: Store,
    find_keys: Callable[[Sequence[bytes]], Mapping[bytes, int]],
    codec: ReceiptCodec,
    tables_max: int = TABLES_MAX,
) -> dict[str, Any]:
    """Return the JSON value of the status of a receipt.

    Args:
        text: the receipt as it was asked for.
        receipt: the same, decoded.
        entries: those of its entries that the log still keeps.
        statuses: of the tables of its source, by name; read after the entries.
        store: has the outcomes and the load reports.
        find_keys: of the log of the source (`LogStatistics`); finds rejected records that were sent
            again.
        codec: encodes the receipts of these.
        tables_max: entries that are described at most.
    """
    shown = entries[:tables_max]
    loaded = [entry for entry in shown if is_loaded(entry, statuses)]
    log = store.logs.get_number(receipt.source_id)
    outcomes = store.outcomes.list_outcomes(log, [entry.position for entry in loaded])
    loads = {
        entry.position: store.loads.find_covering_load(
            receipt.source_id, entry.table_name, entry.position
        )
        for entry in loaded
    }
    names = [
        format_reject_id(RejectPlace(log, each.position, one.record))
        for each in outcomes
        for one in each.rejected
    ]
    resent = find_resent_receipts(find_keys, codec, receipt.source_id, names) if names else {}
    by_position = {outcome.position: outcome for outcome in outcomes}
    status = _summarize(entries, statuses)
    all_rejected = all(is_rejected(entry, by_position.get(entry.position)) for entry in shown)
    if status == "loaded" and shown and all_rejected:
        status = _check_rest(entries[tables_max:], store, log)
    obstacle = None if len(loaded) == len(shown) else _find_obstacle(store, receipt.source_id)
    return {
        "id": text,
        "status": status,
        "records": sum(entry.records for entry in entries),
        "tables": [
            _describe_entry(
                entry,
                statuses.get(entry.table_name),
                by_position.get(entry.position),
                loads.get(entry.position),
                resent,
                obstacle,
                log,
                loaded=is_loaded(entry, statuses),
            )
            for entry in shown
        ],
        "tables_not_shown": len(entries) - len(shown),
    }


def is_loaded(entry: LogEntry | DamagedEntry, statuses: Mapping[str, TableLoadStatus]) -> bool:
    """Return whether the load of an entry was committed."""
    status = statuses.get(entry.table_name)
    return status is not None and status.loaded >= entry.position


def is_rejected(entry: LogEntry | DamagedEntry, outcome: EntryOutcome | None) -> bool:
    """Return whether no record of an entry that was loaded became a row, as all were rejected."""
    return outcome is not None and 0 < entry.records == len(outcome.rejected)


def _check_rest(entries: Sequence[LogEntry | DamagedEntry], store: Store, log: int) -> str:
    """Return the status of a request of which all shown entries were rejected."""
    found = store.outcomes.list_outcomes(log, [entry.position for entry in entries])
    outcomes = {outcome.position: outcome for outcome in found}
    rejected = all(is_rejected(entry, outcomes.get(entry.position)) for entry in entries)
    return "rejected" if rejected else "loaded"


def _summarize(
    entries: Sequence[LogEntry | DamagedEntry], statuses: Mapping[str, TableLoadStatus]
) -> str:
    waiting = [entry for entry in entries if not is_loaded(entry, statuses)]
    if not waiting:
        return "loaded"
    if all(is_stopped(statuses.get(entry.table_name)) for entry in waiting):
        return "stopped"
    return "waiting"


def _describe_entry(
    entry: LogEntry | DamagedEntry,
    status: TableLoadStatus | None,
    outcome: EntryOutcome | None,
    load: LoadReport | None,
    resent: Mapping[str, str],
    obstacle: str | None,
    log: int,
    *,
    loaded: bool,
) -> dict[str, Any]:
    superseded = 0 if outcome is None else outcome.superseded
    rejected = () if outcome is None else outcome.rejected
    state = "stopped" if is_stopped(status) else "waiting"
    if loaded:
        state = "rejected" if is_rejected(entry, outcome) else "loaded"
    finished_at = None if load is None else format_microseconds(load.finished_at)
    return {
        "table_name": entry.table_name,
        "status": state,
        "records": entry.records,
        "accepted_at": format_microseconds(entry.received_at),
        "loaded": entry.records - superseded - len(rejected) if loaded else 0,
        "superseded": superseded,
        "rejected": [
            _describe_rejected(
                one, resent.get(format_reject_id(RejectPlace(log, entry.position, one.record)))
            )
            for one in rejected
        ],
        "load": None if load is None else {"id": load.id, "finished_at": finished_at},
        "error": None if loaded else obstacle or (None if status is None else status.error),
        "left_out": render_left_out(_select_notes(load, "left_out", entry.position)),
        "rounded": render_rounded(_select_notes(load, "rounded", entry.position)),
        "trouble": None if load is None or not rejected else load.details.get("trouble"),
    }


def _select_notes(load: LoadReport | None, kind: str, position: int) -> list[dict[str, Any]]:
    return [] if load is None else select_notes(load.details.get(kind, []), position)


def _find_obstacle(store: Store, source_id: int) -> str | None:
    row = store.destinations.find_destination_of_source(source_id)
    if row is None:
        return None
    if row.usable_since is not None:
        return explain_trouble(row)
    return explain_waiting(row, store.checks.find_last_check(row.id))


def explain_trouble(row: ConfiguredDestination) -> str | None:
    """Return why nothing is loaded into a destination now; None where nothing is known of that.

    Who holds a file is named, since somebody at that machine has to let go of it. Any other reason
    is left out: it names hosts and users, and whoever pushes need not know them.
    """
    if row.trouble is None:
        return None
    if row.holder is not None:
        return f"the destination {row.name} is held by {row.holder}"
    return f"the destination {row.name} cannot be used now; `treadle status` says why"


def explain_waiting(row: ConfiguredDestination, check: DestinationCheck | None) -> str:
    """Return why nothing is loaded into a destination of which no check has succeeded yet.

    Args:
        row: the destination.
        check: the last one of it; None where there was none.
    """
    said = f"the destination {row.name} is loaded into after its first check that succeeds"
    if check is None or check.error is None:
        return said
    # Without the reason: it names the database, and whoever pushes need not know that.
    return (
        f"{said}; the last one failed, and /v4/destinations/{row.id}/last-connection-check says why"
    )


def _describe_rejected(one: RecordRejection, resent: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"record": one.record, "reason": one.reason}
    return told if resent is None else told | {"resent": resent}
