"""Reads the body of a request within its limits."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
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
    extend_arrival,
    make_too_large_error,
)
from treadle.step_check import StepCheck

INLINE_INFLATE_BYTES_MAX: Final = 256 * 1024
"""Content up to which decompressing on the event loop is cheaper than a thread: about 1 ms."""

BodyWork = Callable[[StepCheck], bytes]
"""Makes the content of a body, in a thread."""


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    limit: int = BODY_BYTES_MAX,
    grace_seconds: float = BODY_GRACE_SECONDS,
    bytes_per_second_min: int = BODY_BYTES_PER_SECOND_MIN,
    took: Callable[[int], None] = lambda _: None,
    run_apart: Callable[[BodyWork], Awaitable[bytes]] | None = None,
) -> bytes:
    """Return the body of a request, decompressed, of at most `limit` bytes.

    The declared length is checked before anything is read. Bytes are counted while they arrive
    and again while they are decompressed, so that memory stays bounded whatever is sent.

    Args:
        headers: the request's headers.
        receive: the ASGI channel of the request.
        limit: largest size in bytes, compressed and decompressed.
        grace_seconds: how far a sender may fall behind the slowest rate.
        bytes_per_second_min: the slowest rate that is waited for.
        took: called with the number of bytes that were added to what is in memory; an error of it
            ends the reading.
        run_apart: runs the decompression of more than a little in another thread; None to do all of
            it here.

    Raises:
        RequestRefusedError: 413 above the limit, 415 for an unknown content encoding, 400 for
            damaged compressed data, 408 for a sender that is too slow.
        ClientDisconnect: the sender went away; nobody waits for an answer.
    """
    raw = await read_raw_body(
        headers,
        receive,
        limit=limit,
        grace_seconds=grace_seconds,
        bytes_per_second_min=bytes_per_second_min,
        took=took,
    )
    encoding = headers.get("content-encoding")
    inflate = None if encoding is None else find_inflater(encoding)
    if inflate is None:
        return raw
    parts = inflate(raw, limit)
    body = BytesIO()
    for part in parts:
        body.write(part)
        if body.tell() > INLINE_INFLATE_BYTES_MAX and run_apart is not None:
            whole = await run_apart(partial(_gather_parts, body, parts))
            break
    else:
        whole = body.getvalue()
    took(len(whole))
    return whole


async def read_raw_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    limit: int = BODY_BYTES_MAX,
    grace_seconds: float = BODY_GRACE_SECONDS,
    bytes_per_second_min: int = BODY_BYTES_PER_SECOND_MIN,
    took: Callable[[int], None] = lambda _: None,
) -> bytes:
    """Return the body of a request as it was sent; arguments and errors as of `read_body`."""
    check_declared_length(headers, limit)
    try:
        async with RequestDeadline(grace_seconds) as deadline:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                whole: bytes = message.get("body", b"")
                if len(whole) > limit:
                    raise make_too_large_error(len(whole))
                took(len(whole))
                return whole
            # One block that grows. Many parts of different sizes would fragment the memory, so
            # that later bodies would need new memory. And its bytes can be had without a copy,
            # which would hold up all other requests for 10 ms where a body is large.
            gathered = BytesIO()
            size = 0
            now = asyncio.get_running_loop().time
            while True:
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise make_too_large_error(size)
                took(len(part))
                gathered.write(part)
                if not message.get("more_body", False):
                    return gathered.getvalue()
                deadline.due = extend_arrival(
                    deadline.due, now(), len(part), grace_seconds, bytes_per_second_min
                )
                message = await receive()
    except TimeoutError as slow:
        raise RequestRefusedError(
            408,
            {"status": "ERROR", "message": "The request body arrived too slowly. Send it again."},
            (("Connection", "close"),),
        ) from slow


def inflate_body(raw: bytes, encoding: str | None, limit: int) -> bytes:
    """Return the content of a small body, decompressed at once; errors as of `read_body`."""
    inflate = None if encoding is None else find_inflater(encoding)
    return raw if inflate is None else b"".join(inflate(raw, limit))


def _gather_parts(body: BytesIO, parts: Iterator[bytes], check: StepCheck) -> bytes:
    """Return what is in `body` and the rest of the parts."""
    for part in parts:
        check()
        body.write(part)
    return body.getvalue()
