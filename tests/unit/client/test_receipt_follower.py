"""`treadle push --wait`: receipts are asked for until they are final, and added up."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from treadle.client import request_retry as module
from treadle.client.receipt_follower import AcknowledgedRequest, PushOutcome, ReceiptFollower
from treadle.client.request_retry import RequestRetry
from treadle.errors import OperatorError, RetriableError, TableStoppedError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS_FIRST", 0.001)


def receipt(status: str, *, error: str | None = None, **counts: Any) -> httpx.Response:
    table = {"loaded": 0, "superseded": 0, "rejected": [], "error": error, **counts}
    return httpx.Response(200, json={"status": status, "tables": [table]})


def follow(
    requests: Sequence[AcknowledgedRequest], answers: Sequence[httpx.Response], seconds: float = 5.0
) -> tuple[PushOutcome, list[str], list[str | None]]:
    """What became of the requests, which paths were asked, and what was told meanwhile."""
    asked: list[str] = []
    told: list[str | None] = []
    given = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        assert 0 < int(request.url.params["wait"]) <= 60
        return next(given)

    async def run() -> PushOutcome:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            retry = RequestRetry("http://t", seconds, told.append)
            follower = ReceiptFollower(client, retry, told.append, lambda: "as the store says")
            return await follower.wait_until_loaded(requests)

    return asyncio.run(run()), asked, told


def test_all_receipts_are_added_up() -> None:
    rejected = [{"record": 4, "reason": "too large"}, {"record": 5, "reason": "odd"}]
    fate, asked, _ = follow(
        [AcknowledgedRequest("rc_a", 5), AcknowledgedRequest("rc_b", 9)],
        [
            receipt("loaded", loaded=3, superseded=2),
            receipt("loaded", loaded=6, superseded=1, rejected=rejected),
        ],
    )
    assert fate == PushOutcome(loaded=9, superseded=3, rejected=2, reason="too large")
    assert asked == ["/v1/receipts/rc_a", "/v1/receipts/rc_b"]


def test_what_was_rejected_left_out_or_rounded_is_told() -> None:
    why = "Column name long is too long for PostgreSQL"
    left = {"table": "t", "field": "long", "reason": why}
    rejected = [{"record": 0, "reason": "too big"}]
    fate, _, _ = follow(
        [AcknowledgedRequest("rc_a", 1), AcknowledgedRequest("rc_b", 9)],
        [
            receipt("rejected", rejected=rejected, trouble="all records were rejected"),
            receipt(
                "loaded",
                loaded=9,
                left_out=[{**left, "records": 4}, {**left, "field": "other", "records": None}],
                rounded=[{"table": "t", "field": "p", "values": 2}],
                trouble=None,
            ),
        ],
    )
    assert (fate.loaded, fate.rejected, fate.reason) == (9, 1, "too big")
    assert fate.trouble == "all records were rejected"
    assert fate.left_out == {("long", why): 4, ("other", why): 1}
    assert fate.rounded == {"p": 2}


def test_what_waits_is_asked_for_again_and_why_it_waits_is_told() -> None:
    fate, asked, told = follow(
        [AcknowledgedRequest("rc_a", 1_200), AcknowledgedRequest("rc_b", 1)],
        [
            receipt("waiting"),
            receipt("waiting", error="no connection"),
            httpx.Response(503, headers={"Retry-After": "0"}),
            receipt("loaded", loaded=1_200),
            receipt("waiting", error="no connection"),
            receipt("loaded", loaded=1),
        ],
    )
    assert (fate, len(asked)) == (PushOutcome(loaded=1_201), 6)
    assert told[:2] == ["1,201 wait: as the store says", "1,201 wait: no connection"]
    assert told[2] is not None
    assert told[2].startswith("http://t answers 503")
    assert told[3:] == [None, "1 waits: no connection", None]


def test_what_was_loaded_long_ago_counts_as_loaded() -> None:
    fate, _, _ = follow([AcknowledgedRequest("rc_a", 7)], [httpx.Response(410, json={})])
    assert fate == PushOutcome(loaded=7)


def test_a_stopped_table_ends_the_wait_with_its_reason() -> None:
    with pytest.raises(TableStoppedError, match="The table is stopped: option x is none"):
        follow([AcknowledgedRequest("rc_a", 1)], [receipt("stopped", error="option x is none")])


def test_a_server_without_receipts_is_told_of() -> None:
    with pytest.raises(OperatorError, match=r"http://t gives no receipts"):
        follow([AcknowledgedRequest(None, 1)], [])


def test_a_receipt_that_is_refused_is_told_of() -> None:
    with pytest.raises(OperatorError, match=r"does not tell of rc_a: 404 .*not here"):
        follow(
            [AcknowledgedRequest("rc_a", 1)], [httpx.Response(404, json={"message": "not here"})]
        )


def test_a_server_that_does_not_come_back_ends_the_wait() -> None:
    busy = [httpx.Response(503)] * 1000
    with pytest.raises(RetriableError, match=r"could not be asked within 0.05 seconds: .* 503"):
        follow([AcknowledgedRequest("rc_a", 1)], busy, seconds=0.05)
