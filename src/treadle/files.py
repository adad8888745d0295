"""Files that only the user who runs treadle may read, and what makes their names durable."""

import os
import secrets
from pathlib import Path
from typing import Final

_MODE: Final = 0o600

PRIVATE_UMASK: Final = 0o077
"""For `os.umask`: what a process makes is its user's alone, also what a library makes, such as the
file of DuckDB and its temporary folder."""


def find_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    return next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())


def make_private_file(path: Path) -> bool:
    """Make a file where there is none; return whether it was made.

    SQLite gives the rights of a database to the files that it makes beside it.

    A file that is there is not opened. Closing it again would take away the locks that other
    connections of this process hold on it, without their knowing. The next process to come and go
    would then take itself for the last one, and remove the write-ahead log under its writers.

    Raises:
        OSError: it cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except FileExistsError:
        return False
    os.close(descriptor)
    return True


def open_private_file(path: Path) -> int:
    """Open a file to read and write, made where missing; return its descriptor.

    Raises:
        OSError: it cannot be opened or made.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: fsync of a file does not do that for its own name.

    Raises:
        OSError: the folder cannot be opened or written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private_file(path: Path, text: str, *, replace: bool) -> bool:
    """Write a whole file that only its owner may read, and make it durable.

    The file gets its name when it is complete, so no process can read half of it.

    Args:
        path: its folder must exist.
        text: the content.
        replace: take the place of a file that is there; otherwise that one stays as it is.

    Returns:
        Whether it was written.

    Raises:
        OSError: it cannot be made.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            try:
                os.link(draft, path)
            except FileExistsError:
                return False
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True
