"""What a page shows of requests: its filters, as they stand in its URL. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final
from urllib.parse import urlencode

from treadle.console import view
from treadle.control.lookups import parse_id
from treadle.control.refusal_operations import RefusalFilter
from treadle.control.request_operations import ACCEPTED, STATES, RequestFilter
from treadle.traces.refusals import KeptRefusal
from treadle.tracking.request_tail import AcceptedRequest

TEXT_CHARACTERS_MAX: Final = 300
"""Longest text of a filter: it has to fit into a URL."""

TIMES: Final = {
    "": ("last hour", view.HOUR_US),
    "day": ("last 24 hours", view.DAY_US),
    "week": ("last 7 days", 7 * view.DAY_US),
    "all": ("time that is kept", None),
}
"""In the URL -> in words, and how far back, in microseconds; None for all."""

STATUS_CHOICES: Final = (
    (str(ACCEPTED), f"{ACCEPTED} accepted"),
    *((str(status), str(status)) for status in (400, 401, 403, 404, 405, 408, 409, 410, 413)),
    *((str(status), str(status)) for status in (414, 415, 422, 429, 431, 500, 501, 503, 504)),
)
ENDPOINT_CHOICES: Final = tuple(
    (name, name)
    for name in (
        *("push", "batch", "validate", "status", "webhook", "records", "receipts", "control"),
        *("metrics", "other"),
    )
)
"""The names of endpoints in the metrics."""

_NAMES: Final = {"address": "from"}
"""Field -> its name in the URL, where that is another one."""


@dataclass(frozen=True, slots=True)
class RequestChoice:
    """A choice of requests as texts; an empty one stands for any.

    Attributes:
        source: id.
        table: as sent.
        token: id.
        status: of the answer.
        state: one of `STATES`.
        address: of the client.
        endpoint: as in the metrics; only of refused requests.
        time: one of `TIMES`.
    """

    source: str = ""
    table: str = ""
    token: str = ""
    status: str = ""
    state: str = ""
    address: str = ""
    endpoint: str = ""
    time: str = ""

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "RequestChoice":
        """Return the choice of a URL. What cannot be meant is left out."""
        statuses = [status for status, _ in STATUS_CHOICES]
        endpoints = [name for name, _ in ENDPOINT_CHOICES]
        status, state = query.get("status", ""), query.get("state", "")
        endpoint, time = query.get("endpoint", ""), query.get("time", "")
        return cls(
            source=_take_id(query.get("source", "")),
            table=query.get("table", "")[:TEXT_CHARACTERS_MAX],
            token=_take_id(query.get("token", "").strip()),
            status=status if status in statuses else "",
            state=state if state in STATES else "",
            address=query.get("from", "").strip()[:TEXT_CHARACTERS_MAX],
            endpoint=endpoint if endpoint in endpoints else "",
            time=time if time in TIMES else "",
        )

    def encode(self, **changes: str) -> str:
        """Return the query of a URL for this choice, with changes of fields."""
        chosen = replace(self, **changes)
        pairs = {_NAMES.get(name, name): text for name, text in asdict(chosen).items() if text}
        return urlencode(pairs, errors="surrogatepass")

    @property
    def is_narrow(self) -> bool:
        """Return whether anything but the time is chosen."""
        return replace(self, time="") != RequestChoice()

    @property
    def leaves_out_accepted(self) -> bool:
        """Return whether it is by what is kept of refused requests only."""
        return bool(self.token or self.address)

    def describe_time(self) -> str:
        """Return how far back it goes, in words after "the"."""
        return TIMES[self.time][0]

    def make_filter(self, account_id: int | None, now: int) -> RequestFilter:
        """Return the same choice as values.

        Args:
            account_id: of the refused requests; None for all, strangers' included.
            now: microseconds since 1970.
        """
        span = TIMES[self.time][1]
        status = int(self.status) if self.status else None
        refusals = RefusalFilter(
            account_id=account_id,
            source_id=parse_id(self.source),
            token_id=parse_id(self.token),
            endpoint=self.endpoint or None,
            status=status,
            address=self.address or None,
        )
        since = 0 if span is None else now - span
        return RequestFilter(refusals, self.table or None, status, self.state or None, since)


def _take_id(text: str) -> str:
    return text if parse_id(text) is not None else ""


def describe_request(request: AcceptedRequest | KeptRefusal) -> view.StateWord:
    """Return the state of a request."""
    if isinstance(request, KeptRefusal):
        return view.StateWord("refused", "bad")
    if request.state == "rejected":
        return view.StateWord("all rejected", "bad")
    if request.rejected:
        return view.StateWord(f"{view.format_count(request.rejected)} rejected", "warn")
    return describe_receipt(request.state)


def describe_receipt(status: str) -> view.StateWord:
    """Return the state of a receipt, or of a table of one."""
    tones: dict[str, view.Tone] = {"loaded": "good", "waiting": "busy"}
    return view.StateWord(status, tones.get(status, "bad"))
