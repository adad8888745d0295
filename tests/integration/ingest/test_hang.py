"""The log's disk does not answer: a request is answered all the same, and stored once."""

import functools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.calls import watched_disk
from tests.faults.hang import Stall, stall
from tests.servers.cases import OK, compare, rec
from tests.servers.ingest import Answer, ImportServer

from treadle.http.deadline import RequestDeadline
from treadle.ingest import acknowledgement, health_endpoint
from treadle.log.sqlite import log, log_file

LATE = {"status": "ERROR", "message": "Gateway timeout. Try again later."}
KEY = {"Idempotency-Key": "order 17"}


@pytest.fixture
def held() -> Stall:
    return stall(0, only=("COMMIT",))


@pytest.fixture
def server(tmp_path: Path, held: Stall, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImportServer]:
    server = ImportServer(tmp_path)
    appender = functools.partial(log.SqliteAppender, connect=watched_disk(held))
    monkeypatch.setattr("tests.servers.log.SqliteAppender", appender)
    monkeypatch.setattr(log, "WRITE_TIMEOUT_S", 1e9)
    monkeypatch.setattr(health_endpoint, "FAILURE_SECONDS", 1e9)
    with server.running():
        held.at = held.calls + 1
        yield server
        held.released.set()
    server.store.close()


def hang(server: ImportServer, held: Stall, patch: pytest.MonkeyPatch, **headers: str) -> Answer:
    """Push, and wait no longer once the disk hangs; the answer."""

    class Impatient(RequestDeadline):
        def check_deadline(self, now: float) -> bool:
            return held.reached.is_set() and super().check_deadline(now)

    with patch.context() as patched:
        patched.setattr(acknowledgement, "RequestDeadline", lambda _: Impatient(0.0))
        return server.post("/v2/import/push", [rec()], headers=headers)


def test_the_answer_says_that_it_is_not_known(
    server: ImportServer, held: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(hang(server, held, monkeypatch), 504, LATE)
    status = server.send("GET", "/v2/import/status")
    assert status.status == 503
    assert status.json()["reason"] == "the log's disk does not answer"


def test_what_comes_while_the_disk_hangs_is_turned_away_at_once(
    server: ImportServer, held: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang(server, held, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(log, "WRITE_TIMEOUT_S", 0.0)
        answer = server.post("/v2/import/push", [rec()])
    compare(answer, 503, lambda said: said["status"] == "ERROR")
    held.released.set()
    compare(server.post("/v2/import/push", [rec()]), 201, OK)
    assert server.accepted() == 2  # the one that hung came to its end


def test_a_request_that_nobody_waits_for_is_not_begun_any_more(
    server: ImportServer, held: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang(server, held, monkeypatch)
    compare(hang(server, held, monkeypatch), 504, LATE)
    held.released.set()
    compare(server.post("/v2/import/push", [rec()]), 201, OK)
    assert server.accepted() == 2


def test_a_repetition_with_a_key_waits_for_the_first_and_is_not_stored_beside_it(
    server: ImportServer, held: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(hang(server, held, monkeypatch, **KEY), 504, LATE)
    compare(hang(server, held, monkeypatch, **KEY), 504, LATE)
    answers: list[Answer] = []

    def repeat() -> None:
        answers.append(server.post("/v2/import/push", [rec()], headers=KEY))

    repeating = threading.Thread(target=repeat)
    repeating.start()
    held.released.set()
    repeating.join()
    [answer] = answers
    compare(answer, 201, OK)
    assert answer.header("idempotency-replayed") == "true"
    assert server.accepted() == 1


def test_a_repetition_at_another_worker_is_not_stored_beside_the_first(
    server: ImportServer, held: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the disk hangs: the other one waits for its turn, then finds the first."""
    enter, waits = log_file.LogWriteLock.__enter__, threading.Event()

    def entered(lock: log_file.LogWriteLock) -> log_file.LogWriteLock:
        waits.set()
        return enter(lock)

    port, answers = server.port, list[Answer]()
    with server.running():
        other, server.port = server.port, port
        compare(hang(server, held, monkeypatch, **KEY), 504, LATE)
        server.port = other
        monkeypatch.setattr(log_file.LogWriteLock, "__enter__", entered)
        repeating = threading.Thread(
            target=lambda: answers.append(server.post("/v2/import/push", [rec()], headers=KEY))
        )
        repeating.start()
        try:
            assert waits.wait(60)
            assert answers == []
        finally:
            held.released.set()
            repeating.join()
    [answer] = answers
    compare(answer, 201, OK)
    assert answer.header("idempotency-replayed") == "true"
    assert server.accepted() == 1
