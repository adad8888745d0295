"""import-api.md 18 F and G: what batch accepts and what it refuses."""

import json
from typing import Any

from tests.servers.cases import (
    NOT_ACTIVE,
    OK,
    REC,
    Case,
    Check,
    env,
    env_data,
    env_of,
    env_schema,
    err,
    malformed,
    msg,
    parameters,
    run,
)
from tests.servers.ingest import UNKNOWN_TOKEN, ImportServer

BATCH = "/v2/import/batch"
ACTIVATE = {"action": "activate_version", "sequence": 2}


def accepted(number: str, body: Any, **more: Any) -> Case:
    return Case(number, body, 201, OK, **more)


def at(text: str) -> dict[str, Any]:
    return env_data({"id": 1, "modified_at": text})


AMOUNTS = (
    b'{"table_name":"t","schema":{"properties":{"n":{"type":"number","multipleOf":0.01}}},'
    b'"messages":[{"action":"upsert","sequence":1,"data":{"n":12345678901234.56}},'
    b'{"action":"upsert","sequence":2,"data":{"n":0.07}}]}'
)
DECIMAL = {"properties": {"n": {"type": "string", "format": "singer.decimal"}}}
NULLABLE = {"properties": {"n": {"type": ["null", "string"]}}}

ACCEPTED = [
    accepted("106", env()),
    accepted("107", env("key_names")),
    accepted("108", env(key_names=[])),
    accepted("109", env(key_names=None)),
    accepted("110", env(table_version=1, bookmark_names=["modified_at"])),
    accepted("111", env_of(msg(time_extracted="2020-01-14T00:00:00.123456Z"))),
    accepted("112", env_of(msg(vintage="2017-10-06T00:00:00+00:00"))),
    accepted("113", env(table_version=2, messages=[ACTIVATE])),
    accepted("114", env(table_version=2, messages=[ACTIVATE, msg(), ACTIVATE])),
    accepted("115", env_data({"id": 1, "extra": True})),
    accepted("116", at("2020-01-13T21:25:03+0000")),
    accepted("117-z", at("2018-04-30T17:00:00Z")),
    accepted("117-fraction", at("2018-04-30T17:00:00.123456789Z")),
    accepted("117-zone", at("2018-04-30T17:00:00-05:00")),
    accepted("118", env_schema(NULLABLE, {"n": None})),
    accepted("119-empty", env_schema({}, {"x": 1})),
    accepted("119-unknown", env_schema({"field_1": "string"}, {"x": 1})),
    accepted("120", env_schema(DECIMAL, {"n": "1234567890.123456789012345678"})),
    accepted("121", AMOUNTS),
    accepted("122", env_data(*[{"id": i} for i in range(20_000)])),
    accepted("123", env(), content_type="application/json; charset=utf-8"),
]


@parameters(ACCEPTED)
def test_batch_accepts(server: ImportServer, case: Case) -> None:
    before = server.accepted()
    run(server, BATCH, case)
    assert server.accepted() == before + 1


FAILED = "Request failed validation:"
BAD = "did not conform to schema:"


def one_of(pointer: str, *lines: str) -> dict[str, Any]:
    """The text of a message that fits neither of the two forms (10.6)."""
    said = [f"{FAILED}{pointer}: #: 0 subschemas matched instead of one"]
    return err(" ".join([*said, *[f"{pointer}{line}" for line in lines]]))


def lacks(name: str, index: int = 0) -> dict[str, Any]:
    return one_of(
        f"#/messages/{index}",
        ": 2 schema violations found",
        f": required key [{name}] not found",
        ": extraneous key [data] is not permitted",
        f": required key [{name}] not found",
    )


def envelope(text: str) -> dict[str, Any]:
    return err(FAILED + text)


def record(text: str, index: int = 0) -> dict[str, Any]:
    return err(f"Record {index} {BAD} {text}")


def schema(text: str) -> dict[str, Any]:
    return err(f"Invalid JSON schema: {text}")


def properties(**fields: Any) -> dict[str, Any]:
    return {"properties": fields}


def property_of(kind: Any) -> dict[str, Any]:
    """`env` with a schema whose property `id` is `kind`."""
    return env(schema=properties(id=kind))


