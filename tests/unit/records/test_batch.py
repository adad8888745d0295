"""Cases 106 to 184 of import-api.md that need no HTTP, by their numbers."""

import copy
import json as stdlib
from collections.abc import Callable
from typing import Any

import pytest

from treadle.errors import RequestRefusedError
from treadle.records import batch as room
from treadle.records.json_decoder import BOM
from treadle.records.message_batch import MessageBatch, decode_batch, encode_batch
from treadle.records.record_reader import extract_texts, read_records

ENV: dict[str, Any] = {
    "table_name": "customers",
    "schema": {
        "properties": {
            "id": {"type": "integer"},
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "has_magic": {"type": "boolean"},
            "modified_at": {"type": "string", "format": "date-time"},
        }
    },
    "messages": [
        {
            "action": "upsert",
            "sequence": 1565880017,
            "data": {"id": 1, "name": "Finn", "age": 15, "has_magic": False},
        }
    ],
    "key_names": ["id"],
}
MSG: dict[str, Any] = ENV["messages"][0]
UNNAMED: Any = object()
AT = "2020-01-14T00:00:00Z"


def env(*messages: Any, schema: Any = UNNAMED, data: Any = UNNAMED, **changes: Any) -> Any:
    value = copy.deepcopy(ENV)
    if messages:
        value["messages"] = list(messages)
    if data is not UNNAMED:
        value["messages"][0]["data"] = data
    if schema is not UNNAMED:
        value["schema"] = schema
        del value["key_names"]
    value.update(changes)
    return value


def minus(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key != name}


def text(value: Any) -> bytes:
    return stdlib.dumps(value).encode()


def accept(body: bytes) -> MessageBatch:
    """What the endpoint makes of a body; its quick look and the two steps say the same."""
    assert outcome(room.read_body, body) == outcome(
        lambda sent: room.check_body(room.decode_body(sent)), body
    )
    [batch] = room.read_body(body)
    return batch


def outcome(judge: Callable[[bytes], list[MessageBatch]], body: bytes) -> object:
    try:
        return judge(body)
    except RequestRefusedError as refused:
        return refused.status, refused.body


def error(value: Any) -> str:
    with pytest.raises(RequestRefusedError) as caught:
        accept(value if isinstance(value, bytes) else text(value))
    assert caught.value.status == 400
    assert isinstance(caught.value.body, dict)
    assert list(caught.value.body) == ["error"]
    return str(caught.value.body["error"])


def squeezed(value: Any) -> str:
    return " ".join(error(value).split())


def prop(schema: Any, value: Any, name: str = "a") -> Any:
    return env(schema={"properties": {name: schema}}, data={name: value})


def test_case_106_envelope() -> None:
    batch = accept(text(ENV))
    assert batch == MessageBatch(
        table_name="customers",
        key_names=("id",),
        form="schema",
        schema=text(ENV["schema"]),
        bookmark_names=(),
        sequences=[1565880017],
        versions=0,
        extracted=None,
        activations=[],
        data=b"[" + text(MSG["data"]) + b"]",
    )
    assert decode_batch(encode_batch(batch)) == batch


@pytest.mark.parametrize("value", [minus(ENV, "key_names"), env(key_names=[]), env(key_names=None)])
def test_cases_107_to_109_no_key(value: Any) -> None:
    assert accept(text(value)).key_names == ()


def test_cases_110_to_112_further_fields() -> None:
    batch = accept(text(env(table_version=1, bookmark_names=["modified_at"])))
    assert (batch.versions, batch.bookmark_names) == (1, ("modified_at",))
    at = "2020-01-14T00:00:00.123456Z"
    assert accept(text(env({**MSG, "time_extracted": at}))).extracted == [at]
    vintage = "2017-10-06T00:00:00+00:00"
    assert accept(text(env({**MSG, "vintage": vintage}, MSG))).extracted == [vintage, None]


