"""Puts records together into requests. A record keeps its sequence however often it is sent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from treadle.cli.record_file import FileRecord, RecordFileError, check_record

BYTES_MAX = 4_000_000
"""The most bytes of records in one request, unless a single record is larger. Known clients send no
more (import-api.md 5), so any proxy in between lets it through."""


@dataclass(frozen=True, slots=True)
class PushTemplate:
    """The values that all records of a push share."""

    client_id: int
    table: str
    keys: tuple[str, ...]

    def encode_body(self, batch: "RequestBatch") -> bytes:
        """Return the request body (import-api.md 7.1). The records are copied as they were read."""
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
        end: the number of records in the file up to the end of the batch.
    """

    pieces: Sequence[FileRecord]
    sequences: Sequence[int]
    end: int

    @property
    def places(self) -> str:
        """The places of the records for a person: "line 1 to line 5000"."""
        first, last = self.pieces[0].place, self.pieces[-1].place
        return first if first == last else f"{first} to {last}"

    def split_half(self, second: bool) -> "RequestBatch":
        """Return one half of a batch of at least two records."""
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
    """Put records together into batches.

    Args:
        pieces: the records, without those that an earlier run sent.
        keys: key fields, which every record must have.
        sequence_field: the field with the sequence. None gives each record `base` plus its place
            in the file, so that a later record wins over an earlier one.
        base: the sequence of the file's first record.
        start: the number of records in the file before the first of `pieces`.
        records_max: the most records of one batch.

    Raises:
        RecordFileError: a record is not valid. The records before it are yielded first.
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
