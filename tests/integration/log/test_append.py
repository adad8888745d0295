import asyncio
import contextlib
import multiprocessing
import os
import sqlite3
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from treadle.errors import OperatorError, RetriableError
from treadle.log.protocol import LogEntry, NewEntry, TrimPoint
from treadle.log.sqlite.log import GROUPED_ENTRIES_MAX, SqliteAppender, SqliteReader
from treadle.log.sqlite.log_file import open_sqlite


def entry(
    payload: bytes = b"[1]", table: str = "orders", source: int = 1, records: int = 1
) -> NewEntry:
    return NewEntry(source, table, 1_700_000_000_000_000, records, payload)


def append(path: Path, entries: Sequence[NewEntry]) -> int:
    async def run() -> int:
        appender = SqliteAppender(path)
        try:
            return await appender.append(entries)
        finally:
            await appender.aclose()

    return asyncio.run(run())


def everything(reader: SqliteReader) -> list[LogEntry]:
    found = reader.find_entries(1, 1_000_000)
    sound = [one for one in found if isinstance(one, LogEntry)]
    assert len(sound) == len(found)
    return sound


def test_a_position_is_not_given_again_after_its_entry_is_gone(
    log_path: Path, reader: SqliteReader
) -> None:
    append(log_path, [entry()] * 5)
    assert reader.trim([TrimPoint(1, "orders", 5)]) == 5
    assert reader.find_entries(1, 10) == []
    assert append(log_path, [entry()]) == 6


def _append_some(path: Path, name: str, start: Any, answers: Any) -> None:
    async def run() -> list[tuple[int, str]]:
        appender = SqliteAppender(path)

        async def one(number: int) -> tuple[int, str]:
            label = f"{name} {number}"
            return await appender.append([entry(label.encode())] * 3), label

        found = await asyncio.gather(*[one(number) for number in range(200)])
        await appender.aclose()
        return found

    start.wait()
    answers.put(asyncio.run(run()))


