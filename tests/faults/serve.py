"""`python -m tests.faults.serve ...`: the command `treadle`, with doors for a test.

It dies where it is told to: TREADLE_CRASH_POINT is the path of a plan's file
(`treadle.failpoint.arm`). Its clock, and those of its children, run ahead of the machine's by the
microseconds that a file holds, whose path is in TEST_CLOCK. Only this program reads these:
treadle itself refuses the one and knows nothing of the other.
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


if __name__ == "__main__":
    if CLOCK in os.environ:
        clock.read_clock = ahead(Path(os.environ[CLOCK]))
        main_process.CHILD_MODULE = MODULE
        if sys.argv[1] in ("worker", "loader", "desk", "courier"):
            sys.exit(run_child())
    failpoint.arm(os.environ.pop(VARIABLE, None))
    sys.exit(main())
