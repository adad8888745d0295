"""What is told of requests: accepted and refused ones together, the newest first."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from treadle.control.load_operations import invalid_parameter
from treadle.control.lookups import parse_id
from treadle.control.refusal_operations import (
    RefusalFilter,
    parse_place,
    parse_status,
    render_refused_request,
)
from treadle.control.times import instant
from treadle.control.traces import TraceFiles, sees_installation
from treadle.errors import RequestRefusedError
from treadle.log.joined import choose_reader, list_readers
from treadle.log.protocol import (
    DamagedEntry,
    EntryNote,
    LogEntry,
    LogReader,
    LogStatistics,
)
from treadle.records.message_batch import decode_batch
from treadle.records.record_reader import extract_texts
from treadle.store.model import Account
from treadle.store.store import Store
from treadle.timestamps import format_microseconds
from treadle.traces.refusal_file import read_refusals
from treadle.traces.refusals import KeptRefusal
from treadle.tracking.receipt_status import read_receipt_status
from treadle.tracking.receipts import Receipt, ReceiptCodec, make_receipt_codec
from treadle.tracking.request_tail import (
    AcceptedRequest,
    RequestTail,
    judge_requests,
    list_table_statuses,
    read_tail,
)

REQUESTS_MAX: Final = 100
"""Requests of one answer."""

RECORDS_MAX: Final = 20
"""Records of one answer."""

RECORD_BYTES_MAX: Final = 100_000
"""Bytes of a record that is told; of a larger one only the size is."""

ACCEPTED: Final = 201
"""Stands for every success: the log does not say which one was answered."""

NO_LONGER_KEPT: Final = "All of this was loaded, and its records are no longer kept."

STATES: Final = ("waiting", "loaded", "rejected", "stopped", "refused")


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """A choice of requests. None stands for any.

    Attributes:
        refusals: the choice among refused ones.
        table: as sent.
        status: of the answer.
        state: one of `STATES`.
        since: accepted or refused at this time or later, microseconds since 1970.
    """

    refusals: RefusalFilter = field(default_factory=RefusalFilter)
    table: str | None = None
    status: int | None = None
    state: str | None = None
    since: int = 0

    @property
    def has_accepted(self) -> bool:
        """Return whether an accepted request may be chosen.

        The log keeps neither the token nor the address of a request.
        """
        wanted = self.refusals
        return (
            self.status in (None, ACCEPTED)
            and self.state != "refused"
            and (wanted.token_id, wanted.address, wanted.fingerprint) == (None, None, None)
        )

    @property
    def has_refused(self) -> bool:
        """Return whether a refused request may be chosen; it has no table."""
        return self.status != ACCEPTED and self.state in (None, "refused") and self.table is None


@dataclass(frozen=True, slots=True)
class RequestPlace:
    """The place in the list of requests where a page begins.

    Attributes:
        below: log number -> only accepted requests below this position, 0 for none; a log that is
            missing is read from its end.
        refusal: only refused requests before this one, its time and id.
    """

    below: Mapping[int, int] = field(default_factory=dict)
    refusal: tuple[int, str] | None = None

    def encode(self) -> str:
        """Return the text of `next`, such as `1042,`, or `1042_1-77,` with a second log."""
        below = "_".join(
            f"{log}-{position}" if log else str(position)
            for log, position in sorted(self.below.items())
        )
        refusal = "" if self.refusal is None else f"{self.refusal[0]}.{self.refusal[1]}"
        return f"{below},{refusal}"


def parse_request_place(text: str) -> RequestPlace:
    """Return the place of the text of `next`.

    Raises:
        RequestRefusedError: 400, it is none.
    """
    below, comma, refusal = text.partition(",")
    parts = [_parse_below(part) for part in below.split("_")] if below else []
    found = {part[0]: part[1] for part in parts if part is not None}
    if not comma or len(found) != len(parts):
        raise invalid_parameter("before", "`next` of an answer")
    return RequestPlace(found, parse_place(refusal) if refusal else None)


def _parse_below(text: str) -> tuple[int, int] | None:
    """Return log number and position of a part of `next`; None for another text."""
    log, dash, position = text.rpartition("-")
    number = parse_id(log) if dash else 0
    place = 0 if position == "0" else parse_id(position)
    return None if number is None or place is None else (number, place)


@dataclass(frozen=True, slots=True)
class FoundRequests:
    """A page of requests.

    Attributes:
        requests: the newest first.
        next: the place of the next page; None for the last one.
        codec: of their receipts.
    """

    requests: Sequence[AcceptedRequest | KeptRefusal]
    next: RequestPlace | None
    codec: ReceiptCodec

    def encode_receipt(self, request: AcceptedRequest) -> str:
        """Return the receipt of a request."""
        return self.codec.encode(Receipt(request.source_id, request.first, request.entries))


def list_requests(
    store: Store,
    files: TraceFiles,
    open_reader: Callable[[], LogReader],
    account: Account,
    source: str | None = None,
    table: str | None = None,
    token: str | None = None,
    status: str | None = None,
    state: str | None = None,
    address: str | None = None,
    since: str | None = None,
    before: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Return the latest requests that an account may see, newest first, as JSON.

    Raises:
        RequestRefusedError: 400 for a parameter that is wrong.
    """
    wanted = _parse_filter(store, account, source, table, token, status, state, address, since)
    place = RequestPlace() if before is None else parse_request_place(before)
    found = find_requests(store, files, open_reader, account, wanted, place, monotonic)
    return {
        "requests": [
            render_accepted_request(one, found.codec)
            if isinstance(one, AcceptedRequest)
            else _render_refused(one)
            for one in found.requests
        ],
        "next": None if found.next is None else found.next.encode(),
    }


