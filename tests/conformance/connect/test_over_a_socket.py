"""The six calls and what their objects mean, against a running server (connect-api.md 0, 3.1, 4).

Each runs with both surfaces. Answers are compared as bytes: the order of keys is part of them.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.servers.cases import FOREIGN, NOT_ACTIVE, NOT_AUTHENTICATED, OK
from tests.servers.treadle import Client, TreadleServer, eventually

JSON = "application/json;charset=UTF-8"
NOT_AUTHORIZED = {"message": "Not Authorized"}
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")

TOKEN_PROPERTY = """{
  "name": "token", "is_required": true, "is_credential": false, "system_provided": true,
  "property_type": "read_only", "json_schema": { "type": "string" }, "provided": PROVIDED,
  "tap_mutable": false
}"""
STEPS = """"steps": [
  { "type": "form", "properties": [FORM] },
  { "type": "fully_configured", "properties": [] }
]"""
TYPE = """{
  "type": "import_api", "current_step": STEP, "current_step_type": "STEP_TYPE", STEPS,
  "details": {
    "pricing_tier": "standard", "pipeline_state": "released", "default_start_date": "-1 year",
    "default_scheduling_interval": 60, "protocol": "import_api", "access": true,
    "image_version": "0.latest"
  },
  "upgrade_available": null
}"""
SOURCE = """{
  "properties": PROPERTIES,
  "updated_at": "UPDATED", "schedule": null, "check_job_name": null, "name": "NAME",
  "type": "import_api", "deleted_at": DELETED, "system_paused_at": null,
  "stitch_client_id": CLIENT, "paused_at": PAUSED, "id": SOURCE_ID,
  "display_name": "LABEL", "created_at": "CREATED",
  "report_card": {
    "type": "import_api", "current_step": 2, "current_step_type": "fully_configured", STEPS
  }
}"""


class Connect(Client):
    """One account's calls, and what the documents say of their answers."""

    surface: str

    @property
    def seed(self) -> bool:
        return self.surface == "seed"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's value, checked to be 200 and compact JSON."""
        answer = self.http.request(method, path, json=body, headers=self.account)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == JSON
        value = answer.json()
        assert answer.text == _compact(value)
        return value

    def documented_type(self) -> Any:
        """The card of the source type (2.4)."""
        card = TYPE.replace("STEPS", self._steps(provided=False))
        step, kind = (1, "form") if self.seed else (2, "fully_configured")
        return json.loads(card.replace("STEP_TYPE", kind).replace("STEP", str(step)))

    def documented_source(self, found: Any, label: str, tokens: dict[str, str]) -> Any:
        """A source (3.1), with what nobody can know beforehand taken from the answer."""
        for name in ("updated_at", "created_at"):
            assert INSTANT.fullmatch(found[name])
        for name in ("deleted_at", "paused_at"):
            assert found[name] is None or INSTANT.fullmatch(found[name])
        assert isinstance(found["id"], int)
        assert found["id"] > 0
        known = {
            "PROPERTIES": json.dumps({"token": tokens} if self.seed else {}),
            "UPDATED": found["updated_at"],
            "CREATED": found["created_at"],
            "DELETED": json.dumps(found["deleted_at"]),
            "PAUSED": json.dumps(found["paused_at"]),
            "CLIENT": str(self.client_id),
            "SOURCE_ID": str(found["id"]),
            "LABEL": label,
            "NAME": label.lower().replace(" ", "_"),
            "STEPS": self._steps(provided=True),
        }
        return json.loads(re.sub(r"\b[A-Z_]{4,}\b", lambda word: known[word[0]], SOURCE))

    def _steps(self, *, provided: bool) -> str:
        form = TOKEN_PROPERTY.replace("PROVIDED", json.dumps(provided)) if self.seed else ""
        return STEPS.replace("FORM", form)

    def source(self, label: str) -> tuple[int, str]:
        """A new source's id and a token of it, made as clients of the surface make it."""
        made = self.call("POST", "/v4/sources", {"type": "import_api", "display_name": label})
        if self.seed:
            [token] = made["properties"]["token"].values()
        else:
            token = self.call("POST", f"/v4/sources/{made['id']}/tokens")["access_token"]
        return made["id"], token

    def pushes(self, token: str, **changes: object) -> httpx.Response:
        """Push one record."""
        record = {
            "client_id": self.client_id,
            "table_name": "customers",
            "sequence": 100,
            "action": "upsert",
            "key_names": ["id"],
            "data": {"id": "1"},
        }
        kept = {name: value for name, value in (record | changes).items() if value is not None}
        return self.http.post("/v2/import/push", json=[kept], headers=_bearer(token))

    def batches(self, token: str) -> httpx.Response:
        """Send one record by the batch endpoint."""
        message = {"action": "upsert", "sequence": 101, "data": {"id": "2"}}
        body = {
            "table_name": "customers",
            "schema": {"properties": {"id": {"type": "string"}}},
            "key_names": ["id"],
            "messages": [message],
        }
        return self.http.post("/v2/import/batch", json=body, headers=_bearer(token))


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def same(found: object, documented: object) -> None:
    """Equal with the order of keys."""
    assert _compact(found) == _compact(documented)


