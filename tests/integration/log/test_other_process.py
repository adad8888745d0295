"""The log beside other processes that open it and go again, as commands do beside a server."""

import asyncio
import subprocess
import sys
from pathlib import Path

from treadle.log.protocol import LogEntry, NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader

COMMAND = """
import sys
from pathlib import Path
from treadle.log.sqlite.log import SqliteReader

reader = SqliteReader(Path(sys.argv[1]))
reader.find_entries(1, 10)
reader.close()
"""


def visit(path: Path) -> None:
    subprocess.run([sys.executable, "-c", COMMAND, str(path)], check=True, timeout=60)


def test_a_process_that_comes_and_goes_takes_nothing_along(log_path: Path) -> None:
    """The last of all processes to close a log removes the file written ahead; it is not that."""
    ahead = log_path.with_name(log_path.name + "-wal")

    async def work() -> list[int]:
        appender = SqliteAppender(log_path)
        readers = [SqliteReader(log_path)]
        positions = []
        try:
            for number in range(3):
                given = NewEntry(1, "orders", 1, 1, b"%d" % number)
                positions.append(await appender.append([given]))
                before = ahead.stat().st_ino
                visit(log_path)
                assert ahead.exists(), "the file written ahead was removed under its writer"
                assert ahead.stat().st_ino == before
                # Whatever else opens the log in this process must change nothing of that.
                readers.append(SqliteReader(log_path))
        finally:
            for reader in readers:
                reader.close()
            await appender.aclose()
        return positions

    positions = asyncio.run(work())
    reader = SqliteReader(log_path)
    found = reader.find_entries(1, 10)
    reader.close()
    assert [one.position for one in found if isinstance(one, LogEntry)] == positions
