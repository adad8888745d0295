"""Decompression in steps: linear in what was sent, and bounded in what it becomes."""

import gzip
import time
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import RequestRefusedError
from treadle.http.inflate import (
    MEMBERS_MAX,
    choose_zstd_step,
    find_inflater,
    inflate_gzip,
    inflate_zstd,
)

COMPRESS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}
INFLATE = {"gzip": inflate_gzip, "zstd": inflate_zstd}
BODY = 20 * 1024 * 1024
every_encoding = pytest.mark.parametrize("encoding", ["gzip", "zstd"])


def inflated(encoding: str, raw: bytes, limit: int = BODY) -> bytes:
    return b"".join(INFLATE[encoding](raw, limit))


def refusal(encoding: str, raw: bytes, limit: int = BODY) -> RequestRefusedError:
    with pytest.raises(RequestRefusedError) as caught:
        inflated(encoding, raw, limit)
    return caught.value


@every_encoding
@given(
    contents=st.lists(st.binary(max_size=9_000), max_size=6),
    spare=st.integers(0, 3),
)
def test_content_is_whole_up_to_the_limit(encoding: str, contents: list[bytes], spare: int) -> None:
    whole = b"".join(contents)
    raw = b"".join(map(COMPRESS[encoding], contents))
    assert inflated(encoding, raw, len(whole) + spare) == whole
    if whole:
        assert refusal(encoding, raw, len(whole) - 1).status == 413


@every_encoding
@given(content=st.binary(max_size=5_000), cut=st.integers(1, 5_000))
def test_data_that_was_cut_is_damaged(encoding: str, content: bytes, cut: int) -> None:
    raw = COMPRESS[encoding](content)
    assert refusal(encoding, raw[: -min(cut, len(raw) - 1)]).status == 400


@every_encoding
def test_a_thousand_members_are_joined_and_one_more_is_refused(encoding: str) -> None:
    raw = COMPRESS[encoding](b"x") * MEMBERS_MAX
    assert inflated(encoding, raw) == b"x" * MEMBERS_MAX
    refused = refusal(encoding, raw + COMPRESS[encoding](b"x"))
    assert refused.status == 400
    assert isinstance(refused.body, dict)
    assert "more than 1000" in refused.body["error"]


@every_encoding
@pytest.mark.parametrize("content", [b"", b"x"])
def test_members_by_the_million_are_refused_at_once(encoding: str, content: bytes) -> None:
    """20 MB of empty members took an hour when each copied the rest."""
    member = COMPRESS[encoding](content)
    raw = member * (BODY // len(member))
    began = time.process_time()
    assert refusal(encoding, raw).status == 400
    assert time.process_time() - began < 1.0


@every_encoding
def test_large_members_cost_no_more_than_one(encoding: str) -> None:
    content = bytes(range(256)) * 70
    raw = COMPRESS[encoding](content) * MEMBERS_MAX
    assert len(inflated(encoding, raw)) == len(content) * MEMBERS_MAX


def test_stored_blocks_pass_through() -> None:
    packer = zlib.compressobj(0, wbits=31)
    raw = packer.compress(b"a" * 3_000_000) + packer.flush()
    assert inflated("gzip", raw) == b"a" * 3_000_000


def test_a_step_of_zstd_becomes_no_more_than_the_limit_allows() -> None:
    assert choose_zstd_step(0) == choose_zstd_step(64 * 1024) == 4
    assert choose_zstd_step(BODY) == 640
    assert choose_zstd_step(1 << 40) == 1024


@pytest.mark.parametrize("limit", [BODY, 1024 * 1024, 1000])
@pytest.mark.parametrize("stated", [31, 33, 231])
def test_a_frame_of_another_size_than_it_states_is_damaged(stated: int, limit: int) -> None:
    head = b"\x28\xb5\x2f\xfd\x20"  # one segment, its size in one byte
    blocks = b"\x00\x01\x00" + b"x" * 32 + b"\x01\x00\x00"  # 32 bytes as they are, then nothing
    assert inflated("zstd", head + bytes([32]) + blocks, limit) == b"x" * 32
    assert refusal("zstd", head + bytes([stated]) + blocks, limit).status == 400


@pytest.mark.slow
@every_encoding
def test_the_first_part_of_a_bomb_is_small(encoding: str) -> None:
    """A step that becomes much is the unit in which work can be given up."""
    raw = COMPRESS[encoding](b"\0" * 200_000_000)
    part = next(INFLATE[encoding](raw, 64 * 1024 * 1024))
    assert len(part) <= 32 * 1024 * 1024


def test_encodings_by_name() -> None:
    assert find_inflater(" GZip ") is find_inflater("x-gzip") is inflate_gzip
    assert find_inflater("zstd") is inflate_zstd
    assert find_inflater("") is find_inflater("identity") is None
