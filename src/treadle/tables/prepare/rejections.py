"""Rows of `_sdc_rejected` for records that cannot be loaded (loading.md 8.1)."""

from collections.abc import Mapping, Sequence
from typing import Final

from treadle.records import record_reader
from treadle.tables.model import Rejection
from treadle.tables.prepare.version_group import LogBatch, RecordRef
from treadle.tables.rejection_reason import RejectionReason
from treadle.text import make_storable

RECORD_BYTES_MAX: Final = 64 * 1024
"""Bytes of a rejected record that are kept (loading.md 8.1)."""


def make_rejections(
    log_batches: Sequence[LogBatch],
    reasons: Mapping[RecordRef, RejectionReason],
    table_name: str,
) -> tuple[Rejection, ...]:
    """Make the rows for rejected records, in order of arrival."""
    by_entry: dict[int, list[int]] = {}
    for ref in sorted(reasons):
        by_entry.setdefault(ref.entry, []).append(ref.record)
    return tuple(
        make_rejection(text, reasons[RecordRef(entry, index)], table_name, entry, index)
        for entry, indexes in by_entry.items()
        for index, text in zip(indexes, _encode_records(log_batches, entry, indexes), strict=True)
    )


def make_rejection(
    record: str, reason: RejectionReason, table_name: str, entry: int = -1, index: int = -1
) -> Rejection:
    """Make the row for a rejected record, or for a left-out field.

    Args:
        record: as `encode_record` gives it.
        reason: of the rejection.
        table_name: see `Rejection`.
        entry: the index of the log entry; -1 for a left-out field.
        index: of the record in it.
    """
    field = None if reason.field is None else make_storable(reason.field)
    return Rejection(
        record, make_storable(reason.text), table_name, entry, index, reason.code, field
    )


def encode_record(log_batches: Sequence[LogBatch], ref: RecordRef) -> str:
    """Write a record as `_sdc_rejected` keeps it."""
    return _encode_records(log_batches, ref.entry, [ref.record])[0]


def _encode_records(
    log_batches: Sequence[LogBatch], entry: int, indexes: Sequence[int]
) -> list[str]:
    batch = log_batches[entry].batch
    return [_truncate(text) for text in record_reader.extract_texts(batch, indexes)]


def _truncate(text: str) -> str:
    text = make_storable(text)
    if len(text) * 4 <= RECORD_BYTES_MAX:
        return text
    return text.encode()[:RECORD_BYTES_MAX].decode("utf-8", "ignore")
