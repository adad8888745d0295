"""Puts the records of files together into requests."""

from collections.abc import Iterable, Iterator, Sequence

from treadle.client.request_batch import BYTES_MAX, RequestBatch, measure_request
from treadle.record_files.record_block import RecordBlock, RecordFileError
from treadle.record_files.record_check import RecordChecker


def make_batches(
    chunks: Iterable[RecordBlock],
    checker: RecordChecker,
    *,
    base: int,
    start: int,
    records_max: int,
    bytes_max: int = BYTES_MAX,
) -> Iterator[RequestBatch]:
    """Put the records of one file together into batches.

    Where a batch ends depends on the records and the limits alone, not on how the file was read.

    Args:
        chunks: the records, without those that an earlier run sent.
        checker: checks them, and finds their sequences.
        base: the sequence of the first record of the push. Without a field that has the sequence,
            each record has `base` plus its place in the push, so that a later one wins.
        start: the number of records of the push before the first of `chunks`.
        records_max: the most records of one batch.
        bytes_max: the most bytes of one batch, unless a single record is larger.

    Raises:
        RecordFileError: a record is not valid. The records before it are yielded first.
    """
    kept: RequestBatch | None = None
    end = start
    read = 0
    fault: RecordFileError | None = None
    try:
        for chunk in chunks:
            right, found, fault = checker.check(chunk)
            begin = base + end
            sequences = range(begin, begin + right) if found is None else found
            end += right
            piece = RequestBatch(
                chunk.raws[:right],
                sequences,
                end,
                chunk.first,
                None if chunk.lines is None else chunk.lines[:right],
                chunk.file,
                chunk.read,
                read,
                chunk.schema,
            )
            read = chunk.read
            kept = piece if kept is None else _join(kept, piece)
            while len(kept) > (size := measure_request(kept, records_max, bytes_max)):
                yield kept.select(0, size)
                kept = kept.select(size, len(kept))
            if fault is not None:
                break
            if len(kept) == records_max:
                yield kept
                kept = None
    except RecordFileError as error:
        fault = error
    if kept is not None and len(kept):
        yield kept
    if fault is not None:
        raise fault


def _join(one: RequestBatch, two: RequestBatch) -> RequestBatch:
    """Return two batches, of which the second follows the first, as one."""
    lines = None
    if one.lines is not None and two.lines is not None:
        lines = _concatenate(one.lines, two.lines)
    return RequestBatch(
        [*one.raws, *two.raws],
        _concatenate(one.sequences, two.sequences),
        two.end,
        one.first,
        lines,
        two.file,
        two.read,
        one.read_before,
        two.schema,
    )


def _concatenate(one: Sequence[int], two: Sequence[int]) -> Sequence[int]:
    if isinstance(one, range) and isinstance(two, range) and one.stop == two.start:
        return range(one.start, two.stop)
    return [*one, *two]
