"""What the log keeps of rejected records: each as it was sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

import msgspec

from treadle.log.joined import choose_reader
from treadle.log.protocol import DamagedEntry, LogEntry, LogReader
from treadle.records.json_decoder import decode_members, repair_json
from treadle.records.message_batch import MessageBatch, decode_batch
from treadle.records.record_reader import extract_texts
from treadle.tracking.rejects import RejectedRecord, read_batch

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of entries that are read for one page. What is beyond them is told of single records."""

KEY_BYTES_MAX: Final = 1024
"""Bytes of a key that are shown; a longer one is left out."""


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A rejected record as it was sent.

    Attributes:
        accepted_at: microseconds since 1970, UTC.
        key: JSON text of an object with those key fields that the record has; None where it is
            longer than `KEY_BYTES_MAX`.
        text: the record as JSON, as sent.
    """

    accepted_at: int
    sequence: int
    key_names: tuple[str, ...]
    key: bytes | None
    table_version: int
    text: str


def read_sent_record(reader: LogReader, reject: RejectedRecord) -> SentRecord:
    """Return a rejected record as it was sent.

    Raises:
        RecordGoneError: the log does not keep it any more, or its entry is damaged.
    """
    entries = choose_reader(reader, reject.source_id).find_entries(reject.position, 1)
    batch = read_batch(reject, entries)
    [text] = extract_texts(batch, [reject.index])
    return _describe(batch, reject.index, text, entries[0].received_at)


def read_sent_records(
    reader: LogReader, rejects: Iterable[RejectedRecord]
) -> dict[str, SentRecord | None]:
    """Return id -> record as it was sent, for a page of rejects.

    None stands for one that is not kept any more. Records of entries that would be too many bytes
    to read are not among them.

    Args:
        reader: of the log.
        rejects: newest first.
    """
    found: dict[str, SentRecord | None] = {}
    left = PAGE_BYTES_MAX
    for (source_id, position), several in groupby(rejects, attrgetter("source_id", "position")):
        if left <= 0:
            break
        together = list(several)
        kept = choose_reader(reader, source_id).find_entries(position, 1)
        entry: LogEntry | DamagedEntry | None = next(iter(kept), None)
        if not isinstance(entry, LogEntry):
            found |= dict.fromkeys((reject.id for reject in together), None)
            continue
        left -= len(entry.payload)
        batch = decode_batch(entry.payload)
        texts = extract_texts(batch, [reject.index for reject in together])
        for reject, text in zip(together, texts, strict=True):
            found[reject.id] = _describe(batch, reject.index, text, entry.received_at)
    return found


def _describe(batch: MessageBatch, index: int, text: str, accepted_at: int) -> SentRecord:
    version = batch.versions
    return SentRecord(
        accepted_at,
        batch.sequences[index],
        tuple(batch.key_names),
        _pick_key(text, batch.key_names),
        version if isinstance(version, int) else version[index],
        text,
    )


def _pick_key(text: str, names: Iterable[str]) -> bytes | None:
    if not names:
        return b"{}"
    members = dict(decode_members(repair_json(text.encode("utf-8", "surrogatepass"))))
    pairs = (
        msgspec.json.encode(name) + b":" + bytes(members[name]) for name in names if name in members
    )
    key = b"{" + b",".join(pairs) + b"}"
    return key if len(key) <= KEY_BYTES_MAX else None
