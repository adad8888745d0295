"""A folder of this machine as a place for objects.

Everything is on the disk before it counts: what is in a file before it gets its name, and names
before the call returns. A file gets a name by a link, which fails where the name is taken.
"""

import errno
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from treadle.destinations.files.object_store import ObjectExistsError
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.errors import OperatorError
from treadle.files import make_folder, sync_folder

UNNAMED: Final = f"{PRIVATE_SCHEMA}/unnamed"
"""Where files are written that get their names when they are whole."""

ATTEMPTS_MAX: Final = 5
"""How often a file is written or named in a folder that is removed meanwhile."""

Result = TypeVar("Result")

_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV)


class FolderStore:
    """A folder; see `ObjectStore`.

    Args:
        root: that keys are below; absolute.

    Attributes:
        place: the root.
    """

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root
        self._made: set[Path] = set()
        self._has_made_root = not root.exists()

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write an object that nobody else writes."""
        path = self._root / key
        self._write(path, data)
        sync_folder(path.parent)

    def put_new(self, key: str, data: bytes) -> None:
        """Write an object if none has its name."""
        unnamed = self._root / UNNAMED / uuid.uuid4().hex
        self._write(unnamed, data)
        try:
            if not self._link(unnamed, self._root / key):
                raise ObjectExistsError(f"{key} is there already")
        finally:
            unnamed.unlink(missing_ok=True)

    def get(self, key: str) -> bytes | None:
        """Return what is in an object; None where it is missing."""
        try:
            return (self._root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, key: str) -> Any:
        """Return an object for readers of Parquet files; None where it is missing."""
        try:
            return pa.memory_map(str(self._root / key))
        except FileNotFoundError:
            return None

    def list_keys(self, folder: str) -> list[str]:
        """Return the keys of the objects in a folder and below, in order."""
        found: list[str] = []
        for place, _, names in os.walk(self._root / folder, onerror=_pass_over_missing):
            inner = Path(place).relative_to(self._root).as_posix()
            found += [f"{inner}/{name}" for name in names]
        return sorted(found)

    def list_folders(self, folder: str) -> list[str]:
        """Return the names of the folders with objects that are directly in a folder, in order."""
        place = self._root / folder
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(place) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
            inside = f"{folder}/" if folder else ""
            return sorted(name for name in names if self.holds_any(f"{inside}{name}"))
        return []

    def holds_any(self, folder: str) -> bool:
        """Return whether a file is in a folder or below."""
        return _holds_any(self._root / folder)

    def show(self, pending: str, shown: str) -> None:
        """Give a file another name, unless one has that name, or somebody was faster."""
        source = self._root / pending
        while source.exists():
            try:
                self._link(source, self._root / shown)
            except FileNotFoundError:  # it is shown by somebody, or its folder was removed
                continue
            source.unlink(missing_ok=True)
        with suppress(OSError):  # others of its attempt are in it, or it is gone
            source.parent.rmdir()
            self._made.discard(source.parent)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove files, and the folders that are empty then."""
        folders = set()
        for key in keys:
            path = self._root / key
            with suppress(FileNotFoundError):
                path.unlink()
            folders.add(path.parent)
        for folder in sorted(folders):
            self._remove_empty(folder)

    def close(self) -> None:
        """Remove the folder for files without a name, if nothing is in it."""
        self._remove_empty(self._root / UNNAMED)

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        self._act_within(path.parent, lambda: _write(path, data))

    def _act_within(self, folder: Path, act: Callable[[], Result]) -> Result:
        """Act in a folder, which another session may remove while it is empty."""
        for _ in range(ATTEMPTS_MAX):
            with suppress(FileNotFoundError):
                self._require_folder(folder)
                return act()
            self._made.clear()
        raise FileNotFoundError(errno.ENOENT, "the folder was removed again and again", str(folder))

    def _remove_empty(self, folder: Path) -> None:
        """Remove a folder and those above that are empty, below the root.

        The root itself goes only where it was made here: another one has its owner and rights.
        """
        while self._root in folder.parents or (folder == self._root and self._has_made_root):
            self._made.discard(folder)
            try:
                folder.rmdir()
            except OSError:  # something is in it, or it is gone
                return
            folder = folder.parent

    def _require_folder(self, folder: Path) -> None:
        """Make a folder where it is missing, with the folders above, so that it outlasts a cut."""
        if folder in self._made and folder.exists():
            return
        for changed in make_folder(folder):
            sync_folder(changed)
        self._made.add(folder)

    def _link(self, source: Path, target: Path) -> bool:
        """Give a file one more name; returns False where the name is taken."""
        return self._act_within(target.parent, lambda: _link(source, target))


def _link(source: Path, target: Path) -> bool:
    """Give a file one more name in a folder; returns False where the name is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise OperatorError(
                f"the file system of {target.parent} makes no hard links, by which a file gets "
                "its name only if no other has it; name a folder of another one"
            ) from error
        raise
    sync_folder(target.parent)
    return True


def _write(path: Path, data: bytes | memoryview) -> None:
    """Write a file that was not there through to the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _holds_any(folder: Path) -> bool:
    """Return whether a file is in a folder or below, without a look at more than it takes."""
    try:
        with os.scandir(folder) as entries:
            inner = []
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    return True
                inner.append(Path(entry.path))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(map(_holds_any, inner))


def _pass_over_missing(error: OSError) -> None:
    """Raise the error of a listing, unless the folder is gone: what cannot be read is not empty."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