@pytest.mark.parametrize(
    ("messages", "extracted"),
    [
        ([MSG, MSG], None),
        ([{**MSG, "time_extracted": AT}, MSG], [AT, None]),
        ([MSG, {**MSG, "vintage": AT}], [None, AT]),
        ([{**MSG, "time_extracted": "", "vintage": AT}], [AT]),
        ([{**MSG, "time_extracted": ""}], None),
    ],
)
def test_the_quick_look_takes_bodies_in_order(messages: Any, extracted: Any) -> None:
    body = text(env(*messages))
    assert room.read_fast(body) == [accept(body)]
    assert accept(body).extracted == extracted


def test_the_quick_look_leaves_activations_to_the_closer_one() -> None:
    activate = {"action": "activate_version", "sequence": 2}
    for messages in ([activate], [MSG, activate], [{**activate, "data": {}}, MSG]):
        assert room.read_fast(text(env(*messages))) is None


def test_cases_113_and_114_activations() -> None:
    activate = {"action": "activate_version", "sequence": 2}
    alone = accept(text(env(activate, table_version=2)))
    assert (alone.activations, len(alone), read_records(alone)) == ([(0, 2)], 0, [])
    batch = accept(text(env(activate, MSG, activate, table_version=2)))
    assert (batch.activations, batch.sequences) == ([(0, 2), (1, 2)], [1565880017])


@pytest.mark.parametrize(
    "value",
    [
        env(data={"id": 1, "extra": True}),
        env(data={"id": 1, "modified_at": "2020-01-13T21:25:03+0000"}),
        env(data={"id": 1, "modified_at": "2018-04-30T17:00:00Z"}),
        env(data={"id": 1, "modified_at": "2018-04-30T17:00:00.123456789Z"}),
        env(data={"id": 1, "modified_at": "2018-04-30T17:00:00-05:00"}),
        env(data={"id": 1, "modified_at": "2020-02-29T17:00:00Z"}),
        env(schema={"properties": {"n": {"type": ["null", "string"]}}}, data={"n": None}),
        env(schema={}, data={"x": 1}),
        env(schema={"field_1": "string"}, data={"x": 1}),
        prop({"type": "string", "format": "singer.decimal"}, "1234567890.123456789012345678"),
        prop({"type": "number", "multipleOf": 0.01}, 12345678901234.56),
        prop({"type": "number", "multipleOf": 0.01}, 0.07),
        env(data={"id": {"any": "object"}}, schema={"required": ["id"]}),
    ],
)
def test_cases_115_to_121_accepted(value: Any) -> None:
    assert read_records(accept(text(value))) == [value["messages"][0]["data"]]


@pytest.mark.slow
def test_case_122_number_of_messages() -> None:
    assert len(accept(text(env(*[MSG] * 20_000)))) == 20_000
    assert squeezed(env(*[MSG] * 20_001)) == (
        "Request failed validation:#/messages: expected maximum item count: 20000, found: 20001"
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":',
        b"",
        text(ENV).replace(b"15", b"NaN"),
        text(ENV).replace(b"Finn", b"\xff"),
        text(ENV).replace(b"15", b"9" * 5000),
        text(ENV).replace(b"15", b"[" * 254 + b"]" * 254),
        text(ENV).replace(b'"properties"', b'"x":' + b"[" * 255 + b"]" * 255 + b',"properties"'),
        b"[" * 200_000,
        2 * BOM + text(ENV),
    ],
)
def test_case_129_malformed(body: bytes) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        accept(body)
    assert caught.value.status == 400
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"] == "Malformed json in the body!"
    assert caught.value.body["input"] is None


