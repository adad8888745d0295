"""Decompression of request bodies, bounded however far the data would expand.

Content is made in steps, each from some bytes of the compressed data. Whoever asks for the next
step can stop instead. The time is linear in what was sent: nothing copies the rest of the data, and
members and frames are counted.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Final

import zstandard

from treadle.errors import RequestRefusedError
from treadle.http.limits import make_too_large_error

MEMBERS_MAX: Final = 1000
"""Most gzip members, or zstd frames, of one body. Writers make one, or one for each block of a
megabyte or so; the smallest has some 10 to 20 bytes and takes as long as kilobytes of content."""

GZIP_STEP_BYTES: Final = 8192
"""Compressed bytes that are decompressed at a time; they become 8 MB at worst."""

ZSTD_WINDOW_BYTES_MAX: Final = 32 * 1024 * 1024
"""Largest zstd window: the next power of two above BODY_BYTES_MAX, because a frame that states its
size may use all of it as its window."""

# The smallest block of RFC 8878 3.1.1.2 (a repeated byte), and the most content of a block.
_ZSTD_BLOCK_BYTES: Final = 4
_ZSTD_BLOCK_CONTENT_BYTES: Final = 128 * 1024
_ZSTD_STEP_BYTES_MAX: Final = 1024

# The longest head of a frame (RFC 8878 3.1.1.1), with its magic number.
_ZSTD_HEAD_BYTES_MAX: Final = 18

Inflater = Callable[[bytes, int], Iterator[bytes]]
"""Compressed data and the most bytes that its content may have -> the content, part by part."""


def find_inflater(encoding: str) -> Inflater | None:
    """Return the function that undoes a content encoding; None where there is nothing to undo.

    Raises:
        RequestRefusedError: 415, the encoding is unknown.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return inflate_gzip
    if name == "zstd":
        return inflate_zstd
    message = f"Unsupported content-encoding {encoding}. Please send gzip, zstd or no encoding"
    raise RequestRefusedError(415, {"status": "ERROR", "message": message})


def inflate_gzip(raw: bytes, limit: int) -> Iterator[bytes]:
    """Yield the content of gzip members, at most `limit` bytes together.

    Raises:
        RequestRefusedError: 413 as soon as the content passes the limit, 400 for damaged data and
            for too many members.
    """
    view = memoryview(raw)
    place = size = members = 0
    while place < len(view):
        members += 1
        _check_member_count("gzip", members)
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            step = view[place : place + GZIP_STEP_BYTES]
            if not step:
                raise _make_damaged_error("gzip", "the data ends before the end of the stream")
            try:
                part = member.decompress(step, limit + 1 - size)
            except zlib.error as error:
                raise _make_damaged_error("gzip", str(error)) from error
            place += len(step) - len(member.unused_data)
            size += len(part)
            if size > limit:
                raise make_too_large_error(size)
            if part:
                yield part


def inflate_zstd(raw: bytes, limit: int) -> Iterator[bytes]:
    """Yield the content of zstd frames, at most `limit` bytes together.

    Raises:
        RequestRefusedError: 413 as soon as the content passes the limit, 400 for damaged data and
            for too many frames.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    view = memoryview(raw)
    step_bytes = choose_zstd_step(limit)
    place = size = frames = 0
    while place < len(view):
        frames += 1
        _check_member_count("zstd", frames)
        frame = decompressor.decompressobj()
        stated, begin = _read_stated_size(view[place : place + _ZSTD_HEAD_BYTES_MAX]), size
        while not frame.eof:
            step = view[place : place + step_bytes]
            if not step:
                raise _make_damaged_error("zstd", "the data ends before the end of the frame")
            try:
                part = frame.decompress(step)
            except zstandard.ZstdError as error:
                raise _make_damaged_error("zstd", str(error)) from error
            place += len(step) - len(frame.unused_data)
            size += len(part)
            if size > limit:
                raise make_too_large_error(size)
            if part:
                yield part
        if stated not in (None, size - begin):
            # The decompressor sees it only where the whole frame is in one step.
            raise _make_damaged_error(
                "zstd", f"a frame states {stated} bytes of content, and has {size - begin}"
            )


def _read_stated_size(head: memoryview) -> int | None:
    """Return how much content a frame says to have; None where it does not, or is no frame."""
    try:
        stated = zstandard.frame_content_size(head)
    except zstandard.ZstdError:  # the decompressor says what is wrong
        return None
    return None if stated < 0 else stated


def choose_zstd_step(limit: int) -> int:
    """Return how many compressed bytes to decompress at a time.

    The decompressor takes no bound for its output, and a block of 4 bytes can become 128 KiB. So
    the content of a step is at most about as long as all of it may be, or one block.
    """
    blocks = limit // _ZSTD_BLOCK_CONTENT_BYTES
    return max(_ZSTD_BLOCK_BYTES, min(_ZSTD_STEP_BYTES_MAX, blocks * _ZSTD_BLOCK_BYTES))


def _check_member_count(encoding: str, found: int) -> None:
    if found > MEMBERS_MAX:
        noun = "members" if encoding == "gzip" else "frames"
        raise _make_damaged_error(
            encoding, f"more than {MEMBERS_MAX} {noun}; compress the body as one"
        )


def _make_damaged_error(encoding: str, why: str) -> RequestRefusedError:
    return RequestRefusedError(
        400,
        {
            "status": "ERROR",
            "message": f"Malformed {encoding} in the body!",
            "error": why,
            "input": None,
        },
    )
