"""import-api.md 18 I: incoming webhooks, as far as the log."""

import json
import logging
import time
from typing import Any
from urllib.parse import quote

import pytest
from tests.servers.cases import NOT_ACTIVE, OK, REC, compare, malformed
from tests.servers.ingest import CLIENT, OTHER_CLIENT, Answer, ImportServer

from treadle.ingest.webhook_endpoint import LISTENING

NOT_AUTHORIZED = {"message": "Not Authorized"}
TWILIO = {"MessageSid": "SM1", "Body": "€ 5+1", "To": "+4930"}
GITHUB = {"id": 1, "a": {"b": [1]}}


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


def test_200_get_and_head(server: ImportServer) -> None:
    hook = Hook(server, "200")
    answer = server.send("GET", hook.path())
    compare(answer, 200, LISTENING)
    assert answer.header("access-control-allow-origin") == "*"
    head = server.send("HEAD", hook.path())
    assert (head.status, head.body) == (200, b"")
    # Only who has the URL gets to know whether it is there.
    compare(server.send("GET", hook.path(token="x")), 401, NOT_AUTHORIZED)
    assert server.send("HEAD", hook.path(OTHER_CLIENT)).status == 401
    for method in ("PUT", "DELETE"):
        other = server.send(method, hook.path())
        compare(other, 405, "Method not allowed.")
        assert other.header("allow") == "POST, GET, HEAD, OPTIONS"
    server.store.sources.update_source(CLIENT, hook.source_id, paused_at=1)
    server.ingest.token_cache.invalidate()
    compare(server.send("GET", hook.path()), 401, NOT_ACTIVE)
    assert hook.rows() == []


CHALLENGE = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock"


def test_a_challenge_is_repeated_where_the_provider_is_named(server: ImportServer) -> None:
    hook = Hook(server, "challenge", provider="meta")
    answer = server.send("GET", hook.path() + CHALLENGE)
    compare(answer, 200, "1158201444")
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    for odd in ("<script>\n", "x" * 1025, ""):
        compare(server.send("GET", f"{hook.path()}?hub.challenge={quote(odd)}"), 200, LISTENING)
    other = Hook(server, "no challenge")
    compare(server.send("GET", other.path() + CHALLENGE), 200, LISTENING)
    slack = Hook(server, "posted challenge", provider="slack")
    asked = b'{"type":"url_verification","challenge":"3eZb","token":"x"}'
    compare(slack.post(asked), 200, "3eZb")
    compare(other.post(asked), 200, OK)
    assert (hook.rows(), slack.rows(), len(other.rows())) == ([], [], 1)


FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        # Twilio
        (b"MessageSid=SM1&Body=%E2%82%AC+5%2B1&To=%2B4930", [TWILIO]),
        # GitHub
        (b"payload=%7B%22id%22%3A1%2C%22a%22%3A%7B%22b%22%3A%5B1%5D%7D%7D", [GITHUB]),
        # Mandrill
        (b"mandrill_events=%5B%7B%22id%22%3A1%7D%2C%7B%22id%22%3A2%7D%5D", [{"id": 1}, {"id": 2}]),
        (b"payload=%7B%22id%22%3A1%7D&token=t", [{"payload": {"id": 1}, "token": "t"}]),
        (b"payload=%7Bno+JSON&token=t", [{"payload": "{no JSON", "token": "t"}]),
        (b"a=1&b=&a=2&&c&a=3", [{"a": ["1", "2", "3"], "b": "", "c": ""}]),
        # What curl -d sends with the type of forms
        (b' {"id":1}', [{"id": 1}]),
        (b'[{"id":"a=b"}]', [{"id": "a=b"}]),
    ],
)
def test_a_form_is_a_record(server: ImportServer, body: bytes, rows: list[Any]) -> None:
    hook = Hook(server, f"form {body!r}")
    compare(hook.post(body, **FORM), 200, OK)
    assert hook.rows() == [("data", (), rows)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"a=%ff", 400),
        (b"%c3=1", 400),
        (b"payload=%7B%22a%22", 400),
        (b"payload=" + b"%5B" * 300 + b"%5D" * 300, 400),
        (b"no form", 400),
        (b"", 400),
        (b"&".join(b"f%d=" % i for i in range(10_001)), 422),
        (b"&" * 1_000_000 + b"a=", 422),
        (b"payload=%7B" + b",".join(b"%%22%d%%22%%3A1" % i for i in range(10_001)) + b"%7D", 422),
        (b"a=" + b"\x01" * 4_000_000, 413),
    ],
    ids=[
        "value",
        "name",
        "JSON",
        "depth",
        "none",
        "empty",
        "fields",
        "empty fields",
        "data points",
        "control characters",
    ],
)
def test_a_form_that_is_refused(server: ImportServer, body: bytes, status: int) -> None:
    hook = Hook(server, f"form {body[:20]!r} {len(body)}")
    answer = hook.post(body, **FORM)
    assert answer.status == status
    assert answer.header("content-type") == "application/json;charset=UTF-8"
    assert hook.rows() == []


def test_an_event_that_is_sent_again_has_the_key_of_the_first(server: ImportServer) -> None:
    """Each provider sends an event again until it is answered."""
    stripe = Hook(server, "stripe", table="events", provider="stripe")
    event = b'{"id":"evt_1","object":"event","pending_webhooks":%d}'
    for tries in (2, 1):
        compare(stripe.post(event % tries), 200, OK)
    assert [(table, key) for table, key, _ in stripe.rows()] == [("events", ("id",))] * 2

    github = Hook(server, "github", provider="github")
    sent = {"X-GitHub-Delivery": "72d3162e-cc78", "X-GitHub-Event": "push", **FORM}
    compare(github.post(b"payload=%7B%7D", **sent), 200, OK)
    compare(github.post(b'{"x_github_delivery":"forged"}', **sent), 200, OK)
    fields = {"x_github_delivery": "72d3162e-cc78", "x_github_event": "push"}
    assert github.rows() == [("data", ("x_github_delivery",), [fields])] * 2
    compare(github.post(b'{"no":"id"}'), 200, OK)  # as any record without its key
    assert len(github.rows()) == 2

    own = Hook(server, "own", provider="other", key=["id", "header:X-Request-Id"])
    compare(own.post(b'[{"id":1},{"id":null},{}]', **{"X-Request-Id": "r1"}), 200, OK)
    assert own.rows() == [("data", ("id", "x_request_id"), [{"id": 1, "x_request_id": "r1"}])]


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
