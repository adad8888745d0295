"""Batches: bounded, complete, in order, with sequences that do not depend on how they are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.client.request_batch import (
    BatchTemplate,
    FormTemplate,
    PushTemplate,
    RequestBatch,
)
from treadle.record_files.batching import make_batches
from treadle.record_files.record_block import RecordBlock, RecordFileError
from treadle.record_files.record_check import RecordChecker

PLAIN = RecordChecker(("id",), None)


def raws(sizes: list[int]) -> list[bytes]:
    return [b'{"id":%d,"x":"%s"}' % (number, b"x" * size) for number, size in enumerate(sizes, 1)]


def cut(every: list[bytes], size: int, skipped: int = 0) -> list[RecordBlock]:
    """The records in chunks, the last of which is shorter."""
    return [
        RecordBlock(every[at : at + size], at + 1, range(at + 1, min(at + size, len(every)) + 1))
        for at in range(skipped, len(every), size)
    ]


@given(
    st.lists(st.integers(0, 300), max_size=60),
    st.integers(1, 20),
    st.integers(0, 2**62),
    st.integers(0, 30),
    st.integers(1, 70),
)
def test_every_record_is_in_one_batch_with_its_own_sequence(
    sizes: list[int], records_max: int, base: int, skipped: int, chunk: int
) -> None:
    every = raws(sizes)
    made = [
        list(
            make_batches(
                cut(every, size, skipped),
                PLAIN,
                base=base,
                start=skipped,
                records_max=records_max,
                bytes_max=500,
            )
        )
        for size in (chunk, 3)
    ]
    batches = made[0]
    assert [raw for batch in batches for raw in batch.raws] == every[skipped:]
    numbers = [sequence - base for batch in batches for sequence in batch.sequences]
    assert numbers == list(range(skipped, max(len(every), skipped)))
    end = skipped
    for batch in batches:
        assert (batch.start, batch.first) == (end, end + 1)
        assert batch.places.startswith(f"record {end + 1}")
        end += len(batch)
        assert batch.end == end
        assert 1 <= len(batch) <= records_max
        assert sum(map(len, batch.raws)) <= 500 or len(batch) == 1
    # Where a batch ends does not depend on how the file was read.
    assert [batch.end for batch in made[1]] == [batch.end for batch in batches]


@given(st.lists(st.integers(0, 300), min_size=1, max_size=40), st.integers(1, 9), st.data())
def test_who_goes_on_behind_a_batch_makes_the_same_batches(
    sizes: list[int], records_max: int, data: st.DataObject
) -> None:
    every = raws(sizes)

    def make(start: int) -> list[tuple[int, int]]:
        chunks = cut(every, 7, start)
        batches = make_batches(
            chunks, PLAIN, base=0, start=start, records_max=records_max, bytes_max=900
        )
        return [(batch.start, batch.end) for batch in batches]

    whole = make(0)
    at = data.draw(st.integers(0, len(whole) - 1))
    assert make(whole[at][0]) == whole[at:]


def test_sequences_come_from_the_field_that_is_named() -> None:
    chunk = RecordBlock([b'{"id":1,"at":%d}' % at for at in (30, 10, 20)], 1)
    (batch,) = make_batches([chunk], RecordChecker(("id",), "at"), base=0, start=0, records_max=10)
    assert batch.sequences == [30, 10, 20]


def test_records_before_a_bad_one_come_first() -> None:
    chunk = RecordBlock([*raws([1, 1]), b"{", *raws([1])], 1)
    made = make_batches([chunk], PLAIN, base=0, start=0, records_max=10)
    assert len(next(made)) == 2
    with pytest.raises(RecordFileError, match="Record 3 is not a JSON object"):
        next(made)


@given(st.text(min_size=1), st.lists(st.text(), max_size=3))
def test_a_body_is_an_import_api_push(table: str, keys: list[str]) -> None:
    found = raws([1, 2])
    batch = RequestBatch(found, [7, 8], 2)
    body = json.loads(PushTemplate(42, table, tuple(keys)).encode_body(batch))
    assert body == [
        {
            "client_id": 42,
            "table_name": table,
            "action": "upsert",
            "key_names": keys,
            "sequence": sequence,
            "data": json.loads(raw),
        }
        for sequence, raw in zip([7, 8], found, strict=True)
    ]


def test_a_body_with_a_schema_is_a_batch() -> None:
    found = raws([1, 2])
    schema = {"properties": {"id": {"type": "integer"}}}
    batch = RequestBatch(
        found, [7, 8], 2, schema=json.dumps(schema).encode(), times=[b'"2026-01-01T00:00:00Z"', b""]
    )
    template = BatchTemplate("t", ("id",), version=3, bookmarks=("x",))
    messages = [
        {"action": "upsert", "sequence": sequence, "data": json.loads(raw)}
        for sequence, raw in zip([7, 8], found, strict=True)
    ]
    messages[0]["time_extracted"] = "2026-01-01T00:00:00Z"
    head = {
        "table_name": "t",
        "key_names": ["id"],
        "table_version": 3,
        "bookmark_names": ["x"],
    }
    assert json.loads(template.encode_body(batch)) == {
        **head,
        "schema": schema,
        "messages": messages,
    }
    assert json.loads(template.encode_activation(9)) == {
        **head,
        "schema": {},
        "messages": [{"action": "activate_version", "sequence": 9}],
    }


def test_a_push_is_sent_only_without_a_schema_and_with_a_client_id() -> None:
    plain, typed = RequestBatch([b"{}"], [1], 1), RequestBatch([b"{}"], [1], 1, schema=b"{}")
    assert FormTemplate(7, "t", ("id",)).choose(plain) == PushTemplate(7, "t", ("id",))
    assert FormTemplate(7, "t", ("id",)).choose(typed) == BatchTemplate("t", ("id",))
    assert FormTemplate(None, "t", ()).choose(plain) == BatchTemplate("t", ())


def test_a_batch_says_where_it_is_and_can_be_halved() -> None:
    batch = RequestBatch(raws([1, 1, 1]), [5, 6, 7], 13, 3, [3, 5, 6], "a.csv")
    assert batch.places == "record 3 of a.csv to record 5 of a.csv (line 6)"
    first, second = batch.select(0, 1), batch.select(1, 3)
    assert first.places == "record 3 of a.csv"
    assert second.places == "record 4 of a.csv (line 5) to record 5 of a.csv (line 6)"
    assert [*first.sequences, *second.sequences] == [5, 6, 7]
    assert ((first.start, first.end), (second.start, second.end)) == ((10, 11), (11, 13))
