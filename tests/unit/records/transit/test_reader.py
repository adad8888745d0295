"""Transit: the vectors and cases 90 to 104 of import-api.md, and a round trip with a writer."""

import json as stdlib
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.errors import RequestRefusedError
from treadle.records import push
from treadle.records.json_decoder import HugeNumber, decode_slices
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.records.record_reader import extract_texts, read_records
from treadle.records.transit import reader
from treadle.records.transit.encoding import DistantInstant

FIRST = (
    '[["^ ","action","upsert","table_name","t_types","sequence",1,"data",["^ ","id",1,"s",'
    '"~~tilde","l","~i9007199254740992","n","~n9223372036854775807","whole",2.0,"d","~f10.50",'
    '"at","~m1578950703123","nested",["^ ","city","Ooo"],"tags",["a","b"]],"key_names",["id"],'
    '"client_id",4321],["^ ","^0","upsert","^1","t_seq","^2",100,"^3",["^ ","id",10,"status",'
    '"pending"],"^8",["id"],"^9",4321],["^ ","^0","upsert","^1","t_seq","^2",101,"^3",["^ ","id",'
    '10,"^:","canceled"],"^8",["id"],"^9",4321]]'
)
SECOND = (
    '[["^ ","sequence",1,"key_names",["id"],"data",["^ ","set",["~#set",["s1"]],"dec","~f10.50",'
    '"when","~m1578950703123","id",1],"namespace",null,"action","upsert","table_version",0,'
    '"table_name","people","client_id",4321],["^ ","^0",0,"^5",null,"^6","switch_view","^7",5,'
    '"^8","people","^9",4321]]'
)
AT = datetime(2020, 1, 13, 21, 25, 3, 123000, tzinfo=UTC)


def accept(body: str) -> list[MessageBatch]:
    batches = push.check_body(push.decode_body(body.encode(), transit=True), 4321)
    assert [decode_batch(encode_batch(batch)) for batch in batches] == batches
    return batches


def refusal(body: str | bytes) -> tuple[int, Any]:
    text = body if isinstance(body, bytes) else body.encode()
    with pytest.raises(RequestRefusedError) as caught:
        push.check_body(push.decode_body(text, transit=True), 4321)
    return caught.value.status, caught.value.body


def record(data: str, **changes: str) -> str:
    fields = {
        "client_id": "4321",
        "table_name": '"t"',
        "sequence": "1",
        "action": '"upsert"',
        "key_names": '["id"]',
        "data": data,
        **changes,
    }
    return '[["^ ",' + ",".join(f'"{name}",{value}' for name, value in fields.items()) + "]]"


def values(data: str) -> dict[str, Any]:
    [batch] = accept(record(data))
    [read_back] = read_records(batch)
    return read_back


def value(text: str) -> Any:
    return values(f'["^ ","id",1,"v",{text}]')["v"]


def test_case_92_first_vector() -> None:
    types, seq = accept(FIRST)
    assert (types.table_name, types.form, types.sequences) == ("t_types", "transit", [1])
    [row] = read_records(types)
    assert row == {
        "id": 1,
        "s": "~tilde",
        "l": 9007199254740992,
        "n": 9223372036854775807,
        "whole": 2.0,
        "d": Decimal("10.50"),
        "at": AT,
        "nested": {"city": "Ooo"},
        "tags": ["a", "b"],
    }
    assert [type(row[name]) for name in ("l", "whole", "d", "at")] == [
        int,
        float,
        Decimal,
        datetime,
    ]
    assert str(row["d"]) == "10.50"
    assert (seq.table_name, seq.sequences, seq.key_names) == ("t_seq", [100, 101], ("id",))
    assert read_records(seq) == [{"id": 10, "status": "pending"}, {"id": 10, "status": "canceled"}]
    assert extract_texts(types, [0]) == [
        (
            '{"id":1,"s":"~tilde","l":9007199254740992,"n":9223372036854775807,"whole":2.0,"d":10.50,'
            '"at":"2020-01-13T21:25:03.123000Z","nested":{"city":"Ooo"},"tags":["a","b"]}'
        )
    ]


def test_case_93_second_vector() -> None:
    [people] = accept(SECOND)
    assert (people.sequences, people.versions, people.activations) == ([1], 0, [(1, 5)])
    assert read_records(people) == [{"set": ["s1"], "dec": Decimal("10.50"), "when": AT, "id": 1}]


def test_case_94_plain_json() -> None:
    rec = {
        "client_id": 4321,
        "table_name": "customers",
        "sequence": 1565880017,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": 1, "name": "Finn", "big": 10**30},
    }
    [batch] = accept(stdlib.dumps([rec]))
    assert read_records(batch) == [rec["data"]]


