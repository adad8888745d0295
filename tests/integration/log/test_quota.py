"""A log that is full, and a disk that fails: refused, told, and taken up again."""

import asyncio
import math
import sqlite3
from pathlib import Path

import pytest

from treadle.errors import RetriableError
from treadle.log.protocol import AppendUnknownError, LogEntry, NewEntry, TrimPoint
from treadle.log.quota import LogQuota, LogSpace
from treadle.log.sqlite import log
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.log.sqlite.log_file import open_sqlite

ENTRY = NewEntry(1, "orders", 1, 1, b"x" * 1000)


def test_what_is_lacking() -> None:
    room = LogQuota(bytes_max=100, disk_reserve_bytes=50)
    assert room.find_shortage(LogSpace(99, 50)) is None
    assert "log_bytes allows 100" in str(room.find_shortage(LogSpace(100, 50)))
    assert "disk_reserve_bytes keeps 50" in str(room.find_shortage(LogSpace(99, 49)))
    assert LogQuota().find_shortage(LogSpace(10**18, 0)) is None


def test_a_full_log_refuses_and_takes_more_once_some_is_removed(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "QUOTA_CHECK_S", 0.0)

    async def run() -> tuple[int, str]:
        appender = SqliteAppender(log_path, quota=LogQuota(bytes_max=200_000))
        accepted = 0
        try:
            while True:
                await appender.append([NewEntry(1, "orders", 1, 1, bytes([accepted % 256]))] * 50)
                accepted += 1
        except RetriableError as error:
            said = str(error)
        reader = SqliteReader(log_path)
        assert sum(backlog.entries for backlog in reader.list_backlogs()) == 50 * accepted
        assert reader.statistics.measure_space().used_bytes >= 200_000
        reader.trim([TrimPoint(1, "orders", 40 * accepted)])
        assert reader.statistics.measure_space().used_bytes < 200_000
        reader.close()
        assert await appender.append([ENTRY]) == 50 * accepted + 1
        await appender.aclose()
        return accepted, said

    accepted, said = asyncio.run(run())
    assert accepted > 3
    assert said.startswith("the log holds ")


def test_a_short_disk_refuses_before_anything_is_written(
    log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "QUOTA_CHECK_S", math.inf)
    free = [10]

    async def run() -> None:
        appender = SqliteAppender(
            log_path,
            quota=LogQuota(disk_reserve_bytes=100),
            measure=lambda connection, path: LogSpace(0, free[0]),
        )
        with pytest.raises(RetriableError, match="10 B left"):
            await appender.append([ENTRY])
        free[0] = 100
        with pytest.raises(RetriableError, match="10 B left"):
            await appender.append([ENTRY])  # not asked again at once
        monkeypatch.setattr(log, "QUOTA_CHECK_S", 0.0)
        assert await appender.append([ENTRY]) == 1
        await appender.aclose()

    asyncio.run(run())


def test_after_a_failure_nothing_is_taken_until_the_log_was_opened_and_verified(
    log_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sick = [False]
    opened = [0]

    class Sick(sqlite3.Connection):
        def execute(self, *arguments: object) -> sqlite3.Cursor:
            if sick[0] and str(arguments[0]).startswith(("COMMIT", "PRAGMA journal")):
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR
                raise error
            return super().execute(*arguments)  # type: ignore[arg-type]

    def seam(path: Path) -> sqlite3.Connection:
        opened[0] += 1
        return sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=Sick, timeout=30
        )

    async def run() -> None:
        failed: list[int] = []
        appender = SqliteAppender(log_path, connect=seam, report_failure=lambda: failed.append(1))
        assert await appender.append([ENTRY]) == 1
        sick[0] = True
        with pytest.raises(AppendUnknownError, match="disk I/O error"):  # nothing undid its commit
            await appender.append([ENTRY])
        for _ in range(2):
            with pytest.raises(RetriableError, match="disk I/O error"):
                await appender.append([ENTRY])
        assert opened[0] == 3  # by the second and the third, which could not trust the first
        sick[0] = False
        assert await appender.append([ENTRY]) == 2
        assert opened[0] == 4
        assert await appender.append([ENTRY]) == 3
        await appender.aclose()
        assert len(failed) == 3

    asyncio.run(run())
    assert "opened again and verified" in caplog.text
    reader = SqliteReader(log_path, connect=open_sqlite)
    assert [type(one) for one in reader.find_entries(1, 10)] == [LogEntry, LogEntry, LogEntry]
    reader.close()
