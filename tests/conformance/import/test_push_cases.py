"""import-api.md 18 B and C: what push accepts and what it refuses."""

import gzip
import json
from typing import Any

from tests.servers.cases import (
    FOREIGN,
    NO_ARRAY,
    NOT_ACTIVE,
    NOT_AUTHENTICATED,
    OK,
    REC,
    Case,
    e422,
    env,
    malformed,
    parameters,
    rec,
    run,
)
from tests.servers.ingest import UNKNOWN_TOKEN, ImportServer

PUSH = "/v2/import/push"


def switch_view(**fields: Any) -> dict[str, Any]:
    message = {"client_id": 4321, "action": "switch_view", "table_name": "customers"}
    return message | fields


def of_size(size: int) -> bytes:
    """A push of exactly so many bytes."""
    frame = json.dumps([rec(data={"id": 1, "text": ""})]).encode()
    return frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')


def swapped(record: dict[str, Any]) -> bytes:
    text = json.dumps(dict(reversed(record.items())), indent=3)
    text = text.replace("Finn", "Finn é \\u00e9 \\ud83d\\ude00")
    return f" [\n{text}\t]\r\n".encode()


def accepted(number: str, body: Any, **more: Any) -> Case:
    return Case(number, body, 201, OK, **more)


ACCEPTED = [
    accepted("17", [rec()]),
    accepted("18", [rec(), rec(table_name="orders", data={"id": 2})]),
    accepted("19", [rec()], content_type="application/json;charset=utf-8"),
    accepted("20", [rec()], content_type="Application/JSON; charset=UTF-8"),
    accepted("22", [rec(table_version=1)]),
    accepted("23", [rec(table_version=0, namespace=None)]),
    accepted("24", [rec(namespace="event_tracking")]),
    accepted("25", [switch_view(table_version=2, sequence=5)]),
    accepted("26", [switch_view(table_version=2, sequence=0, namespace=None)]),
    accepted("27", [rec(client_id="4321")]),
    accepted("28", [rec(sequence=9223372036854775807)]),
    accepted("29", [rec(sequence=0)]),
    accepted("29-negative", [rec(sequence=-5)]),
    accepted("30", [rec(key_names=["id", "name"])]),
    accepted("31", [rec(key_names=[])]),
    accepted("32", [rec(data={"id": "a" * 1024})]),
    accepted("33", [rec(data={"id": i}) for i in range(20_000)]),
    accepted("34", of_size(19_900_000)),
    accepted("34-limit", of_size(20_971_520)),
    accepted(
        "35",
        b'[{"client_id":4321,"table_name":"customers","sequence":1,"action":"upsert","key_names":'
        b'["id"],"data":{"id":1,"big":123456789012345678901234567890,"d":0.1000,'
        b'"nested":{"a":[{"b":1}]}}}]',
    ),
    accepted("36", swapped(REC)),
]


@parameters(ACCEPTED)
def test_push_accepts(server: ImportServer, case: Case) -> None:
    before = server.accepted()
    run(server, PUSH, case)
    assert server.accepted() == before + (2 if case.number == "18" else 1)


def test_21_lower_case_scheme_and_header(server: ImportServer) -> None:
    headers = {"authorization": f"bearer {server.token}"}
    run(server, PUSH, accepted("21", [rec()], token=None, headers=headers))


def test_24_data_lands_in_the_tokens_source(server: ImportServer) -> None:
    source_id, server.own_token = server.make_source("namespaced")  # type: ignore[attr-defined]
    run(server, PUSH, accepted("24", [rec(namespace="event_tracking")], token="own_token"))
    (batch,) = server.batches(source_id)
    assert (batch.table_name, batch.sequences) == ("customers", [1565880017])


def test_what_is_logged_is_what_was_sent(server: ImportServer) -> None:
    source_id, server.own_token = server.make_source("exact")  # type: ignore[attr-defined]
    body = (
        b'[{"client_id":4321,"table_name":"t","sequence":7,"action":"upsert","key_names":["id"],'
        b'"table_version":3,"data":{"id":1,"d":0.1000,"big":123456789012345678901234567890}}]'
    )
    run(server, PUSH, accepted("", body, token="own_token"))
    (batch,) = server.batches(source_id)
    assert batch.data == b'[{"id":1,"d":0.1000,"big":123456789012345678901234567890}]'
    assert (batch.key_names, batch.sequences, batch.versions) == (("id",), [7], 3)


def unsupported(content_type: str) -> dict[str, str]:
    message = (
        f"Unsupported content-type {content_type}. "
        "Please send application/json or application/transit+json"
    )
    return {"status": "ERROR", "message": message}


def too_large(body: Any) -> bool:
    message: str = body["message"]
    return (
        list(body) == ["status", "message"]
        and body["status"] == "ERROR"
        and message.startswith("Request rejected: request size (")
        and message.endswith(" bytes) exceeds the maximum")
    )


def about(field: str) -> Any:
    def check(body: Any) -> bool:
        (error,) = body["errors"]
        return list(error["reason"]) == [field]

    return check


MULTIPLE = "The batch contains data points for multiple clients. Only client_id 4321 is allowed"
BLANK = ["can't be blank"]
SEQUENCE = {"sequence": ["should be an integer", "should be a number"]}
WIDE = {"id": 1} | {f"f{i}": i for i in range(10_000)}

