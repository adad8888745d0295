"""The lock of a data folder: one server, or one repair, at a time."""

import fcntl
import os
import time
from pathlib import Path

from treadle.errors import OperatorFault

SECONDS_MAX = 5.0
"""How long to wait for the processes of a killed server to let go of the data folder."""


def take(path: Path, seconds: float = SECONDS_MAX) -> int:
    """Lock a data folder for this process and the children that inherit the descriptor.

    The lock belongs to the open file: it is free once the last of them has gone, so a new server
    never works beside a child of a killed one.

    Args:
        path: the lock file, made where missing.
        seconds: how long to wait for it.

    Returns:
        The descriptor; closing it gives the lock back.

    Raises:
        OperatorFault: another one has it, or the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorFault(
            f"{path} cannot be opened: {error.strerror}; run treadle as a user who may write "
            "there, or name another folder with --data."
        ) from error
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise OperatorFault(
                    f"Another treadle serves {path.parent}; stop it first, or name another folder "
                    "with --data."
                ) from None
            time.sleep(0.1)
        else:
            return descriptor


def is_taken(path: Path) -> bool:
    """Whether a server runs on the folder; never makes the file.

    Raises:
        OSError: the file is there and cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