def test_case_95_verbose() -> None:
    [batch] = accept(
        '[{"client_id":4321,"table_name":"t","sequence":1,"action":"upsert","key_names":["id"],'
        '"data":{"id":1,"at":"~t2020-01-13T21:25:03.123Z","set":{"~#set":[1,2]}}}]'
    )
    assert read_records(batch) == [{"id": 1, "at": AT, "set": [1, 2]}]


def test_case_96_tagged_sequence() -> None:
    [batch] = accept(record('["^ ","id",1]', sequence='"~i1595404799830780300"'))
    assert batch.sequences == [1595404799830780300]


def test_case_97_strings() -> None:
    row = values(
        '["^ ","id",1,"a","~:kw","b","~u531a379e-31bb-4ce1-8690-158dceb64be6","c","~^x",'
        '"d","~zNaN","e","~rhttp://x/y"]'
    )
    assert math.isnan(row.pop("d"))
    assert row == {
        "id": 1,
        "a": "kw",
        "b": "531a379e-31bb-4ce1-8690-158dceb64be6",
        "c": "^x",
        "e": "http://x/y",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"~m-2208988800000"', datetime(1900, 1, 1, tzinfo=UTC)),
        ('["~#m",1578950703123]', AT),
        ('["~#m","1578950703123"]', AT),
        ('["~#t","2020-01-13T21:25:03.123Z"]', AT),
        ('"~t2020-01-13T22:25:03.123+01:00"', AT),
        ('"~t2020-01-13 20:25:03.123-0100"', AT),
        ('"~t2020-01-13T21:25:03.1230004"', AT),
        ('"~t2016-12-31T23:59:60Z"', datetime(2017, 1, 1, tzinfo=UTC)),
        ('"~t2016-12-31T24:00:00Z"', datetime(2017, 1, 1, tzinfo=UTC)),
        ('"~t0000-03-01T00:00:00Z"', DistantInstant(-62162035200_000_000, "0000-03-01T00:00:00Z")),
        ('"~m999999999999999"', DistantInstant(999999999999999_000, "999999999999999")),
        ('"2020-01-13T21:25:03Z"', "2020-01-13T21:25:03Z"),
        ('["~#u",[-6000000000000000000,1]]', "acbbb7ca-13a8-0000-0000-000000000001"),
        ('"~u531A379E-31bb-4ce1-8690-158dceb64be6"', "531a379e-31bb-4ce1-8690-158dceb64be6"),
        ('"~$sym"', "sym"),
        ('"~cx"', "x"),
        ('"~baGk="', "aGk="),
        ('"~?t"', True),
        ('"~_"', None),
        ('"~zINF"', math.inf),
        ('"~z-INF"', -math.inf),
        ('"~d1.5"', 1.5),
        ('"~n-99999999999999999999"', -99999999999999999999),
        ('["~#list",[1,["~#set",[]]]]', [1, []]),
        ('["~#cmap",["~i5",1,"~:k",[2]]]', {"5": 1, "k": [2]}),
        ('["~#link",["^ ","href","~rhttp://x"]]', {"href": "http://x"}),
        ('["~#\'",5]', 5),
        ('["~#point",[1,2]]', [1, 2]),
        ('"~xother"', "other"),
        ('"~"', "~"),
        ('""', ""),
        ('"~`a"', "`a"),
        ('["^ ","~i5",1,"~?f",2,"~_",3,"~m1577836800000",4,"~zNaN",5,"~f1.50",6]',
         {"5": 1, "false": 2, "null": 3, "2020-01-01T00:00:00.000Z": 4, "NaN": 5, "1.50": 6}),
        ('["~:word","^6"]', ["word", "word"]),
    ],
)  # fmt: skip
def test_cases_98_and_100_values(text: str, expected: Any) -> None:
    got = value(text)
    assert (got, type(got)) == (expected, type(expected))


def test_numbers_beyond_a_double() -> None:
    for text, literal in (
        ('"~d1e400"', "1e400"),
        ("1e400", "1e400"),
        ('"~f1e9999999999999999999"', "1e9999999999999999999"),
    ):
        got = value(text)
        assert type(got) is HugeNumber
        assert got.literal == literal


def test_decimals_with_great_exponents() -> None:
    assert value('"~f1e5000000"').literal == "1e5000000"
    assert value('"~f1e-99999999999999999999"') == 0
    assert value('"~f0e5000000"') == 0
    assert str(value('"~f-1.50E+20"')) == "-1.50E+20"


