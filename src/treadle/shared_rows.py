"""Rows of numbers, by id, that one process writes and others read.

Each process has a file of its own in one folder, mapped into memory, as `shared_counters` has. A
row begins with its id; id and numbers have eight bytes each, and only that process changes them. A
row stays in its place for ever, so that a reader can compare it with what it saw before. The file
outlives the process. Nothing is fsynced: after a power cut the numbers may be a little older. Where
the disk has no room for more rows, others see no further change of this process's.
"""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from treadle.files import make_private_folder, map_with_room, open_private_file

_WIDTH: Final = 8  # bytes of an id or a number
_ROWS_ADDED: Final = 256
"""Rows that are added to a file at once, so that it seldom has to grow."""


class SharedRows:
    """The rows of this process.

    Only one thread may use it at a time.

    Args:
        folder: for the files of all processes; made if it is missing.
        process: its name, the same after a restart: "worker 1".
        columns: names of the numbers of a row. Other names make another file, so that a new
            release never takes one number for another.
    """

    def __init__(self, folder: Path, process: str, columns: Sequence[str]) -> None:
        make_private_folder(folder)
        self._row_bytes = _WIDTH * (1 + len(columns))
        self._width = 1 + len(columns)
        self._descriptor = open_private_file(
            folder / f"{process.replace(' ', '-')}.{_hash_columns(columns)}"
        )
        self._places: dict[int, int] = {}
        rows = os.fstat(self._descriptor).st_size // self._row_bytes
        self._map_rows(max(rows, _ROWS_ADDED))
        for place in range(0, len(self._numbers), self._width):
            if not self._numbers[place]:
                break
            self._places[self._numbers[place]] = place

    def add(self, row: int, numbers: Sequence[int]) -> None:
        """Add to the numbers of a row; the row is made where it is missing.

        Args:
            row: its id, not 0.
            numbers: one for each column.
        """
        place = self._find_place(row) + 1
        for at, number in enumerate(numbers, place):
            if number:
                self._numbers[at] += number

    def set(self, row: int, numbers: Sequence[int]) -> None:
        """Set the numbers of a row; the row is made where it is missing."""
        place = self._find_place(row) + 1
        for at, number in enumerate(numbers, place):
            self._numbers[at] = number

    def replace(self, rows: Mapping[int, Sequence[int]]) -> None:
        """Set the numbers of these rows, and all others to zero."""
        for row, numbers in rows.items():
            self.set(row, numbers)
        for row, place in self._places.items():
            if row not in rows:
                for at in range(place + 1, place + self._width):
                    self._numbers[at] = 0

    def close(self) -> None:
        """Close the file, which stays."""
        self._numbers.release()
        self._map.close()
        os.close(self._descriptor)

    def _map_rows(self, rows: int) -> None:
        """Map so many rows; raises nothing, since what a row is for was done already."""
        self._map = map_with_room(self._descriptor, rows * self._row_bytes)
        self._numbers = memoryview(self._map).cast("Q")

    def _find_place(self, row: int) -> int:
        place = self._places.get(row)
        if place is None:
            place = len(self._places) * self._width
            if place >= len(self._numbers):
                numbers, before = self._numbers, self._map
                self._map_rows(len(self._places) + _ROWS_ADDED)
                # The same where it is the same file; memory alone knows nothing of it.
                self._numbers[: len(numbers)] = numbers
                numbers.release()
                before.close()
            self._places[row] = place
            # The id is written last, so that no reader finds it with numbers of another row.
            self._numbers[place] = row
        return place


def remove_rows(folder: Path, process: str, columns: Sequence[str]) -> None:
    """Remove the rows of a process that does not run and will not again, if there are any."""
    name = f"{process.replace(' ', '-')}.{_hash_columns(columns)}"
    (folder / name).unlink(missing_ok=True)


def read_rows(
    folder: Path, columns: Sequence[str], *, without: str | None = None
) -> Iterator[tuple[str, Mapping[int, tuple[int, ...]]]]:
    """Yield the name of each process's file and its rows: id -> numbers.

    Args:
        folder: of the files.
        columns: as they were written.
        without: a process whose file is left out.
    """
    width = 1 + len(columns)
    ending = _hash_columns(columns)
    left_out = None if without is None else f"{without.replace(' ', '-')}.{ending}"
    for path in sorted(folder.glob(f"*.{ending}")):
        if path.name == left_out:
            continue
        numbers = path.read_bytes()
        found = memoryview(numbers[: len(numbers) // (_WIDTH * width) * _WIDTH * width]).cast("Q")
        rows: dict[int, tuple[int, ...]] = {}
        for place in range(0, len(found), width):
            if not found[place]:
                break
            rows[found[place]] = tuple(found[place + 1 : place + width])
        yield path.stem, rows


def sum_rows(folder: Path, columns: Sequence[str]) -> dict[int, tuple[int, ...]]:
    """Return the sum of each row over all processes, also those that ended: id -> numbers."""
    totals: dict[int, tuple[int, ...]] = {}
    for _, rows in read_rows(folder, columns):
        for row, numbers in rows.items():
            before = totals.get(row)
            totals[row] = (
                numbers if before is None else tuple(map(sum, zip(before, numbers, strict=True)))
            )
    return totals


def _hash_columns(columns: Sequence[str]) -> str:
    return f"{zlib.crc32(chr(10).join(columns).encode()):08x}"
