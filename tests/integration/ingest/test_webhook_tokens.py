"""Webhook tokens over a socket: what their holder may do, and what not."""

import base64
import gzip
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from tests.servers.cases import NOT_ACTIVE, OK, REC, compare
from tests.servers.ingest import CLIENT, OTHER_CLIENT, Answer, ImportServer

from treadle.ingest import webhook_endpoint
from treadle.store.model import SenderSignature
from treadle.store.token_rules import TokenRequest
from treadle.store.tokens import TokenFilter

NOT_AUTHORIZED = {"message": "Not Authorized"}
SECRET = "s3cret-of-the-sender"


class Hook:
    """A webhook token of the active source."""

    def __init__(
        self,
        server: ImportServer,
        *tables: str,
        signature: SenderSignature | None = None,
        **settings: Any,
    ) -> None:
        self.server = server
        self.source_id, self.import_token = server.make_source(f"hook {len(tables)} {id(self)}")
        if settings:
            server.store.sources.update_source(
                CLIENT, self.source_id, settings={"webhook": settings}
            )
        asked = TokenRequest("webhook", tables=tables, signature=signature)
        made = server.store.tokens.issue_token(asked, account_id=CLIENT, source_id=self.source_id)
        assert made.secret is not None
        self.token_id, self.token = made.id, made.secret
        server.ingest.token_cache.invalidate()

    def post(
        self, body: bytes = b'{"id":1}', query: str = "", token: str = "", **headers: str
    ) -> Answer:
        path = f"/v1/clients/{CLIENT}/token/{token or self.token}{query}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.send("POST", path, body, sent)

    def rows(self) -> list[tuple[str, tuple[str, ...], Any]]:
        return [
            (batch.table_name, batch.key_names, json.loads(batch.data))
            for batch in self.server.batches(self.source_id)
        ]


def sign(body: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(SECRET.encode(), body, algorithm).digest()


def test_it_appends_to_the_table_of_the_source_and_never_upserts(server: ImportServer) -> None:
    hook = Hook(server, table="events", key=["id"], upsert=True)
    compare(hook.post(b'[{"id":1},{"id":null}]'), 200, OK)
    assert hook.rows() == [("events", (), [{"id": 1}])]
    assert [one.append_only for one in server.batches(hook.source_id)] == [True]
    # An import token in the URL goes on as before.
    compare(hook.post(token=hook.import_token), 200, OK)
    assert hook.rows()[1] == ("events", ("id",), [{"id": 1}])
    assert not server.batches(hook.source_id)[1].append_only


def test_it_fills_the_tables_that_it_names_alone(server: ImportServer) -> None:
    hook = Hook(server, "events", "clicks")
    compare(hook.post(), 200, OK)
    compare(hook.post(query="?table=clicks"), 200, OK)
    for query in ("?table=payroll", "?table=", "?table=clicks&table=payroll", "?table=clicks%00"):
        compare(hook.post(query=query), 403, webhook_endpoint.TABLE_NOT_ALLOWED)
    assert [table for table, _, _ in hook.rows()] == ["events", "clicks"]


def test_without_names_it_fills_the_table_that_its_source_is_set_to(server: ImportServer) -> None:
    hook = Hook(server, table="any table")
    compare(hook.post(), 200, OK)
    compare(hook.post(query="?table=any%20table"), 200, OK)
    compare(hook.post(query="?table=payroll"), 403, webhook_endpoint.TABLE_NOT_ALLOWED)
    assert [table for table, _, _ in hook.rows()] == ["any table"] * 2
    # With an import token the query says nothing, as ever.
    compare(hook.post(query="?table=payroll", token=hook.import_token), 200, OK)
    assert hook.rows()[2][0] == "any table"


SWITCH = {**REC, "action": "switch_view", "sequence": 9, "table_version": 2**62}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/import/push", [REC]),
        ("POST", "/v2/import/push", [SWITCH]),
        ("POST", "/v2/import/push?dry_run=1", [REC]),
        ("POST", "/v2/import/validate", [REC]),
        (
            "POST",
            "/v2/import/batch",
            {
                "table_name": "t",
                "schema": {"properties": {}},
                "messages": [{"action": "activate_version", "sequence": 1}],
                "table_version": 1,
            },
        ),
        ("POST", "/v1/tables/payroll/records?key=id", {"id": 1}),
        ("GET", "/v1/receipts/rc_x", None),
    ],
    ids=["push", "switch_view", "dry run", "validate", "activate_version", "records", "receipts"],
)
def test_as_a_bearer_token_it_opens_nothing(
    server: ImportServer, method: str, path: str, body: Any
) -> None:
    hook = Hook(server)
    for _ in range(2):  # known to the worker or not, from the route of webhooks or not
        raw = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {hook.token}", "Content-Type": "application/json"}
        assert server.send(method, path, raw, headers).status == 401
        compare(hook.post(), 200, OK)
    assert [table for table, _, _ in hook.rows()] == ["data", "data"]


def test_it_cannot_read_the_receipt_of_its_own_request(server: ImportServer) -> None:
    hook = Hook(server)
    receipt = hook.post().header("treadle-receipt")
    headers = {"Authorization": f"Bearer {hook.token}"}
    assert server.send("GET", f"/v1/receipts/{receipt}", None, headers).status == 401


