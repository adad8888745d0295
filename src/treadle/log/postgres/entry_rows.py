"""Entries as rows of a segment: their columns as PostgreSQL's binary arrays, and back."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from treadle.log.codec import PayloadCodec, StoredPayload
from treadle.log.protocol import DamagedEntry, LogEntry, NewEntry

_IDENTITY: Final = struct.Struct("<4q")

_ARRAY_HEADER: Final = struct.Struct(">5i")
_INT4: Final = struct.Struct(">ii")
_INT8: Final = struct.Struct(">iq")
_LENGTH: Final = struct.Struct(">i")

_INT4_OID: Final = 23
_INT8_OID: Final = 20
_BYTEA_OID: Final = 17
_UUID_OID: Final = 2950


class EncodedInt4s(bytes):
    """An array of int4 in PostgreSQL's binary form."""


class EncodedInt8s(bytes):
    """An array of int8 in PostgreSQL's binary form."""


class EncodedBlobs(bytes):
    """An array of bytea in PostgreSQL's binary form."""


class EncodedUuids(bytes):
    """An array of uuid in PostgreSQL's binary form."""


def _begin_array(oid: int, count: int) -> bytes:
    if not count:
        return struct.pack(">3i", 0, 0, oid)
    return _ARRAY_HEADER.pack(1, 0, oid, count, 1)


def encode_int4s(values: Sequence[int]) -> EncodedInt4s:
    """Encode numbers as an array of int4."""
    pack = _INT4.pack
    its = b"".join([pack(4, value) for value in values])
    return EncodedInt4s(_begin_array(_INT4_OID, len(values)) + its)


def encode_int8s(values: Sequence[int]) -> EncodedInt8s:
    """Encode numbers as an array of int8."""
    pack = _INT8.pack
    its = b"".join([pack(8, value) for value in values])
    return EncodedInt8s(_begin_array(_INT8_OID, len(values)) + its)


def encode_blobs(values: Sequence[bytes]) -> EncodedBlobs:
    """Encode bytes as an array of bytea."""
    return EncodedBlobs(b"".join(_join_lengths(_BYTEA_OID, values)))


def encode_uuids(values: Sequence[bytes]) -> EncodedUuids:
    """Encode values of 16 bytes as an array of uuid."""
    return EncodedUuids(b"".join(_join_lengths(_UUID_OID, values)))


def _join_lengths(oid: int, values: Sequence[bytes]) -> list[bytes]:
    parts = [_begin_array(oid, len(values))]
    pack = _LENGTH.pack
    for value in values:
        parts.append(pack(len(value)))
        parts.append(value)
    return parts


@dataclass(frozen=True, slots=True)
class EntryColumns:
    """The columns of entries to append, in order.

    Attributes:
        count: how many entries.
        received_at: the greatest of theirs; the log gives each its own.
    """

    count: int
    received_at: int
    table_ids: EncodedInt4s
    records: EncodedInt4s
    sizes: EncodedInt4s
    crcs: EncodedInt8s
    uids: EncodedUuids
    payloads: EncodedBlobs


def make_columns(
    entries: Sequence[NewEntry],
    payloads: Sequence[StoredPayload],
    table_ids: Sequence[int],
    uids: Sequence[bytes],
) -> EntryColumns:
    """Make the columns of entries.

    Args:
        entries: at least one.
        payloads: theirs, as they are stored, each with its checksum.
        table_ids: of their tables.
        uids: 16 bytes for each.
    """
    sizes = [len(entry.payload) for entry in entries]
    crcs = [
        checksum_row(its[1], entry.source_id, entry.table_name.encode(), entry.records, size)
        for entry, its, size in zip(entries, payloads, sizes, strict=True)
    ]
    return EntryColumns(
        count=len(entries),
        received_at=max(entry.received_at for entry in entries),
        table_ids=encode_int4s(table_ids),
        records=encode_int4s([entry.records for entry in entries]),
        sizes=encode_int4s(sizes),
        crcs=encode_int8s(crcs),
        uids=encode_uuids(uids),
        payloads=encode_blobs([its[0] for its in payloads]),
    )


def checksum_row(
    stored_crc: int, source_id: int, table_name: bytes, records: int, size: int
) -> int:
    """Compute the CRC-32 of an entry: of its stored bytes and then of what identifies it.

    Its position and time are not in it, because the server gives them while the gate waits; the
    checksums of the server's pages guard these.

    Args:
        stored_crc: of the stored payload.
        source_id: who pushed.
        table_name: in UTF-8.
        records: how many.
        size: of the payload, uncompressed.
    """
    names = _IDENTITY.pack(source_id, records, size, len(table_name))
    return zlib.crc32(names + table_name, stored_crc)


IMPORT_MARK: Final = b"import\0"
"""What the uid of an entry begins with that came out of another log. The last four bytes are what
that log had as the anchor of the entry, if the byte behind the mark is 1: destinations have it."""


def make_import_uid(position: int, anchor: bytes | None) -> bytes:
    """Make the uid of an entry that comes out of another log.

    Args:
        position: of the entry.
        anchor: of the entry in the other log, 4 bytes; None where it has none.
    """
    has, kept = (b"\1", anchor) if anchor is not None and len(anchor) == 4 else (b"\0", bytes(4))
    return IMPORT_MARK + has + (position & 0xFFFF_FFFF).to_bytes(4, "big") + kept


def read_anchor(uid: bytes) -> bytes | None:
    """Return the anchor of an entry with this uid: the uid, or what its former log had."""
    if not uid.startswith(IMPORT_MARK):
        return uid
    return uid[-4:] if uid[len(IMPORT_MARK)] else None


StoredRow = tuple[int, int, int, int, int, int, bytes]
"""Position, table, received_at, records, size, crc, payload."""


class EntryDecoder:
    """Makes entries of rows. Not for several threads at once."""

    def __init__(self) -> None:
        self._codec = PayloadCodec()

    def decode(self, row: StoredRow, table: tuple[int, str] | None) -> LogEntry | DamagedEntry:
        """Return a row as an entry, or as a damaged one when its checksum is wrong.

        Args:
            row: as it was read.
            table: its source's id and its name; None where the log does not know the table.
        """
        position, table_id, received_at, records, size, crc, stored = row
        source_id, name = table or (0, "")
        try:
            if table is None:
                raise ValueError(f"its table {table_id} is not known")  # noqa: TRY301
            found = checksum_row(zlib.crc32(stored), source_id, name.encode(), records, size)
            if found != crc:
                raise ValueError(f"its checksum is {found}, expected {crc}")  # noqa: TRY301
            payload = self._codec.restore(stored, size)
        except (ValueError, struct.error) as error:
            return DamagedEntry(position, source_id, name, received_at, records, str(error))
        return LogEntry(position, source_id, name, received_at, records, payload)


def decode_name(name: Any) -> str:
    """Return the name of a table from its column, which keeps it in UTF-8."""
    return bytes(name).decode("utf-8", "replace")