@pytest.fixture(scope="module", params=["seed", "modern"])
def connect(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connect]:
    data = tmp_path_factory.mktemp(request.param) / "data"
    with TreadleServer(data, settings={"surface": request.param}) as server:
        client = Connect(server, *server.account())
        client.surface = request.param
        yield client


def test_the_six_calls(connect: Connect) -> None:
    same(connect.call("GET", "/v4/source-types/import_api"), connect.documented_type())
    same(connect.call("GET", "/v4/source-types"), [connect.documented_type()])

    asked = {"type": "import_api", "display_name": "Import API"}
    made = connect.call("POST", "/v4/sources", asked)
    tokens: dict[str, str] = made["properties"].get("token", {})
    assert len(tokens) == (1 if connect.seed else 0)
    same(made, connect.documented_source(made, "Import API", tokens))
    path = f"/v4/sources/{made['id']}"

    if not connect.seed:
        first = connect.call("POST", f"{path}/tokens", {})
        assert list(first) == ["id", "access_token"]
        tokens = {str(first["id"]): first["access_token"]}
    [(first_id, first_token)] = tokens.items()
    answer = connect.pushes(first_token)
    assert (answer.status_code, answer.text) == (201, _compact(OK))

    second = connect.call("POST", f"{path}/tokens")
    tokens[str(second["id"])] = second["access_token"]
    assert list(second) == ["id", "access_token", *(["connection"] if connect.seed else [])]
    assert second["id"] > int(first_id)
    for token in tokens.values():
        assert re.fullmatch(r"at_[0-9a-zA-Z_-]{32,}", token)
        assert connect.pushes(token).status_code == 201
    if connect.seed:
        source = second["connection"]
        same(source, connect.documented_source(source, "Import API", tokens))

    listed = connect.call("GET", f"{path}/tokens")
    assert [list(row) for row in listed] == [["token_id", "created_at"]] * 2
    assert [row["token_id"] for row in listed] == [second["id"], int(first_id)]
    assert all(INSTANT.fullmatch(row["created_at"]) for row in listed)

    third = connect.http.post(f"{path}/tokens", headers=connect.account)
    message = f"source ({made['id']}) already has the maximum of 2 active access tokens"
    assert third.status_code == 400
    same(third.json(), {"error": "AccessDenied", "data": {"message": message}})

    revoked = connect.call("DELETE", f"{path}/tokens/{first_id}")
    del tokens[first_id]
    same(revoked, connect.documented_source(revoked, "Import API", tokens))
    same(connect.call("GET", path), revoked)
    assert connect.pushes(second["access_token"]).status_code == 201
    assert connect.pushes(first_token).json() == NOT_AUTHENTICATED


def test_what_pause_and_delete_mean(connect: Connect) -> None:
    """4.3: refused as inactive by both doors, kept readable; what came before is loaded."""
    id_, token = connect.source("Paused")
    path = f"/v4/sources/{id_}"
    tokens = {str(connect.call("GET", f"{path}/tokens")[0]["token_id"]): token}
    assert connect.pushes(token).status_code == connect.batches(token).status_code == 201

    paused = connect.call("PUT", path, {"paused_at": "2999-06-01T02:00:00.5+02:00"})
    assert paused["paused_at"] == "2999-06-01T00:00:00Z"
    same(paused, connect.documented_source(paused, "Paused", tokens))
    for answer in (connect.pushes(token), connect.batches(token)):
        assert (answer.status_code, answer.text) == (401, _compact(NOT_ACTIVE))

    active = connect.call("PUT", path, {"paused_at": None})
    assert active["paused_at"] is None
    assert connect.pushes(token).status_code == connect.batches(token).status_code == 201

    deleted = connect.call("DELETE", path)
    assert deleted["deleted_at"] == deleted["updated_at"]
    same(deleted, connect.documented_source(deleted, "Paused", tokens))
    for answer in (connect.pushes(token), connect.batches(token)):
        assert (answer.status_code, answer.text) == (401, _compact(NOT_ACTIVE))
    same(connect.call("GET", path), deleted)
    assert deleted in connect.call("GET", "/v4/sources")

    counted = "select count(*) as n from paused.customers"
    eventually(lambda: connect.server.query(counted) == [{"n": 2}])
    again, _ = connect.source("Paused")
    assert again > id_, "the name of a deleted source may be used again"