def lines_of_173(body: Any) -> bool:
    lines = body["error"].split("\n")
    first = f"Record 0 {BAD}"
    return (
        lines[0] == first
        and lines[1:4]
        == [
            "#: #: no subschema matched out of the total 2 subschemas",
            "#: expected: null, found: JSONObject",
            "#: 2 schema violations found",
        ]
        and sorted(lines[4:])
        == [
            "",
            "#: extraneous key [x] is not permitted",
            "#: extraneous key [y] is not permitted",
        ]
    )


def last_line_of_176(body: Any) -> bool:
    lines: list[str] = body["error"].rstrip("\n").split("\n")
    return lines[-1] == "#/r: 1.275888 is not a multiple of 1.0E-5"


def large(size: int) -> bytes:
    body = json.dumps(env()).encode()
    return body.replace(b'"Finn"', b'"' + b"x" * (size - len(body) + 4) + b'"')


def refused(number: str, body: Any, expected: dict[str, Any] | Check, **more: Any) -> Case:
    return Case(number, body, 400, expected, **more)


NOT_AUTHORIZED = {"message": "Not Authorized"}
UNKNOWN = {"Authorization": f"Bearer {UNKNOWN_TOKEN}"}
EXPLICIT = "expected type is one of JSONObject, found:"
DATE = (
    "[2018-04-30] is not a valid date-time. Expected "
    "[yyyy-MM-dd'T'HH:mm:ssZ, yyyy-MM-dd'T'HH:mm:ss.[0-9]{1,9}Z]"
)
NUMBER = "expected type: Number, found: String"
TRANSIT = "application/transit+json"
TEXT_415 = "Content-Type must be application/json"
TOO_LARGE = {
    "status": "ERROR",
    "message": "Request rejected: request size (21000000 bytes) exceeds the maximum",
}

