"""Decompression of request bodies, bounded however far the data would expand."""

import zlib
from collections.abc import Callable
from typing import Final

import zstandard

from treadle.errors import RequestRefusedError
from treadle.http.limits import make_too_large_error

ZSTD_WINDOW_BYTES_MAX: Final = 32 * 1024 * 1024
"""Largest zstd window: the next power of two above BODY_BYTES_MAX, because a frame that states its
size may use all of it as its window."""

ZSTD_STEP_BYTES: Final = 1024
"""Compressed bytes that are decompressed at a time. The decompressor takes no bound for its output;
one block of 4 bytes can become 128 KiB, so that a step becomes 32 MiB at worst."""

Inflater = Callable[[bytes, int], bytes]
"""Compressed data and the most bytes that its content may have -> the content."""


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


def inflate_gzip(raw: bytes, limit: int) -> bytes:
    """Return the content of one or more gzip members, at most `limit` bytes.

    Raises:
        RequestRefusedError: 413 as soon as the content passes the limit, 400 for damaged data.
    """
    parts: list[bytes] = []
    size = 0
    while raw:
        member = zlib.decompressobj(wbits=31)
        try:
            part = member.decompress(raw, limit + 1 - size)
        except zlib.error as error:
            raise _make_damaged_error("gzip", str(error)) from error
        size += len(part)
        if size > limit:
            raise make_too_large_error(size)
        if not member.eof:
            raise _make_damaged_error("gzip", "the data ends before the end of the stream")
        parts.append(part)
        raw = member.unused_data
    return b"".join(parts)


def inflate_zstd(raw: bytes, limit: int) -> bytes:
    """Return the content of one or more zstd frames, at most `limit` bytes.

    Raises:
        RequestRefusedError: 413 as soon as the content passes the limit, 400 for damaged data.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    parts: list[bytes] = []
    size = 0
    view = memoryview(raw)
    while view:
        frame = decompressor.decompressobj()
        while view and not frame.eof:
            try:
                part = frame.decompress(view[:ZSTD_STEP_BYTES])
            except zstandard.ZstdError as error:
                raise _make_damaged_error("zstd", str(error)) from error
            size += len(part)
            if size > limit:
                raise make_too_large_error(size)
            parts.append(part)
            view = view[min(ZSTD_STEP_BYTES, len(view)) - len(frame.unused_data) :]
        if not frame.eof:
            raise _make_damaged_error("zstd", "the data ends before the end of the frame")
    return b"".join(parts)


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
