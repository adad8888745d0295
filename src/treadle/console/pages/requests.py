"""Requests: the live tail, accepted and refused together, and one of them (P9)."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from treadle.console import view
from treadle.console.figures import ServerFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    name_table_part,
)
from treadle.console.pages.machines import find_sender_url, tell_reach
from treadle.console.pages.refusals import describe_token, find_tokens, require_traces, show_refusal
from treadle.console.pages.regions import RegionView, name_topic
from treadle.console.pages.start import list_hints
from treadle.console.request_choice import (
    STATUS_CHOICES,
    TIMES,
    RequestChoice,
    describe_receipt,
    describe_request,
)
from treadle.control.request_operations import (
    ACCEPTED,
    STATES,
    RequestPlace,
    find_requests,
    list_request_records,
    parse_request_place,
    read_request,
)
from treadle.control.traces import sees_installation
from treadle.errors import RequestRefusedError
from treadle.store.model import AccessToken, Account, BrowserSession, LoadReport, Source
from treadle.timestamps import format_microseconds, from_datetime
from treadle.traces.refusals import KeptRefusal
from treadle.tracking.request_tail import AcceptedRequest

SOURCES_MAX: Final = 100
"""Sources that can be chosen from a list; with more, one is named by its id."""

LOADS_MAX: Final = 100
"""Newest loads that are looked at for when a request was loaded."""

TABLE_CHARACTERS_MAX: Final = 60
TABLES_MAX: Final = 50
"""Tables of one request that are shown."""

RECORD_CHARACTERS_MAX: Final = 800
"""Characters of a record that are shown."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """A line of the tail.

    Attributes:
        id: receipt of an accepted request, id of a refused one.
        clock: when it came, in UTC.
        tables: the first one, and how many more there are.
        token: and `sender`, of a refused request only.
        took: from acceptance to the end of its load, microseconds; None where that is not known.
    """

    id: str
    clock: str
    state: view.StateWord
    status: int
    endpoint: str
    source: str
    tables: str
    records: int | None
    size: int
    token: str
    sender: str
    took: int | None


def show_requests(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the tail; it is live but for the pages of older ones."""
    choice = RequestChoice.parse(request.query)
    before = request.query.get("before") or None
    place = RequestPlace() if before is None else parse_request_place(before)
    figures = services.sampler.read()
    values = _list(services, request.account, figures, choice, place)
    sources = figures.get_account(request.account.id).sources.values()
    topic = name_topic("requests", choice.encode())
    return PageAnswer(
        "requests.html",
        {
            "title": "Requests",
            "section": "requests",
            "tab": "tail",
            "topic": topic,
            "topics": "" if before else quote(topic, safe=""),
            "command": _name_command(services, choice, sources),
            "before": before,
            "reach": tell_reach(services),
            "sources_choices": [(one.id, one.name) for one in sources],
            "has_many_sources": len(sources) > SOURCES_MAX,
            "statuses": STATUS_CHOICES,
            "states": [(word, word) for word in STATES],
            "times": [(name, words) for name, (words, _) in TIMES.items() if name],
            **values,
        },
    )


def get_requests(
    services: ConsoleServices,
    session: BrowserSession,
    figures: ServerFigures,
    query: Mapping[str, str],
) -> Mapping[str, Any]:
    """Return the values of the region with the tail."""
    return _list(services, session.account, figures, RequestChoice.parse(query), RequestPlace())


def _list(
    services: ConsoleServices,
    account: Account,
    figures: ServerFigures,
    choice: RequestChoice,
    place: RequestPlace,
) -> dict[str, Any]:
    store, now = services.store, services.clock()
    account_id = None if sees_installation(store, account) else account.id
    wanted = choice.make_filter(account_id, now)
    traces, open_reader = require_traces(services), services.reach.open_reader
    found = find_requests(store, traces, open_reader, account, wanted, place)
    refused = [one for one in found.requests if isinstance(one, KeptRefusal)]
    loads: Sequence[LoadReport] = ()
    if any(isinstance(one, AcceptedRequest) and one.state == "loaded" for one in found.requests):
        loads = store.loads.list_loads(account_id=account.id, limit=LOADS_MAX)
    seen = figures.get_account(account.id)
    words = LineWords(
        {one.id: one.name for one in store.sources.list_sources(account.id)},
        find_tokens(services, account, [one.group.token_id for one in refused]),
        loads,
        format_microseconds(now)[:10],
    )
    return {
        "choice": choice,
        "lines": [
            words.describe_refused(one)
            if isinstance(one, KeptRefusal)
            else words.describe_accepted(one, found.encode_receipt(one))
            for one in found.requests
        ],
        "older": None if found.next is None else _add_place(choice, found.next.encode()),
        "newest": choice.encode(),
        "hints": [] if found.requests or choice.is_narrow else list_hints(services, seen),
    }


def _add_place(choice: RequestChoice, place: str) -> str:
    chosen = choice.encode()
    return (f"{chosen}&" if chosen else "") + urlencode({"before": place})


