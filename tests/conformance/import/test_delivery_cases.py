"""import-api.md 18 H as far as the log: what is answered while nothing can be stored."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.servers.cases import NOT_AUTHENTICATED, OK, VALID, compare, env, rec
from tests.servers.ingest import ImportServer
from tests.servers.log import open_test_appender

UNAVAILABLE = {"status": "ERROR", "message": "Service unavailable. Try again later."}


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[ImportServer]:
    """A server whose log takes nothing any more."""
    server = ImportServer(tmp_path)
    log = open_test_appender(tmp_path)
    with server.running(log):
        asyncio.run(log.aclose())
        yield server
    server.store.close()


@pytest.mark.parametrize(("path", "body"), [("push", [rec()]), ("batch", env())])
def test_194_nothing_can_be_stored(closed: ImportServer, path: str, body: object) -> None:
    answer = closed.post(f"/v2/import/{path}", body)
    compare(answer, 503, UNAVAILABLE)
    assert answer.header("retry-after") == "2"
    status = closed.send("GET", "/v2/import/status")
    compare(status, 503, lambda found: found["status"] == "ERROR" and bool(found["reason"]))
    compare(closed.post("/v2/import/validate", [rec()]), 200, VALID)


def test_91_validate_while_push_answers_503(closed: ImportServer) -> None:
    compare(closed.post("/v2/import/push", [rec()]), 503, UNAVAILABLE)
    compare(closed.post("/v2/import/validate", [rec()]), 200, VALID)


def test_195_a_revoked_token_pushes_no_more(server: ImportServer) -> None:
    source_id, token = server.make_source("to be revoked")
    compare(server.post("/v2/import/push", [rec()], token=token), 201, OK)
    (kept,) = server.store.tokens.list_tokens(source_id)
    server.store.tokens.revoke_token(None, source_id, kept.id)
    server.ingest.token_cache.invalidate()
    compare(server.post("/v2/import/push", [rec()], token=token), 401, NOT_AUTHENTICATED)
    assert len(server.batches(source_id)) == 1


def test_196_parallel_batches_for_one_table(server: ImportServer) -> None:
    source_id, token = server.make_source("parallel")

    def push(number: int) -> None:
        body = env(messages=[{"action": "upsert", "sequence": number, "data": {"id": number}}])
        compare(server.post("/v2/import/batch", body, token=token), 201, OK)

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(push, range(25)))
    found = [sequence for batch in server.batches(source_id) for sequence in batch.sequences]
    assert sorted(found) == list(range(25))
