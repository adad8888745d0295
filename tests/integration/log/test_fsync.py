"""An fsync that fails: what was refused does not come back after a crash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from treadle.log.protocol import LogEntry
from treadle.log.sqlite.log import SqliteReader

# Loaded before the C library: the next fsync of a write-ahead log fails while the file named by
# FAIL_ONCE is there.
FAILING_FSYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
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
    errno = EIO;
    return 1;
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD and /proc")
@pytest.mark.skipif(
    shutil.which("cc") is None and os.environ.get("CI") != "true", reason="needs a C compiler"
)
def test_what_was_refused_after_a_failed_fsync_does_not_come_back(tmp_path: Path) -> None:
    (tmp_path / "fail.c").write_text(FAILING_FSYNC)
    library = tmp_path / "fail.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, tmp_path / "fail.c", "-ldl"], check=True
    )
    living = tmp_path / "living"
    living.mkdir()
    order = tmp_path / "fail-once"
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(living)],
        env={**os.environ, "LD_PRELOAD": str(library), "FAIL_ONCE": str(order)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the log is not available now (disk I/O error)\n"
    assert not order.exists()
    assert kept(tmp_path / "crashed" / "log.db") == [(1, b"before")]
    assert kept(living / "log.db") == [(1, b"before"), (2, b"after")]
