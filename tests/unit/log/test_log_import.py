"""A log that is imported: rows as COPY carries them, anchors, and what may be in its database."""

import struct
import zlib

import pytest

from treadle.errors import OperatorError
from treadle.log.codec import PayloadCodec, encode_payload
from treadle.log.postgres.entry_rows import (
    EntryDecoder,
    StoredRow,
    make_import_uid,
    read_anchor,
)
from treadle.log.postgres.log_import import (
    PresentLog,
    encode_entry,
    encode_key,
    judge_present_logs,
)
from treadle.log.postgres.schema import FORM, IMPORTING, find_obstacle
from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.log.transfer import ExportedEntry, ExportedKey

STORED, STORED_CRC = encode_payload(PayloadCodec(), b"payload")
ANCHOR = b"\x01\x02\x03\x04"


def export(*, is_sound: bool = True, anchor: bytes | None = ANCHOR) -> ExportedEntry:
    return ExportedEntry(9, 2, 100, 3, 7, anchor, is_sound, STORED)


def read_fields(row: bytes) -> list[bytes]:
    """The fields of a row, as the server reads them."""
    [count] = struct.unpack_from(">h", row)
    found, at = [], 2
    for _ in range(count):
        [size] = struct.unpack_from(">i", row, at)
        found.append(row[at + 4 : at + 4 + size])
        at += 4 + size
    assert at == len(row)
    return found


def read_row(row: bytes) -> tuple[StoredRow, bytes]:
    """A row of a segment, and its uid."""
    position, table, at, records, size, crc, uid, stored = read_fields(row)
    assert [len(one) for one in (position, table, at, records, size, crc, uid)] == [
        *(8, 4, 8, 4, 4, 8, 16)
    ]
    numbers = [int.from_bytes(one, "big") for one in (position, table, at, records, size, crc)]
    return (*numbers, stored), uid  # type: ignore[return-value]


def test_an_entry_is_the_same_entry_here() -> None:
    row, uid = read_row(encode_entry(export(), 5, 40, b"orders"))
    assert EntryDecoder().decode(row, (40, "orders")) == LogEntry(
        9, 40, "orders", 100, 3, b"payload"
    )
    assert row[1] == 5
    assert read_anchor(uid) == ANCHOR


def test_a_damaged_entry_stays_damaged() -> None:
    row, uid = read_row(encode_entry(export(is_sound=False, anchor=None), 5, 40, b"orders"))
    found = EntryDecoder().decode(row, (40, "orders"))
    assert isinstance(found, DamagedEntry)
    assert found.position == 9
    assert read_anchor(uid) is None


def test_the_anchor_of_an_entry_that_was_appended_here_is_its_uid() -> None:
    uid = bytes(range(16))
    assert read_anchor(uid) == uid
    assert read_anchor(make_import_uid(2**53, ANCHOR)) == ANCHOR
    assert read_anchor(make_import_uid(1, b"longer")) is None


def test_the_name_of_a_request_is_a_row() -> None:
    key = ExportedKey(b"n" * 32, b"d" * 32, 7, 2**50, 3)
    name, digest, log, first, at, repeats = read_fields(encode_key(key, 1))
    assert (name, digest) == (key.name, key.digest)
    assert [int.from_bytes(one, "big") for one in (log, first, at, repeats)] == [1, 7, 2**50, 3]
    assert [len(one) for one in (log, first, at, repeats)] == [2, 8, 8, 4]


def test_the_checksum_is_of_what_is_stored() -> None:
    assert zlib.crc32(STORED) == STORED_CRC


def test_a_log_is_imported_only_beside_those_of_its_installation() -> None:
    here, beside = PresentLog(1, "b", "i", IMPORTING), PresentLog(0, "a", "i", "open")
    assert judge_present_logs([here, beside], 1, "b", "i") is False
    assert judge_present_logs([here, beside], 0, "a", "i") is True
    for log_id, other in [("z", beside), ("b", PresentLog(5, "z", "j", "open"))]:
        with pytest.raises(OperatorError, match="another installation"):
            judge_present_logs([here, other], 1, log_id, "i")


def test_a_log_that_is_not_imported_to_its_end_is_used_by_nobody() -> None:
    assert find_obstacle(0, "open", FORM) is None
    assert "run `treadle cluster import` again" in str(find_obstacle(0, IMPORTING, FORM))
    assert "a newer treadle" in str(find_obstacle(0, "open", FORM + 1))