def test_texts_say_what_json_cannot() -> None:
    [batch] = accept(
        record('["^ ","id",1,"a","~zNaN","b",["~z-INF"],"c","~m999999999999999","d",1e400]')
    )
    assert extract_texts(batch, [0]) == [
        '{"id":1,"a":"NaN","b":["-Infinity"],"c":"999999999999999","d":1e400}'
    ]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("~d09e999", "9e999"),
        ("~d+1e999", "1e999"),
        ("~d-007.50e999", "-7.50e999"),
        ("~f00.5e9999999999999999999", "0.5e9999999999999999999"),
    ],
)
def test_texts_of_numbers_as_json_would_not_write_them(sent: str, said: str) -> None:
    [batch] = accept(record(f'["^ ","id",1,"v","{sent}"]'))
    assert extract_texts(batch, [0]) == [f'{{"id":1,"v":{said}}}']


def test_case_99_more_names_than_the_cache_holds() -> None:
    rows = [{"id": 1, **{f"field{n}": n for n in range(2_000)}}] * 2
    [batch] = accept(write([rec_of(row) for row in rows]))
    assert read_records(batch) == rows


@pytest.mark.parametrize(
    "body",
    [
        '[["^ ","^5",1]]',
        '[["^ ","a"]]',
        '[["^ ",["a"],1]]',
        '["^"]',
        '["^5"]',
        '["^~~"]',
        '["^0000"]',
        '[["~#set",1]]',
        '[["~#set"]]',
        '[["~#set",[],[]]]',
        '[["~#cmap",[["a"],1]]]',
        '[["~#cmap",["a"]]]',
        '[["~#u",[1]]]',
        '["~#set"]',
        '["~ix"]',
        '["~i\uff11"]',
        '["~n1_0"]',
        '["~i' + "1" * 5_000 + '"]',
        '["~dNaN"]',
        '["~f"]',
        '["~znan"]',
        '["~m1.5"]',
        '["~t2020-02-30T00:00:00Z"]',
        '["~t2020-01-01T00:00:61Z"]',
        '["~tx"]',
        '["~u1"]',
        '["~?x"]',
        '["~_x"]',
        "",
        "[",
        "[" * 200_000,
        "[" * 257 + "]" * 257,
        b"\xff",
    ],
)
def test_cases_101_and_102_malformed(body: str | bytes) -> None:
    status, answer = refusal(body)
    assert (status, answer["status"]) == (400, "ERROR")
    assert answer["message"] == "Malformed transit in the body!"
    assert answer["error"]
    assert answer["input"] is None


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ('["~#cmap",[["a"],1]]', "/"),
        ('[["~#cmap",[["a"],1]]]', "/0"),
        ('[["^ ","id",1],["^ ","data",["^ ","tags",["~#cmap",[["^ "],1]]]]]', "/1/data/tags"),
        ('[{"id":1,"data":{"a b":[0,{"~#cmap":[["x"],1]}]}}]', "/0/data/a b/1"),
        ('[["~~x",["~#cmap",[[],1]]]]', "/0/1"),
        # The keys of the second are those of the first, and known.
        ('[["^ ","~:data",0],["^ ","^0",["~#cmap",[[],1]]]]', "/1/data"),
        # Codes of at most three characters are remembered as the keys of a map.
        ('[["^ ","abc",1,"d",2],["^ ","abc",1,"d",["~#cmap",[[],1]]]]', "/1/d"),
        (f'[{"0," * 5000}["~#cmap",[[],1]]]', "/5000"),
        (f'[[{"0," * 5000}["~#cmap",[[],1]]]]', "/0/5000"),
        ("[" * 20 + '["~#cmap",[[],1]]' + "]" * 20, "/" + "/".join("0" * 8) + "/..."),
        (f'{{"{"k" * 99}":{{"~#cmap":[[],1]}}}}', "/" + "k" * 40),
    ],
)
def test_a_key_that_no_table_can_hold_is_named_with_its_place(body: str, place: str) -> None:
    status, answer = refusal(body)
    assert (status, answer["message"]) == (400, "Malformed transit in the body!")
    kind = "an object" if '["^ "]' in body else "an array"
    assert answer["error"] == (
        f"the map at {place} has {kind} as a key, which cannot be stored: the name of a field is a"
        " text, a number or another scalar"
    )


def test_the_place_counts_all_records_of_a_large_body() -> None:
    record = '["^ ","id",1,"text","' + "x" * 200 + '"]'
    body = f'[{",".join([record] * 20_000)},["~#cmap",[[],1]]]'.encode()
    elements = decode_slices(body)
    with pytest.raises(RequestRefusedError) as refused:
        for _ in reader.decode_elements(elements, codes=False):
            pass
    assert "the map at /20000 " in str(refused.value)


