"""Which rejected records are meant, and how they are called."""

from collections.abc import Sequence

import pytest

from treadle.errors import OperatorError
from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.model import EntryOutcome
from treadle.store.outcomes import OutcomeRepository
from treadle.tracking.idempotency import derive_key_name
from treadle.tracking.receipts import Receipt, ReceiptCodec
from treadle.tracking.rejects import (
    RejectedRecord,
    RejectFilter,
    find_resent_receipts,
    get_reject,
    list_rejects,
    parse_reject_id,
    read_batch,
)

COLLISION, RANGE = "Field collision on id", "integer out of range for PostgreSQL on 9"


class Kept(OutcomeRepository):
    """Outcomes as the store keeps them."""

    def __init__(self, *outcomes: EntryOutcome) -> None:
        self._outcomes = sorted(outcomes, key=lambda outcome: -outcome.position)

    def list_rejections(
        self,
        *,
        source_id: int | None = None,
        table_name: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[EntryOutcome, int]]:
        found = [
            (outcome, outcome.position * 10)
            for outcome in self._outcomes
            if source_id in (None, outcome.source_id)
            and table_name in (None, outcome.table_name)
            and (before is None or outcome.position < before)
        ]
        return found[:limit]


STORE = Kept(
    EntryOutcome(4, 1, "orders", 0, ((0, COLLISION), (7, RANGE))),
    EntryOutcome(9, 2, "orders", 3, ((2, RANGE),)),
    EntryOutcome(12, 1, "people", 0, ((1, COLLISION),)),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (RejectFilter(), ["12.1", "9.2", "4.7", "4.0"]),
        (RejectFilter(source_id=1), ["12.1", "4.7", "4.0"]),
        (RejectFilter(table_name="orders"), ["9.2", "4.7", "4.0"]),
        (RejectFilter(reason="COLLISION"), ["12.1", "4.0"]),
        (RejectFilter(reason="100%"), []),
        (RejectFilter(since=90), ["12.1", "9.2"]),
        (RejectFilter(until=90), ["4.7", "4.0"]),
        (RejectFilter(source_id=1, reason="out of range", until=41), ["4.7"]),
    ],
)
def test_which_are_meant(wanted: RejectFilter, expected: list[str]) -> None:
    assert [reject.id for reject in list_rejects(STORE, wanted)] == expected


def test_more_entries_than_a_page() -> None:
    many = Kept(*(EntryOutcome(n, 1, "t", 0, ((0, RANGE),)) for n in range(1, 2_501)))
    assert [reject.position for reject in list_rejects(many, RejectFilter())] == list(
        range(2_500, 0, -1)
    )


def test_one_by_its_name() -> None:
    assert get_reject(STORE, "4.7") == RejectedRecord(4, 7, 1, "orders", RANGE, 40)
    for name in ("4.1", "5.0", "3.0"):
        with pytest.raises(OperatorError, match=f"no rejected record {name}"):
            get_reject(STORE, name)


@pytest.mark.parametrize("name", ["", "4", "4.", ".1", "4.1.2", "a.b", "-4.1", "4.-1", "\u0664.1"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(OperatorError, match="names no rejected record"):
        parse_reject_id(name)


def batch(data: bytes) -> MessageBatch:
    return MessageBatch("t", (), "json", b"", (), [1], 0, None, [], data)


def test_what_the_log_holds_of_it() -> None:
    reject = RejectedRecord(4, 0, 1, "t", RANGE, 0)
    kept = batch(b'[{"a":1}]')
    assert read_batch(reject, [LogEntry(4, 1, "t", 1, 1, encode_batch(kept))]) == kept
    with pytest.raises(OperatorError, match="its log entry is damaged: torn"):
        read_batch(reject, [DamagedEntry(4, 1, "t", 1, 1, "torn")])
    with pytest.raises(OperatorError, match=r"no longer keeps the rejected record 4\.0"):
        read_batch(reject, [])


def test_what_was_sent_again_is_known_by_log_source_and_place() -> None:
    receipts = ReceiptCodec("0" * 36, "a log")
    known = {derive_key_name("resend", 1, "a log 4.0"): 30}

    def stored(names: Sequence[bytes]) -> dict[bytes, int]:
        return {name: known[name] for name in names if name in known}

    assert find_resent_receipts(stored, receipts, 1, ["4.0", "4.7"]) == {
        "4.0": receipts.encode(Receipt(1, 30, 1))
    }
    assert find_resent_receipts(stored, receipts, 2, ["4.0"]) == {}
    assert find_resent_receipts(stored, ReceiptCodec("0" * 36, "another log"), 1, ["4.0"]) == {}
