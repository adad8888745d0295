"""`python -m tests.faults.serve ...`: the command `treadle`, with doors for a test.

It dies where it is told to: TREADLE_CRASH_POINT is the path of a plan's file
(`treadle.failpoint.arm`). Its clock, and those of its children, run ahead of the machine's by the
microseconds that a file holds, whose path is in TEST_CLOCK. With TEST_SYSTEM_CLOCK, what Python
says is the time of the machine runs ahead, and a process that goes by the store's clock has to tell
the right time all the same. Only this program reads these: treadle itself refuses the first and
knows nothing of the others.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from treadle import clock, failpoint
from treadle.cli.main import main
from treadle.server import main_process
from treadle.server.child_process import run_child

VARIABLE = "TREADLE_CRASH_POINT"
CLOCK = "TEST_CLOCK"
SYSTEM_CLOCK = "TEST_SYSTEM_CLOCK"
LOOK_SECONDS = 0.2
"""How often a file with the offset of the system's clock is read."""

ROLES = ("worker", "loader", "desk", "courier")
MODULE = "tests.faults.serve"


def ahead(file: Path) -> Callable[[], int]:
    """A clock, microseconds since 1970, that is set by a file; one that is missing counts as 0."""

    def clock() -> int:
        try:
            offset = int(file.read_text())
        except FileNotFoundError:
            offset = 0
        return time.time_ns() // 1_000 + offset

    return clock


def set_clock(file: Path, offset: int) -> None:
    """Have a clock run ahead by so many microseconds."""
    new = file.with_suffix(".new")
    new.write_text(str(offset))
    new.replace(file)


def shift_system_clock(file: Path) -> None:
    """Let `time.time` and `time.time_ns` of this process run ahead by what a file says."""
    read_ns, read_monotonic = time.time_ns, time.monotonic
    known, looked = 0, -LOOK_SECONDS

    def shifted_ns() -> int:
        nonlocal known, looked
        now = read_monotonic()
        if now - looked >= LOOK_SECONDS:
            looked = now
            try:
                known = int(file.read_text()) * 1_000
            except FileNotFoundError:
                known = 0
        return read_ns() + known

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9


if __name__ == "__main__":
    if CLOCK in os.environ:
        clock.read_clock = ahead(Path(os.environ[CLOCK]))
    if SYSTEM_CLOCK in os.environ:
        shift_system_clock(Path(os.environ[SYSTEM_CLOCK]))
    if CLOCK in os.environ or SYSTEM_CLOCK in os.environ:
        main_process.CHILD_MODULE = MODULE
        if sys.argv[1] in ROLES:
            sys.exit(run_child())
    failpoint.arm(os.environ.pop(VARIABLE, None))
    sys.exit(main())
