"""The lock of a data folder, for one server or one repair at a time."""

import contextlib
import fcntl
import logging
import os
import time
from pathlib import Path

from treadle.errors import OperatorError
from treadle.files import open_private_file
from treadle.server_address import ServerAddress, read_address

logger = logging.getLogger(__name__)

LOCK_WAIT_SECONDS = 5.0
"""How long to wait for the lock while a server has it that takes no requests: it may be stopping.
One that takes requests is not waited for."""

SERVES_AFTER_TRIES = 3
"""Tries after which a server counts as one that takes requests. A command that looks whether the
lock is taken has it for a moment, too."""

ORPHAN_WAIT_SECONDS = 150.0
"""How long to wait for the children of a killed server, which end by themselves: longer than the
supervisor gives them when it stops them (`treadle.server.supervisor`)."""


def take_lock(path: Path, seconds: float = LOCK_WAIT_SECONDS, *, taken: str | None = None) -> int:
    """Lock a data folder for this process and the children that inherit the descriptor.

    The lock belongs to the open file. It is released when the last of these processes has ended, so
    that a new server never works beside a child of a killed one.

    Args:
        path: the lock file, made if it is missing. It names the process that took the lock.
        seconds: how long to wait for the lock while its holder takes no requests. If that process
            is gone and its children still have the lock, ORPHAN_WAIT_SECONDS. 0 does not wait.
        taken: the error text if another process has the lock; None if that can only be a server.

    Returns:
        The descriptor; to close it releases the lock.

    Raises:
        OperatorError: another process has the lock, or the file cannot be opened.
    """
    try:
        descriptor = open_private_file(path)
    except OSError as error:
        raise OperatorError(
            f"{path} cannot be opened: {error.strerror}; run treadle as a user who may write "
            "there, or name another folder with --data."
        ) from error
    began = time.monotonic()
    told = False
    tries = 0
    while True:
        tries += 1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _read_holder(descriptor)
            orphans = not _is_running(holder)
            serving = None if orphans else read_address(path, holder)
            most = ORPHAN_WAIT_SECONDS if orphans and seconds else seconds
            refused = serving is not None and tries >= SERVES_AFTER_TRIES
            if refused or time.monotonic() - began >= most:
                os.close(descriptor)
                if taken is not None:
                    raise OperatorError(taken) from None
                raise OperatorError(
                    f"Processes of a killed treadle (process {holder}) use {path.parent} still; "
                    "end them first, or name another folder with --data."
                    if orphans
                    else f"Another treadle serves {path.parent} ({_describe(holder, serving)}); "
                    "stop it first, or name another folder with --data."
                ) from None
            if seconds and not told and serving is None:
                told = True
                logger.info(
                    "process %s was killed; waiting for its children to let go of %s"
                    if orphans
                    else "process %s starts or stops; waiting for it to let go of %s",
                    holder,
                    path.parent,
                )
            time.sleep(0.1)
        else:
            with contextlib.suppress(OSError):  # a server starts on a full disk, too
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
            return descriptor


def _read_holder(descriptor: int) -> int | None:
    """Return the process that took the lock, as the file says; None if it says nothing."""
    text = os.pread(descriptor, 20, 0).strip()
    return int(text) if text.isdigit() else None


def _describe(holder: int | None, serving: ServerAddress | None) -> str:
    process = "a process that is not known" if holder is None else f"process {holder}"
    return process if serving is None else f"{process}, at {serving.shown}"


def find_server(path: Path) -> ServerAddress | None:
    """Return the address of the server that runs on a data folder; None where none does.

    Args:
        path: the lock file. It is not made.

    Raises:
        OSError: the file exists and cannot be opened.
    """
    if not is_lock_taken(path):
        return None
    with path.open("rb") as file:
        return read_address(path, _read_holder(file.fileno()))


def _is_running(process: int | None) -> bool:
    """Return whether a process of any user runs; true if it is not known which."""
    if process is None:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def is_lock_taken(path: Path) -> bool:
    """Return whether a server runs on the data folder. Does not make the file.

    Raises:
        OSError: the file exists and cannot be opened.
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