def test_processes_appending_at_once_get_positions_of_their_own(
    log_path: Path, reader: SqliteReader
) -> None:
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(3), spawn.Queue()
    processes = [
        spawn.Process(target=_append_some, args=(log_path, name, start, answers))
        for name in ("a", "b", "c")
    ]
    for process in processes:
        process.start()
    found = [pair for _ in processes for pair in answers.get(timeout=120)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    entries = {one.position: one.payload.decode() for one in everything(reader)}
    assert sorted(entries) == list(range(1, 1801))
    assert len(found) == 600
    for first, label in found:
        assert [entries[first + n] for n in range(3)] == [label] * 3


# Failures


class Stubborn(sqlite3.Connection):
    """A connection whose commits fail while it is told so."""

    failing = False
    commits = 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == "COMMIT":
            type(self).commits += 1
            if type(self).failing:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
        return super().execute(sql, *values)


def stubborn(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=Stubborn, timeout=5
    )


def test_a_group_that_cannot_be_committed_is_refused_whole(
    log_path: Path, reader: SqliteReader
) -> None:
    async def run() -> tuple[list[int | BaseException], int]:
        appender = SqliteAppender(log_path, connect=stubborn)
        assert await appender.append([entry(b"before")]) == 1
        Stubborn.failing = True
        found = await asyncio.gather(
            *[appender.append([entry(b"lost", table=f"t{n}")] * 2) for n in range(20)],
            return_exceptions=True,
        )
        Stubborn.failing = False
        after = await appender.append([entry(b"after", table="t3")])
        await appender.aclose()
        return list(found), after

    found, after = asyncio.run(run())
    assert all(isinstance(one, RetriableError) for one in found)
    assert {str(one) for one in found} == {
        "the log is not available now (database or disk is full)"
    }
    assert [(e.position, e.payload) for e in everything(reader)] == [
        (1, b"before"),
        (after, b"after"),
    ]
    assert [b.table_name for b in reader.list_backlogs()] == ["orders", "t3"]


def test_an_error_of_what_notes_a_write_changes_no_answer(log_path: Path) -> None:
    def fail(*_: int) -> None:
        raise ValueError("a map that was closed")

    async def run() -> None:
        appender = SqliteAppender(
            log_path, connect=stubborn, report_commit=fail, report_failure=fail
        )
        assert await appender.append([entry(b"before")]) == 1
        Stubborn.failing = True
        with pytest.raises(RetriableError, match="disk is full"):
            await asyncio.wait_for(appender.append([entry(b"lost")]), 60)
        Stubborn.failing = False
        assert await asyncio.wait_for(appender.append([entry(b"after")]), 60) == 2
        await appender.aclose()

    asyncio.run(run())


def test_a_full_disk_is_survived(log_path: Path, reader: SqliteReader) -> None:
    pages = 60

    def small(path: Path) -> sqlite3.Connection:
        connection = open_sqlite(path)
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    async def run() -> int:
        appender = SqliteAppender(log_path, connect=small)
        kept = 0
        for _ in range(40):
            with contextlib.suppress(RetriableError):
                kept = await appender.append([entry(os.urandom(20_000))])
        with pytest.raises(RetriableError, match="database or disk is full"):
            await appender.append([entry(os.urandom(20_000))])
        await appender.aclose()
        return kept

    kept = asyncio.run(run())
    assert 0 < kept < 15
    assert [e.position for e in everything(reader)] == list(range(1, kept + 1))
    assert reader.trim([TrimPoint(1, "orders", kept)]) == kept
    assert append(log_path, [entry()]) == kept + 1


def test_too_much_waiting_is_turned_away(log_path: Path) -> None:
    hold, held = threading.Event(), threading.Event()

    class Slow(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and threading.current_thread().name == "treadle-log":
                held.set()
                hold.wait(60)
            return super().execute(sql, *values)

    def slow(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Slow)

    async def run() -> None:
        appender = SqliteAppender(log_path, connect=slow, pending_bytes_max=10_000)
        # Alone, a request may be greater than the bound.
        first = asyncio.ensure_future(appender.append([entry(b"x" * 8_900)]))
        await asyncio.to_thread(held.wait, 60)
        with pytest.raises(RetriableError, match="bytes wait for the log's disk"):
            await appender.append([entry(b"x" * 1_000)])
        second = asyncio.ensure_future(appender.append([entry(b"x")]))
        await asyncio.sleep(0)
        hold.set()
        assert [await first, await second] == [1, 2]
        assert await appender.append([entry(b"x" * 20_000)]) == 3
        await appender.aclose()

    asyncio.run(run())


def test_closing_finishes_what_is_being_encoded(log_path: Path, reader: SqliteReader) -> None:
    large = [entry(os.urandom(100)) for _ in range(5_000)]

    async def run() -> list[int]:
        appender = SqliteAppender(log_path)
        begun = [asyncio.ensure_future(appender.append(large)) for _ in range(3)]
        await asyncio.sleep(0)
        await appender.aclose()
        with pytest.raises(RetriableError, match="closed"):
            await appender.append(large)
        return await asyncio.gather(*begun)

    assert sorted(asyncio.run(run())) == [1, 5_001, 10_001]
    assert [one.payload for one in everything(reader)] == [one.payload for one in large] * 3


def test_who_stops_waiting_for_the_encoding_leaves_nothing(
    log_path: Path, reader: SqliteReader
) -> None:
    large = [entry(os.urandom(100)) for _ in range(5_000)]

    async def run() -> int:
        appender = SqliteAppender(log_path, pending_bytes_max=10_000)
        leaving = asyncio.ensure_future(appender.append(large))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        # Its bytes wait no more, so that another one fits.
        first = await appender.append([entry(b"x" * 9_000)])
        await appender.aclose()
        return first

    assert asyncio.run(run()) == 1
    assert len(everything(reader)) == 1


def test_small_requests_are_written_before_one_of_many_entries(
    log_path: Path, reader: SqliteReader
) -> None:
    hold, held = threading.Event(), threading.Event()

    class Slow(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and not held.is_set():
                held.set()
                hold.wait(60)
            return super().execute(sql, *values)

    def slow(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Slow)

    async def run() -> list[int]:
        appender = SqliteAppender(log_path, connect=slow)
        large = [entry(table=f"t{n}") for n in range(GROUPED_ENTRIES_MAX + 1)]
        begun = [asyncio.ensure_future(appender.append([entry()]))]
        await asyncio.to_thread(held.wait, 60)
        begun += [asyncio.ensure_future(appender.append(large)) for _ in range(2)]
        await asyncio.sleep(1)  # they are encoded and wait
        begun += [asyncio.ensure_future(appender.append([entry()])) for _ in range(2)]
        await asyncio.sleep(0.1)
        hold.set()
        found = await asyncio.gather(*begun)
        await appender.aclose()
        return found

    first, large_1, large_2, small_1, small_2 = asyncio.run(run())
    assert [first, small_1, small_2] == [1, 2, 3]
    assert sorted([large_1, large_2]) == [4, 4 + GROUPED_ENTRIES_MAX + 1]
    tables = [one.table_name for one in everything(reader)][3:]
    assert tables == [f"t{n}" for n in range(GROUPED_ENTRIES_MAX + 1)] * 2


def test_who_stops_waiting_harms_nobody(log_path: Path, reader: SqliteReader) -> None:
    async def run() -> list[int]:
        appender = SqliteAppender(log_path)
        tasks = [asyncio.ensure_future(appender.append([entry()])) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        kept = await asyncio.gather(*tasks[1::2])
        await appender.aclose()
        return kept

    kept = asyncio.run(run())
    assert len(set(kept)) == 10
    assert set(kept) <= {e.position for e in everything(reader)}


# The file


def test_the_file_is_for_its_owner_alone(log_path: Path, reader: SqliteReader) -> None:
    append(log_path, [entry()])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in log_path.parent.iterdir()}
    assert modes.keys() >= {"log.db", "log.db-lock"}
    assert set(modes.values()) == {0o600}
    assert reader.list_backlogs() != []


def test_commits_are_fsynced(log_path: Path) -> None:
    seen: list[sqlite3.Connection] = []

    def watched(path: Path) -> sqlite3.Connection:
        seen.append(open_sqlite(path))
        return seen[-1]

    async def run() -> tuple[object, object]:
        appender = SqliteAppender(log_path, connect=watched)
        settings = [
            seen[0].execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        ]
        await appender.aclose()
        return settings[0], settings[1]

    assert asyncio.run(run()) == ("wal", 2)


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(OperatorError, match="another program's database"):
        SqliteReader(tmp_path / "other.db")
    (tmp_path / "text").write_text("no database" * 1000)
    with pytest.raises(OperatorError, match="not a database"):
        SqliteReader(tmp_path / "text")
    with pytest.raises(OperatorError, match="its folder is missing"):
        SqliteReader(tmp_path / "nowhere" / "log.db")


def test_a_log_of_a_newer_treadle_is_refused(log_path: Path) -> None:
    append(log_path, [entry()])
    connection = sqlite3.connect(log_path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OperatorError, match=r"made by a newer treadle \(its form is 99"):
        SqliteReader(log_path)


def test_a_log_of_a_form_that_was_never_released_is_refused(log_path: Path) -> None:
    append(log_path, [entry()])
    connection = sqlite3.connect(log_path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(OperatorError, match="has form 1, which no release of treadle wrote"):
        SqliteReader(log_path)