REFUSED = [
    Case("37", [rec()], 401, NOT_AUTHENTICATED, token=None),
    Case(
        "38",
        [rec()],
        401,
        NOT_AUTHENTICATED,
        token=None,
        headers={"Authorization": f"Bearer {UNKNOWN_TOKEN}"},
    ),
    Case("39", [rec()], 401, NOT_AUTHENTICATED, token="revoked_token"),
    Case("40", [rec()], 401, NOT_AUTHENTICATED, token=None, headers={"Authorization": "Basic abc"}),
    Case("41", [rec("client_id")], 401, NOT_AUTHENTICATED),
    Case("42", [rec()], 401, NOT_ACTIVE, token="paused_token"),
    Case("42-deleted", [rec()], 401, NOT_ACTIVE, token="deleted_token"),
    Case("43", [rec()], 403, FOREIGN, token="other_token"),
    Case("44", [rec(client_id=9999)], 403, FOREIGN),
    Case("45", [rec(), rec(client_id=9999)], 422, e422(MULTIPLE)),
    Case("46", {}, 400, NO_ARRAY),
    Case("47", rec(), 400, NO_ARRAY),
    Case("48", "x", 400, NO_ARRAY),
    Case("49", env(), 400, NO_ARRAY),
    Case("50", [], 400, NO_ARRAY),
    Case("51", b'[{"a":1]', 400, malformed),
    Case("52", b"", 400, malformed),
    Case("53", json.dumps([rec()]).replace('"Finn"', "NaN").encode(), 400, malformed),
    Case("54", b"[" * 200_000, 400, malformed),
    Case("55", json.dumps([rec()]).encode().replace(b"Finn", b"\xff\xfe"), 400, malformed),
    Case("56", [rec()], 415, unsupported("text/plain"), content_type="text/plain"),
    Case("57", [rec()], 415, unsupported("application/xml"), content_type="application/xml"),
    Case(
        "58",
        [rec()],
        415,
        unsupported("application/transit+msgpack"),
        content_type="application/transit+msgpack",
    ),
    Case("59", [rec()], 415, unsupported(""), content_type=None),
    Case(
        "60",
        of_size(21_000_000),
        413,
        {
            "status": "ERROR",
            "message": "Request rejected: request size (21000000 bytes) exceeds the maximum",
        },
    ),
    Case(
        "61",
        gzip.compress(of_size(25_000_000)),
        413,
        too_large,
        headers={"Content-Encoding": "gzip"},
    ),
    Case("62", [rec()] * 20_001, 400, lambda body: body["status"] == "ERROR"),
    Case("63", [rec("table_name")], 422, e422({"table_name": BLANK})),
    Case("64", [rec(table_name="  ")], 422, e422({"table_name": BLANK})),
    Case("65", [rec(table_name=None)], 422, e422({"table_name": BLANK})),
    Case("66", [rec("sequence")], 422, e422({"sequence": BLANK})),
    Case("67", [rec(sequence="100")], 422, e422(SEQUENCE)),
    Case("68", [rec(sequence=1.5)], 422, e422({"sequence": ["should be an integer"]})),
    Case("69", [rec(sequence=9223372036854775808)], 422, about("sequence")),
    Case("70", [rec("action")], 422, e422({"action": BLANK})),
    Case(
        "71",
        [rec(action="insert")],
        422,
        e422({"action": ["must be one of: switch_view, upsert"]}),
    ),
    Case("72", [rec("data")], 422, e422({"data": ["data must be an object"]})),
    Case("73", [rec(data=[1])], 422, e422({"data": ["data must be an object"]})),
    Case("74", [rec(data="x")], 422, e422({"data": ["data must be an object"]})),
    Case("75", [rec(data={"name": "Finn"})], 422, e422({"data": ["data must include keys"]})),
    Case("76", [rec(data={"id": None})], 422, e422({"data": ["keys cannot not be null in data"]})),
    Case("77", [rec("key_names")], 422, e422({"key_names": BLANK})),
    Case(
        "78",
        [rec("key_names", key_properties=["id"])],
        422,
        e422({"key_names": BLANK, "key_properties": ["unknown key"]}),
    ),
    Case("79", [rec(foo=1)], 422, e422({"foo": ["unknown key"]})),
    Case(
        "80",
        [rec(data={"id": "a" * 1025})],
        422,
        e422({"data": ["String keys cannot be longer than 1024 characters"]}),
    ),
    Case(
        "81",
        [rec("table_name", sequence="x")],
        422,
        lambda body: [set(e["reason"]) for e in body["errors"]] == [{"table_name", "sequence"}],
    ),
    Case(
        "82",
        [rec("table_name"), rec(), rec(data={})],
        422,
        e422({"table_name": BLANK}, {"data": ["data must include keys"]}),
    ),
    Case("83", [rec(data=WIDE)], 422, about("data")),
    Case("nothing-is-an-object", [5], 422, e422("record must be an object")),
]


@parameters(REFUSED)
def test_push_refuses_and_keeps_nothing(server: ImportServer, case: Case) -> None:
    before = server.accepted()
    run(server, PUSH, case)
    assert server.accepted() == before
