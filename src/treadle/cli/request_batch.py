"""Records put together into requests, each with the sequence it keeps whatever happens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from treadle.cli.record_file import FileRecord, RecordFileError, check_record

BYTES_MAX = 4_000_000
"""Records of one request, unless a single one is larger: what the known clients stay below
(import-api.md 5), so that any proxy in between lets it through."""


@dataclass(frozen=True, slots=True)
class PushTemplate:
    """What all records of a push share."""

    client_id: int
    table: str
    keys: tuple[str, ...]

    def encode_body(self, batch: "RequestBatch") -> bytes:
        """The request body (import-api.md 7.1); the records are copied in as they came."""
        head = msgspec.json.encode(
            {
                "client_id": self.client_id,
                "table_name": self.table,
                "action": "upsert",
                "key_names": self.keys,
            }
        )
        head = head[:-1] + b',"sequence":'
        return b"".join(
            (
                b"[",
                b",".join(
                    [
                        b'%b%d,"data":%b}' % (head, sequence, piece.raw)
                        for sequence, piece in zip(batch.sequences, batch.pieces, strict=True)
                    ]
                ),
                b"]",
            )
        )


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """Consecutive records with their sequences.

    Attributes:
        end: how many records of the file lie before and in it.
    """

    pieces: Sequence[FileRecord]
    sequences: Sequence[int]
    end: int

    @property
    def places(self) -> str:
        """For a person: "line 1 to line 5000"."""
        first, last = self.pieces[0].place, self.pieces[-1].place
        return first if first == last else f"{first} to {last}"

    def split_half(self, second: bool) -> "RequestBatch":
        """One half of at least two records."""
        middle = len(self.pieces) // 2
        part = slice(middle, None) if second else slice(None, middle)
        return RequestBatch(self.pieces[part], self.sequences[part], self.end)


def make_batches(
    pieces: Iterable[FileRecord],
    keys: tuple[str, ...],
    sequence_field: str | None,
    base: int,
    start: int,
    records_max: int,
) -> Iterator[RequestBatch]:
    """Put records together.

    Args:
        pieces: the records, without those that were sent before.
        keys: key fields, which every record is to have.
        sequence_field: the field with the sequence; None gives each record `base` plus its place
            in the file, so that a later one wins over an earlier one.
        base: sequence of the file's first record.
        start: how many records of the file lie before the first piece.
        records_max: records of one batch.

    Raises:
        FeedFault: a record is not as it must be; the records before it come first.
    """
    taken: list[FileRecord] = []
    sequences: list[int] = []
    size = 0
    end = start
    fault: RecordFileError | None = None
    try:
        for piece in pieces:
            found = check_record(piece, keys, sequence_field)
            if taken and (len(taken) >= records_max or size + len(piece.raw) > BYTES_MAX):
                yield RequestBatch(taken, sequences, end)
                taken, sequences, size = [], [], 0
            taken.append(piece)
            sequences.append(base + end if found is None else found)
            size += len(piece.raw)
            end += 1
    except RecordFileError as error:
        fault = error
    if taken:
        yield RequestBatch(taken, sequences, end)
    if fault is not None:
        raise fault
