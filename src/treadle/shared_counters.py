"""Counts that several processes keep and any of them can read.

Each process has a file of its own in one folder, mapped into memory: eight bytes a count, which
only that process changes. What a process counted outlives it, so that sums only grow. Nothing is
fsynced: after a power cut counts may be a little older, which a monitor takes for a restart.
"""

import mmap
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from treadle.files import open_private_file

_WIDTH: Final = 8


class SharedCounters:
    """The counts of this process.

    Args:
        folder: of all processes, made where missing.
        process: its name, the same after a restart: "worker 1".
        names: of the counts. A file with other names is another file, so that a new release never
            takes one count for another.
    """

    def __init__(self, folder: Path, process: str, names: Sequence[str]) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{process.replace(' ', '-')}.{_hash_names(names)}"
        descriptor = open_private_file(path)
        try:
            os.ftruncate(descriptor, _WIDTH * len(names))
            self._map = mmap.mmap(descriptor, _WIDTH * len(names))
        finally:
            os.close(descriptor)
        self._slots = {name: place for place, name in enumerate(names)}
        self._counts = memoryview(self._map).cast("Q")

    def add(self, name: str, count: int = 1) -> None:
        """Count; from one thread at a time."""
        self._counts[self._slots[name]] += count

    def close(self) -> None:
        """Let go of the file, which stays."""
        self._counts.release()
        self._map.close()


def sum_counters(folder: Path, names: Sequence[str]) -> Mapping[str, int]:
    """What all processes counted together, also those that are gone."""
    totals = dict.fromkeys(names, 0)
    for path in folder.glob(f"*.{_hash_names(names)}"):
        counts = memoryview(path.read_bytes()[: _WIDTH * len(names)])
        if len(counts) == _WIDTH * len(names):
            for name, count in zip(names, counts.cast("Q"), strict=True):
                totals[name] += count
    return totals


def _hash_names(names: Sequence[str]) -> str:
    return f"{zlib.crc32(chr(10).join(names).encode()):08x}"