def test_an_import_token_in_the_url_can_be_turned_off(server: ImportServer) -> None:
    hook = Hook(server)
    compare(hook.post(token=hook.import_token), 200, OK)
    server.store.sources.update_source(
        CLIENT, hook.source_id, settings={"webhook": {"import_tokens": False}}
    )
    server.ingest.token_cache.invalidate()
    compare(hook.post(token=hook.import_token), 401, NOT_AUTHORIZED)
    compare(hook.post(), 200, OK)
    # In its header the import token goes on to work.
    compare(server.post("/v2/import/push", [REC], token=hook.import_token), 201, OK)
    assert [table for table, _, _ in hook.rows()] == ["data", "data", REC["table_name"]]


def test_who_has_no_right_to_the_url(server: ImportServer) -> None:
    hook = Hook(server)
    path = f"/v1/clients/{OTHER_CLIENT}/token/{hook.token}"
    compare(server.send("POST", path, b"{}"), 401, NOT_AUTHORIZED)
    for token in (hook.token[:-1], hook.token + "0", hook.token.upper(), hook.token + "%00", "wh_"):
        compare(hook.post(token=token), 401, NOT_AUTHORIZED)
    server.store.sources.update_source(CLIENT, hook.source_id, paused_at=1)
    server.ingest.token_cache.invalidate()
    compare(hook.post(), 401, NOT_ACTIVE)
    assert hook.rows() == []


def test_a_revoked_or_expired_one_ends_within_a_second_elsewhere_too(server: ImportServer) -> None:
    wanted = TokenFilter(("webhook",), CLIENT)
    for end in ("revoke", "expire"):
        hook = Hook(server)
        compare(hook.post(), 200, OK)
        if end == "revoke":
            server.store.tokens.end_token(wanted, hook.token_id)
        else:
            at = time.time_ns() // 1000 + 300_000
            server.store.tokens.expire_token(wanted, hook.token_id, at)
        deadline = time.monotonic() + 60  # the machine of a test may be busy
        while hook.post().status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        compare(hook.post(), 401, NOT_AUTHORIZED)


def test_its_idempotency_keys_are_its_own(server: ImportServer) -> None:
    hook = Hook(server)
    compare(hook.post(b'{"id":666}', Idempotency_Key="order-1"), 200, OK)
    headers = {"Idempotency-Key": "order-1"}
    pushed = server.post("/v2/import/push", [REC], token=hook.import_token, headers=headers)
    compare(pushed, 201, OK)
    assert pushed.header("idempotency-replayed") is None
    again = hook.post(b'{"id":666}', Idempotency_Key="order-1")
    assert again.header("idempotency-replayed") == "true"
    assert len(hook.rows()) == 2


# Signatures


def headers_of(scheme: str, body: bytes) -> dict[str, str]:
    now = int(time.time())
    stamped = sign(f"{now}.".encode() + body).hex()
    return {
        "github": {"X_Hub_Signature_256": "sha256=" + sign(body).hex()},
        "stripe": {"Stripe_Signature": f"t={now},v1={stamped}"},
        "segment": {"X_Signature": sign(body, "sha1").hex()},
        "plain": {"X_Mine": base64.b64encode(sign(body)).decode()},
    }[scheme]


@pytest.mark.parametrize("scheme", ["github", "stripe", "segment", "plain"])
def test_a_sender_proves_that_it_knows_the_secret(server: ImportServer, scheme: str) -> None:
    plain = ("X-Mine", "base64") if scheme == "plain" else ("", "hex")
    hook = Hook(server, signature=SenderSignature(scheme, SECRET, *plain))
    body = b' {"id": 1,  "b":"\xc3\xa9"}\n'  # signed are these bytes, not the value
    compare(hook.post(body, **headers_of(scheme, body)), 200, OK)
    packed = gzip.compress(body)
    compare(hook.post(packed, Content_Encoding="gzip", **headers_of(scheme, packed)), 200, OK)
    assert len(hook.rows()) == 2

    refused = [
        hook.post(body),
        hook.post(body + b" ", **headers_of(scheme, body)),
        hook.post(b"", **headers_of(scheme, body)),
        hook.post(b"not json"),  # who cannot sign is not told what is wrong with the body
        hook.post(packed, Content_Encoding="gzip", **headers_of(scheme, body)),
        hook.post(body, **headers_of("segment" if scheme != "segment" else "github", body)),
    ]
    for answer in refused:
        compare(answer, 401, webhook_endpoint.BAD_SIGNATURE)
    signed_junk = hook.post(b"not json", **headers_of(scheme, b"not json"))
    assert signed_junk.status == 400
    assert len(hook.rows()) == 2


def test_a_large_signed_body(server: ImportServer) -> None:
    hook = Hook(server, signature=SenderSignature("github", SECRET))
    body = json.dumps([{"id": n, "text": "x" * 200} for n in range(10_000)]).encode()
    wrong = {"X_Hub_Signature_256": "sha256=" + hashlib.sha256(body).hexdigest()}
    compare(hook.post(body, **wrong), 401, webhook_endpoint.BAD_SIGNATURE)
    compare(hook.post(body, **headers_of("github", body)), 200, OK)
    [(_, _, records)] = hook.rows()
    assert len(records) == 10_000


# Uses


def test_uses_are_counted_with_the_address_of_the_client(server: ImportServer) -> None:
    hook = Hook(server)
    hook.post()
    hook.post()
    hook.post(query="?table=")  # refused, so it does not count
    deadline = time.monotonic() + 60
    while True:
        found = server.store.tokens.find_tokens(TokenFilter(("webhook",), CLIENT))
        [used] = [token for token in found if token.id == hook.token_id]
        if used.uses == 2 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert (used.uses, used.last_used_from) == (2, "127.0.0.1")
    assert used.first_used_at is not None
