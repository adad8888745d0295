"""Cases 17 to 83 of import-api.md that need no HTTP, by their numbers, and what surrounds them."""

import copy
import json as stdlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.records import push as room
from treadle.records.field_check import UNKNOWN_CHARACTERS_MAX, KeyAllowance
from treadle.records.json_decoder import BOM
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.records.partial_decode import LARGE_BODY_BYTES
from treadle.records.record_reader import extract_texts, read_records

CLIENT = 4321
REC: dict[str, Any] = {
    "client_id": CLIENT,
    "table_name": "customers",
    "sequence": 1565880017,
    "action": "upsert",
    "key_names": ["id"],
    "data": {"id": 1, "name": "Finn"},
}
MALFORMED = "Malformed json in the body!"
NOT_AN_ARRAY = {"status": "ERROR", "message": "An array of records is expected"}
BLANK = ["can't be blank"]


def rec(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(REC), **changes}


def without(name: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in rec(**changes).items() if key != name}


def body(*records: Any) -> bytes:
    return stdlib.dumps(records).encode()


def accept(text: bytes, account_id: int = CLIENT) -> list[MessageBatch]:
    return room.check_body(room.decode_body(text, transit=False), account_id)


def refusal(text: bytes, account_id: int = CLIENT) -> tuple[int, Any]:
    with pytest.raises(RequestRefusedError) as caught:
        accept(text, account_id)
    return caught.value.status, caught.value.body


def e422(*reasons: Any) -> tuple[int, Any]:
    return 422, {
        "status": "ERROR",
        "error": "Request cannot be processed; see errors.",
        "errors": [{"reason": reason} for reason in reasons],
    }


def test_case_17_one_record() -> None:
    [batch] = accept(body(REC))
    assert batch == MessageBatch(
        table_name="customers",
        key_names=("id",),
        form="json",
        schema=b"",
        bookmark_names=(),
        sequences=[1565880017],
        versions=0,
        extracted=None,
        activations=[],
        data=b'[{"id": 1, "name": "Finn"}]',
    )
    assert len(batch) == 1
    assert decode_batch(encode_batch(batch)) == batch


def test_case_18_two_tables() -> None:
    customers, orders = accept(body(REC, rec(table_name="orders", data={"id": 2}), REC))
    assert (customers.table_name, read_records(customers)) == (
        "customers",
        [REC["data"], REC["data"]],
    )
    assert (orders.table_name, read_records(orders)) == ("orders", [{"id": 2}])


@pytest.mark.parametrize(
    ("record", "versions"),
    [
        (rec(table_version=1), 1),
        (rec(table_version=0, namespace=None), 0),
        (rec(table_version=None), 0),
        (rec(namespace="event_tracking"), 0),
        (rec(namespace={"any": [1]}), 0),
        (rec(client_id="4321"), 0),
        (rec(client_id="004321"), 0),
        (rec(sequence=2**63 - 1), 0),
        (rec(sequence=0), 0),
        (rec(sequence=-(2**63)), 0),
        (rec(key_names=["id", "name"]), 0),
        (rec(key_names=["id", "id"]), 0),
        (rec(key_names=[]), 0),
        (rec(key_names=[], data={}), 0),
        (rec(data={"id": "a" * 1024}), 0),
        (rec(data={"id": "\U0001f600" * 1024}), 0),
        (rec(data={"id": {"a": 1}}), 0),
    ],
)
def test_cases_22_to_32_accepted(record: dict[str, Any], versions: int) -> None:
    [batch] = accept(body(record))
    assert batch.sequences == [record["sequence"]]
    assert batch.versions == versions
    assert batch.key_names == tuple(record["key_names"])
    assert read_records(batch) == [record["data"]]


