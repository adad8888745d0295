"""The limit of open files of a process."""

import resource
from typing import Final

LISTEN_BACKLOG: Final = 2048
"""How many connections may wait until the server accepts them."""

OPEN_FILES_MAX: Final = 65_536
"""Most open files that are asked for: no process of treadle needs more."""


def raise_file_limit() -> int:
    """Let this process and its children open as many files as the system allows; return how many.

    The limit stays where it is when the system does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return OPEN_FILES_MAX if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a lower limit than the one that it names
        return soft
    return wanted


def plan_backlog(files: int) -> int:
    """Return how many connections may wait to be accepted, for so many open files.

    All that wait may be accepted at once, before any other is closed for them.
    """
    return max(8, min(LISTEN_BACKLOG, files // 4))
