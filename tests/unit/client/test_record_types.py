"""Values of Python arrive with their types: what JSON lacks is in a schema."""

import json
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from treadle.client.record_types import RecordValueError, describe_types, encode_records
from treadle.client.table_push import SequenceCounter, TablePush

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMESTAMP = {"type": ["null", "string"], "format": "date-time"}
DECIMAL = {"type": ["null", "string"], "format": "singer.decimal"}


def send(*records: dict[str, Any]) -> tuple[Any, list[Any]]:
    """The properties of the schema, and the records as they arrive."""
    schema = describe_types(records)
    found = [json.loads(raw) for raw in encode_records(records, schema)]
    return None if schema is None else schema["properties"], found


def test_plain_values_need_no_schema() -> None:
    record = {"i": 1, "f": 1.5, "s": "x", "b": True, "n": None, "l": [1, {"a": "b"}], "o": {}}
    assert send(record) == (None, [record])


def test_times_and_decimals_have_types_wherever_they_are() -> None:
    properties, (first, second) = send(
        {"at": NOON, "p": Decimal("1.50"), "o": {"at": NOON}, "l": [{"p": Decimal(2)}, {}]},
        {"at": None, "p": 3, "l": None},
    )
    assert properties == {
        "at": TIMESTAMP,
        "p": DECIMAL,
        "o": {"type": ["null", "object"], "properties": {"at": TIMESTAMP}},
        "l": {
            "type": ["null", "array"],
            "items": {"type": ["null", "object"], "properties": {"p": DECIMAL}},
        },
    }
    noon = "2026-01-01T12:00:00Z"
    assert first == {"at": noon, "p": "1.50", "o": {"at": noon}, "l": [{"p": "2"}, {}]}
    assert second == {"at": None, "p": "3", "l": None}


def test_a_time_without_a_zone_is_in_utc_and_others_keep_their_instant() -> None:
    _, (first, second) = send(
        {"at": NOON.replace(tzinfo=None)}, {"at": NOON.astimezone(timezone(timedelta(hours=2)))}
    )
    assert datetime.fromisoformat(first["at"]) == datetime.fromisoformat(second["at"]) == NOON


def test_mixed_and_other_types_are_text() -> None:
    key = uuid.UUID(int=1)
    properties, found = send(
        {"x": NOON, "u": key, "d": date(2026, 1, 2), "b": b"a"}, {"x": "soon", "d": Decimal(1)}
    )
    assert properties is None
    assert found == [
        {"x": "2026-01-01T12:00:00Z", "u": str(key), "d": "2026-01-02", "b": "YQ=="},
        {"x": "soon", "d": "1"},
    ]


def test_a_value_that_cannot_be_sent_is_named_with_its_record() -> None:
    with pytest.raises(
        RecordValueError, match=r"Record 2 cannot be sent as JSON: .* object has no"
    ):
        send({"a": 1}, {"a": object()})


def test_requests_are_cut_by_records_and_bytes_with_growing_sequences() -> None:
    begun = TablePush("t", ["id"], None, None, SequenceCounter())
    first = list(begun.make_batches([{"id": n} for n in range(5)], 2))
    second = list(begun.make_batches([{"id": n, "x": "y" * 100} for n in range(4)], 9, 250))
    assert [(batch.start, batch.end, batch.first) for batch in [*first, *second]] == [
        (0, 2, 1),
        (2, 4, 3),
        (4, 5, 5),
        (5, 7, 6),
        (7, 9, 8),
    ]
    sequences = [one for batch in [*first, *second] for one in batch.sequences]
    assert sequences == sorted(set(sequences))


def test_the_sequence_may_be_a_field() -> None:
    begun = TablePush("t", ["id"], None, "at", SequenceCounter())
    (batch,) = begun.make_batches([{"at": 7}, {"at": -5}], 9)
    assert batch.sequences == [7, -5]
    with pytest.raises(RecordValueError, match="Record 4: the sequence field 'at' is to be"):
        list(begun.make_batches([{"at": 1}, {"at": "x"}], 9))
    with pytest.raises(TypeError, match="key is a list of field names"):
        TablePush("t", "id", None, None, SequenceCounter())
