import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from treadle.log.codec import (
    PLAIN_BYTES_MAX,
    PayloadCodec,
    checksum_entry,
    checksum_payload,
)

CODEC = PayloadCodec()


@given(st.binary(max_size=5000))
def test_a_payload_comes_back(payload: bytes) -> None:
    assert CODEC.restore(CODEC.compress(payload), len(payload)) == payload


@pytest.mark.parametrize("size", [0, 1, 255, 256, PLAIN_BYTES_MAX, PLAIN_BYTES_MAX + 1])
def test_what_is_stored_is_a_zstd_frame_of_any_size(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    stored = CODEC.compress(payload)
    assert zstandard.frame_content_size(stored) == size
    assert zstandard.ZstdDecompressor().decompress(stored) == payload
    assert (payload in stored) == (size <= PLAIN_BYTES_MAX)
    assert CODEC.restore(stored, size) == payload


@pytest.mark.parametrize(
    "size", [0, 1, 5_119, 5_120, 5_121, 10_240, 10_241, 262_143, 262_144, 262_145]
)
def test_the_checksum_of_what_is_stored_is_that_of_zlib(size: int) -> None:
    stored = bytes(number * 7 % 251 for number in range(size))
    assert checksum_payload(stored) == zlib.crc32(stored)


def test_records_take_a_fraction_of_their_size() -> None:
    payload = b'{"id":1,"name":"Finn","email":"finn@example.com"},' * 1000
    assert len(CODEC.compress(payload)) * 15 < len(payload)


@pytest.mark.parametrize("size", [1, 4, 6, 10_000])
def test_bytes_of_another_size_or_kind_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        CODEC.restore(CODEC.compress(b"12345"), size)
    with pytest.raises(ValueError, match=r"."):
        CODEC.restore(b"no zstd frame", size)


SOUND = (7, 1, b"orders", 1_700_000_000_000_000, 3, 99)


@pytest.mark.parametrize(
    "other",
    [
        (8, 1, b"orders", 1_700_000_000_000_000, 3, 99),
        (7, 2, b"orders", 1_700_000_000_000_000, 3, 99),
        (7, 1, b"orderS", 1_700_000_000_000_000, 3, 99),
        (7, 1, b"orders\0", 1_700_000_000_000_000, 3, 99),
        (7, 1, b"orders", 1_700_000_000_000_001, 3, 99),
        (7, 1, b"orders", 1_700_000_000_000_000, 4, 99),
        (7, 1, b"orders", 1_700_000_000_000_000, 3, 98),
    ],
)
def test_the_checksum_covers_what_identifies_an_entry(
    other: tuple[int, int, bytes, int, int, int],
) -> None:
    stored = zlib.crc32(b"stored")
    assert checksum_entry(stored, *other) != checksum_entry(stored, *SOUND)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_the_checksum_finds_every_flipped_bit(stored: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(stored) * 8 - 1))
    flipped = bytearray(stored)
    flipped[place // 8] ^= 1 << place % 8
    assert checksum_entry(zlib.crc32(flipped), *SOUND) != checksum_entry(zlib.crc32(stored), *SOUND)
