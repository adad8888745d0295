"""What rejected records are called, and what the log holds of them."""

from collections.abc import Sequence

import pytest

from treadle.errors import OperatorError
from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.tracking.idempotency import derive_key_name
from treadle.tracking.receipts import Receipt, ReceiptCodec
from treadle.tracking.rejects import (
    RejectedRecord,
    find_resent_receipts,
    format_reject_id,
    parse_reject_id,
    read_batch,
)

RANGE = "integer out of range for PostgreSQL on 9"


@pytest.mark.parametrize(
    "name",
    [
        *("", "4", "4.", ".1", "4.1.2", "a.b", "-4.1", "4.-1", "\u0664.1", f"{10**18}.0"),
        *("0-4.1", "01-4.1", "1--4.1", "99999-4.1", "1-4", "1-2-4.1"),
    ],
)
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(OperatorError, match="names no rejected record"):
        parse_reject_id(name)


@pytest.mark.parametrize(
    ("name", "place"),
    [("1042.0", (0, 1042, 0)), ("3-1042.7", (3, 1042, 7)), ("12-1.0", (12, 1, 0))],
)
def test_a_name_is_a_place(name: str, place: tuple[int, int, int]) -> None:
    assert parse_reject_id(name) == place
    assert format_reject_id(parse_reject_id(name)) == name


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
