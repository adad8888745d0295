"""import-api.md 18 I: incoming webhooks, as far as the log."""

import json
import logging
import time
from typing import Any

import pytest
from tests.servers.cases import NOT_ACTIVE, OK, REC, compare, malformed
from tests.servers.ingest import CLIENT, OTHER_CLIENT, Answer, ImportServer

NOT_AUTHORIZED = {"message": "Not Authorized"}


class Hook:
    """A source of its own with a webhook URL."""

    def __init__(self, server: ImportServer, name: str, **settings: Any) -> None:
        self.server = server
        self.source_id, self.token = server.make_source(name)
        if settings:
            server.store.sources.update_source(
                CLIENT, self.source_id, settings={"webhook": settings}
            )
            server.ingest.token_cache.invalidate()

    def path(self, client: Any = CLIENT, token: str | None = None) -> str:
        return f"/v1/clients/{client}/token/{self.token if token is None else token}"

    def post(self, body: bytes, path: str | None = None, **headers: str) -> Answer:
        answer = self.server.send("POST", path or self.path(), body, headers)
        assert answer.header("access-control-allow-origin") == "*"
        return answer

    def rows(self) -> list[tuple[str, tuple[str, ...], Any]]:
        return [
            (batch.table_name, batch.key_names, json.loads(batch.data))
            for batch in self.server.batches(self.source_id)
        ]


def test_197_an_object(server: ImportServer) -> None:
    hook = Hook(server, "197")
    before = time.time_ns() // 1_000_000
    compare(hook.post(b'{"id":1,"event":"send"}', **{"Content-Type": "application/json"}), 200, OK)
    assert hook.rows() == [("data", (), [{"id": 1, "event": "send"}])]
    (batch,) = server.batches(hook.source_id)
    assert before <= batch.sequences[0] <= time.time_ns() // 1_000_000


def test_198_an_array(server: ImportServer) -> None:
    hook = Hook(server, "198")
    compare(hook.post(b'[{"id":1},{"id":2}]'), 200, OK)
    assert hook.rows() == [("data", (), [{"id": 1}, {"id": 2}])]


@pytest.mark.parametrize("client", [OTHER_CLIENT, "", "x", 43210])
def test_199_a_client_that_does_not_fit(server: ImportServer, client: Any) -> None:
    hook = Hook(server, f"199 {client}")
    path = hook.path(client)
    if client == "":
        answer = server.send("POST", path, b"{}")
        compare(answer, 404, {"message": "Not Found"})
    else:
        compare(hook.post(b"{}", path), 401, NOT_AUTHORIZED)
    assert hook.rows() == []


def test_199_unknown_and_revoked_tokens(server: ImportServer) -> None:
    hook = Hook(server, "199")
    for token in ("x", server.revoked_token):
        compare(hook.post(b"{}", hook.path(token=token)), 401, NOT_AUTHORIZED)


def test_200_get(server: ImportServer) -> None:
    hook = Hook(server, "200")
    answer = server.send("GET", hook.path())
    compare(answer, 405, "Method not allowed.")
    assert answer.header("allow") == "POST, OPTIONS"


@pytest.mark.parametrize(
    "body", [b"not json", b"", b'{"a":1', b'[{"a":1}', b'{"a":"\xff"}', b"NaN"]
)
def test_201_not_json(server: ImportServer, body: bytes) -> None:
    hook = Hook(server, f"201 {body!r}")
    compare(hook.post(body), 400, malformed)
    assert hook.rows() == []


@pytest.mark.parametrize("body", [b"1", b'"x"', b"[1]", b'[{"a":1},null]', b"null"])
def test_201_no_objects(server: ImportServer, body: bytes) -> None:
    hook = Hook(server, f"201 {body!r}")
    compare(hook.post(body), 400, lambda said: said["status"] == "ERROR")
    assert hook.rows() == []


def test_202_records_without_their_key_are_left_out(server: ImportServer) -> None:
    hook = Hook(server, "202", key=["id"])
    compare(hook.post(b'[{"id":null},{"id":3},{"x":1}]'), 200, OK)
    compare(hook.post(b'{"id":null}'), 200, OK)
    assert hook.rows() == [("data", (), [{"id": 3}])]


def test_a_webhook_that_upserts_into_a_table_of_its_own(server: ImportServer) -> None:
    hook = Hook(server, "upserts", table="events", key=["event", "email"], upsert=True)
    compare(hook.post(b'{"event":"open","email":"a@b.c"}'), 200, OK)
    assert hook.rows() == [
        ("events", ("event", "email"), [{"event": "open", "email": "a@b.c"}]),
    ]


def test_settings_that_make_no_sense_count_as_not_set(server: ImportServer) -> None:
    hook = Hook(server, "odd settings", table=5)
    compare(hook.post(b'{"id":1}'), 200, OK)
    assert hook.rows() == [("data", (), [{"id": 1}])]


def test_203_paused(server: ImportServer) -> None:
    hook = Hook(server, "203")
    server.store.sources.update_source(CLIENT, hook.source_id, paused_at=1)
    server.ingest.token_cache.invalidate()
    compare(hook.post(b'{"id":1}'), 401, NOT_ACTIVE)
    assert hook.rows() == []


def test_preflight_of_a_browser(server: ImportServer) -> None:
    hook = Hook(server, "browser")
    answer = server.send("OPTIONS", hook.path(), headers={"Origin": "https://page.example"})
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == "*"
    assert answer.header("access-control-allow-methods") == "POST"


def test_other_routes_are_closed_to_browsers(server: ImportServer) -> None:
    answer = server.post("/v2/import/push", [REC], headers={"Origin": "https://page.example"})
    compare(answer, 201, OK)
    assert answer.header("access-control-allow-origin") is None


def test_too_many_data_points(server: ImportServer) -> None:
    hook = Hook(server, "points")
    body = json.dumps({f"f{i}": i for i in range(10_001)}).encode()
    compare(hook.post(body), 422, lambda said: list(said["errors"][0]["reason"]) == ["data"])


def test_no_token_in_a_log_line(
    server: ImportServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = Hook(server, "broken")
    monkeypatch.setattr("treadle.ingest.webhook_endpoint.build_batches", None)
    with caplog.at_level(logging.DEBUG, "treadle"):
        answer = hook.post(b'{"id":1}')
    compare(answer, 500, {"status": "ERROR", "message": "Internal server error"})
    # pytest also catches uvicorn's access log, which treadle switches off.
    ours = [record for record in caplog.records if record.name.startswith("treadle")]
    lines = "\n".join(map(logging.Formatter().format, ours))
    assert "/v1/clients/{client_id}/token/{token}" in lines
    assert hook.token not in lines
