"""Looks at a file of a database from outside: whether it can be opened, and who holds it.

Nothing here opens the database, so it needs no driver and keeps nobody away.
"""

import fcntl
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from treadle.destinations.protocol import AccessDeniedError, DestinationHeldError
from treadle.errors import OperatorError

_LOCK: Final = "hhqqi4x"
"""`struct flock` of Linux with 64-bit offsets: kind, from where, start, length, process."""


@dataclass(frozen=True, slots=True)
class FileHolder:
    """Another process that has a file locked.

    Attributes:
        pid: its number; 0 for one of another machine or container.
        program: its name; empty where nobody says.
    """

    pid: int
    program: str

    def describe(self) -> str:
        """Return who it is, as in "python3.11 (PID 4711)"."""
        if self.pid <= 0:
            return "a process of another machine or container"
        return f"{self.program or 'a process'} (PID {self.pid})"


def find_holder(file: Path) -> FileHolder | None:
    """Return a process that holds a file so that it cannot be opened for writing.

    Only for a process that has not locked the file itself: to close it, which this does, would
    release that lock.

    Returns:
        None where nobody holds it, or it cannot be told.
    """
    if sys.platform != "linux":
        return None
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        asked = struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_LOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else FileHolder(pid, _name_program(pid))


def check_file(file: Path) -> None:
    """Check that a file can be opened for writing, or made.

    Raises:
        DestinationHeldError: another process holds it.
        AccessDeniedError: rights are missing.
        OperatorError: its folder is missing.
    """
    if file.exists():
        if not os.access(file, os.R_OK | os.W_OK):
            raise AccessDeniedError(
                f"{file} cannot be opened for writing by this user; change its owner or its mode"
            )
        holder = find_holder(file)
        if holder is not None:
            raise DestinationHeldError(f"{file} is held by {holder.describe()}")
        return
    folder = file.parent
    if not folder.is_dir():
        raise OperatorError(f"{file} cannot be made: its folder is missing; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AccessDeniedError(
            f"{file} cannot be made: this user cannot write to its folder; change its owner"
        )


def _name_program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        pass
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
