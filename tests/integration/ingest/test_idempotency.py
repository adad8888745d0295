"""`Idempotency-Key` with a real store and log: sent again, answered again, stored once."""

import gc
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.servers.cases import OK, compare, env, rec
from tests.servers.ingest import Answer, ImportServer
from tests.servers.loading import Warehouse

from treadle.errors import RetriableError
from treadle.loader.log_trimmer import TRIM_INTERVAL_US
from treadle.log.protocol import AppendResult, IdempotencyKey, NewEntry, TrimPoint
from treadle.log.quota import LogQuota
from treadle.log.sqlite.log import SqliteAppender, SqliteReader

KEY = {"Idempotency-Key": "order 17"}
PLAIN = "/v1/tables/people/records?key=id"


def push(server: ImportServer, *records: dict[str, Any], **more: Any) -> Answer:
    headers = KEY | more.pop("headers", {})
    return server.post("/v2/import/push", list(records), headers=headers, **more)


def replayed(answer: Answer) -> bool:
    return answer.header("idempotency-replayed") == "true"


def test_sent_twice_stored_once(server: ImportServer) -> None:
    first, second = push(server, rec()), push(server, rec())
    for answer in (first, second):
        compare(answer, 201, OK)
    assert (replayed(first), replayed(second)) == (False, True)
    assert first.header("treadle-receipt") == second.header("treadle-receipt")
    assert server.accepted() == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/import/push", [rec(), rec(table_name="orders")], 201),
        ("/v2/import/batch", env(), 201),
        (PLAIN, {"id": 1}, 201),
        ("/v1/clients/4321/token/{token}", {"id": 1}, 200),
    ],
)
def test_every_write_endpoint(server: ImportServer, path: str, body: Any, status: int) -> None:
    path = path.replace("{token}", server.token)
    first = server.post(path, body, headers=KEY)
    stored = server.accepted()
    second = server.post(path, body, headers=KEY)
    compare(first, status, OK)
    compare(second, status, OK)
    assert replayed(second)
    assert first.header("treadle-receipt") == second.header("treadle-receipt")
    assert server.accepted() == stored


def test_across_a_restart(tmp_path: Path) -> None:
    server = ImportServer(tmp_path)
    with server.running():
        first = push(server, rec())
    with server.running():
        second = push(server, rec())
        assert replayed(second)
        assert first.header("treadle-receipt") == second.header("treadle-receipt")
        assert server.accepted() == 1
    server.store.close()


def together(count: int, do: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(do, range(count)))


def test_repeated_at_the_same_time(server: ImportServer) -> None:
    answers = together(8, lambda _: push(server, rec()))
    for answer in answers:
        compare(answer, 201, OK)
    assert sorted(map(replayed, answers)) == [False] + [True] * 7
    assert server.accepted() == 1


def test_repeated_at_the_same_time_in_two_processes(server: ImportServer) -> None:
    """Two applications on one store and one log know of each other only by these."""
    port = server.port
    with server.running():
        ports = [port, server.port]

        def send(number: int) -> Answer:
            other = object.__new__(ImportServer)
            other.__dict__ = server.__dict__ | {"port": ports[number % 2]}
            return push(other, rec())

        answers = together(8, send)
    assert [answer.status for answer in answers] == [201] * 8
    assert sorted(map(replayed, answers)) == [False] + [True] * 7
    assert len({answer.header("treadle-receipt") for answer in answers}) == 1
    assert server.accepted() == 1


def test_another_request_with_the_same_key(server: ImportServer) -> None:
    push(server, rec())
    message = "This Idempotency-Key was used with another request"
    expected = {"status": "ERROR", "message": message}
    compare(push(server, rec(sequence=2)), 422, expected)
    compare(server.post("/v2/import/batch", env(), headers=KEY), 422, expected)
    transit = push(server, rec(), content_type="application/transit+json")
    compare(transit, 422, expected)
    assert server.accepted() == 1


def test_another_key_and_another_source_are_other_requests(server: ImportServer) -> None:
    _, sibling = server.make_source("sibling")
    answers = [
        push(server, rec()),
        push(server, rec(), headers={"Idempotency-Key": "order 18"}),
        push(server, rec(), token=sibling),
    ]
    assert [replayed(answer) for answer in answers] == [False] * 3
    assert server.accepted() == 3


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_keys_that_are_none(server: ImportServer, key: str) -> None:
    answer = push(server, rec(), headers={"Idempotency-Key": key})
    compare(answer, 400, lambda body: "1 to 255" in body["message"])
    assert server.accepted() == 0


def test_a_refused_request_takes_no_key(server: ImportServer) -> None:
    assert push(server, rec("action")).status == 422
    compare(push(server, rec()), 201, OK)
    assert server.accepted() == 1


class Crash(Exception):  # noqa: N818 - stands for a process that ends here
    pass


