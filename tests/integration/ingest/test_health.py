"""`/v2/import/status` with a real store."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response
from tests.loads import load
from tests.servers.ingest import CLIENT, ImportServer

from treadle.errors import RetriableError
from treadle.http.responses import JsonResponse
from treadle.ingest import health_endpoint
from treadle.ingest.acknowledgement import BatchAcceptor, EncodedBatch, ReceivedRequest
from treadle.ingest.health_endpoint import (
    FAILURE_SECONDS,
    FRESH_SECONDS,
    NOT_TAKEN,
    STUCK_SECONDS,
    UNREADABLE,
    IngestHealth,
)
from treadle.ingest.quotas import SourceQuotas
from treadle.log.joined import (
    JoinedAppender,
    SourceNumbers,
    make_number_finder,
    make_open_lister,
)
from treadle.log.protocol import IntakeFullError
from treadle.log.sqlite.log import SqliteAppender
from treadle.store.model import ConfiguredDestination, TokenOwner
from treadle.tracking.receipts import make_receipt_codec

REQUEST = Request({"type": "http"})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def said(response: Response) -> tuple[int, bytes]:
    assert isinstance(response, JsonResponse)
    return response.status_code, bytes(response.body)


def test_status_names_a_destination_in_trouble_and_stays_ok(tmp_path: Path) -> None:
    server = ImportServer(tmp_path)
    store, clock = server.store, Clock()
    row = store.destinations.set_default_destination(
        CLIENT, "postgres", "postgresql://u:secret@h/db", "h/db"
    )
    health = IngestHealth(
        store.destinations, store.tables, version="1", revision="r", monotonic=clock
    )

    async def test() -> None:
        fine = b'{"name":"pipeline.gate","version":"1","revision":"r","status":"OK","reason":null}'
        assert said(await health.get_status(REQUEST)) == (200, fine)
        store.destinations.set_trouble(row.id, "no route to host h, password secret")
        assert said(await health.get_status(REQUEST)) == (200, fine)
        clock.now += FRESH_SECONDS
        status, body = said(await health.get_status(REQUEST))
        assert status == 200
        assert b'"status":"OK"' in body
        assert row.name.encode() in body
        assert b"secret" not in body
        store.destinations.set_trouble(row.id, None)
        clock.now += FRESH_SECONDS
        assert said(await health.get_status(REQUEST)) == (200, fine)

    asyncio.run(test())
    store.close()


def test_status_counts_tables_that_are_stopped_or_reject(tmp_path: Path) -> None:
    server = ImportServer(tmp_path)
    store, clock = server.store, Clock()
    health = IngestHealth(
        store.destinations, store.tables, version="1", revision="r", monotonic=clock
    )

    async def reason() -> object:
        clock.now += FRESH_SECONDS
        status, body = said(await health.get_status(REQUEST))
        assert status == 200
        return json.loads(body)["reason"]

    async def test() -> None:
        store.loads.record_failure(load(server.source_id, "a", 1, error="no"), stopped=True)
        assert await reason() == "1 table is stopped: `treadle doctor` names them"
        for table in ("b", "c"):
            details = {"trouble": "secret_table rejects"}
            store.loads.record_load(load(server.source_id, table, 2, details=details), [])
        told = await reason()
        assert told == (
            "1 table is stopped and 2 tables rejected records for their key, or all of the last "
            "load: `treadle doctor` names them"
        )
        for table in ("a", "b", "c"):
            store.loads.record_load(load(server.source_id, table, 3), [])
        assert await reason() is None
        store.loads.record_failure(load(server.source_id, "a", 4, error="no"), stopped=True)
        store.sources.delete_source(CLIENT, server.source_id)
        assert await reason() is None

    asyncio.run(test())
    store.close()


def test_a_failed_append_is_an_error_until_one_succeeds_or_none_is_tried(tmp_path: Path) -> None:
    server = ImportServer(tmp_path)
    clock = Clock()
    store = server.store
    health = IngestHealth(
        store.destinations, store.tables, version="1", revision="r", monotonic=clock
    )

    async def status() -> int:
        clock.now += FRESH_SECONDS
        return (await health.get_status(REQUEST)).status_code

    async def test() -> None:
        assert await status() == 200
        health.record_failure(server.source_id)
        code, body = said(await health.get_status(REQUEST))
        assert code == 503
        assert b'"status":"ERROR","reason":"the log does not take data now"' in body
        health.record_success(server.source_id)
        assert await status() == 200
        health.record_failure(server.source_id)
        assert await status() == 503
        clock.now += FAILURE_SECONDS
        assert await status() == 200

    asyncio.run(test())
    server.store.close()


def test_one_of_several_logs_that_fails_is_no_obstacle(tmp_path: Path) -> None:
    server = ImportServer(tmp_path)
    ours, theirs = 1, 2

    def make_owner(source_id: int) -> TokenOwner:
        return TokenOwner(source_id, source_id, CLIENT, active=True, unused=False)

    async def test() -> None:
        parts = {number: SqliteAppender(tmp_path / f"log-{number}") for number in (0, 1)}
        log = JoinedAppender(parts, SourceNumbers(lambda source_id: source_id - 1))
        health = IngestHealth(
            server.store.destinations,
            server.store.tables,
            version="1",
            revision="r",
            find_log=make_number_finder(log),
            list_logs=make_open_lister(log),
        )
        receipts = make_receipt_codec(server.store.installation_id, log)
        quotas = SourceQuotas(server.store)
        acceptor = BatchAcceptor(log, health, lambda: 1, receipts, None, quotas)

        async def send(source_id: int) -> int:
            batch = EncodedBatch("t", 1, b"x")
            request = ReceivedRequest({}, None)
            answer = await acceptor.accept(request, make_owner(source_id), [batch])
            return answer.status_code

        await parts[1].aclose()  # it takes nothing more
        assert await send(ours) == 201
        for _ in range(2):
            with pytest.raises(RetriableError):
                await send(theirs)
            assert health.find_failure(60) is None
            assert (await health.get_status(REQUEST)).status_code == 200
        await parts[0].aclose()
        with pytest.raises(RetriableError, match="being closed"):
            await send(ours)
        # Anybody may ask, so the text of the error is not told: it may name hosts and users.
        assert health.find_failure(60) == NOT_TAKEN
        assert (await health.get_status(REQUEST)).status_code == 503
        await log.aclose()

    asyncio.run(test())
    server.store.close()


def test_what_does_not_fit_into_memory_says_nothing_of_the_log(tmp_path: Path) -> None:
    server = ImportServer(tmp_path)
    health = IngestHealth(server.store.destinations, server.store.tables, version="1", revision="r")

    async def test() -> None:
        log = SqliteAppender(tmp_path / "log", pending_bytes_max=1)
        receipts = make_receipt_codec(server.store.installation_id, log)
        quotas = SourceQuotas(server.store)
        acceptor = BatchAcceptor(log, health, lambda: 1, receipts, None, quotas)
        owner = TokenOwner(1, 1, CLIENT, active=True, unused=False)

        async def send() -> None:
            request = ReceivedRequest({}, None)
            await acceptor.accept(request, owner, [EncodedBatch("t", 1, b"x")])

        first = asyncio.create_task(send())
        await asyncio.sleep(0)
        with pytest.raises(IntakeFullError):
            await send()
        assert not first.done()  # no success has come after the refusal
        assert health.find_failure(60) is None
        await first
        await log.aclose()

    asyncio.run(test())
    server.store.close()


def test_tokens_that_cannot_be_checked_are_an_obstacle(tmp_path: Path) -> None:
    server, clock = ImportServer(tmp_path), Clock()
    stale: list[str | None] = [None]
    health = IngestHealth(
        server.store.destinations,
        server.store.tables,
        version="1",
        revision="r",
        find_staleness=lambda: stale[0],
        monotonic=clock,
    )

    async def test() -> None:
        assert (await health.look()).obstacle is None
        stale[0] = "tokens cannot be checked"
        assert (await health.look()).obstacle == "tokens cannot be checked"
        assert said(await health.get_status(REQUEST))[0] == 503

    asyncio.run(test())
    health.close()
    server.store.close()


def test_a_store_that_does_not_answer_is_no_fault_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_endpoint, "LOOK_SECONDS_MAX", 0.05)
    server, clock = ImportServer(tmp_path), Clock()
    answered, asked = threading.Event(), threading.Event()

    def hang() -> list[ConfiguredDestination]:
        asked.set()
        answered.wait(60.0)
        return []

    monkeypatch.setattr(server.store.destinations, "list_destinations", hang)
    health = IngestHealth(
        server.store.destinations, server.store.tables, version="1", revision="r", monotonic=clock
    )

    async def test() -> None:
        await health.look()
        assert asked.wait(60.0)
        clock.now += 2 * STUCK_SECONDS
        seen = await health.look()
        assert (seen.obstacle, seen.trouble) == (None, UNREADABLE)
        answered.set()

    asyncio.run(test())
    health.close()
    server.store.close()
