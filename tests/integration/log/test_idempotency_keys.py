"""Requests that may come again: stored once, whoever stores them and whatever ends meanwhile."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.faults.calls import disk_error, watched_disk
from tests.faults.hang import ENDINGS, Stall

from treadle.errors import RetriableError
from treadle.log.protocol import AppendResult, IdempotencyKey, LogEntry, NewEntry, TrimPoint
from treadle.log.sqlite import log_file
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.log.sqlite.log_file import open_sqlite

AT = 1_700_000_000_000_000


def entry(payload: bytes = b"[1]", at: int = AT) -> NewEntry:
    return NewEntry(1, "orders", at, 1, payload)


def once(name: str, digest: str = "d") -> IdempotencyKey:
    return IdempotencyKey(name.encode().ljust(32), digest.encode().ljust(32))


def append(
    path: Path, requests: Sequence[tuple[Sequence[NewEntry], IdempotencyKey]]
) -> list[AppendResult]:
    async def run() -> list[AppendResult]:
        appender = SqliteAppender(path)
        try:
            return await asyncio.gather(*[appender.append_once(*request) for request in requests])
        finally:
            await appender.aclose()

    return asyncio.run(run())


def payloads(reader: SqliteReader) -> dict[int, bytes]:
    found = reader.find_entries(1, 1_000_000)
    sound = {one.position: one.payload for one in found if isinstance(one, LogEntry)}
    assert len(sound) == len(found)
    return sound


def test_requests_without_a_key_cost_no_statement(log_path: Path) -> None:
    said: list[str] = []

    def traced(path: Path) -> sqlite3.Connection:
        connection = open_sqlite(path)
        connection.set_trace_callback(lambda text: said.append(" ".join(text.split()[:3])))
        return connection

    async def run() -> list[list[str]]:
        appender = SqliteAppender(log_path, connect=traced)
        await appender.append([entry()])
        found: list[list[str]] = []
        for appending in (
            appender.append([entry()]),
            appender.append_once([entry()], once("a")),
            appender.append_once([entry()], once("a")),
        ):
            said.clear()
            await appending
            found.append(said.copy())
        await appender.aclose()
        return found

    plain, first, again = asyncio.run(run())
    begin = ["BEGIN IMMEDIATE", "SELECT coalesce(max(seq), 0)"]
    look, note, add = "UPDATE requests SET", "INSERT INTO requests", "INSERT INTO entries"
    assert plain == [*begin, add, "COMMIT"]
    assert first == [*begin, look, note, add, "COMMIT"]
    assert again == [*begin, look, "COMMIT"]


# Another worker


@pytest.mark.parametrize("ending", ENDINGS)
def test_another_appender_while_the_commit_of_the_first_hangs(
    log_path: Path, reader: SqliteReader, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """It waits, however long that takes; then it finds the first, or that there was none."""
    enter, waits = log_file.LogWriteLock.__enter__, threading.Event()

    def entered(lock: log_file.LogWriteLock) -> log_file.LogWriteLock:
        waits.set()
        return enter(lock)

    error = disk_error(sqlite3.SQLITE_IOERR, "disk I/O error (injected)")
    held = Stall(1, error, only=("COMMIT",), ending=ending)

    async def run() -> tuple[AppendResult | BaseException, AppendResult]:
        first = SqliteAppender(log_path, connect=watched_disk(held))
        second = SqliteAppender(log_path)
        beginning = asyncio.ensure_future(first.append_once([entry(b"first")], once("a")))
        try:
            assert await asyncio.to_thread(held.reached.wait, 60)
            monkeypatch.setattr(log_file.LogWriteLock, "__enter__", entered)
            repeating = asyncio.ensure_future(second.append_once([entry(b"second")], once("a")))
            assert await asyncio.to_thread(waits.wait, 60)
            assert payloads(reader) == {}
            assert not repeating.done()
        finally:
            held.released.set()
        [found] = await asyncio.gather(beginning, return_exceptions=True)
        told = await repeating
        await first.aclose()
        await second.aclose()
        return found, told

    found, told = asyncio.run(run())
    there = payloads(reader)
    stored = ending != "failed before"
    assert told == AppendResult(1, once("a").digest, duplicate=stored)
    assert there == {1: b"first" if stored else b"second"}
    if ending == "done":
        assert found == AppendResult(1, once("a").digest, duplicate=False)
    else:
        assert isinstance(found, RetriableError)


DYING = """
import asyncio, sys
from pathlib import Path
from treadle import failpoint
from treadle.log.sqlite.log import SqliteAppender
from treadle.log.protocol import NewEntry, IdempotencyKey

async def main():
    appender = SqliteAppender(Path(sys.argv[1]))
    failpoint.arm(sys.argv[2])
    given = [NewEntry(1, "orders", 1_700_000_000_000_000, 1, b"first")] * 2
    await appender.append_once(given, IdempotencyKey(b"a".ljust(32), b"d".ljust(32)))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("point", "stored"),
    [
        ("log.append", False),
        ("log.before-commit", False),
        ("log.after-commit", True),
        ("log.answer", True),
    ],
)
def test_what_a_killed_process_stored_is_told_to_who_repeats(
    log_path: Path, point: str, stored: bool
) -> None:
    plan = log_path.with_name("plan")
    plan.write_text(json.dumps({"point": point}))
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(log_path), str(plan)], check=False, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    second, third = append(log_path, [([entry(b"again")] * 2, once("a"))] * 2)
    digest = once("a").digest
    assert second == AppendResult(1, digest, duplicate=stored)
    assert third == AppendResult(1, digest, duplicate=True)
    reader = SqliteReader(log_path)
    assert set(payloads(reader).values()) == {b"first" if stored else b"again"}
    assert sorted(payloads(reader)) == [1, 2]
    reader.close()


# How long


def test_a_name_outlives_its_entries_and_is_forgotten_by_its_age(
    log_path: Path, reader: SqliteReader
) -> None:
    append(log_path, [([entry(at=AT + n)], once(f"key {n}")) for n in range(2_500)])
    assert reader.trim([TrimPoint(1, "orders", 2_500)]) == 2_500
    names = [once(f"key {n}").name for n in range(2_500)]
    assert list(reader.statistics.find_keys(names).values()) == list(range(1, 2_501))
    assert append(log_path, [([entry()], once("key 0"))])[0].duplicate
    assert reader.statistics.forget_keys(AT) == 0
    assert reader.statistics.forget_keys(AT + 2_499) == 2_499
    assert reader.statistics.find_keys(names) == {names[-1]: 2_500}
    assert append(log_path, [([entry(b"anew")], once("key 0"))]) == [
        AppendResult(2_501, once("").digest, duplicate=False)
    ]


def test_nobody_waits_for_a_hanging_disk_where_there_is_nothing_to_forget(
    log_path: Path, reader: SqliteReader
) -> None:
    append(log_path, [([entry()], once("a"))])
    lock = log_file.LogWriteLock(log_path.with_name(log_path.name + "-lock"))
    with lock:
        assert reader.statistics.forget_keys(AT) == 0
    lock.close()