def test_case_25_activation_alone() -> None:
    view = {
        "client_id": CLIENT,
        "action": "switch_view",
        "table_name": "customers",
        "table_version": 2,
        "sequence": 5,
    }
    for record in (view, {**view, "sequence": 0, "namespace": None}):
        [batch] = accept(body(record))
        assert batch.activations == [(0, 2)]
        assert (batch.table_name, batch.key_names, batch.sequences) == ("customers", (), [])
        assert (read_records(batch), decode_batch(encode_batch(batch))) == ([], batch)


def test_activations_keep_their_place() -> None:
    def view(version: int, table: str = "customers") -> dict[str, Any]:
        return {
            "client_id": CLIENT,
            "action": "switch_view",
            "table_name": table,
            "table_version": version,
            "sequence": 1,
        }

    other_key = rec(key_names=["name"], table_version=4)
    first, second, orders = accept(
        body(view(1), REC, view(2), rec(table_version=3), view(3), other_key, view(4), view(9, "o"))
    )
    assert (first.activations, first.versions) == ([(0, 1), (1, 2), (2, 3)], [0, 3])
    assert (second.activations, second.versions) == ([(1, 4)], 4)
    assert (first.key_names, second.key_names) == (("id",), ("name",))
    assert (orders.table_name, orders.activations, len(orders)) == ("o", [(0, 9)], 0)


def test_case_33_and_62_number_of_records() -> None:
    one = body(REC)[1:-1]
    [batch] = accept(b"[" + b",".join([one] * 20_000) + b"]")
    assert len(batch) == 20_000
    status, answer = refusal(b"[" + b",".join([one] * 20_001) + b"]")
    assert status == 400
    assert answer == {
        "status": "ERROR",
        "message": "The batch contains more than 20000 records",
    }


def test_cases_35_and_36_data_stays_as_sent() -> None:
    data = (
        '{ "id":1,\n "big":123456789012345678901234567890, "d":0.1000, "é":"\\u00e9é",'
        ' "nested":{"a":[{"b":1}]} }'
    )
    text = (
        '[ {"data": ' + data + ' , "key_names":["id"],"action":"upsert","sequence":1,'
        '"table_name":"t\\u0065","client_id":4321} ]'
    ).encode()
    [batch] = accept(text)
    assert batch.table_name == "te"
    assert batch.data == b"[" + data.encode() + b"]"
    assert extract_texts(batch, [0]) == [data]
    [record] = read_records(batch)
    assert record["big"] == 123456789012345678901234567890
    assert str(read_records(batch, exact=True)[0]["d"]) == "0.1000"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            without("client_id"),
            (401, {"status": "ERROR", "error": "Not Authenticated.", "errors": None}),
        ),
        (
            rec(client_id=9999),
            (
                403,
                {
                    "status": "ERROR",
                    "error": "Forbidden",
                    "errors": {"error": "Access token is not associated with this client."},
                },
            ),
        ),
        (without("table_name"), e422({"table_name": BLANK})),
        (rec(table_name="  "), e422({"table_name": BLANK})),
        (rec(table_name=None), e422({"table_name": BLANK})),
        (rec(table_name=5), e422({"table_name": ["should be a string"]})),
        (
            rec(table_name="é" * 1025),
            e422({"table_name": ["cannot be longer than 1024 characters"]}),
        ),
        (
            without("data", action="switch_view", table_version=1, table_name="é" * 1025),
            e422({"table_name": ["cannot be longer than 1024 characters"]}),
        ),
        (without("sequence"), e422({"sequence": BLANK})),
        (
            rec(sequence="100"),
            e422({"sequence": ["should be a number", "should be an integer"]}),
        ),
        (rec(sequence=1.5), e422({"sequence": ["should be an integer"]})),
        (rec(sequence=1.0), e422({"sequence": ["should be an integer"]})),
        (
            rec(sequence=2**63),
            e422({"sequence": ["should be less than or equal to 9223372036854775807"]}),
        ),
        (
            rec(sequence=-(2**63) - 1),
            e422({"sequence": ["should be greater than or equal to -9223372036854775808"]}),
        ),
        (without("action"), e422({"action": BLANK})),
        (rec(action="insert"), e422({"action": ["must be one of: switch_view, upsert"]})),
        (rec(action=5), e422({"action": ["must be one of: switch_view, upsert"]})),
        (without("data"), e422({"data": ["data must be an object"]})),
        (rec(data=[1]), e422({"data": ["data must be an object"]})),
        (rec(data="x"), e422({"data": ["data must be an object"]})),
        (rec(data=None), e422({"data": ["data must be an object"]})),
        (rec(data={"name": "Finn"}), e422({"data": ["data must include keys"]})),
        (rec(data={"id": None}), e422({"data": ["keys cannot not be null in data"]})),
        (
            rec(key_names=["id", "x"], data={"id": None}),
            e422({"data": ["data must include keys", "keys cannot not be null in data"]}),
        ),
        (without("key_names"), e422({"key_names": BLANK})),
        (rec(key_names="id"), e422({"key_names": ["should be an array of strings"]})),
        (rec(key_names=[1]), e422({"key_names": ["should be an array of strings"]})),
        (
            without("key_names", key_properties=["id"]),
            e422({"key_names": BLANK, "key_properties": ["unknown key"]}),
        ),
        (rec(foo=1), e422({"foo": ["unknown key"]})),
        (rec(**{"k" * 1025: 1}), e422({"k" * 1024 + "...": ["unknown key"]})),
        (
            rec(data={"id": "a" * 1025}),
            e422({"data": ["String keys cannot be longer than 1024 characters"]}),
        ),
        (
            without("table_name", sequence="x"),
            e422({"table_name": BLANK, "sequence": ["should be a number", "should be an integer"]}),
        ),
        (
            rec(data={"id": 1, **{f"f{n}": n for n in range(10_000)}}),
            e422({"data": ["data cannot contain more than 10000 data points"]}),
        ),
        (
            rec(data={"id": [[1, None]] * 5_001}),
            e422({"data": ["data cannot contain more than 10000 data points"]}),
        ),
    ],
)
def test_cases_41_to_83_refused(record: dict[str, Any], expected: tuple[int, Any]) -> None:
    assert refusal(body(record)) == expected


