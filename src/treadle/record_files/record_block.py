"""Records as they come out of a file, in chunks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from treadle.client.request_batch import RECORD_BYTES_MAX, capitalize, describe_place
from treadle.errors import OperatorError


class RecordFileError(OperatorError):
    """The file is not valid. The text names the place."""


class RecordBlock(NamedTuple):
    """Consecutive records of a file. There are few of them, so that each record costs little.

    Attributes:
        raws: the JSON text of each record.
        first: number of the first record in the file, from 1.
        lines: the line that each record begins in, from 1; None where the file has no lines.
        schema: JSON text of the schema that the records fit; None for none.
        read: bytes of the file that were read up to the end of the chunk, and perhaps some more.
        file: the file's name for messages; empty where there is only one.
    """

    raws: Sequence[bytes]
    first: int
    lines: Sequence[int] | None = None
    schema: bytes | None = None
    read: int = 0
    file: str = ""

    def skip(self, count: int) -> "RecordBlock":
        """Return the chunk without its first records."""
        lines = None if self.lines is None else self.lines[count:]
        return self._replace(raws=self.raws[count:], first=self.first + count, lines=lines)

    def describe_place(self, index: int) -> str:
        """Return the place of a record for a person."""
        line = None if self.lines is None else self.lines[index]
        return describe_place(self.first + index, line, self.file)


def check_sizes(chunk: RecordBlock) -> RecordBlock:
    """Return the chunk, of which every record fits into a request.

    Raises:
        RecordFileError: one does not.
    """
    if chunk.raws and max(map(len, chunk.raws)) > RECORD_BYTES_MAX:
        index = next(i for i, raw in enumerate(chunk.raws) if len(raw) > RECORD_BYTES_MAX)
        raise RecordFileError(
            f"{capitalize(chunk.describe_place(index))} has {len(chunk.raws[index]):,} bytes of "
            f"JSON, and a request holds {RECORD_BYTES_MAX:,}; make the record smaller."
        )
    return chunk


class RecordSkipper:
    """Leaves out the first records of several files.

    Attributes:
        left: how many are still to be left out.
    """

    def __init__(self, count: int) -> None:
        self.left = count

    def skip(self, chunks: Iterable[RecordBlock]) -> Iterator[RecordBlock]:
        """Yield the chunks without the records that are to be left out."""
        for chunk in chunks:
            size = len(chunk.raws)
            if self.left < size:
                yield chunk.skip(self.left) if self.left else chunk
            self.left -= min(self.left, size)