def test_who_a_token_is(connect: Connect) -> None:
    """4.4, 4.5: each kind of token opens its own door, and the account's own things."""
    _, token = connect.source("Whose")
    secret = connect.account["Authorization"].removeprefix("Bearer ")
    assert re.fullmatch(r"ac_[0-9a-zA-Z_-]{32,}", secret)
    for wrong in ("", "at_unknown", secret, token + "x", token.upper()):
        answer = connect.pushes(wrong)
        assert (answer.status_code, answer.json()) == (401, NOT_AUTHENTICATED)
        answer = connect.batches(wrong)
        assert (answer.status_code, answer.json()) == (401, NOT_AUTHORIZED)
    for wrong in ("", "ac_unknown", token):
        answer = connect.http.get("/v4/sources", headers=_bearer(wrong))
        assert (answer.status_code, answer.text) == (401, _compact(NOT_AUTHORIZED))

    answer = connect.pushes(token, client_id=None)
    assert (answer.status_code, answer.text) == (401, _compact(NOT_AUTHENTICATED))
    answer = connect.pushes(token, client_id=connect.client_id + 1)
    assert (answer.status_code, answer.text) == (403, _compact(FOREIGN))
    answer = connect.http.get(f"/v4/{connect.client_id + 1}/loads", headers=connect.account)
    assert (answer.status_code, answer.text) == (401, _compact(NOT_AUTHORIZED))


def test_what_was_pushed_is_among_the_loads(connect: Connect) -> None:
    """2.12: the one list of jobs that a pushed source shows up in."""
    _, token = connect.source("Seen")
    assert connect.pushes(token).status_code == 201
    path = f"/v4/{connect.client_id}/loads"

    def mine() -> list[Any]:
        return [row for row in connect.call("GET", path)["data"] if row["source_name"] == "seen"]

    eventually(lambda: len(mine()) == 1)
    [row] = mine()
    documented = {
        "stitch_client_id": connect.client_id,
        "source_name": "seen",
        "stream_name": "customers",
        "last_batch_loaded_at": row["last_batch_loaded_at"],
        "error_state": None,
    }
    same(row, documented)
    assert INSTANT.fullmatch(row["last_batch_loaded_at"])
    page = connect.call("GET", path)
    assert list(page) == ["data", "page", "total", "links"]


def test_what_was_pushed_is_a_stream_of_its_source(connect: Connect) -> None:
    """2.10, 3.11, 3.12: with the fields that were loaded."""
    id_, token = connect.source("Streams")
    path = f"/v4/sources/{id_}/streams"
    assert connect.call("GET", path) == []
    assert connect.pushes(token).status_code == 201
    eventually(lambda: len(connect.call("GET", path)) == 1)
    [row] = connect.call("GET", path)
    documented = {
        "selected": True,
        "stream_id": row["stream_id"],
        "tap_stream_id": "customers",
        "stream_name": "customers",
        "metadata": {"selected": True, "table-key-properties": ["id"]},
    }
    same(row, documented)
    found = connect.call("GET", f"{path}/{row['stream_id']}")
    schema = json.loads(found["schema"])
    assert schema["properties"]["id"] == {"type": ["string"]}
    assert found["metadata"][0] == {"breadcrumb": [], "metadata": documented["metadata"]}
    assert {tuple(part["breadcrumb"][1:]) for part in found["metadata"][1:]} == {
        (name,) for name in schema["properties"]
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v4"),
        ("GET", "/v4/"),
        ("GET", "/v4/sources/"),
        ("PATCH", "/v4/sources"),
        ("DELETE", "/v4/sources"),
        ("POST", "/v4/source-types"),
        ("PUT", "/v4/sources/1/tokens"),
        ("GET", "/v4/sources/1/tokens/1"),
        ("POST", "/v3/accounts"),
        ("POST", "/oauth/token"),
    ],
)
def test_what_is_not_there_is_404_and_never_405(connect: Connect, method: str, path: str) -> None:
    """1.7, 5."""
    answer = connect.http.request(method, path, headers=connect.account)
    assert (answer.status_code, answer.text) == (404, '{"status":"NOT FOUND"}')
    assert answer.headers["Content-Type"] == JSON
