"""Which rejected records are meant, and how they are called."""

from collections.abc import Sequence

import pytest

from treadle.errors import OperatorFault
from treadle.ingest.receipt import Receipt, Receipts
from treadle.ingest.repeat import name_of
from treadle.ingest.resend import (
    Reject,
    Wanted,
    batch_of,
    named,
    place_of,
    rejects,
    sent_again,
)
from treadle.log.protocol import Damaged, Entry
from treadle.records.message import Batch, pack
from treadle.store.model import Outcome

COLLISION, RANGE = "Field collision on id", "integer out of range for PostgreSQL on 9"


class Kept:
    """Outcomes as the store keeps them."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = sorted(outcomes, key=lambda outcome: -outcome.position)

    def rejecting(
        self,
        *,
        source_id: int | None = None,
        table_name: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[Outcome, int]]:
        found = [
            (outcome, outcome.position * 10)
            for outcome in self._outcomes
            if source_id in (None, outcome.source_id)
            and table_name in (None, outcome.table_name)
            and (before is None or outcome.position < before)
        ]
        return found[:limit]


STORE = Kept(
    Outcome(4, 1, "orders", 0, ((0, COLLISION), (7, RANGE))),
    Outcome(9, 2, "orders", 3, ((2, RANGE),)),
    Outcome(12, 1, "people", 0, ((1, COLLISION),)),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), ["12.1", "9.2", "4.7", "4.0"]),
        (Wanted(source_id=1), ["12.1", "4.7", "4.0"]),
        (Wanted(table_name="orders"), ["9.2", "4.7", "4.0"]),
        (Wanted(reason="COLLISION"), ["12.1", "4.0"]),
        (Wanted(reason="100%"), []),
        (Wanted(since=90), ["12.1", "9.2"]),
        (Wanted(until=90), ["4.7", "4.0"]),
        (Wanted(source_id=1, reason="out of range", until=41), ["4.7"]),
    ],
)
def test_which_are_meant(wanted: Wanted, expected: list[str]) -> None:
    assert [reject.id for reject in rejects(STORE, wanted)] == expected


def test_more_entries_than_a_page() -> None:
    many = Kept(*(Outcome(n, 1, "t", 0, ((0, RANGE),)) for n in range(1, 2_501)))
    assert [reject.position for reject in rejects(many, Wanted())] == list(range(2_500, 0, -1))


def test_one_by_its_name() -> None:
    assert named(STORE, "4.7") == Reject(4, 7, 1, "orders", RANGE, 40)
    for name in ("4.1", "5.0", "3.0"):
        with pytest.raises(OperatorFault, match=f"no rejected record {name}"):
            named(STORE, name)


@pytest.mark.parametrize("name", ["", "4", "4.", ".1", "4.1.2", "a.b", "-4.1", "4.-1", "\u0664.1"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(OperatorFault, match="names no rejected record"):
        place_of(name)


def batch(data: bytes) -> Batch:
    return Batch("t", (), "json", b"", (), [1], 0, None, [], data)


def test_what_the_log_holds_of_it() -> None:
    reject = Reject(4, 0, 1, "t", RANGE, 0)
    kept = batch(b'[{"a":1}]')
    assert batch_of(reject, [Entry(4, 1, "t", 1, 1, pack(kept))]) == kept
    with pytest.raises(OperatorFault, match="its log entry is damaged: torn"):
        batch_of(reject, [Damaged(4, 1, "t", 1, 1, "torn")])
    with pytest.raises(OperatorFault, match=r"no longer keeps the rejected record 4\.0"):
        batch_of(reject, [])


class Stored:
    """Requests of some names, as the log knows them."""

    def __init__(self, names: dict[bytes, int]) -> None:
        self._names = names

    def stored(self, names: Sequence[bytes]) -> dict[bytes, int]:
        return {name: self._names[name] for name in names if name in self._names}


def test_what_was_sent_again_is_known_by_log_source_and_place() -> None:
    receipts = Receipts("0" * 36, "a log")
    log = Stored({name_of("resend", 1, "a log 4.0"): 30})
    assert sent_again(log, receipts, 1, ["4.0", "4.7"]) == {
        "4.0": receipts.write(Receipt(1, 30, 1))
    }
    assert sent_again(log, receipts, 2, ["4.0"]) == {}
    assert sent_again(log, Receipts("0" * 36, "another log"), 1, ["4.0"]) == {}
