"""Which processes keep a file locked that others need, and which of them were stopped.

SQLite locks bytes of its shared memory file (`-shm`) by `fcntl`. The system gives such a lock back
when its process ends, and not before: a process that is stopped (SIGSTOP) in the middle of a
transaction keeps every other process from writing. So does one in the middle of a load that has a
load lock, a lock of a whole file by `flock`, from loading that table. Linux tells who holds what
in `/proc`. Where there is no `/proc`, nothing is found.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from treadle.load_locks import LOCK_FILES

LOCKS_FILE: Final = Path("/proc/locks")

_WRITE_FIELDS: Final = ("POSIX", "ADVISORY", "WRITE")
_WHOLE_FIELDS: Final = ("FLOCK", "ADVISORY", "WRITE")


def parse_holders(
    text: str, inodes: Iterable[int], fields: tuple[str, str, str] = _WRITE_FIELDS
) -> set[int]:
    """Return the processes that hold a lock for writing on one of some files.

    Args:
        text: what `/proc/locks` says: a line for each lock, such as
            `3: POSIX  ADVISORY  WRITE 4711 fd:01:140 120 120`. A line of a lock that is waited for
            has `->` after its number.
        inodes: numbers of the files.
        fields: the kind of the lock, in the line's words.
    """
    wanted = {str(inode) for inode in inodes}
    found = set()
    for line in text.splitlines():
        words = line.split()
        if tuple(words[1:4]) == fields and words[5].rpartition(":")[2] in wanted:
            found.add(int(words[4]))
    return found


def list_holders(files: Iterable[Path], locks_file: Path = LOCKS_FILE) -> set[int]:
    """Return the processes that keep others from writing into databases of SQLite.

    Args:
        files: of the databases, some of which need not be there.
        locks_file: what the system says of locks.
    """
    inodes = set()
    for file in files:
        try:
            inodes.add(file.with_name(f"{file.name}-shm").stat().st_ino)
        except OSError:
            continue
    try:
        return parse_holders(locks_file.read_text(), inodes) if inodes else set()
    except OSError:
        return set()


def list_load_holders(folder: Path, locks_file: Path = LOCKS_FILE) -> set[int]:
    """Return the processes that have load locks of a folder (`treadle.load_locks`)."""
    try:
        inodes = {file.stat().st_ino for file in folder.glob(f"{LOCK_FILES}*")}
        found = parse_holders(locks_file.read_text(), inodes, _WHOLE_FIELDS) if inodes else set()
    except OSError:
        return set()
    return found


def parse_state(text: str) -> str:
    """Return the letter of a process's state out of `/proc/PID/stat`.

    The name of the process stands in parentheses before it, and may hold some itself.
    """
    return text.rpartition(")")[2].split(maxsplit=1)[0]


def is_stopped(process_id: int) -> bool:
    """Whether a process was stopped by a signal; one that a debugger holds does not count."""
    try:
        return parse_state(Path(f"/proc/{process_id}/stat").read_text()) == "T"
    except (OSError, IndexError):
        return False


def list_stopped_holders(
    files: Iterable[Path], folder: Path, process_ids: Iterable[int]
) -> set[int]:
    """Return which of some processes were stopped while they keep others waiting.

    Args:
        files: databases that they may write into.
        folder: of load locks.
        process_ids: of them.
    """
    stopped = {process_id for process_id in process_ids if is_stopped(process_id)}
    return stopped & (list_holders(files) | list_load_holders(folder)) if stopped else set()
