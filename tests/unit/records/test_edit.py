"""A record of a batch as a batch of its own, edited or as it was."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import OperatorError
from treadle.records import push
from treadle.records.edit import RecordEdit, apply_edit
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.records.record_reader import read_records

SCHEMA = b'{"type":"object","properties":{"id":{"type":"integer"},"n":{"type":"number"}}}'


def batch(*records: bytes, keys: tuple[str, ...] = ("id",), schema: bytes = b"") -> MessageBatch:
    return MessageBatch(
        table_name="orders",
        key_names=keys,
        form="schema" if schema else "json",
        schema=schema,
        bookmark_names=("n",) if schema else (),
        sequences=list(range(5, 5 + len(records))),
        versions=list(range(len(records))) if not schema else 7,
        extracted=["2024-01-01T00:00:00Z"] * len(records) if schema else None,
        activations=[],
        data=b"[" + b",".join(records) + b"]",
    )


def test_an_unchanged_record_keeps_its_bytes_sequence_and_version() -> None:
    two = batch(b'{"id":1}', b'{"id": 2,\t"n":1.10000000000000000000001,"n":1e400}')
    made = apply_edit(two, 1)
    assert made.data == b'[{"id": 2,\t"n":1.10000000000000000000001,"n":1e400}]'
    assert (made.table_name, made.key_names, made.form) == ("orders", ("id",), "json")
    assert (made.sequences, made.versions) == ([6], 1)


def test_a_table_without_a_key() -> None:
    assert apply_edit(batch(b'{"a":1}', keys=()), 0).data == b'[{"a":1}]'


def test_a_record_with_a_schema_is_checked_against_it() -> None:
    sent = batch(b'{"id":1,"n":1.10}', schema=SCHEMA)
    made = apply_edit(sent, 0, RecordEdit(put={"x": b'"y"'}))
    assert made.data == b'[{"id":1,"n":1.10,"x":"y"}]'
    assert (made.form, made.schema, made.versions) == ("schema", SCHEMA, 7)
    assert (made.bookmark_names, made.extracted) == (("n",), ["2024-01-01T00:00:00Z"])
    with pytest.raises(OperatorError, match="did not conform to schema"):
        apply_edit(sent, 0, RecordEdit(put={"n": b'"y"'}))


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (RecordEdit(put={"a": b"[1, 2]"}), b'[{"id":1,"a":[1, 2],"b":"x"}]'),
        (RecordEdit(put={"c": b"null"}), b'[{"id":1,"a":1.10,"b":"x","c":null}]'),
        (RecordEdit(drop=frozenset(["a", "none"])), b'[{"id":1,"b":"x"}]'),
        (RecordEdit(put={"a": b"2"}, drop=frozenset(["b"])), b'[{"id":1,"a":2}]'),
        (RecordEdit(put={'q"\\': b"1"}), rb'[{"id":1,"a":1.10,"b":"x","q\"\\":1}]'),
        (RecordEdit(record=b' {"id":9}\n'), b'[{"id":9}]'),
        (RecordEdit(record=b'{"id":9,"a":1}', put={"a": b"2"}), b'[{"id":9,"a":2}]'),
    ],
)
def test_edits(edit: RecordEdit, expected: bytes) -> None:
    made = apply_edit(batch(b'{"id":1,"a":1.10,"b":"x"}'), 0, edit)
    assert (made.data, made.sequences) == (expected, [5])


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (RecordEdit(drop=frozenset(["id"])), "data must include keys"),
        (RecordEdit(put={"id": b"null"}), "keys cannot not be null"),
        (RecordEdit(put={"a": b"yes"}), "malformed"),
        (RecordEdit(put={"a": b"1,2"}), "trailing"),
        (RecordEdit(put={"a": b"[" * 300 + b"]" * 300}), "deeper"),
        (RecordEdit(record=b"[1]"), "a record is a JSON object"),
        (RecordEdit(record=b"{"), "truncated"),
        (RecordEdit(put={"a": b"[" + b"1," * 10_000 + b"1]"}), "10000 data points"),
    ],
)
def test_what_a_push_would_refuse_is_refused(edit: RecordEdit, why: str) -> None:
    with pytest.raises(OperatorError, match=why):
        apply_edit(batch(b'{"id":1}'), 0, edit)


def test_transit_keeps_the_types_that_json_has_not() -> None:
    body = (
        b'[["^ ","~:client_id",1,"~:table_name","t","~:sequence",3,"~:action","~:upsert",'
        b'"~:key_names",["id"],"~:data",["^ ","id",1,"at","~t2024-01-01T00:00:00Z","d","~f1.10"'
        b',"far","~m-99999999999999999","n","~n12345678901234567890123"]]]'
    )
    [sent] = push.check_body(push.decode_body(body, transit=True), 1)
    assert apply_edit(sent, 0) == sent
    made = apply_edit(
        sent, 0, RecordEdit(put={"z": b'"2024-01-01T00:00:00Z"'}, drop=frozenset(["far"]))
    )
    [before], [after] = read_records(sent), read_records(made)
    del before["far"]
    assert after == before | {"z": "2024-01-01T00:00:00Z"}
    assert list(map(type, after.values())) == [*map(type, before.values()), str]


def test_an_entry_of_an_earlier_treadle_with_one_element_more_is_read() -> None:
    """It said where a record was first that was sent again."""
    one = batch(b'{"id":1}')
    packed = encode_batch(one)
    for more in (b"\xa0", b"\xa34.0"):  # the text "", and "4.0"
        assert decode_batch(bytes([packed[0] + 1]) + packed[1:] + more) == one


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5), st.text(), values)
def test_a_field_is_put_and_the_others_stay(
    record: dict[str, object], name: str, value: object
) -> None:
    text = msgspec.json.encode(record)
    put = {name: msgspec.json.encode(value)}
    [made] = read_records(apply_edit(batch(text, keys=()), 0, RecordEdit(put=put)))
    assert made == record | {name: value}