def two_shapes(lines: str, index: int = 0) -> str:
    at = f"#/messages/{index}"
    return f"{at}: #: 0 subschemas matched instead of one " + lines.replace("@", at)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (minus(ENV, "table_name"), "#: required key [table_name] not found"),
        (minus(ENV, "schema"), "#: required key [schema] not found"),
        (minus(ENV, "messages"), "#: required key [messages] not found"),
        (
            {},
            (
                "#: 3 schema violations found #: required key [table_name] not found"
                " #: required key [schema] not found #: required key [messages] not found"
            ),
        ),
        ([], "#: expected type: JSONObject, found: JSONArray"),
        (env(foo=1), "#: extraneous key [foo] is not permitted"),
        (env(client_id=4321), "#: extraneous key [client_id] is not permitted"),
        (env(table_name=5), "#/table_name: expected type: String, found: Integer"),
        (env(table_name="é" * 1025), "#/table_name: expected maxLength: 1024, actual: 1025"),
        ({**ENV, "schema": []}, "#/schema: expected type: JSONObject, found: JSONArray"),
        (
            {**ENV, "messages": {}},
            "#/messages: expected type: JSONArray, found: JSONObject",
        ),
        (
            {**ENV, "messages": []},
            "#/messages: expected minimum item count: 1, found: 0",
        ),
        (env(key_names="id"), "#/key_names: expected type: JSONArray, found: String"),
        (env(key_names=[1]), "#/key_names/0: expected type: String, found: Integer"),
        (env(table_version="1"), "#/table_version: expected type: Number, found: String"),
        (env(table_version=None), "#/table_version: expected type: Number, found: Null"),
        (env(table_version=-1), "#/table_version: -1.0 is not higher or equal to 0"),
        (
            env(minus(MSG, "action")),
            two_shapes(
                "@: 2 schema violations found @: required key [action] not found"
                " @: extraneous key [data] is not permitted @: required key [action] not found"
            ),
        ),
        (
            env(minus(MSG, "sequence")),
            two_shapes(
                "@: 2 schema violations found @: required key [sequence] not found"
                " @: extraneous key [data] is not permitted"
                " @: required key [sequence] not found"
            ),
        ),
        (
            env(MSG, minus(MSG, "action")),
            two_shapes(
                "@: 2 schema violations found @: required key [action] not found"
                " @: extraneous key [data] is not permitted @: required key [action] not found",
                1,
            ),
        ),
        (env(minus(MSG, "data")), "#/messages/0: required key [data] not found"),
        (
            env({**MSG, "action": "insert"}),
            "#/messages/0/action: insert is not a valid enum value",
        ),
        (
            env({**MSG, "action": "activate_version"}),
            "#/messages/0/action: activate_version is not a valid enum value",
        ),
        (
            env({**MSG, "sequence": "1"}),
            two_shapes(
                "@: 2 schema violations found @/sequence: expected type: Number, found: String"
                " @: extraneous key [data] is not permitted"
                " @/sequence: expected type: Number, found: String"
            ),
        ),
        (
            env({**MSG, "data": []}),
            two_shapes(
                "@: extraneous key [data] is not permitted"
                " @/data: expected type: JSONObject, found: JSONArray"
            ),
        ),
        (
            env("x"),
            two_shapes(
                "@: expected type: JSONObject, found: String"
                " @: expected type: JSONObject, found: String"
            ),
        ),
        (
            env({**MSG, "sequence": 2**63}),
            "#: sequence can not be above 9223372036854775807",
        ),
        (
            env({**MSG, "sequence": -(2**63) - 1}),
            "#: sequence can not be below -9223372036854775808",
        ),
        (
            env({**MSG, "sequence": 1.0}),
            two_shapes(
                "@: 2 schema violations found @/sequence: expected type: Integer, found: Double"
                " @: extraneous key [data] is not permitted"
                " @/sequence: expected type: Integer, found: Double"
            ),
        ),
    ],
)
def test_cases_130_to_152_envelope(value: Any, expected: str) -> None:
    assert squeezed(value) == f"Request failed validation:{expected}"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"properties": {"id": {"type": "integerr"}}}, "unknown type: [integerr]"),
        ({"properties": {"id": {"type": ["null", "integerr"]}}}, "unknown type: [integerr]"),
        (
            {"properties": {"id": True}},
            "key null: expected type is one of JSONObject, found: Boolean",
        ),
        (
            {"properties": {"id": "integer"}},
            "key null: expected type is one of JSONObject, found: String",
        ),
        (
            {"properties": {"id": {"type": 5}}},
            "key type: expected type is one of JSONArray, String, found: Integer",
        ),
        (
            {"properties": {"id": {"type": None}}},
            "key type: expected type is one of JSONArray, String, found: Null",
        ),
        (
            {"properties": []},
            "key null: expected type is one of JSONObject, found: JSONArray",
        ),
        (
            {"items": "x"},
            "key items: expected type is one of JSONArray, JSONObject, found: String",
        ),
        ({"minimum": "1"}, "key minimum : expected type: Number , found : String"),
        (
            {"minimum": 1, "exclusiveMinimum": 5},
            "key exclusiveMinimum : expected type: Boolean , found : Integer",
        ),
        ({"$ref": "#/definitions/none"}, "$ref #/definitions/none leads to no schema"),
        (
            {"$ref": "http://example.com/"},
            "$ref http://example.com/ leads out of the schema; use # or #/...",
        ),
        ({"pattern": "("}, "( is not a regular expression of ECMA 262"),
        ({"required": "id"}, 'JSONObject["required"] is not a JSONArray.'),
        ({"required": [1]}, "JSONArray[0] not a string."),
        ({"$ref": "#"}, "$ref # leads to itself without end"),
        ({"allOf": [{"$ref": "#"}]}, "$ref # leads to itself without end"),
        (
            {
                "definitions": {
                    "a": {"not": {"$ref": "#/definitions/b"}},
                    "b": {"anyOf": [{"$ref": "#/definitions/a"}]},
                },
                "properties": {"x": {"$ref": "#/definitions/a"}},
            },
            "$ref #/definitions/a leads to itself without end",
        ),
        ({"anyOf": [1]}, "JSONArray[0] is not a JSONObject."),
        (
            {"anyOf": [], "oneOf": []},
            "expected at most 1 of 'allOf', 'anyOf', 'oneOf', 2 found",
        ),
        ({"multipleOf": 0}, "multipleOf is 0; nothing is a multiple of it"),
        ({"title": 5}, "key title : expected type: String , found : Integer"),
    ],
)
def test_cases_153_to_157_schema(schema: Any, expected: str) -> None:
    assert error(env(schema=schema)) == f"Invalid JSON schema: {expected}"


