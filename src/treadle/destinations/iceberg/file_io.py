"""Writes files of a table on this machine so that they outlast a power cut.

A row of the catalogue names the metadata of a table, which names manifests, which name data files.
SQLite writes its row through to the disk; all the others have to be there before it.
"""

import io
import os
from pathlib import Path

from pyarrow.fs import LocalFileSystem
from pyiceberg.io import OutputStream
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO


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
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = SyncedStream(io.FileIO(path, "wb"), 1024 * 1024)
        sync_folder(path.parent)
        return stream


class SyncedFileIO(PyArrowFileIO):
    """Reads and writes files of this machine, and objects of a store."""

    def new_output(self, location: str) -> PyArrowFile:
        """Return a file to write."""
        made = super().new_output(location)
        if not isinstance(made._filesystem, LocalFileSystem):  # a store has no disk
            return made
        return SyncedFile(made.location, made._path, made._filesystem)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