@pytest.mark.parametrize("transit", [False, True])
@pytest.mark.parametrize("count", [20, 40], ids=["small", "large"])
def test_unknown_keys_of_many_records_take_a_bounded_part_of_the_answer(
    count: int, transit: bool
) -> None:
    """A large body is read in another way than a small one: records of Transit in parts."""
    sent = without("action", **{f"{number:030}": 0 for number in range(1000)})
    packed = ["^ ", *(each for pair in {**sent, "data": ["^ ", "id", 1]}.items() for each in pair)]
    text = body(*[packed if transit else sent] * count)
    assert (len(text) > LARGE_BODY_BYTES) is (count == 40)
    with pytest.raises(RequestRefusedError) as caught:
        room.check_body(room.decode_body(text, transit=transit), CLIENT)
    answer: Any = caught.value.body
    reasons = [one["reason"] for one in answer["errors"]]
    assert len(reasons) == count
    assert all(reason["action"] == BLANK for reason in reasons)
    named = [list(reason)[1:] for reason in reasons]
    every = [f"{number:030}" for number in range(1000)]
    assert named[:21] == [every] * min(count, 21)
    assert named[22:] == [every[:1]] * max(0, count - 22)
    assert len(encode_json(answer)) < UNKNOWN_CHARACTERS_MAX + count * 200


def test_an_allowance_is_spent_by_what_the_answer_takes() -> None:
    allowance = KeyAllowance(100)
    assert list(allowance.choose_names("ab")) == ["a", "b"]
    assert list(allowance.choose_names(["a" * 61, "b"])) == ["a" * 61]
    assert list(allowance.choose_names(["b", "c"])) == ["b"]
    assert list(allowance.choose_names(["k" * 65])) == ["k" * 64 + "..."]
    assert list(allowance.choose_names([])) == []


