"""Follows the receipts of a push until all its records are loaded."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx

from treadle.client.request_retry import RequestRetry, describe_answer
from treadle.errors import OperatorError, TableStoppedError

RECEIPT_HEADER: Final = "Treadle-Receipt"

ASK_SECONDS_FIRST: Final = 2
"""How long the server waits before it first answers that a request is not loaded yet."""

ASK_SECONDS: Final = 3
"""How long it waits each time after that."""


@dataclass(frozen=True, slots=True)
class AcknowledgedRequest:
    """A request that the server acknowledged.

    Attributes:
        receipt: None if the server gives none.
        records: how many records the request had.
    """

    receipt: str | None
    records: int


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """Counts of what became of pushed records.

    Attributes:
        reason: of the first rejection; None without one.
        trouble: what the load has to say about the rejected records; None for nothing.
        left_out: (field, reason) -> records that were loaded without the field.
        rounded: field -> values that were rounded.
    """

    loaded: int = 0
    superseded: int = 0
    rejected: int = 0
    reason: str | None = None
    trouble: str | None = None
    left_out: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rounded: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Self) -> "PushOutcome":
        return PushOutcome(
            self.loaded + other.loaded,
            self.superseded + other.superseded,
            self.rejected + other.rejected,
            self.reason if self.reason is not None else other.reason,
            self.trouble if self.trouble is not None else other.trouble,
            Counter(self.left_out) + Counter(other.left_out),
            Counter(self.rounded) + Counter(other.rounded),
        )


@dataclass(frozen=True, slots=True)
class ReceiptFollower:
    """Asks for receipts, one after the other.

    Attributes:
        client: with the base URL and the token.
        retry: repeats a request.
        report: told what is waited for, again and again, and None when it is over.
        explain: returns why nothing is loaded, where the server does not tell that to whoever
            pushes; None for nothing.
    """

    client: httpx.AsyncClient
    retry: RequestRetry
    report: Callable[[str | None], None] = lambda _: None
    explain: Callable[[], str | None] = lambda: None

    async def wait_until_loaded(self, requests: Sequence[AcknowledgedRequest]) -> PushOutcome:
        """Wait until all requests are loaded.

        Raises:
            OperatorError: the table is stopped, or the server does not give receipts.
            RetriableError: the server could not be asked in the time given.
        """
        fate = PushOutcome()
        left = sum(request.records for request in requests)
        for request in requests:
            if request.receipt is None:
                raise OperatorError(
                    f"{self.retry.url} gives no receipts that could be followed; "
                    "only a treadle server can be waited for"
                )
            fate += await self._wait_for_receipt(request.receipt, request.records, left)
            left -= request.records
        self.report(None)
        return fate

    async def _wait_for_receipt(self, receipt: str, records: int, left: int) -> PushOutcome:
        path = f"/v1/receipts/{receipt}"
        seconds = ASK_SECONDS_FIRST

        async def ask() -> httpx.Response:
            return await self.client.get(path, params={"wait": seconds})

        while True:
            answer = await self.retry.fetch_answer(
                ask, "What became of the records could not be asked"
            )
            if (
                answer.status_code == httpx.codes.GONE
            ):  # loaded, and so long ago that no more is known
                return PushOutcome(loaded=records)
            if not answer.is_success:
                raise OperatorError(
                    f"The server does not tell of {receipt}: {describe_answer(answer)}"
                )
            found = answer.json()
            if found["status"] in ("loaded", "rejected"):
                return sum((make_outcome(table) for table in found["tables"]), PushOutcome())
            error = next((table["error"] for table in found["tables"] if table["error"]), None)
            if found["status"] == "stopped":
                raise TableStoppedError(f"The table is stopped: {error}")
            self.report(describe_waiting(left, error or self.explain()))
            seconds = ASK_SECONDS


def describe_waiting(records: int, reason: str | None) -> str:
    """Return what is waited for: "6 wait: warehouse.duckdb is held by python3.11"."""
    verb = "waits" if records == 1 else "wait"
    return f"{records:,} {verb} to be loaded" if reason is None else f"{records:,} {verb}: {reason}"


def make_outcome(table: dict[str, Any]) -> PushOutcome:
    """Return what a receipt says about one table."""
    rejected = table["rejected"]
    reason = rejected[0]["reason"] if rejected else None
    # A server of before there were these, or one that knows them of its loads alone, gives none.
    left_out = Counter[tuple[str, str]]()
    for each in table.get("left_out", ()):
        left_out[each["field"], each["reason"]] += each["records"] or 1
    rounded = Counter[str]()
    for each in table.get("rounded", ()):
        rounded[each["field"]] += each["values"] or 1
    return PushOutcome(
        table["loaded"],
        table["superseded"],
        len(rejected),
        reason,
        table.get("trouble"),
        left_out,
        rounded,
    )