REFUSED = [
    Case("105", env(), 415, TEXT_415, content_type=TRANSIT),
    Case("124-none", env(), 401, NOT_AUTHORIZED, token=None),
    Case("124-unknown", env(), 401, NOT_AUTHORIZED, token=None, headers=UNKNOWN),
    Case("124-revoked", env(), 401, NOT_AUTHORIZED, token="revoked_token"),
    Case("125", env(), 401, NOT_ACTIVE, token="paused_token"),
    # There are no regions: a token of another server is one that nobody knows.
    Case("126", env(), 401, NOT_AUTHORIZED, token=None, headers=UNKNOWN),
    Case("127-text", env(), 415, TEXT_415, content_type="text/plain"),
    Case("127-none", env(), 415, TEXT_415, content_type=None),
    Case("128", large(21_000_000), 413, TOO_LARGE),
    refused("129", b'{"a":', malformed),
    refused("129-empty", b"", malformed),
    refused("130", env("table_name"), envelope("#: required key [table_name] not found")),
    refused("131", env("schema"), envelope("#: required key [schema] not found")),
    refused("132", env("messages"), envelope("#: required key [messages] not found")),
    refused(
        "133",
        {},
        envelope(
            "#: 3 schema violations found #: required key [table_name] not found "
            "#: required key [schema] not found #: required key [messages] not found"
        ),
    ),
    refused("134", [], envelope("#: expected type: JSONObject, found: JSONArray")),
    refused("135", env(foo=1), envelope("#: extraneous key [foo] is not permitted")),
    refused("136", env(client_id=4321), envelope("#: extraneous key [client_id] is not permitted")),
    refused(
        "137", env(table_name=5), envelope("#/table_name: expected type: String, found: Integer")
    ),
    refused(
        "137-empty",
        env(table_name=""),
        envelope(r"#/table_name: string [] does not match pattern \S"),
    ),
    refused(
        "137-blank",
        env(table_name=" \n"),
        envelope(r"#/table_name: string [ ] does not match pattern \S"),
    ),
    refused(
        "138", env(schema=[]), envelope("#/schema: expected type: JSONObject, found: JSONArray")
    ),
    refused(
        "139",
        env(messages={}),
        envelope("#/messages: expected type: JSONArray, found: JSONObject"),
    ),
    refused(
        "140", env(messages=[]), envelope("#/messages: expected minimum item count: 1, found: 0")
    ),
    refused(
        "141",
        env(key_names="id"),
        envelope("#/key_names: expected type: JSONArray, found: String"),
    ),
    refused(
        "142", env(key_names=[1]), envelope("#/key_names/0: expected type: String, found: Integer")
    ),
    refused(
        "143",
        env(table_version="1"),
        envelope("#/table_version: expected type: Number, found: String"),
    ),
    refused("144", env_of(msg("action")), lacks("action")),
    refused("145", env_of(msg("sequence")), lacks("sequence")),
    refused("146", env_of(msg(), msg("action")), lacks("action", 1)),
    refused("147", env_of(msg("data")), envelope("#/messages/0: required key [data] not found")),
    refused(
        "148",
        env_of(msg(action="insert")),
        envelope("#/messages/0/action: insert is not a valid enum value"),
    ),
    refused(
        "149",
        env_of(msg(sequence="1")),
        one_of(
            "#/messages/0",
            ": 2 schema violations found",
            f"/sequence: {NUMBER}",
            ": extraneous key [data] is not permitted",
            f"/sequence: {NUMBER}",
        ),
    ),
    refused(
        "150",
        env_of(msg(data=[])),
        one_of(
            "#/messages/0",
            ": extraneous key [data] is not permitted",
            "/data: expected type: JSONObject, found: JSONArray",
        ),
    ),
    refused(
        "151",
        env(messages=["x"]),
        one_of("#/messages/0", *[": expected type: JSONObject, found: String"] * 2),
    ),
    refused(
        "152",
        env_of(msg(sequence=9223372036854775808)),
        envelope("#: sequence can not be above 9223372036854775807"),
    ),
    refused("153", property_of({"type": "integerr"}), schema("unknown type: [integerr]")),
    refused("154", property_of({"type": ["null", "integerr"]}), schema("unknown type: [integerr]")),
    refused("155", property_of(True), schema(f"key null: {EXPLICIT} Boolean")),
    refused("156", property_of("integer"), schema(f"key null: {EXPLICIT} String")),
    refused(
        "157",
        property_of({"type": 5}),
        schema("key type: expected type is one of JSONArray, String, found: Integer"),
    ),
    refused("158", env_data({"id": "1"}), record(f"#/id: {NUMBER}")),
    refused(
        "159",
        env_data({"id": 1, "name": 5}),
        record("#/name: expected type: String, found: Integer"),
    ),
    refused(
        "160",
        env_data({"id": 1, "name": None}),
        record("#/name: expected type: String, found: Null"),
    ),
    refused(
        "161",
        env_data({"id": 1, "age": 1.5}),
        record("#/age: expected type: Integer, found: Double"),
    ),
    refused(
        "162",
        env_data({"id": 1, "has_magic": "no"}),
        record("#/has_magic: expected type: Boolean, found: String"),
    ),
    refused("163", at("2018-04-30"), record(f"#/modified_at: {DATE}")),
    refused(
        "164",
        env_data({"id": 1}, {"id": 2}, {"id": 3, "name": 5}),
        record("#/name: expected type: String, found: Integer", 2),
    ),
    refused(
        "165",
        env_data({"id": 1}, {"id": 2, "name": 5}, {"id": "3"}),
        record("#/name: expected type: String, found: Integer", 1),
    ),
    refused(
        "166",
        env_schema(properties(f={"type": ["null", "string"]}), {"f": 5}),
        record(
            "#/f: #: no subschema matched out of the total 2 subschemas "
            "#/f: expected: null, found: Integer #/f: expected type: String, found: Integer"
        ),
    ),
    refused(
        "167",
        env_schema(properties(f={"type": ["string", "null"]}), {"f": 5}),
        record(
            "#/f: #: no subschema matched out of the total 2 subschemas "
            "#/f: expected type: String, found: Integer #/f: expected: null, found: Integer"
        ),
    ),
    refused(
        "168",
        env_schema(properties(n={"type": "null"}), {"n": 5}),
        record("#/n: expected: null, found: Integer"),
    ),
    refused(
        "169",
        env_schema(
            properties(a={"type": "array", "items": {"type": "integer"}}), {"a": [1, "x", 2, True]}
        ),
        record(
            f"#/a: 2 schema violations found #/a/1: {NUMBER} "
            "#/a/3: expected type: Number, found: Boolean"
        ),
    ),
    refused(
        "170",
        env_schema(
            properties(a=properties(b=properties(c={"type": "integer"}))), {"a": {"b": {"c": "x"}}}
        ),
        record(f"#/a/b/c: {NUMBER}"),
    ),
    refused(
        "171",
        env_schema({"required": ["id", "email"]}, {"id": 1}),
        record("#: required key [email] not found"),
    ),
    refused(
        "172",
        env_schema({"additionalProperties": False}, {"x": 1}),
        record("#: extraneous key [x] is not permitted"),
    ),
    refused(
        "173",
        env_schema({"type": ["null", "object"], "additionalProperties": False}, {"x": 1, "y": 2}),
        lines_of_173,
    ),
    refused(
        "174",
        env_schema(properties(a={"type": "number", "minimum": 5}), {"a": 1}),
        record("#/a: 1.0 is not higher or equal to 5"),
    ),
    refused(
        "175",
        env_schema(
            properties(a={"type": "number", "maximum": 5, "exclusiveMaximum": True}), {"a": 5}
        ),
        record("#/a: 5.0 is not lower than 5"),
    ),
    refused(
        "176",
        env_schema(
            properties(r={"type": ["null", "number"], "multipleOf": 0.00001}), {"r": 1.275888}
        ),
        last_line_of_176,
    ),
    refused(
        "177",
        env_schema(properties(a={"type": "string", "maxLength": 2}), {"a": "abc"}),
        record("#/a: expected maxLength: 2, actual: 3"),
    ),
    refused(
        "178",
        env_schema(properties(a={"type": "string", "pattern": "^x"}), {"a": "abc"}),
        record("#/a: string [abc] does not match pattern ^x"),
    ),
    refused(
        "179",
        env_schema(properties(a={"enum": ["x", "y"]}), {"a": "abc"}),
        record("#/a: abc is not a valid enum value"),
    ),
    refused(
        "180",
        env_schema({"properties": {"a/b": {"type": "integer"}}}, {"a/b": "x"}),
        record(f"#/a~1b: {NUMBER}"),
    ),
    refused(
        "181",
        env_schema(properties(f={"oneOf": [{"type": "integer"}, {"type": "boolean"}]}), {"f": "x"}),
        record(
            f"#/f: #: 0 subschemas matched instead of one #/f: {NUMBER} "
            "#/f: expected type: Boolean, found: String"
        ),
    ),
    refused("182", env_data({"name": "Finn"}), err("Record is missing key property id")),
    refused(
        "183",
        env(schema=properties(id={"type": ["null", "integer"]}), messages=[msg(data={"id": None})]),
        err("Record is missing key property id"),
    ),
    refused("184", env(key_names=["id", "code"]), err("Record is missing key property code")),
    refused(
        "points",
        env_data({"id": 1} | {f"f{i}": i for i in range(10_000)}),
        err("Record 0 cannot contain more than 10000 data points"),
    ),
    refused("push-body", [REC], envelope("#: expected type: JSONObject, found: JSONArray")),
]


@parameters(REFUSED)
def test_batch_refuses_and_keeps_nothing(server: ImportServer, case: Case) -> None:
    """Case 185, for the log: what is not in it cannot be loaded."""
    before = server.accepted()
    run(server, BATCH, case)
    assert server.accepted() == before


def test_what_a_batch_leaves_in_the_log(server: ImportServer) -> None:
    source_id, server.batch_token = server.make_source("batches")  # type: ignore[attr-defined]
    body = env(table_version=2, messages=[ACTIVATE, msg(time_extracted="2020-01-14T00:00:00Z")])
    run(server, BATCH, accepted("", body, token="batch_token"))
    (batch,) = server.batches(source_id)
    assert (batch.table_name, batch.key_names, batch.form) == ("customers", ("id",), "schema")
    assert json.loads(batch.schema) == body["schema"]
    assert json.loads(batch.data) == [body["messages"][1]["data"]]
    assert (batch.sequences, batch.versions) == ([1565880017], 2)
    assert (batch.activations, batch.extracted) == ([(0, 2)], ["2020-01-14T00:00:00Z"])
