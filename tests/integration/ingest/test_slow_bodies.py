"""What changes while a body is on its way."""

import json
import socket

import pytest
from tests.kinds import some_at_release
from tests.servers.cases import env, rec
from tests.servers.ingest import CLIENT, ImportServer
from tests.servers.treadle import eventually

HEAD = "Host: a\r\nContent-Type: application/json\r\nIdempotency-Key: slow\r\n"


@pytest.mark.parametrize("change", ["revoke", "pause", "nothing"])
@pytest.mark.parametrize("way", ["push", "batch", *some_at_release("records", "webhook")])
def test_a_token_is_looked_up_again_when_the_body_has_come(
    server: ImportServer, way: str, change: str
) -> None:
    path, body = {
        "push": ("/v2/import/push", [rec()]),
        "batch": ("/v2/import/batch", env()),
        "records": ("/v1/tables/t/records", [{"id": 1}]),
        "webhook": (f"/v1/clients/{CLIENT}/token/{server.token}", [{"id": 1}]),
    }[way]
    text = json.dumps(body).encode()
    # The first use of a token is written to the store, which finds out by itself.
    assert server.post("/v2/import/push", [rec()]).status == 201
    server.ingest.token_cache.invalidate()
    assert server.post("/v2/import/push", [rec()]).status == 201
    before = server.accepted()
    slow = socket.create_connection(("127.0.0.1", server.port), 60)
    slow.sendall(
        f"POST {path} HTTP/1.1\r\n{HEAD}Authorization: Bearer {server.token}\r\n"
        f"Content-Length: {len(text)}\r\n\r\n".encode()
        + text[:5]
    )
    eventually(lambda: server.post("/v2/import/validate", [rec()]).status == 200)
    if change == "revoke":
        [token] = server.store.tokens.list_tokens(server.source_id)
        server.store.tokens.revoke_token(CLIENT, server.source_id, token.id)
    elif change == "pause":
        server.store.sources.update_source(CLIENT, server.source_id, paused_at=1)
    expected = 200 if change == "nothing" else 401
    eventually(lambda: server.post("/v2/import/validate", [rec()]).status == expected)
    slow.sendall(text[5:])
    status = int(slow.recv(1000).split()[1])
    slow.close()
    accepted = server.accepted() - before
    if change == "nothing":
        assert (status, accepted) == (200 if way == "webhook" else 201, 1)
    else:
        assert (status, accepted) == (401, 0)