def find_requests(
    store: Store,
    files: TraceFiles,
    open_reader: Callable[[], LogReader],
    account: Account,
    wanted: RequestFilter,
    place: RequestPlace,
    monotonic: Callable[[], float] = time.monotonic,
) -> FoundRequests:
    """Return the latest requests that an account may see, newest first.

    A page may have fewer than asked for, or none, and a `next` all the same: it looks at so many
    entries of the log, and for so long.
    """
    refused: list[KeptRefusal] = []
    if wanted.has_refused:
        refused = [
            one
            for one in read_refusals(files.refusals)
            if wanted.refusals.matches(one)
            and one.at >= wanted.since
            and (place.refusal is None or (one.at, one.id) < place.refusal)
        ]
    reader = open_reader()
    tails: dict[int, RequestTail] = {}
    try:
        for log, its in list_readers(reader).items():
            if wanted.has_accepted and place.below.get(log) != 0:
                below = place.below.get(log)
                tails[log] = _read_accepted(
                    store, its.statistics, log, account, wanted, below, monotonic
                )
        codec = make_receipt_codec(store.installation_id, reader)
    finally:
        reader.close()
    return _merge_pages(tails, refused, place, codec)


def _read_accepted(
    store: Store,
    statistics: LogStatistics,
    log: int,
    account: Account,
    wanted: RequestFilter,
    below: int | None,
    monotonic: Callable[[], float],
) -> RequestTail:
    own = {one.id for one in store.sources.list_sources(account.id)}
    if wanted.refusals.source_id is not None:
        own &= {wanted.refusals.source_id}

    def matches(entry: EntryNote) -> bool:
        return entry.source_id in own and wanted.table in (None, entry.table_name)

    tail = read_tail(statistics, below, REQUESTS_MAX, matches, monotonic, wanted.since, log)
    judged = judge_requests(store, tail.requests)
    chosen = [one for one in judged if wanted.state in (None, one.state)]
    return RequestTail(chosen, tail.end, tail.end_at)


def _merge_pages(
    tails: Mapping[int, RequestTail],
    refused: Sequence[KeptRefusal],
    place: RequestPlace,
    codec: ReceiptCodec,
) -> FoundRequests:
    """Return the page of all lists together: those of the logs, and that of refused requests."""
    # What came before the part of a log that was looked at is for a later page.
    reached = {log: tail.end_at or 0 for log, tail in tails.items() if tail.end is not None}
    both: list[tuple[int, AcceptedRequest | KeptRefusal]] = [
        *(
            (one.received_at, one)
            for log, tail in tails.items()
            for one in tail.requests
            if one.received_at >= max((at for of, at in reached.items() if of != log), default=0)
        ),
        *((one.at, one) for one in refused if one.at >= max(reached.values(), default=0)),
    ]
    both.sort(key=lambda pair: pair[0], reverse=True)
    shown = [one for _, one in both[:REQUESTS_MAX]]
    below = dict(place.below)
    for log, tail in tails.items():
        accepted = [one for one in shown if isinstance(one, AcceptedRequest) and one.log == log]
        if len(accepted) == len(tail.requests):
            below[log] = 0 if tail.end is None else tail.end
        elif accepted:
            below[log] = accepted[-1].first
    told = [one for one in shown if isinstance(one, KeptRefusal)]
    last = (told[-1].at, told[-1].id) if told else place.refusal
    rest = any(below.get(log) != 0 for log in tails) or len(told) < len(refused)
    return FoundRequests(shown, RequestPlace(below, last) if rest else None, codec)


def _parse_filter(
    store: Store,
    account: Account,
    source: str | None,
    table: str | None,
    token: str | None,
    status: str | None,
    state: str | None,
    address: str | None,
    since: str | None,
) -> RequestFilter:
    if state is not None and state not in STATES:
        raise invalid_parameter("state", "one of " + ", ".join(STATES))
    source_id = None if source is None else parse_id(source)
    if source is not None and source_id is None:
        raise invalid_parameter("source", "the id of a source")
    token_id = None if token is None else parse_id(token)
    if token is not None and token_id is None:
        raise invalid_parameter("token", "the id of a token")
    at = 0 if since is None else instant(since)
    if at is None:
        raise invalid_parameter("since", "a time such as 2026-01-01T00:00:00Z")
    number = ACCEPTED if status == str(ACCEPTED) else parse_status(status)
    return RequestFilter(
        RefusalFilter(
            account_id=None if sees_installation(store, account) else account.id,
            source_id=source_id,
            token_id=token_id,
            status=number,
            address=address,
        ),
        table,
        number,
        state,
        at,
    )