@pytest.mark.parametrize(
    ("version", "messages"),
    [
        ("1", ["should be a number", "should be an integer"]),
        (True, ["should be a number", "should be an integer"]),
        (1.5, ["should be an integer"]),
        (2**63, ["should be less than or equal to 9223372036854775807"]),
        (-1, ["should be greater than or equal to 0"]),
    ],
)
def test_table_version(version: Any, messages: list[str]) -> None:
    assert refusal(body(rec(table_version=version))) == e422({"table_version": messages})


def test_activation_needs_a_version() -> None:
    view = {
        "client_id": CLIENT,
        "action": "switch_view",
        "table_name": "t",
        "sequence": 1,
        "table_version": None,
    }
    assert refusal(body(view)) == e422({"table_version": BLANK})
    del view["table_version"]
    assert refusal(body(view)) == e422({"table_version": BLANK})


def test_case_45_several_clients() -> None:
    expected = e422(
        "The batch contains data points for multiple clients. Only client_id 4321 is allowed"
    )
    assert refusal(body(REC, rec(client_id=9999))) == expected
    assert refusal(body(REC, without("client_id"))) == expected
    assert refusal(body(REC, rec(client_id=9999), rec(foo=1))) == expected


def test_record_that_is_no_object() -> None:
    assert refusal(body("x")) == e422("record must be an object")
    assert refusal(body(REC, [REC])) == e422("record must be an object")


def test_case_82_one_reason_a_record() -> None:
    assert refusal(body(without("table_name"), REC, rec(data={}))) == e422(
        {"table_name": BLANK}, {"data": ["data must include keys"]}
    )


@pytest.mark.parametrize("text", [b"{}", body(REC)[1:-1], b'"x"', b"[]", b"1", b"null", b"1e400"])
def test_cases_46_to_50_no_array(text: bytes) -> None:
    assert refusal(text) == (400, NOT_AN_ARRAY)


@pytest.mark.parametrize(
    "text",
    [
        b'[{"a":1]',
        b"",
        body(rec(data={"id": 1, "x": float("nan")})),
        body(rec(data={"id": 1, "x": float("-inf")})),
        b"[" * 200_000,
        body(REC).replace(b"Finn", b"\xff"),
        body(REC).replace(b"Finn", b"\xed\xa0\x80"),
        body(REC).replace(b"Finn", b"\x00"),
        body(REC).replace(b'"Finn"', b"9" * 5000),
        body(REC).replace(b'"Finn"', b"-" + b"9" * 4300),
        body(REC).replace(b'"Finn"', b"[" * 255 + b"]" * 255),
        body(REC).replace(b'"Finn"', b'{"a":' * 600 + b"1" + b"}" * 600),
        body(REC) + b"x",
        2 * BOM + body(REC),
        2 * BOM + b"[{}]",
    ],
)
def test_cases_51_to_55_malformed(text: bytes) -> None:
    status, answer = refusal(text)
    assert (status, answer["status"], answer["message"]) == (400, "ERROR", MALFORMED)
    assert answer["error"]
    assert answer["input"] is None
    assert list(answer) == ["status", "message", "error", "input"]


@pytest.mark.parametrize(
    ("piece", "value"),
    [
        (b'"\\ud800"', "�"),
        (b'"\\ud800\\u0041 \\\\ud800 \\ud83d\\ude00"', "�A \\ud800 \U0001f600"),
        (b"9" * 4300, int("9" * 4300)),
        (b'"' + b"9" * 5000 + b'"', "9" * 5000),
        (b"0." + b"9" * 5000, 1.0),
        (b'"\\u0000"', "\0"),
        (b"1" + b"0" * 308 + b".0", 1e308),
    ],
)
def test_values_that_need_a_second_look(piece: bytes, value: Any) -> None:
    data = b'{"id":1,"v":' + piece + b"}"
    text = body(REC, rec(data="DATA"), REC).replace(b'"DATA"', data)
    for mark in (b"", b"\xef\xbb\xbf"):
        [batch] = accept(mark + text)
        assert read_records(batch)[1] == {"id": 1, "v": value}
        assert extract_texts(batch, [1, 0]) == [data.decode(), '{"id": 1, "name": "Finn"}']