AppendOnce = Callable[[SqliteAppender, Sequence[NewEntry], IdempotencyKey], Awaitable[AppendResult]]
APPEND_ONCE: AppendOnce = SqliteAppender.append_once


async def crash_before(
    self: SqliteAppender, entries: Sequence[NewEntry], once: IdempotencyKey
) -> AppendResult:
    raise Crash


async def crash_after(
    self: SqliteAppender, entries: Sequence[NewEntry], once: IdempotencyKey
) -> AppendResult:
    await APPEND_ONCE(self, entries, once)
    raise Crash


@pytest.mark.parametrize(("path", "body"), [("/v2/import/push", [rec()]), (PLAIN, {"id": 1})])
def test_a_crash_after_the_log_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    """The plain door numbers records anew: what was sent tells that they are the same."""
    server = ImportServer(tmp_path)
    with server.running(), monkeypatch.context() as patch:
        server.post(path, body)  # the same records without a key: not to be taken for ours
        patch.setattr(SqliteAppender, "append_once", crash_after)
        assert server.post(path, body, headers=KEY).status == 500
        assert server.accepted() == 2
    with server.running():
        second, third = (server.post(path, body, headers=KEY) for _ in range(2))
        compare(second, 201, OK)
        assert replayed(second)
        assert replayed(third)
        assert second.header("treadle-receipt") == third.header("treadle-receipt")
        assert server.accepted() == 2
    server.store.close()


def test_several_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ImportServer(tmp_path)
    for crash in (crash_before, crash_before, crash_after, crash_before):
        with server.running(), monkeypatch.context() as patch:
            patch.setattr(SqliteAppender, "append_once", crash)
            assert push(server, rec()).status == 500
    with server.running():
        assert replayed(push(server, rec()))
        assert server.accepted() == 1
    server.store.close()


def test_a_log_that_was_away_is_tried_again_at_once(
    server: ImportServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(
        self: SqliteAppender, entries: Sequence[NewEntry], once: IdempotencyKey
    ) -> AppendResult:
        raise RetriableError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteAppender, "append_once", away)
        assert push(server, rec()).status == 503
        assert push(server, rec()).status == 503
    answer = push(server, rec())
    compare(answer, 201, OK)
    assert not replayed(answer)
    assert server.accepted() == 1


# How long a key is known


def test_a_key_is_known_after_its_entries_were_removed(server: ImportServer) -> None:
    first = push(server, rec())
    reader = SqliteReader(server.folder / "log.sqlite")
    assert reader.trim([TrimPoint(server.source_id, "customers", 10**6)]) == 1
    assert reader.find_entries(1, 10) == []
    second = push(server, rec())
    compare(second, 201, OK)
    assert replayed(second)
    assert first.header("treadle-receipt") == second.header("treadle-receipt")
    assert reader.find_entries(1, 10) == []
    reader.close()


def loading(house: Warehouse, until: Callable[[SqliteReader], bool]) -> None:
    """Let the loader run until something is so in the log."""
    stop = threading.Event()
    running = threading.Thread(target=lambda: house.loader.run(stop, lambda: None))
    reader = SqliteReader(house.folder / "log.sqlite")
    running.start()
    try:
        deadline = time.monotonic() + 120
        while not until(reader):
            assert time.monotonic() < deadline, "it does not come to that"
            time.sleep(0.01)
    finally:
        stop.set()
        running.join(120)
        reader.close()
        gc.enable()  # a loader has a process of its own, in which it is off


def test_a_full_log_forgets_no_key(house: Warehouse) -> None:
    """Everything that is loaded is removed from it at once; what it knows of requests is not."""
    house.loader.log_quota = LogQuota(bytes_max=1)
    first = push(house, rec())
    loading(house, lambda reader: reader.find_entries(1, 10) == [])
    second = push(house, rec())
    assert replayed(second)
    assert first.header("treadle-receipt") == second.header("treadle-receipt")
    assert house.accepted() == 0


@pytest.mark.parametrize(("retention_us", "known_us"), [(10**12, 10**12), (0, 3_600_000_000)])
def test_a_key_is_known_as_long_as_was_promised(
    house: Warehouse, retention_us: int, known_us: int
) -> None:
    push(house, rec())
    path = house.folder / "log.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        [(at,)] = connection.execute("SELECT at FROM requests").fetchall()

    def known() -> bool:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT 1 FROM requests").fetchone() is not None

    house.loader.retention_us = retention_us
    house.loader.clock = lambda: at + known_us
    loading(house, lambda reader: reader.list_backlogs() == [])
    assert replayed(push(house, rec()))
    house.loader.clock = lambda: at + known_us + TRIM_INTERVAL_US + 1
    loading(house, lambda _: not known())
    assert not replayed(push(house, rec()))
