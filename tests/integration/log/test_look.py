"""A look at a log from outside, while it is used."""

import asyncio
import os
from pathlib import Path

from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender
from treadle.log.sqlite.statistics import look_at_log


def test_a_look_tells_how_full_and_how_old_a_log_is(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    assert look_at_log(path) is None
    commits: list[int] = []

    async def fill() -> None:
        appender = SqliteAppender(path, report_commit=commits.append)
        try:
            empty = look_at_log(path)
            assert empty is not None
            assert empty.oldest is None
            for at in (7, 9):
                await appender.append([NewEntry(1, "orders", at, 1, os.urandom(20_000))])
            found = look_at_log(path)
            assert found is not None
            assert (found.oldest, found.space.used_bytes > empty.space.used_bytes) == (7, True)
            assert found.space.free_bytes
        finally:
            await appender.aclose()

    asyncio.run(fill())
    assert len(commits) == 2
    assert all(one >= 0 for one in commits)
