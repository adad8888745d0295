"""Counters that several processes increment and any of them can sum.

Each process has a file of its own in one folder, mapped into memory: eight bytes for a counter,
which only that process changes. The file outlives the process, so that sums only grow. Nothing is
fsynced: after a power cut the counters may be a little older, which a monitor takes for a restart.
Where the disk has no room for a file, its process counts for nobody but itself.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from treadle.files import make_private_folder, map_with_room, open_private_file

_WIDTH: Final = 8


class SharedCounters:
    """The counters of this process.

    Args:
        folder: for the files of all processes; made if it is missing.
        process: its name, the same after a restart: "worker 1".
        names: of the counters. Other names make another file, so that a new release never takes
            one counter for another.
    """

    def __init__(self, folder: Path, process: str, names: Sequence[str]) -> None:
        make_private_folder(folder)
        path = folder / f"{process.replace(' ', '-')}.{_hash_names(names)}"
        descriptor = open_private_file(path)
        try:
            self._map = map_with_room(descriptor, _WIDTH * len(names))
        finally:
            os.close(descriptor)
        self._slots = {name: place for place, name in enumerate(names)}
        self._counts = memoryview(self._map).cast("Q")

    def add(self, name: str, count: int = 1) -> None:
        """Add to a counter. Only one thread may call it at a time."""
        self._counts[self._slots[name]] += count

    @property
    def counts(self) -> "memoryview[int]":
        """The counters by their slots, for whoever counts so often that a name costs too much."""
        return self._counts

    def get_slot(self, name: str) -> int:
        """Return the place of a counter in `counts`."""
        return self._slots[name]

    def close(self) -> None:
        """Close the file, which stays."""
        self._counts.release()
        self._map.close()


def sum_counters(folder: Path, names: Sequence[str]) -> Mapping[str, int]:
    """Return the sum of each counter over all processes, also those that ended."""
    totals = dict.fromkeys(names, 0)
    for path in folder.glob(f"*.{_hash_names(names)}"):
        counts = memoryview(path.read_bytes()[: _WIDTH * len(names)])
        if len(counts) == _WIDTH * len(names):
            for name, count in zip(names, counts.cast("Q"), strict=True):
                totals[name] += count
    return totals


def _hash_names(names: Sequence[str]) -> str:
    return f"{zlib.crc32(chr(10).join(names).encode()):08x}"