def test_nesting_up_to_the_limit() -> None:
    text = body(REC).replace(b'"Finn"', b"[" * 253 + b"]" * 253)
    [batch] = accept(text)
    assert batch.data[1:-1] in text


def test_last_of_duplicate_keys_wins() -> None:
    text = body(REC).replace(b'"id": 1', b'"id": null, "id": 7')
    assert read_records(accept(text)[0]) == [{"id": 7, "name": "Finn"}]
    text = body(REC).replace(b'"id": 1', b'"id": 7, "id": null')
    assert refusal(text) == e422({"data": ["keys cannot not be null in data"]})
    text = body(REC).replace(b'"data"', b'"data": {"id": "\\ud800"}, "data"')
    [batch] = accept(text)
    assert batch.data == b'[{"id": 1, "name": "Finn"}]'


def test_number_beyond_a_double_keeps_its_literal() -> None:
    [batch] = accept(body(REC).replace(b'"Finn"', b"[1e400,-1E400,1.5]"))
    for exact in (False, True):
        great, small, usual = read_records(batch, exact=exact)[0]["name"]
        assert (great.literal, small.literal, usual) == ("1e400", "-1E400", 1.5)


# --- both ways agree ------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
odd = st.sampled_from([None, True, 1.5, "", " ", "x", "4321", [], ["id"], [1], {}, {"id": 1}, 9999])
records = st.fixed_dictionaries(
    {
        "client_id": st.just(CLIENT) | st.just("4321") | st.just(CLIENT) | odd,
        "table_name": st.sampled_from(["a", "b"]) | odd,
        "sequence": st.integers(-5, 5) | odd,
        "action": st.just("upsert") | st.just("upsert") | st.just("switch_view") | odd,
        "key_names": st.just(["id"]) | st.just([]) | odd,
        "data": st.fixed_dictionaries({"id": st.integers()}, optional={"x": values}) | values,
    },
    optional={"table_version": st.integers(-1, 3) | odd, "namespace": odd, "foo": odd},
)
good = st.builds(
    lambda table, keys, sequence, data, version: rec(
        table_name=table, key_names=keys, sequence=sequence, data=data, table_version=version
    ),
    st.sampled_from(["a", "b"]),
    st.sampled_from([["id"], ["id", "x"], []]),
    st.integers(-(2**63), 2**63 - 1),
    st.fixed_dictionaries({"id": st.integers(0, 9), "x": values.filter(lambda v: v is not None)}),
    st.none() | st.integers(0, 3),
)


def outcome(push: room.PushBody) -> Any:
    try:
        return room.check_body(push, CLIENT)
    except RequestRefusedError as refused:
        return refused.status, refused.body


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(records | good, min_size=1, max_size=4) | st.lists(good, min_size=1, max_size=6))
def test_the_quick_way_and_the_general_way_agree(sent: list[Any]) -> None:
    text = body(*sent)
    pushed = room.decode_body(text, transit=False)
    general = room.PushBody(body=text)
    assert outcome(pushed) == outcome(general)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(good, min_size=1, max_size=6))
def test_every_record_comes_out_once_with_its_sequence(sent: list[dict[str, Any]]) -> None:
    batches = accept(body(*sent))
    out = [
        (batch.table_name, list(batch.key_names), sequence, data)
        for batch in batches
        for sequence, data in zip(batch.sequences, read_records(batch), strict=True)
    ]
    want = [(r["table_name"], r["key_names"], r["sequence"], r["data"]) for r in sent]
    for table in ("a", "b"):
        assert [row for row in out if row[0] == table] == [row for row in want if row[0] == table]
