"""Entries as rows of PostgreSQL."""

import struct
import uuid

import pytest
from psycopg.adapt import PyFormat, Transformer
from psycopg.types.numeric import Int4, Int8

from treadle.log.codec import PayloadCodec, encode_payload
from treadle.log.postgres.entry_rows import (
    EntryDecoder,
    checksum_row,
    encode_blobs,
    encode_int4s,
    encode_int8s,
    encode_uuids,
)
from treadle.log.protocol import DamagedEntry, LogEntry


def dumped(values: list[object]) -> bytes:
    dumper = Transformer().get_dumper(values, PyFormat.BINARY)
    return bytes(dumper.dump(values) or b"")


def test_arrays_are_what_the_driver_would_send() -> None:
    assert encode_int4s([1, -1, 2**31 - 1]) == dumped([Int4(1), Int4(-1), Int4(2**31 - 1)])
    assert encode_int8s([0, 2**53]) == dumped([Int8(0), Int8(2**53)])
    assert encode_blobs([b"", b"ab\0"]) == dumped([b"", b"ab\0"])
    one = uuid.UUID(int=7)
    assert encode_uuids([one.bytes]) == dumped([one])
    assert encode_int8s([]) == struct.pack(">3i", 0, 0, 20)


@pytest.mark.parametrize("change", ["source", "name", "records", "size", "payload"])
def test_any_change_of_a_row_is_found(change: str) -> None:
    stored, stored_crc = encode_payload(PayloadCodec(), b"payload")
    crc = checksum_row(stored_crc, 5, b"orders", 3, 7)
    row = (9, 1, 100, 3, 7, crc, stored)
    decoder = EntryDecoder()
    assert decoder.decode(row, (5, "orders")) == LogEntry(9, 5, "orders", 100, 3, b"payload")
    assert isinstance(decoder.decode(row, None), DamagedEntry)
    table = (5, "orders")
    changed = {
        "source": (row, (6, "orders")),
        "name": (row, (5, "order")),
        "records": ((9, 1, 100, 4, 7, crc, stored), table),
        "size": ((9, 1, 100, 3, 8, crc, stored), table),
        "payload": ((9, 1, 100, 3, 7, crc, stored[:-1] + b"!"), table),
    }
    found = decoder.decode(*changed[change])
    assert isinstance(found, DamagedEntry)
    assert "checksum" in found.why
