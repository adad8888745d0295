"""An fsync that fails: what was refused does not come back after a crash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.log.protocol import LogEntry
from treadle.log.salvage_report import KnownLog
from treadle.log.sqlite.log import SqliteReader
from treadle.log.sqlite.recovery.salvage import find_damage, repair_log

# Loaded before the C library: the next fsync of a write-ahead log fails while the file named by
# FAIL_ONCE is there. With READ_ONLY all later writes into it fail, too, while that file is there.
FAILING_FSYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int fd) {
    char link[64], path[PATH_MAX];
    const char *order = getenv("FAIL_ONCE");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (order == NULL || length < 4 || memcmp(path + length - 4, "-wal", 4) != 0) return 0;
    if (unlink(order) != 0) return 0;
    // As ext4 does with errors=remount-ro.
    if (getenv("READ_ONLY") != NULL) close(open(getenv("READ_ONLY"), O_CREAT | O_WRONLY, 0600));
    errno = EIO;
    return 1;
}

static int is_read_only(int fd) {
    char link[64], path[PATH_MAX];
    const char *order = getenv("READ_ONLY");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (order == NULL || length < 4 || memcmp(path + length - 4, "-wal", 4) != 0) return 0;
    if (access(order, F_OK) != 0) return 0;
    errno = EROFS;
    return 1;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
    return is_read_only(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
    return is_read_only(fd) ? -1 : real(fd, data, size, at);
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return fails(fd) ? -1 : real(fd);
}
"""

WRITER = """
import asyncio, os, pathlib, shutil, sys
from treadle.errors import RetriableError
from treadle.log.sqlite.log import SqliteAppender
from treadle.log.protocol import NewEntry

folder = pathlib.Path(sys.argv[1])

async def main():
    appender = SqliteAppender(folder / "log.db")
    async def append(label):
        return await appender.append([NewEntry(1, label, 1, 1, label.encode())])
    assert await append("before") == 1
    pathlib.Path(os.environ["FAIL_ONCE"]).touch()
    try:
        await append("lost")
    except RetriableError as error:
        print(error)
    # The files as a crash would leave them now.
    shutil.copytree(folder, folder.with_name("crashed"))
    assert await append("after") == 2
    await appender.aclose()

asyncio.run(main())
"""


def kept(path: Path) -> list[tuple[int, bytes]]:
    reader = SqliteReader(path)
    found = [(e.position, e.payload) for e in reader.find_entries(1, 10) if isinstance(e, LogEntry)]
    reader.close()
    return found


needs_failing_calls = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD and /proc"),
    pytest.mark.skipif(
        shutil.which("cc") is None and os.environ.get("CI") != "true", reason="needs a C compiler"
    ),
]
pytestmark = needs_failing_calls


@pytest.fixture(scope="module")
def failing_fsync(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("fsync"), FAILING_FSYNC)


def compile_library(folder: Path, source: str) -> Path:
    (folder / "fail.c").write_text(source)
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", folder / "fail.so", folder / "fail.c", "-ldl"], check=True
    )
    return folder / "fail.so"


