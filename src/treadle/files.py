"""Files that only the user who runs treadle may read, and what makes their names durable.

What root makes in the folder of another user is given to that user. Otherwise a command that root
typed once would keep the server of that user from starting.
"""

import contextlib
import logging
import mmap
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MODE: Final = 0o600
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

logger = logging.getLogger(__name__)

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
    try:
        give_to_owner(descriptor, path.parent)
    finally:
        os.close(descriptor)
    return True


def open_private_file(path: Path) -> int:
    """Open a file to read and write, made where missing; return its descriptor.

    Raises:
        OSError: it cannot be opened or made.
    """
    make_private_file(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)


def map_with_room(descriptor: int, size: int) -> mmap.mmap:
    """Map a file into memory whose room on the disk is taken; memory alone where there is none.

    A page that is written first when the disk is full would end the process.

    Args:
        descriptor: of the file, which gets this size; it may be closed after this.
        size: bytes.
    """
    try:
        os.ftruncate(descriptor, size)
        os.posix_fallocate(descriptor, 0, size)
        return mmap.mmap(descriptor, size)
    except OSError as error:
        logger.warning("what processes share is not kept, there is no room for it: %s", error)
        return mmap.mmap(-1, size)


def make_private_folder(path: Path) -> None:
    """Make a folder where there is none, and the folders above it.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:  # another process was faster
            continue
        descriptor = os.open(folder, _FOLDER_FLAGS)
        try:
            give_to_owner(descriptor, folder.parent)
        finally:
            os.close(descriptor)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """Give what root has just made to the owner of its folder; others own what they make.

    Args:
        descriptor: of the new file or folder.
        folder: that it was made in.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        # In a folder of everybody, such as /tmp, it stays root's.
        if owner.st_uid != 0 and not owner.st_mode & stat.S_ISVTX:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def keep_owner(folder: Path) -> Iterator[None]:
    """Give what root makes in a folder within the block to its owner, at the end of the block.

    For what is made by others than this module, such as the file of DuckDB. It does nothing where
    this process is not root's, or the folder is root's or is not there.

    Args:
        folder: with what lies directly in it, and in folders there.
    """
    try:
        yield
    finally:
        if os.geteuid() == 0:
            with contextlib.suppress(OSError):
                _give_content_to_owner(folder)


def _give_content_to_owner(folder: Path) -> None:
    owner = folder.stat()
    if owner.st_uid == 0 or owner.st_mode & stat.S_ISVTX:
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _give_files(descriptor, owner, depth=1)
    finally:
        os.close(descriptor)


def _give_files(folder: int, owner: os.stat_result, *, depth: int) -> None:
    """Give what is root's in an open folder to its owner.

    The owner may have put anything there: a link to a file of root's elsewhere must not become the
    way to own that. So no link is followed, and a file with a second name is left alone.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            descriptor = os.open(name, flags, dir_fd=folder)
            try:
                found = os.fstat(descriptor)
                is_folder = stat.S_ISDIR(found.st_mode)
                if is_folder and depth:
                    _give_files(descriptor, owner, depth=depth - 1)
                alone = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
                if found.st_uid == 0 and (alone or is_folder):
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
            finally:
                os.close(descriptor)


def make_folder(folder: Path) -> list[Path]:
    """Make a folder where it is missing; returns the folders in which a name was made for that."""
    changed: list[Path] = []
    above = folder
    while not above.exists():
        above = above.parent
        changed.append(above)
    folder.mkdir(parents=True, exist_ok=True)
    return changed


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
            give_to_owner(file.fileno(), path.parent)
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
