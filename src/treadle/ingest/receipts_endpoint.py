"""`GET /v1/receipts/{id}`: what became of an accepted request."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import RequestRefusedError
from treadle.http.authentication import TokenAuthentication
from treadle.http.headers import select_headers
from treadle.http.responses import JsonResponse
from treadle.ingest.endpoint import NOT_AUTHORIZED, NOT_FOUND
from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.store.model import (
    Account,
    EntryOutcome,
    LoadReport,
    TableLoadStatus,
    TokenOwner,
)
from treadle.store.sources import SourceRepository
from treadle.timestamps import format_microseconds
from treadle.tracking.load_progress import LoadProgress, is_stopped
from treadle.tracking.receipts import Receipt, ReceiptCodec
from treadle.tracking.rejects import find_resent_receipts, format_reject_id

WAIT_SECONDS_MAX = 60.0
"""Longest wait for loading in one request: what proxies commonly allow."""

TABLES_MAX = 1000
"""Entries described in one answer; a push may hold 20,000."""

DETAILS_GONE = {"message": "All of this was loaded, and details are no longer kept."}
INVALID_WAIT = {"message": f"wait is a number of seconds from 0 to {WAIT_SECONDS_MAX:.0f}"}


class ReceiptsEndpoint:
    """Tells owners of receipts what became of their requests."""

    def __init__(
        self,
        authentication: TokenAuthentication[Account, TokenOwner],
        sources: SourceRepository,
        receipts: ReceiptCodec,
        progress: LoadProgress,
    ) -> None:
        """Serve receipts.

        Args:
            authentication: who asks.
            sources: knows whose a source is.
            receipts: reads receipts.
            progress: knows loads.
        """
        self._authentication = authentication
        self._sources = sources
        self._receipts = receipts
        self._progress = progress

    async def get(self, request: Request) -> Response:
        """Answer with one element for each table of the request."""
        text = request.path_params["id"]
        receipt = await self._authorize(select_headers(request.scope), text)
        seconds = parse_wait_seconds(request.query_params.get("wait", "0"))
        if seconds is None:
            raise RequestRefusedError(400, INVALID_WAIT)
        entries = await self._progress.read_entries(receipt.first, receipt.entries)
        if not entries:
            raise RequestRefusedError(410, DETAILS_GONE)
        # A damaged entry may have lost the name of its table: nothing tells when it is loaded.
        places = [(entry.table_name, entry.position) for entry in entries if entry.table_name]
        await self._progress.wait_until_loaded(receipt.source_id, places, seconds)
        statuses = await self._progress.get_statuses(receipt.source_id)
        shown = entries[:TABLES_MAX]
        outcomes, loads, resent = await self._progress.run_in_thread(
            lambda: self._read_outcomes(receipt, shown, statuses)
        )
        return JsonResponse(
            describe_receipt(text, entries, shown, statuses, outcomes, loads, resent)
        )

    async def _authorize(self, headers: Mapping[str, str], text: str) -> Receipt:
        """The receipt, if the token is one of its source or of the source's account."""
        asking = await self._authentication.find_either(headers)
        if asking is None:
            raise RequestRefusedError(401, NOT_AUTHORIZED)
        receipt = self._receipts.decode(text)
        if receipt is None:
            raise RequestRefusedError(404, NOT_FOUND)
        if isinstance(asking, TokenOwner):
            owned = asking.source_id == receipt.source_id
        else:
            found = await asyncio.to_thread(self._sources.get_source, asking.id, receipt.source_id)
            owned = found is not None
        if not owned:
            raise RequestRefusedError(404, NOT_FOUND)
        return receipt

    def _read_outcomes(
        self,
        receipt: Receipt,
        entries: Sequence[LogEntry | DamagedEntry],
        statuses: Mapping[str, TableLoadStatus],
    ) -> tuple[dict[int, EntryOutcome], dict[int, LoadReport], dict[str, str]]:
        loaded = [entry for entry in entries if is_loaded(entry, statuses)]
        outcomes = self._progress.list_outcomes([entry.position for entry in loaded])
        loads: dict[int, LoadReport] = {}
        for entry in loaded:
            load = self._progress.find_covering_load(
                receipt.source_id, entry.table_name, entry.position
            )
            if load is not None:
                loads[entry.position] = load
        names = [
            format_reject_id(each.position, index)
            for each in outcomes
            for index, _ in each.rejected
        ]
        resent = (
            find_resent_receipts(self._progress.find_keys, self._receipts, receipt.source_id, names)
            if names
            else {}
        )
        return {outcome.position: outcome for outcome in outcomes}, loads, resent


def parse_wait_seconds(text: str) -> float | None:
    """Seconds to wait, as a client asks for them; None when that is no such number."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return min(seconds, WAIT_SECONDS_MAX) if math.isfinite(seconds) and seconds >= 0 else None


def is_loaded(entry: LogEntry | DamagedEntry, statuses: Mapping[str, TableLoadStatus]) -> bool:
    """Whether the load of an entry was committed."""
    status = statuses.get(entry.table_name)
    return status is not None and status.loaded >= entry.position


def describe_receipt(
    text: str,
    entries: Sequence[LogEntry | DamagedEntry],
    shown: Sequence[LogEntry | DamagedEntry],
    statuses: Mapping[str, TableLoadStatus],
    outcomes: Mapping[int, EntryOutcome],
    loads: Mapping[int, LoadReport],
    resent: Mapping[str, str],
) -> dict[str, Any]:
    """The answer's body.

    Args:
        text: the receipt.
        entries: what is kept of the request.
        shown: those to describe one by one.
        statuses: by table name.
        outcomes: by position; an entry that was loaded as it is has none.
        loads: by position, of entries that were loaded; a load of long ago may be missing.
        resent: names of rejects that were sent again -> the receipts of that.
    """
    waiting = [entry for entry in entries if not is_loaded(entry, statuses)]
    if not waiting:
        state = "loaded"
    elif all(is_stopped(statuses.get(entry.table_name)) for entry in waiting):
        state = "stopped"
    else:
        state = "waiting"
    return {
        "id": text,
        "status": state,
        "records": sum(entry.records for entry in entries),
        "tables": [
            _describe_table(
                entry,
                statuses.get(entry.table_name),
                outcomes.get(entry.position),
                loads.get(entry.position),
                resent,
                loaded=is_loaded(entry, statuses),
            )
            for entry in shown
        ],
        "tables_not_shown": len(entries) - len(shown),
    }


def _describe_table(
    entry: LogEntry | DamagedEntry,
    status: TableLoadStatus | None,
    outcome: EntryOutcome | None,
    load: LoadReport | None,
    resent: Mapping[str, str],
    *,
    loaded: bool,
) -> dict[str, Any]:
    superseded = 0 if outcome is None else outcome.superseded
    rejected = () if outcome is None else outcome.rejected
    state = "loaded" if loaded else "stopped" if is_stopped(status) else "waiting"
    finished_at = None if load is None else format_microseconds(load.finished_at)
    return {
        "table_name": entry.table_name,
        "status": state,
        "records": entry.records,
        "accepted_at": format_microseconds(entry.received_at),
        "loaded": entry.records - superseded - len(rejected) if loaded else 0,
        "superseded": superseded,
        "rejected": [
            _describe_rejected(index, reason, resent.get(format_reject_id(entry.position, index)))
            for index, reason in rejected
        ],
        "load": None if load is None else {"id": load.id, "finished_at": finished_at},
        "error": None if loaded or status is None else status.error,
    }


def _describe_rejected(index: int, reason: str, resent: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {"record": index, "reason": reason}
    return told if resent is None else told | {"resent": resent}
