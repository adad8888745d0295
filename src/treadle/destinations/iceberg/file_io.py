"""Writes files of a table on this machine so that they outlast a power cut.

A row of the catalogue names the metadata of a table, which names manifests, which name data files.
SQLite writes its row through to the disk; all the others have to be there before it: what is in
them when each is closed, and their names in folders before the catalogue is told of the metadata.
"""

import io
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from pyarrow.fs import LocalFileSystem
from pyiceberg.io import OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO

from treadle.files import make_folder

METADATA_SUFFIX: Final = ".metadata.json"
"""End of the name of the file that a catalogue names. It is written last of all of a commit."""


class SyncedStream(io.BufferedWriter):
    """A file that is on the disk when it is closed."""

    def close(self) -> None:
        """Write everything through to the disk, and close the file."""
        if self.closed:
            return
        try:
            self.flush()
            os.fsync(self.fileno())
        finally:
            super().close()


class SyncedFile(PyArrowFile):
    """A file of this machine."""

    def create(self, overwrite: bool = False) -> OutputStream:
        """Return a stream that writes the file through; see `OutputFile.create`."""
        path = Path(self._path)
        if not overwrite and path.exists():
            raise FileExistsError(f"Cannot create file, already exists: {self.location}")
        for folder in make_folder(path.parent):
            _unsynced.add(folder)
        stream = SyncedStream(io.FileIO(path, "wb"), 1024 * 1024)
        _unsynced.add(path.parent)
        if path.name.endswith(METADATA_SUFFIX):
            sync_folders()
        return stream


class SyncedFileIO(PyArrowFileIO):
    """Reads and writes files of this machine, and objects of a store."""

    def new_output(self, location: str) -> PyArrowFile:
        """Return a file to write."""
        made = super().new_output(location)
        if not isinstance(made._filesystem, LocalFileSystem):  # a store has no disk
            return made
        return SyncedFile(made.location, made._path, made._filesystem)


class UnsyncedFolders:
    """The folders with names that may not be on the disk yet, of all threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folders: set[Path] = set()

    def add(self, folder: Path) -> None:
        """Note a folder in which a name was made."""
        with self._lock:
            self._folders.add(folder)

    def sync(self) -> None:
        """Have the names in all folders written through to the disk.

        Who finds nothing to do has waited for the one who did it: the lock is held to the end.
        """
        with self._lock:
            for folder in sorted(self._folders):
                with suppress(FileNotFoundError):  # it was removed with all that was in it
                    sync_folder(folder)
                self._folders.discard(folder)


_unsynced: Final = UnsyncedFolders()


def sync_folders() -> None:
    """Have the names of all files that were made written through to the disk."""
    _unsynced.sync()


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