@dataclass(frozen=True, slots=True)
class LineWords:
    """What lines say of requests.

    Attributes:
        sources: id -> name.
        tokens: id -> token.
        loads: the newest ones.
        today: the present day in UTC, such as "2026-01-31".
    """

    sources: Mapping[int, str]
    tokens: Mapping[int, AccessToken]
    loads: Sequence[LoadReport]
    today: str

    def describe_accepted(self, request: AcceptedRequest, receipt: str) -> RequestLine:
        """Return the line of an accepted request."""
        tables = [view.show_text(name, TABLE_CHARACTERS_MAX) for name in request.tables]
        more = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
        return RequestLine(
            id=receipt,
            clock=self._format_clock(request.received_at),
            state=describe_request(request),
            status=ACCEPTED,
            endpoint="",
            source=self.sources.get(request.source_id, str(request.source_id)),
            tables=tables[0] + more if tables else "",
            records=request.records,
            size=request.size,
            token="",
            sender="",
            took=find_duration(request, self.loads),
        )

    def describe_refused(self, refusal: KeptRefusal) -> RequestLine:
        """Return the line of a refused request."""
        source_id = refusal.group.source_id
        return RequestLine(
            id=refusal.id,
            clock=self._format_clock(refusal.at),
            state=describe_request(refusal),
            status=refusal.group.status,
            endpoint=refusal.group.endpoint,
            source=self.sources.get(source_id, str(source_id)) if source_id else "",
            tables="",
            records=None,
            size=refusal.bytes,
            token=describe_token(refusal.group.token_id, refusal.fingerprint, self.tokens),
            sender=refusal.address,
            took=None,
        )

    def _format_clock(self, at: int) -> str:
        text = format_microseconds(at)
        return text[11:23] if text.startswith(self.today) else f"{text[5:10]} {text[11:19]}"


def find_duration(request: AcceptedRequest, loads: Sequence[LoadReport]) -> int | None:
    """Return how long a request waited until its records were loaded. Pure.

    Args:
        request: accepted.
        loads: the newest ones.

    Returns:
        Microseconds; None while it waits, and where not all of its loads are among these.
    """
    if request.state not in ("loaded", "rejected"):
        return None
    ends = []
    for name, position in request.tables.items():
        ends.append(
            next(
                (
                    load.finished_at
                    for load in loads
                    if (load.source_id, load.table_name) == (request.source_id, name)
                    and load.error is None
                    and load.first <= position <= load.last
                ),
                None,
            )
        )
    known = [end for end in ends if end is not None]
    if not known or len(known) < len(ends):
        return None
    return max(0, max(known) - request.received_at)


def _name_command(
    services: ConsoleServices, choice: RequestChoice, sources: Iterable[Source]
) -> str:
    words = ["treadle requests"]
    name = next((one.name for one in sources if str(one.id) == choice.source), None)
    if name is not None:
        words.append(f"--source {shlex.quote(name)}")
    if choice.table:
        words.append(f"--table {shlex.quote(choice.table)}")
    return " ".join(words) + services.data_flag


# One request -------------------------------------------------------------------------------------


def show_request(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one request: by its receipt an accepted one, by its id a refused one."""
    wanted = request.parts["request"]
    if not wanted.startswith("rc_"):
        return show_refusal(services, request, wanted)
    store, open_reader = services.store, services.reach.open_reader
    try:
        found = read_request(store, open_reader, request.account, wanted, TABLES_MAX)
    except RequestRefusedError as refused:
        if refused.status != 404:
            raise
        raise PageNotFoundError(
            "Your account has no request with this receipt. A receipt is the whole text of the "
            "header Treadle-Receipt of an answer, and of this server only."
        ) from refused
    records = None
    if services.shows_payloads(request.session):
        records = list_request_records(store, open_reader, request.account, wanted)
    source = store.sources.get_source(request.account.id, found["source_id"])
    loaded = [
        _read_time(one["load"]["finished_at"]) for one in found["tables"] if one["load"] is not None
    ]
    is_done = found["status"] in ("loaded", "rejected")
    url = find_sender_url(services, request)
    return PageAnswer(
        "request.html",
        {
            "title": "Request",
            "section": "requests",
            "command": f"treadle requests --receipt {wanted}{services.data_flag}",
            "found": found,
            "state": describe_receipt(found["status"]),
            "source": source,
            "lines": [_describe_table(one, source) for one in found["tables"]],
            "left": found["tables_not_shown"],
            "accepted_at": min(_read_time(one["accepted_at"]) for one in found["tables"]),
            "loaded_at": max(loaded, default=None)
            if is_done and not found["tables_not_shown"]
            else None,
            "is_done": is_done,
            "records": None if records is None else _show_records(records),
            "records_left": 0 if records is None else found["records"] - len(records["records"]),
            "payloads": services.payloads,
            "curl": 'curl -s -H "Authorization: Bearer $ACCOUNT_TOKEN" \\\n'
            f"  {shlex.quote(f'{url}/v1/receipts/{wanted}')}\n",
        },
    )


def _read_time(text: str) -> int:
    """Return a time of our own answers as microseconds since 1970."""
    return from_datetime(datetime.fromisoformat(text))


def _describe_table(one: Mapping[str, Any], source: Source | None) -> dict[str, Any]:
    is_shown = source is not None and source.deleted_at is None
    part = name_table_part(one["table_name"])
    return {
        "table": one,
        "state": describe_receipt(one["status"]),
        "path": f"/sources/{source.id}/tables/{part}" if source is not None and is_shown else None,
        "rejects": urlencode(
            {"source": "" if source is None else source.id, "table": one["table_name"]},
            errors="surrogatepass",
        ),
        "load_at": None if one["load"] is None else _read_time(one["load"]["finished_at"]),
    }


def _show_records(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "table": one["table"],
            "sequence": one["sequence"],
            "bytes": one["bytes"],
            "text": _show_record(one["record"]),
        }
        for one in told["records"]
    ]


def _show_record(record: msgspec.Raw | None) -> str | None:
    if record is None:
        return None
    return view.show_text(bytes(record).decode("utf-8", "replace"), RECORD_CHARACTERS_MAX)


ROUTES: Final = (
    PageRoute("/requests", show_requests),
    PageRoute("/requests/{request}", show_request),
)
REGIONS: Final = {"requests": RegionView("regions/requests.html", get_chosen=get_requests)}
