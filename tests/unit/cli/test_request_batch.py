"""Batches: bounded, complete, in order, with sequences that do not depend on how they are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.cli import request_batch as module
from treadle.cli.record_file import FileRecord, RecordFileError
from treadle.cli.request_batch import PushTemplate, RequestBatch, make_batches


def pieces(sizes: list[int], start: int = 0) -> list[FileRecord]:
    return [
        FileRecord(b'{"id":%d,"x":"%s"}' % (number, b"x" * size), "line", number, number)
        for number, size in enumerate(sizes, start + 1)
    ]


@given(
    st.lists(st.integers(0, 300), max_size=60),
    st.integers(1, 20),
    st.integers(0, 2**62),
    st.integers(0, 30),
)
def test_every_record_is_in_one_batch_with_its_own_sequence(
    sizes: list[int], records_max: int, base: int, skipped: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BYTES_MAX", 500)
        every = pieces(sizes)
        made = list(make_batches(every[skipped:], ("id",), None, base, skipped, records_max))
    assert [p for batch in made for p in batch.pieces] == every[skipped:]
    numbers = [sequence - base for batch in made for sequence in batch.sequences]
    assert numbers == list(range(skipped, max(len(every), skipped)))
    end = skipped
    for batch in made:
        end += len(batch.pieces)
        assert batch.end == end
        assert 1 <= len(batch.pieces) <= records_max
        assert sum(len(p.raw) for p in batch.pieces) <= 500 or len(batch.pieces) == 1


def test_sequences_come_from_the_field_that_is_named() -> None:
    found = [FileRecord(b'{"id":1,"at":%d}' % at, "line", at, 0) for at in (30, 10, 20)]
    (batch,) = make_batches(found, ("id",), "at", 0, 0, 10)
    assert batch.sequences == [30, 10, 20]


def test_records_before_a_bad_one_come_first() -> None:
    bad = FileRecord(b"{", "line", 3, 0)
    made = make_batches([*pieces([1, 1]), bad], ("id",), None, 0, 0, 10)
    assert len(next(made).pieces) == 2
    with pytest.raises(RecordFileError, match="line 3"):
        next(made)


@given(st.text(min_size=1), st.lists(st.text(), min_size=1, max_size=3))
def test_a_body_is_an_import_api_push(table: str, keys: list[str]) -> None:
    found = pieces([1, 2])
    body = json.loads(
        PushTemplate(42, table, tuple(keys)).encode_body(RequestBatch(found, [7, 8], 2))
    )
    assert body == [
        {
            "client_id": 42,
            "table_name": table,
            "action": "upsert",
            "key_names": keys,
            "sequence": sequence,
            "data": json.loads(piece.raw),
        }
        for sequence, piece in zip([7, 8], found, strict=True)
    ]


def test_a_batch_says_where_it_is_and_can_be_halved() -> None:
    batch = RequestBatch(pieces([1, 1, 1]), [5, 6, 7], 3)
    assert batch.places == "line 1 to line 3"
    first, second = batch.split_half(second=False), batch.split_half(second=True)
    assert (first.places, second.places) == ("line 1", "line 2 to line 3")
    assert [*first.sequences, *second.sequences] == [5, 6, 7]