def run_writer(writer: str, folder: Path, library: Path, **environment: str) -> str:
    """Run a program that writes into `folder`/living; return what it printed."""
    living = folder / "living"
    living.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", writer, str(living)],
        env={
            **os.environ,
            "LD_PRELOAD": str(library),
            "FAIL_ONCE": str(folder / "fail-once"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_was_refused_after_a_failed_fsync_does_not_come_back(
    tmp_path: Path, failing_fsync: Path
) -> None:
    said = run_writer(WRITER, tmp_path, failing_fsync)
    assert said == "the log is not available now (disk I/O error)\n"
    assert not (tmp_path / "fail-once").exists()
    assert kept(tmp_path / "crashed" / "log.db") == [(1, b"before")]
    assert kept(tmp_path / "living" / "log.db") == [(1, b"before"), (2, b"after")]


# A group of many pages is refused, on free pages of the file and while another program reads from
# the time before it; then others are accepted.
LONG_WRITER = """
import asyncio, os, pathlib, shutil, sqlite3, sys
from treadle.errors import RetriableError
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.log.protocol import NewEntry, TrimPoint

folder = pathlib.Path(sys.argv[1])

async def main():
    appender = SqliteAppender(folder / "log.db")
    async def append(label, count):
        return await appender.append(
            [NewEntry(1, "t", 1, 1, label + os.urandom(900)) for _ in range(count)]
        )
    assert await append(b"loaded", 400) == 1
    reader = SqliteReader(folder / "log.db")
    reader.mark_loaded(1, "t", 395)
    reader.trim([TrimPoint(1, "t", 395)])
    reader.close()
    backup = sqlite3.connect(folder / "log.db")
    backup.execute("BEGIN")
    backup.execute("SELECT count(*) FROM entries").fetchone()
    assert await append(b"before", 1) == 401
    pathlib.Path(os.environ["FAIL_ONCE"]).touch()
    try:
        await append(b"refused", 200)
    except RetriableError as error:
        print(error)
    for number in range(10):
        assert await append(b"after %d" % number, 1) == 402 + number
    # The files as a crash would leave them now.
    shutil.copytree(folder, folder.with_name("crashed"))
    backup.close()
    await appender.aclose()

asyncio.run(main())
"""


def test_what_was_accepted_after_a_failed_fsync_outlives_a_crash(
    tmp_path: Path, failing_fsync: Path
) -> None:
    said = run_writer(LONG_WRITER, tmp_path, failing_fsync)
    assert said == "the log is not available now (disk I/O error)\n"
    path = tmp_path / "crashed" / "log.db"
    assert find_damage(path, KnownLog()) is None
    assert repair_log(path, KnownLog()) is None
    reader = SqliteReader(path)
    found = reader.find_entries(401, 1_000)
    reader.close()
    labels = [(e.position, e.payload[:-900]) for e in found if isinstance(e, LogEntry)]
    assert labels == [(401, b"before"), *((402 + n, b"after %d" % n) for n in range(10))]


# The disk takes nothing after the failed fsync, until it is mended.
DENIED_WRITER = """
import asyncio, os, pathlib, shutil, sys
from treadle.errors import RetriableError
from treadle.log.sqlite.log import SqliteAppender
from treadle.log.protocol import AppendUnknownError, NewEntry

folder = pathlib.Path(sys.argv[1])

async def main():
    appender = SqliteAppender(folder / "log.db")
    async def append(label):
        return await appender.append([NewEntry(1, label, 1, 1, label.encode())])
    assert await append("before") == 1
    pathlib.Path(os.environ["FAIL_ONCE"]).touch()
    try:
        await append("unknown")
    except AppendUnknownError as error:
        print(error)
    try:
        await append("refused")
    except RetriableError as error:
        print("refused")
    # The files as a crash would leave them now.
    shutil.copytree(folder, folder.with_name("crashed"))
    pathlib.Path(os.environ["READ_ONLY"]).unlink()
    assert await append("after") == 2
    await appender.aclose()

asyncio.run(main())
"""


def test_nobody_knows_of_a_commit_that_could_not_be_undone(
    tmp_path: Path, failing_fsync: Path
) -> None:
    said = run_writer(DENIED_WRITER, tmp_path, failing_fsync, READ_ONLY=str(tmp_path / "read-only"))
    assert said == (
        "the log's disk failed in a commit (disk I/O error), and took nothing that would undo it; "
        "nobody knows whether the entries are in the log\nrefused\n"
    )
    # It came back: a refusal would have been a lie.
    assert kept(tmp_path / "crashed" / "log.db") == [(1, b"before"), (2, b"unknown")]
    assert kept(tmp_path / "living" / "log.db") == [(1, b"before"), (2, b"after")]