def test_case_103_no_array() -> None:
    expected = (400, {"status": "ERROR", "message": "An array of records is expected"})
    assert refusal('{"x":1}') == expected
    assert refusal('["~#set",[]]') == expected
    assert refusal('["^ "]') == expected


def test_case_104_field_errors() -> None:
    def e422(reason: Any) -> tuple[int, Any]:
        body = {
            "status": "ERROR",
            "error": "Request cannot be processed; see errors.",
            "errors": [{"reason": reason}],
        }
        return 422, body

    blank = record('["^ ","id",1]', table_name="null")
    assert refusal(blank) == e422({"table_name": ["can't be blank"]})
    key = record('["^ ","id","~_"]')
    assert refusal(key) == e422({"data": ["keys cannot not be null in data"]})
    big = record('["^ ","id",1]', sequence='"~n9223372036854775808"')
    assert refusal(big) == e422(
        {"sequence": ["should be less than or equal to 9223372036854775807"]}
    )
    decimal = record('["^ ","id",1]', sequence='"~f1"')
    assert refusal(decimal) == e422({"sequence": ["should be an integer"]})
    instant = record('["^ ","id",1]', sequence='"~m1"')
    assert refusal(instant) == e422({"sequence": ["should be a number", "should be an integer"]})
    many = record('["^ ","id",1,"v",[' + ",".join("1" * 10_000) + "]]")
    assert refusal(many) == e422({"data": ["data cannot contain more than 10000 data points"]})


def test_envelope_keys_as_keywords() -> None:
    [batch] = accept(
        '[["^ ","~:client_id",4321,"~:table_name","t","~:sequence",1,"~:action","~:upsert",'
        '"~:key_names",["~:id"],"~:data",["^ ","~:id",7]],'
        '["^ ","^0",4321,"^1","t","^2",2,"^3","^4","^5",["^6"],"^7",["^ ","^6",8]]]'
    )
    assert (batch.key_names, read_records(batch)) == (("id",), [{"id": 7}, {"id": 8}])


# --- a writer, to read back what it writes --------------------------------------------------------


class Writer:
    """Writes compact Transit with caching, as import-api.md 12.2 describes it backwards."""

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}

    def text(self, text: str, *, is_key: bool) -> str:
        if len(text) < 4 or not (is_key or text[:2] in ("~:", "~$", "~#")):
            return text
        if text in self.codes:
            return self.codes[text]
        if len(self.codes) == 44 * 44:
            self.codes = {}
        high, low = divmod(len(self.codes), 44)
        self.codes[text] = "^" + (chr(48 + high) if high else "") + chr(48 + low)
        return text

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return "~" + value if value[:1] in ("~", "^", "`") else value
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return value if abs(value) < 2**53 else f"~n{value}"
        if isinstance(value, float):
            return value if math.isfinite(value) else f"~z{'INF' if value > 0 else '-INF'}"
        if isinstance(value, Decimal):
            return f"~f{value}"
        if isinstance(value, datetime):
            return f"~m{round(value.timestamp() * 1000)}"
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        written: list[Any] = ["^ "]
        for key, inner in value.items():
            escaped = "~" + key if key[:1] in ("~", "^", "`") else key
            written.append(self.text(escaped, is_key=True))
            written.append(self.value(inner))
        return written


def write(value: Any) -> str:
    return stdlib.dumps(Writer().value(value))


def rec_of(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "client_id": 4321,
        "table_name": "t",
        "sequence": 1,
        "action": "upsert",
        "key_names": [],
        "data": data,
    }


keys = st.text(max_size=6) | st.sampled_from(["~tilde", "^caret", "`tick", "same name", "other"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
        lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, fold=0)
    )
)
rows = st.dictionaries(
    keys,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=5,
)


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(rows, min_size=1, max_size=5))
def test_what_is_written_is_read(sent: list[dict[str, Any]]) -> None:
    [batch] = accept(write([rec_of(data) for data in sent]))
    got = read_records(batch)
    assert repr(got) == repr(sent)


def test_the_cache_begins_anew_below_a_known_shape() -> None:
    # The second record's keys are codes, and its first value changes what the codes stand for.
    names = [f"name{n}" for n in range(1_930)]
    sent = [
        {"aaaa": dict.fromkeys(names, 1), "bbbb": 2},
        {"aaaa": {f"other{n}": n for n in range(1_950)}, "bbbb": 3},
        {"aaaa": {"aaaa": 1, "bbbb": 2}, "bbbb": 4},
        {"aaaa": {"aaaa": 1, "bbbb": 2}, "bbbb": 5},
    ]
    assert reader.decode_transit(write(sent).encode()) == sent