@pytest.mark.parametrize(
    "at",
    [
        "2018-04-30T17:00:00",
        "2018-04-30 17:00:00Z",
        "2018-04-30t17:00:00z",
        "2018-04-30T17:00:00.1234567890Z",
        "2018-04-30T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_every_date_time_that_loading_takes_is_accepted(at: str) -> None:
    assert len(accept(text(env(data={"id": 1, "modified_at": at})))) == 1


NOT_A_DATE_TIME = (
    "is not a valid date-time. Expected [yyyy-MM-dd'T'HH:mm:ssZ, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1,9}Z]"
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (env(data={"id": "1"}), "#/id: expected type: Number, found: String"),
        (env(data={"id": 1, "name": 5}), "#/name: expected type: String, found: Integer"),
        (env(data={"id": 1, "name": None}), "#/name: expected type: String, found: Null"),
        (env(data={"id": 1, "age": 1.5}), "#/age: expected type: Integer, found: Double"),
        (env(data={"id": 1, "age": 1.0}), "#/age: expected type: Integer, found: Double"),
        (
            env(data={"id": 1, "has_magic": "no"}),
            "#/has_magic: expected type: Boolean, found: String",
        ),
        *(
            (env(data={"id": 1, "modified_at": at}), f"#/modified_at: [{at}] {NOT_A_DATE_TIME}")
            for at in (
                "2018-04-30",
                "2018-04-30T17:00Z",
                "2019-02-29T17:00:00Z",
                "2018-04-30T17:00:00.Z",
            )
        ),
        (
            prop({"type": ["null", "string"]}, 5, "f"),
            (
                "#/f: #: no subschema matched out of the total 2 subschemas"
                " #/f: expected: null, found: Integer #/f: expected type: String, found: Integer"
            ),
        ),
        (
            prop({"type": ["string", "null"]}, 5, "f"),
            (
                "#/f: #: no subschema matched out of the total 2 subschemas"
                " #/f: expected type: String, found: Integer #/f: expected: null, found: Integer"
            ),
        ),
        (prop({"type": "null"}, 5, "n"), "#/n: expected: null, found: Integer"),
        (
            prop({"type": "array", "items": {"type": "integer"}}, [1, "x", 2, True]),
            (
                "#/a: 2 schema violations found #/a/1: expected type: Number, found: String"
                " #/a/3: expected type: Number, found: Boolean"
            ),
        ),
        (
            prop(
                {"properties": {"b": {"properties": {"c": {"type": "integer"}}}}},
                {"b": {"c": "x"}},
            ),
            "#/a/b/c: expected type: Number, found: String",
        ),
        (
            env(schema={"required": ["id", "email"]}, data={"id": 1}),
            "#: required key [email] not found",
        ),
        (
            env(schema={"additionalProperties": False, "properties": {}}, data={"x": 1}),
            "#: extraneous key [x] is not permitted",
        ),
        (
            env(
                schema={"type": ["null", "object"], "additionalProperties": False},
                data={"x": 1, "y": 2},
            ),
            (
                "#: #: no subschema matched out of the total 2 subschemas"
                " #: expected: null, found: JSONObject #: 2 schema violations found"
                " #: extraneous key [x] is not permitted #: extraneous key [y] is not permitted"
            ),
        ),
        (
            prop({"type": "integer", "minimum": 5}, 1),
            "#/a: 1.0 is not higher or equal to 5",
        ),
        (
            prop({"maximum": 5, "exclusiveMaximum": True}, 5),
            "#/a: 5.0 is not lower than 5",
        ),
        (
            prop({"type": ["null", "number"], "multipleOf": 0.00001}, 1.275888, "r"),
            (
                "#/r: #: no subschema matched out of the total 2 subschemas"
                " #/r: expected: null, found: Double #/r: 1.275888 is not a multiple of 1.0E-5"
            ),
        ),
        (
            prop({"type": "string", "maxLength": 2}, "abc"),
            "#/a: expected maxLength: 2, actual: 3",
        ),
        (
            prop({"type": "string", "pattern": "^x"}, "abc"),
            "#/a: string [abc] does not match pattern ^x",
        ),
        (prop({"enum": ["x", "y"]}, "abc"), "#/a: abc is not a valid enum value"),
        (prop({"enum": [1, 2]}, 1.0), "#/a: 1.0 is not a valid enum value"),
        (
            prop({"type": "integer"}, "x", "a/b"),
            "#/a~1b: expected type: Number, found: String",
        ),
        (
            prop({"oneOf": [{"type": "integer"}, {"type": "boolean"}]}, "x", "f"),
            (
                "#/f: #: 0 subschemas matched instead of one"
                " #/f: expected type: Number, found: String"
                " #/f: expected type: Boolean, found: String"
            ),
        ),
        (
            prop({"type": "string", "allOf": [{"minLength": 2}, {"maxLength": 3}]}, "x"),
            (
                "#/a: #: only 1 subschema matches out of 2"
                " #/a: #: only 1 subschema matches out of 2 #/a: expected minLength: 2, actual: 1"
            ),
        ),
        (
            prop({"oneOf": [{}, {}]}, "x"),
            "#/a: #: 2 subschemas matched instead of one",
        ),
        (prop({"uniqueItems": True}, [1, 1.0, 1]), "#/a: array items are not unique"),
        (
            prop({"not": {"type": "string"}}, "x"),
            '#/a: subject must not be valid against schema {"type":"string"}',
        ),
        (prop({"format": "email"}, "x"), "#/a: [x] is not a valid email address"),
        (prop({"format": "ipv4"}, "x"), "#/a: [x] is not a valid ipv4 address"),
        (prop({"format": "ipv6"}, "x"), "#/a: [x] is not a valid ipv6 address"),
        (prop({"format": "uri"}, "a b"), "#/a: [a b] is not a valid URI"),
        (prop({"format": "hostname"}, "-"), "#/a: [-] is not a valid hostname"),
        (prop({"minProperties": 2}, {"x": 1}), "#/a: minimum size: [2], found: [1]"),
        (prop({"maxProperties": 0}, {"x": 1}), "#/a: maximum size: [0], found: [1]"),
        (
            prop({"dependencies": {"x": ["y"], "z": {"required": ["q"]}}}, {"x": 1, "z": 1}),
            (
                "#/a: 2 schema violations found #/a: property [y] is required"
                " #/a: required key [q] not found"
            ),
        ),
        (
            prop({"patternProperties": {"^x": {"type": "null"}}}, {"x1": 1}),
            "#/a/x1: expected: null, found: Integer",
        ),
        (
            prop({"additionalProperties": {"type": "null"}}, {"x": 2**40}),
            "#/a/x: expected: null, found: Long",
        ),
        (
            prop({"items": [{"type": "null"}], "additionalItems": False}, [None, 1]),
            "#/a: expected: [1] array items, found: [2]",
        ),
        (
            env(
                schema={
                    "definitions": {"n": {"type": "integer", "maximum": 2**64}},
                    "properties": {"a": {"$ref": "#/definitions/n"}},
                },
                data={"a": 2**64 + 2**20},
            ),
            "#/a: 1.84467440737106E19 is not lower or equal to 18446744073709551616",
        ),
    ],
)
def test_cases_158_to_181_record(value: Any, expected: str) -> None:
    prefix = "Record 0 did not conform to schema:"
    assert squeezed(value) == f"{prefix} {expected}"


def test_line_breaks() -> None:
    assert error(env(data={"id": "1"})) == (
        "Record 0 did not conform to schema:\n#/id: expected type: Number, found: String\n"
    )


def test_cases_164_and_165_the_first_bad_record_is_named() -> None:
    bad = {**MSG, "data": {"id": 1, "name": 5}}
    assert squeezed(env(MSG, MSG, bad)).startswith("Record 2 did not conform")
    assert squeezed(env(MSG, bad, bad)).startswith("Record 1 did not conform")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (env(data={"name": "Finn"}), "id"),
        (
            env(schema={"properties": {"id": {"type": ["null"]}}}, data={"id": None})
            | {"key_names": ["id"]},
            "id",
        ),
        (env(key_names=["id", "code"]), "code"),
        (env({**MSG, "data": {}}, {**MSG, "data": {"id": "x"}}), "id"),
    ],
)
def test_cases_182_to_184_key(value: Any, key: str) -> None:
    assert error(value) == f"Record is missing key property {key}"