def render_accepted_request(request: AcceptedRequest, codec: ReceiptCodec) -> dict[str, Any]:
    """Return an accepted request as JSON."""
    return {
        "at": format_microseconds(request.received_at),
        "status": ACCEPTED,
        "state": request.state,
        "receipt": codec.encode(Receipt(request.source_id, request.first, request.entries)),
        "source_id": request.source_id,
        "tables": list(request.tables),
        "entries": request.entries,
        "records": request.records,
        "rejected": request.rejected,
        "bytes": request.size,
        "refusal": None,
    }


def _render_refused(refusal: KeptRefusal) -> dict[str, Any]:
    return {
        "at": format_microseconds(refusal.at),
        "status": refusal.group.status,
        "state": "refused",
        "receipt": None,
        "source_id": refusal.group.source_id or None,
        "tables": [],
        "entries": 0,
        "records": 0,
        "rejected": 0,
        "bytes": refusal.bytes,
        "refusal": render_refused_request(refusal),
    }


def read_request(
    store: Store,
    open_reader: Callable[[], LogReader],
    account: Account,
    receipt: str,
    tables_max: int,
) -> dict[str, Any]:
    """Return what became of an accepted request, as `GET /v1/receipts/{id}` tells it.

    Args:
        store: knows what became of records.
        open_reader: opens the log.
        account: who asks.
        receipt: of the request.
        tables_max: tables that are described at most.

    Raises:
        RequestRefusedError: 404, the account has no such request; 410, it is no longer kept.
    """
    reader = open_reader()
    try:
        codec = make_receipt_codec(store.installation_id, reader)
        found = _decode_receipt(store, codec, account, receipt)
        its = choose_reader(reader, found.source_id)
        entries = its.find_entries(found.first, found.entries)
        if not entries:
            raise RequestRefusedError(410, {"message": NO_LONGER_KEPT})
        told = read_receipt_status(
            receipt,
            found,
            entries,
            list_table_statuses(store, found.source_id, {entry.table_name for entry in entries}),
            store=store,
            find_keys=its.statistics.find_keys,
            codec=codec,
            tables_max=tables_max,
        )
    finally:
        reader.close()
    return {**told, "source_id": found.source_id, "bytes": sum(_measure(one) for one in entries)}


def find_refused_request(
    store: Store, files: TraceFiles, account: Account, request_id: str
) -> KeptRefusal | None:
    """Return a refused request that an account may see; None where it is not kept."""
    wanted = RefusalFilter(None if sees_installation(store, account) else account.id)
    return next(
        (
            one
            for one in read_refusals(files.refusals)
            if one.id == request_id and wanted.matches(one)
        ),
        None,
    )


def _decode_receipt(store: Store, codec: ReceiptCodec, account: Account, text: str) -> Receipt:
    found = codec.decode(text)
    if found is None or store.sources.get_source(account.id, found.source_id) is None:
        raise RequestRefusedError(404, {"status": "NOT FOUND"})
    return found


def _measure(entry: LogEntry | DamagedEntry) -> int:
    return 0 if isinstance(entry, DamagedEntry) else len(entry.payload)


def list_request_records(
    store: Store, open_reader: Callable[[], LogReader], account: Account, receipt: str
) -> dict[str, Any]:
    """Return the first records of an accepted request.

    Raises:
        RequestRefusedError: 404, the account has no such request; 410, it is no longer kept.
    """
    reader = open_reader()
    try:
        codec = make_receipt_codec(store.installation_id, reader)
        found = _decode_receipt(store, codec, account, receipt)
        its = choose_reader(reader, found.source_id)
        entries = its.find_entries(found.first, min(found.entries, RECORDS_MAX))
    finally:
        reader.close()
    if not entries:
        raise RequestRefusedError(410, {"message": NO_LONGER_KEPT})
    records: list[dict[str, Any]] = []
    for entry in entries:
        records += _render_records(entry, RECORDS_MAX - len(records))
    return {
        "receipt": receipt,
        "records": records,
        "total": sum(entry.records for entry in entries),
        "entries_not_shown": found.entries - len(entries),
    }


def _render_records(entry: LogEntry | DamagedEntry, limit: int) -> list[dict[str, Any]]:
    """Return the first records of an entry as they were sent."""
    if isinstance(entry, DamagedEntry):
        return []
    batch = decode_batch(entry.payload)
    chosen = range(min(len(batch), limit))
    rows: list[dict[str, Any]] = []
    for index, text in zip(chosen, extract_texts(batch, chosen), strict=True):
        written = text.encode("utf-8", "surrogatepass")
        small = len(written) <= RECORD_BYTES_MAX
        rows.append(
            {
                "table": entry.table_name,
                "sequence": batch.sequences[index],
                "bytes": len(written),
                "record": msgspec.Raw(written) if small else None,
            }
        )
    return rows
