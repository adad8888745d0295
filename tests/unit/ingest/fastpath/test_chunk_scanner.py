"""The end of a body in chunks is found wherever the bytes are cut."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.errors import RequestRefusedError
from treadle.http.request_head import REQUEST_HEAD_BYTES_MAX
from treadle.ingest.fastpath.chunk_scanner import ChunkScanner

CHUNKS = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
TRAILERS = st.lists(st.sampled_from([b"X: y\r\n", b"Y:\r\n", b"Z: " + b"z" * 90 + b"\r\n"]))
CUTS = st.lists(st.integers(0, 500), max_size=6)


def encode(chunks: Sequence[bytes], size: bytes = b"%x\r\n") -> bytes:
    return b"".join(size % len(chunk) + chunk + b"\r\n" for chunk in chunks)


def scan(body: bytes, cuts: Sequence[int]) -> tuple[ChunkScanner, int]:
    """The scanner after a body that comes in pieces, and how many bytes belong to the body."""
    scanner = ChunkScanner()
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    taken = 0
    for begin, end in itertools.pairwise(places):
        piece = body[begin:end]
        found = scanner.scan(b"head" + piece, 4) - 4
        taken += found
        if found < len(piece):
            break
    return scanner, taken


@given(CHUNKS, TRAILERS, CUTS, st.binary(max_size=30))
def test_the_end_is_found(
    chunks: list[bytes], trailers: list[bytes], cuts: list[int], behind: bytes
) -> None:
    body = encode(chunks) + b"0\r\n" + b"".join(trailers) + b"\r\n"
    scanner, taken = scan(body + behind, cuts)
    assert scanner.complete
    assert taken == len(body)


@given(CHUNKS, CUTS)
def test_a_body_without_an_end_is_not_complete(chunks: list[bytes], cuts: list[int]) -> None:
    body = encode(chunks) + b"0\r\nX: y\r\n"
    for end in range(len(body)):
        scanner, taken = scan(body[:end], cuts)
        assert not scanner.complete
        assert taken == end


@pytest.mark.parametrize(
    "size", [b"%X\r\n", b"%04x\r\n", b"%x;a\r\n", b'%x;a="b;c"\r\n', b"%x \r\n"]
)
def test_ways_to_write_a_size(size: bytes) -> None:
    body = encode([b"x" * 20, b"\r\n"], size) + b"000;e\r\n\r\n"
    assert scan(body, [])[1] == len(body)


@pytest.mark.parametrize(
    "line",
    [b"\r\n", b"\n", b";a\r\n", b"x\r\n", b"0x1\r\n", b"+1\r\n", b"-1\r\n", b"1\n", b" 1\r\n",
     b"1 1\r\n", b"1\r1\r\n", b"f" * 16 + b"\r\n", b"1;a\rb\r\n", b"\xb2\r\n"],
)  # fmt: skip
def test_what_is_no_size(line: bytes) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        scan(line + b"x" * 40, [1])
    assert refused.value.status == 400


@pytest.mark.parametrize("cuts", [[], list(range(0, 30_000, 1000))])
@pytest.mark.parametrize(
    "body",
    [
        b"1;" + b"a" * REQUEST_HEAD_BYTES_MAX,
        b"0\r\nX: " + b"a" * REQUEST_HEAD_BYTES_MAX,
        b"0\r\n" + b"X: y\r\n" * REQUEST_HEAD_BYTES_MAX,
        encode([b"a"] * 400, b"%x;" + b"a" * 50 + b"\r\n"),
        encode([b"a"] * 400, b"%x" + b" " * 50 + b"\r\n"),
    ],
)
def test_extensions_and_trailers_have_a_bound(body: bytes, cuts: list[int]) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        scan(body, cuts)
    assert refused.value.status == 431


@pytest.mark.parametrize(("size", "count"), [(1, 1_024), (2, 1_365), (4, 4_096)])
def test_a_body_in_crumbs_is_refused_before_it_takes_long(size: int, count: int) -> None:
    crumb = b"x" * size
    assert not scan(encode([crumb] * count), [])[0].complete
    with pytest.raises(RequestRefusedError) as refused:
        scan(encode([crumb] * (count + 1)), [])
    assert refused.value.status == 400


def test_small_chunks_are_taken_without_end_and_between_large_ones() -> None:
    small = [b"x" * 8] * 10_000
    mixed = [b"x" * 20_000, *[b"x"] * 3_000] * 3
    for chunks in (small, mixed):
        body = encode(chunks) + b"0\r\n\r\n"
        scanner, taken = scan(body, [])
        assert scanner.complete
        assert taken == len(body)