def test_data_points() -> None:
    data = {"id": 1, "many": list(range(9_999))}
    assert len(accept(text(env(data=data)))) == 1
    data["more"] = None
    assert error(env(data=data)) == "Record 0 cannot contain more than 10000 data points"


def test_data_stays_as_sent() -> None:
    data = '{ "id":1, "name":"\\ud800 é", "d":1.50, "huge":1e400 }'
    body = text(env(data="DATA")).replace(b'"DATA"', data.encode())
    for mark in (b"", b"\xef\xbb\xbf"):
        batch = accept(mark + body)
        assert extract_texts(batch, [0]) == [data]
        [record] = read_records(batch, exact=True)
        assert (record["name"], str(record["d"]), record["huge"].literal) == (
            "� é",
            "1.50",
            "1e400",
        )


def test_an_activation_has_no_time() -> None:
    for name in ("time_extracted", "vintage"):
        message = {"action": "activate_version", "sequence": 1, name: ""}
        assert "extraneous key" in squeezed(env(message))


def test_numbers_beyond_a_double_in_texts() -> None:
    body = text(prop({"enum": ["x"]}, ["HUGE"])).replace(b'"HUGE"', b"1e400")
    assert squeezed(body).endswith("#/a: [1e400] is not a valid enum value")
    body = text(prop({"multipleOf": 0.5, "maximum": 1}, "HUGE")).replace(b'"HUGE"', b"1e400")
    assert squeezed(body).endswith("#/a: 1e400 is not lower or equal to 1")
    body = text(prop({"multipleOf": "HUGE"}, 1)).replace(b'"HUGE"', b"1e400")
    assert squeezed(body).endswith("#/a: 1.0 is not a multiple of 1e400")


def test_long_key_values_are_taken() -> None:
    value = env(data={"id": "x" * 5_000}, schema={})
    assert accept(text(value | {"key_names": ["id"]})).key_names == ("id",)
