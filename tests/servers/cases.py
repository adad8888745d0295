"""Values and comparisons that the conformance cases of import-api.md 18 speak of."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.servers.ingest import Answer, ImportServer

OK = {"status": "OK", "message": "Batch Accepted!"}
VALID = {"status": "OK", "message": "Batch is valid!"}
NOT_AUTHENTICATED = {"status": "ERROR", "error": "Not Authenticated.", "errors": None}
NOT_ACTIVE = {"error": "Forbidden", "errors": {"error": "Connection is not active."}}
FOREIGN = {
    "status": "ERROR",
    "error": "Forbidden",
    "errors": {"error": "Access token is not associated with this client."},
}
NO_ARRAY = {"status": "ERROR", "message": "An array of records is expected"}

REC: dict[str, Any] = {
    "client_id": 4321,
    "table_name": "customers",
    "sequence": 1565880017,
    "action": "upsert",
    "key_names": ["id"],
    "data": {"id": 1, "name": "Finn"},
}
MSG: dict[str, Any] = {
    "action": "upsert",
    "sequence": 1565880017,
    "data": {"id": 1, "name": "Finn", "age": 15, "has_magic": False},
}
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
    "messages": [MSG],
    "key_names": ["id"],
}


def rec(without: str | None = None, **fields: Any) -> dict[str, Any]:
    """`rec - without + {fields}`."""
    return {name: value for name, value in (REC | fields).items() if name != without}


def msg(without: str | None = None, **fields: Any) -> dict[str, Any]:
    """`msg - without + {fields}`."""
    return {name: value for name, value in (MSG | fields).items() if name != without}


def env(without: str | None = None, **fields: Any) -> dict[str, Any]:
    """`env - without + {fields}`."""
    return {name: value for name, value in (ENV | fields).items() if name != without}


def env_of(*messages: dict[str, Any]) -> dict[str, Any]:
    """`env[messages]`: an envelope with these messages alone."""
    return env(messages=list(messages))


def env_data(*data: Any) -> dict[str, Any]:
    """`env[data d]`: one message for each."""
    return env_of(*[msg(data=value) for value in data])


def env_schema(schema: Any, *data: Any) -> dict[str, Any]:
    """`env[schema s, data d]`, without key names."""
    return env("key_names", schema=schema, messages=[msg(data=value) for value in data])


def e422(*reasons: Any) -> dict[str, Any]:
    """`E422(r)`."""
    return {
        "status": "ERROR",
        "error": "Request cannot be processed; see errors.",
        "errors": [{"reason": reason} for reason in reasons],
    }


def err(text: str) -> dict[str, Any]:
    """`ERR(t)`; white space inside is collapsed on both sides."""
    return {"error": text}


Check = Callable[[Any], bool]


@dataclass(frozen=True)
class Case:
    """One request and what must come back.

    Attributes:
        number: of the case; several requests of one case are told apart by a letter.
        body: bytes, or a value sent as JSON.
        expected: a JSON value, a text, or a check of the JSON value.
        token: attribute of the server; None sends no Authorization.
    """

    number: str
    body: Any
    status: int
    expected: Any
    content_type: str | None = "application/json"
    token: str | None = "token"
    headers: Mapping[str, str] = field(default_factory=dict)


def parameters(cases: list[Case]) -> pytest.MarkDecorator:
    """For `pytest.mark.parametrize`: ids are the numbers of the cases."""
    numbers = [case.number for case in cases]
    assert len(set(numbers)) == len(numbers), "two cases have one number"
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.number) for case in cases])


def run(server: ImportServer, path: str, case: Case) -> Answer:
    """Send the case's request and compare the answer."""
    headers = dict(case.headers)
    if case.token is not None:
        headers.setdefault("Authorization", f"Bearer {getattr(server, case.token)}")
    if case.content_type is not None:
        headers["Content-Type"] = case.content_type
    body = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    answer = server.send("POST", path, body, headers)
    compare(answer, case.status, case.expected)
    return answer


def compare(answer: Answer, status: int, expected: Any) -> None:
    """The status, the body, and the rules that hold for every answer (import-api.md 4)."""
    assert answer.status == status, answer.body
    names = [name for name, _ in answer.headers]
    assert len(set(names)) == len(names), f"a header is sent twice: {names}"
    if isinstance(expected, str):
        assert answer.body.decode() == expected
        assert (answer.header("content-type") or "").startswith("text/plain")
        return
    assert answer.header("content-type") == "application/json;charset=UTF-8"
    found = answer.json()
    assert answer.body == json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()
    if callable(expected):
        assert expected(found), found
    else:
        assert _collapsed(found) == _collapsed(expected)


def _collapsed(body: Any) -> Any:
    """White space of `error` collapsed (10.3); lists of messages in one order (7.3)."""
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        body = body | {"error": re.sub(r"\s+", " ", body["error"]).strip()}
    if isinstance(body, dict) and isinstance(body.get("errors"), list):
        for error in body["errors"]:
            if isinstance(error["reason"], dict):
                error["reason"] = {name: sorted(said) for name, said in error["reason"].items()}
    return body


def malformed(body: Any) -> bool:
    """What case 51 expects."""
    return (
        list(body) == ["status", "message", "error", "input"]
        and body["status"] == "ERROR"
        and body["message"] == "Malformed json in the body!"
        and isinstance(body["error"], str)
        and len(body["error"]) > 0
        and body["input"] is None
    )
