"""The stored form of a payload: compressed, with a checksum over it and over what identifies it."""

import struct
import zlib
from typing import Final

import zstandard

# Level 1: 4 M records/s and 15:1 on push bodies; higher levels cost more than they save.
COMPRESSION_LEVEL: Final = 1

# Payloads up to this size are not compressed: one record by itself becomes hardly smaller, 206
# bytes instead of 220, and trying takes a third of the time of its append.
PLAIN_BYTES_MAX: Final = 512


def _make_raw_header(size: int) -> bytes:
    """Make the bytes before a payload in a zstd frame of one raw block (RFC 8878, 3.1.1)."""
    small = size < 256
    magic, single_segment = b"\x28\xb5\x2f\xfd", b"\x20" if small else b"\x60"
    content_size = size.to_bytes(1, "little") if small else (size - 256).to_bytes(2, "little")
    last_block = (size << 3 | 1).to_bytes(3, "little")
    return magic + single_segment + content_size + last_block


_RAW_HEADERS: Final = [_make_raw_header(size) for size in range(PLAIN_BYTES_MAX + 1)]

# zlib gives the interpreter's lock away for more than so many bytes. To get it back can take as
# long as the event loop decodes a body, fifty times as long as the checksum of 50 KB.
_CHECKSUM_STEP_BYTES: Final = 5 * 1024
_CHECKSUM_STEPS_BYTES_MAX: Final = 256 * 1024

StoredPayload = tuple[bytes, int]
"""A payload as it is stored, and the checksum of that."""

_IDENTITY: Final = struct.Struct("<6q")


class PayloadCodec:
    """Compresses and restores payloads. Not for several threads at once: make one for each."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=False)
        self._decompressor = zstandard.ZstdDecompressor()

    def compress(self, payload: bytes) -> bytes:
        """Compress a payload to a zstd frame, in which a small one stands as it is."""
        size = len(payload)
        if size <= PLAIN_BYTES_MAX:
            return _RAW_HEADERS[size] + payload
        return self._compressor.compress(payload)

    def restore(self, stored: bytes, size: int) -> bytes:
        """Return the payload that `compress` was given.

        Args:
            stored: what `compress` made; its checksum was verified.
            size: of the payload, in bytes.

        Raises:
            ValueError: these are not the stored bytes of a payload of that size.
        """
        if size == 0:
            return b""
        try:
            payload = self._decompressor.decompress(stored, max_output_size=size)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
        if len(payload) != size:
            raise ValueError(f"expected {size} bytes, found {len(payload)}")
        return payload


def encode_payload(codec: PayloadCodec, payload: bytes) -> StoredPayload:
    """Return the stored form of a payload, and the checksum of that."""
    stored = codec.compress(payload)
    return stored, checksum_payload(stored)


def checksum_payload(stored: bytes) -> int:
    """Compute `zlib.crc32` of a stored payload without giving the interpreter's lock away."""
    size = len(stored)
    if size <= _CHECKSUM_STEP_BYTES or size > _CHECKSUM_STEPS_BYTES_MAX:
        return zlib.crc32(stored)
    crc = 0
    view = memoryview(stored)
    for start in range(0, size, _CHECKSUM_STEP_BYTES):
        crc = zlib.crc32(view[start : start + _CHECKSUM_STEP_BYTES], crc)
    return crc


def checksum_entry(
    stored_crc: int,
    position: int,
    source_id: int,
    table_name: bytes,
    received_at: int,
    records: int,
    size: int,
) -> int:
    """Compute the CRC-32 of an entry: of its stored bytes and then of what identifies it.

    Args:
        stored_crc: of the stored payload, made beforehand by `checksum_payload`.
        position: of the entry.
        source_id: who pushed.
        table_name: in UTF-8.
        received_at: microseconds since 1970, UTC.
        records: how many.
        size: of the payload, uncompressed.
    """
    names = _IDENTITY.pack(position, source_id, received_at, records, size, len(table_name))
    return zlib.crc32(names + table_name, stored_crc)
