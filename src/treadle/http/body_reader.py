"""Reads the body of a request within its limits."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from treadle.errors import RequestRefusedError
from treadle.http.deadline import RequestDeadline
from treadle.http.inflate import find_inflater
from treadle.http.limits import (
    BODY_BYTES_MAX,
    BODY_BYTES_PER_SECOND_MIN,
    BODY_GRACE_SECONDS,
    check_declared_length,
    make_too_large_error,
    read_declared_length,
)

INLINE_INFLATE_BYTES_MAX: Final = 64 * 1024
"""Compressed bytes up to which decompressing on the event loop is cheaper than a thread."""


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    limit: int = BODY_BYTES_MAX,
    grace_seconds: float = BODY_GRACE_SECONDS,
    bytes_per_second_min: int = BODY_BYTES_PER_SECOND_MIN,
    took: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Return the body of a request, decompressed, of at most `limit` bytes.

    The declared length is checked before anything is read. Bytes are counted while they arrive
    and again while they are decompressed, so that memory stays bounded whatever is sent.

    Args:
        headers: the request's headers.
        receive: the ASGI channel of the request.
        limit: largest size in bytes, compressed and decompressed.
        grace_seconds: time that any body may take to arrive.
        bytes_per_second_min: slowest sender that is waited for; `grace_seconds` comes on top.
        took: called with the number of bytes that were added to what is in memory; an error of it
            ends the reading.

    Raises:
        RequestRefusedError: 413 above the limit, 415 for an unknown content encoding, 400 for
            damaged compressed data, 408 for a sender that is too slow.
        ClientDisconnect: the sender went away; nobody waits for an answer.
    """
    check_declared_length(headers, limit)
    declared = read_declared_length(headers)
    seconds = (limit if declared is None else declared) / bytes_per_second_min
    try:
        async with RequestDeadline(grace_seconds + seconds):
            raw = await _collect_body(receive, limit, took)
    except TimeoutError as slow:
        raise RequestRefusedError(
            408,
            {"status": "ERROR", "message": "The request body arrived too slowly. Send it again."},
            (("Connection", "close"),),
        ) from slow
    encoding = headers.get("content-encoding")
    inflate = None if encoding is None else find_inflater(encoding)
    if inflate is None:
        return raw
    if len(raw) <= INLINE_INFLATE_BYTES_MAX:
        body = inflate(raw, limit)
    else:
        body = await asyncio.to_thread(inflate, raw, limit)
    took(len(body))
    return body


async def _collect_body(receive: Receive, limit: int, took: Callable[[int], None]) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        if len(whole) > limit:
            raise make_too_large_error(len(whole))
        took(len(whole))
        return whole
    # One block that grows: many parts of all sizes would leave holes that no other body fits.
    gathered = bytearray()
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise make_too_large_error(size)
        took(len(part))
        gathered += part
        if not message.get("more_body", False):
            return bytes(gathered)
        message = await receive()
