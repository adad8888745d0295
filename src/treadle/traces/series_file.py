"""The file with figures over time: below 8 MB for ever, written by one process and read by many.

The file has a ring of places for each length of steps. A place carries its time and a checksum, so
that one that was being written when the machine stopped is taken for missing. Nothing is fsynced.
"""

import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

from treadle.files import open_private_file
from treadle.traces.series_layout import (
    LENGTHS,
    STEP_BYTES,
    SeriesStep,
    StepLength,
    combine_steps,
    decode_step,
    encode_step,
)

_MARK: Final = b"treadle series 1".ljust(64, b"\n")
"""The beginning of the file, with the number of its form."""

FILE_BYTES: Final = len(_MARK) + sum(length.kept for length in LENGTHS) * STEP_BYTES


class SeriesWriter:
    """Writes the file; one at a time.

    Args:
        path: of the file, made where it is missing. A file of another form is begun anew.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = open_private_file(path)
        if os.pread(self._descriptor, len(_MARK), 0) != _MARK:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, _MARK, 0)
        os.ftruncate(self._descriptor, FILE_BYTES)

    def write(self, step: SeriesStep) -> None:
        """Write a step of the shortest length, and the longer ones that it is a part of.

        The longest is written at the end of a minute.

        Raises:
            OSError: it cannot be written.
        """
        shortest, *longer = LENGTHS
        self._write_place(shortest, step)
        parts = shortest
        for length in longer:
            if length is longer[-1] and (step.at + shortest.seconds) % parts.seconds:
                break
            at = step.at // length.seconds * length.seconds
            found = _read_places(self._descriptor, parts, at, at + length.seconds)
            combined = combine_steps(list(found), at)
            if combined is not None:
                self._write_place(length, combined)
            parts = length

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write_place(self, length: StepLength, step: SeriesStep) -> None:
        os.pwrite(self._descriptor, encode_step(step), _locate(length, step.at))


def read_series(
    path: Path,
    length: StepLength,
    since: int,
    until: int,
    source_ids: Container[int] | None = None,
) -> list[SeriesStep]:
    """Return the steps of a length that are kept, in order.

    Args:
        path: of the file; there is nothing in a missing one.
        length: of the steps.
        since: the beginning of the first step, seconds since 1970; earlier ones are left out.
        until: steps that begin then or later are left out.
        source_ids: see `decode_step`.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        if os.pread(descriptor, len(_MARK), 0) != _MARK:
            return []
        return list(_read_places(descriptor, length, since, until, source_ids))
    finally:
        os.close(descriptor)


def _read_places(
    descriptor: int,
    length: StepLength,
    since: int,
    until: int,
    source_ids: Container[int] | None = None,
) -> Iterator[SeriesStep]:
    first = max(-(-since // length.seconds), until // length.seconds - length.kept)
    last = -(-until // length.seconds)
    begin = _locate(length, 0)
    size = length.kept * STEP_BYTES
    # A few are read one by one, many at once.
    whole = os.pread(descriptor, size, begin) if last - first > length.kept // 10 else None
    for number in range(first, last):
        at = number * length.seconds
        place = _locate(length, at)
        if whole is None:
            written = os.pread(descriptor, STEP_BYTES, place)
        else:
            written = whole[place - begin : place - begin + STEP_BYTES]
        step = decode_step(written, at, source_ids)
        if step is not None:
            yield step


def _locate(length: StepLength, at: int) -> int:
    """Return where in the file the step that begins at a time has its place."""
    before = sum(other.kept for other in LENGTHS if other.seconds < length.seconds)
    return len(_MARK) + (before + at // length.seconds % length.kept) * STEP_BYTES
