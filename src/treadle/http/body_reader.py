"""What the HTTP rooms share: bearer tokens, bodies with a limit, and errors as answers."""

import asyncio
import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self
from weakref import WeakKeyDictionary

import msgspec
import zstandard
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope

from treadle.errors import InternalError, RequestRefusedError

BODY_BYTES_MAX = 20 * 1024 * 1024
"""Greatest request body in bytes, before and after decompression (import-api.md 5)."""

BODY_GRACE_SECONDS = 30.0
"""Seconds that any body may take to arrive, however small."""

BODY_BYTES_PER_SECOND_MIN = 64 * 1024
"""Bytes a second below which a sender is given up; PATIENCE comes on top."""

DEADLINE_CHECK_SECONDS = 0.25
"""How often running deadlines are looked at."""

INLINE_INFLATE_BYTES_MAX = 64 * 1024
"""Compressed bytes up to which decompressing on the event loop is cheaper than a thread."""

ZSTD_WINDOW_BYTES_MAX = 32 * 1024 * 1024
"""Greatest zstd window in bytes: the next power of two above BODY_LIMIT, because a frame that
states its size may use all of it as its window."""

ZSTD_STEP_BYTES = 1024
"""Compressed bytes decompressed at a time. The decompressor takes no bound for its output; one
block of 4 bytes can become 128 KiB, so that a step becomes 32 MiB at worst."""


KNOWN_HEADERS = {
    name.encode(): name
    for name in (
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "idempotency-key",
        "prefer",
    )
}
"""Request headers that mean something here."""


def select_headers(scope: Scope) -> dict[str, str]:
    """The request's headers that mean something, names in lower case; of equal names the last.

    Making this dict costs less than one look-up in Starlette's `Headers`.
    """
    return {
        KNOWN_HEADERS[name]: value.decode("latin-1")
        for name, value in scope["headers"]
        if name in KNOWN_HEADERS
    }


def read_bearer_token(headers: Mapping[str, str]) -> str | None:
    """The token of an `Authorization: Bearer <token>` header (import-api.md 2).

    The scheme is compared case-insensitively and followed by one or more spaces.

    Returns:
        The token; None when there is no such header, another scheme or no token.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip(" ") or None


def encode_json(value: object) -> bytes:
    """JSON without blanks, keys in the order of the value.

    Unpaired surrogates, which clients can send in names that an error repeats, are kept as escapes.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


class JsonResponse(Response):
    """A JSON answer: compact, key order kept, in UTF-8 (import-api.md 4)."""

    media_type = "application/json;charset=UTF-8"

    def render(self, content: Any) -> bytes:
        """Any JSON value as bytes."""
        return encode_json(content)


def render_refusal(refused: RequestRefusedError) -> Response:
    """The answer to a refused request: text for a `str` body, JSON for anything else."""
    headers = dict(refused.headers)
    if isinstance(refused.body, str):
        return PlainTextResponse(refused.body, refused.status, headers)
    return JsonResponse(refused.body, refused.status, headers)


def make_too_large_error(size: int) -> RequestRefusedError:
    """The answer to a body of `size` bytes that is above the limit (import-api.md 17.2)."""
    message = f"Request rejected: request size ({size} bytes) exceeds the maximum"
    return RequestRefusedError(413, {"status": "ERROR", "message": message})


def read_media_type(headers: Mapping[str, str]) -> str:
    """The media type of the body as sent, without parameters; empty when there is none."""
    return headers.get("content-type", "").partition(";")[0].strip()


def check_declared_length(headers: Mapping[str, str], limit: int = BODY_BYTES_MAX) -> None:
    """Refuse a body that is too large by its own account, as `read_body` does.

    Raises:
        Refused: 413.
    """
    declared = read_declared_length(headers)
    if declared is not None and declared > limit:
        raise make_too_large_error(declared)


def read_declared_length(headers: Mapping[str, str]) -> int | None:
    """The body's length in bytes as the sender declares it; None when it does not."""
    length = headers.get("content-length")
    return int(length) if length is not None and length.isascii() and length.isdigit() else None


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    limit: int = BODY_BYTES_MAX,
    patience: float = BODY_GRACE_SECONDS,
    slowest: int = BODY_BYTES_PER_SECOND_MIN,
    took: Callable[[int], None] = lambda _: None,
) -> bytes:
    """The request's body, decompressed, of at most `limit` bytes.

    The declared length is looked at before anything is read, bytes are counted while they arrive
    and again while they are decompressed, so that memory stays bounded whatever is sent.

    Args:
        headers: the request's headers.
        receive: the ASGI channel of the request.
        limit: greatest size in bytes, compressed and decompressed.
        patience: seconds that any body may take to arrive.
        slowest: bytes a second below which a sender is given up; `patience` comes on top.
        took: told how many bytes were added to what is in memory; what it raises ends the reading.

    Raises:
        Refused: 413 above the limit, 415 for an unknown content encoding, 400 for damaged
            compressed data, 408 for a sender that is too slow.
        ClientDisconnect: the sender went away; nobody waits for an answer.
    """
    declared = read_declared_length(headers)
    if declared is not None and declared > limit:
        raise make_too_large_error(declared)
    try:
        async with Deadline(patience + (limit if declared is None else declared) / slowest):
            raw = await _collect_body(receive, limit, took)
    except TimeoutError as slow:
        raise RequestRefusedError(
            408,
            {"status": "ERROR", "message": "The request body arrived too slowly. Send it again."},
            (("Connection", "close"),),
        ) from slow
    encoding = headers.get("content-encoding")
    if encoding is None:
        return raw
    inflate = _find_inflater(encoding)
    if inflate is None:
        return raw
    if len(raw) <= INLINE_INFLATE_BYTES_MAX:
        body = inflate(raw, limit)
    else:
        body = await asyncio.to_thread(inflate, raw, limit)
    took(len(body))
    return body


class Deadline:
    """`asyncio.timeout` for something that every request does and that hardly ever takes long.

    All deadlines of an event loop share one timer that looks at them a few times a second, because
    starting and stopping a timer costs as much as half of a small request.
    """

    __slots__ = ("_due", "_late", "_seconds", "_task", "_watch")

    def __init__(self, seconds: float) -> None:
        """Raise TimeoutError in the block after so many seconds, or up to TICK_SECONDS later."""
        self._seconds = seconds
        self._late = False

    async def __aenter__(self) -> Self:
        """Start to watch the running task."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise InternalError("a deadline is used inside a task")
        self._task = task
        self._due = loop.time() + self._seconds
        self._watch = get_deadline_timer(loop)
        self._watch.start(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Stop watching; a cancellation by this deadline becomes a TimeoutError."""
        self._watch.discard(self)
        if self._late and self._task.uncancel() <= 0 and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def look(self, now: float) -> bool:
        """Cancel the task if it is late; whether it was."""
        self._late = now >= self._due
        if self._late:
            self._task.cancel()
        return self._late


class Watched(Protocol):
    """Something that can be late."""

    def look(self, now: float, /) -> bool:
        """Do what has to be done if it is late now, in `time.monotonic`; whether it was."""


class DeadlineTimer(set[Watched]):
    """The running deadlines of one event loop."""

    ticking = False

    def start(self, deadline: Watched) -> None:
        """Look at a deadline from now on, until it is discarded."""
        self.add(deadline)
        if not self.ticking:
            self.tick(asyncio.get_running_loop())

    def __bool__(self) -> bool:
        return True

    def tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at all, and again in a while if any is left."""
        now = loop.time()
        self.difference_update([deadline for deadline in tuple(self) if deadline.look(now)])
        self.ticking = len(self) > 0
        if self.ticking:
            loop.call_later(DEADLINE_CHECK_SECONDS, self.tick, loop)


_timers: WeakKeyDictionary[asyncio.AbstractEventLoop, DeadlineTimer] = WeakKeyDictionary()


def get_deadline_timer(loop: asyncio.AbstractEventLoop) -> DeadlineTimer:
    """The deadlines of an event loop."""
    return _timers.get(loop) or _timers.setdefault(loop, DeadlineTimer())


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


def _find_inflater(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """What undoes a content encoding; None when there is nothing to undo."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return inflate_gzip
    if name == "zstd":
        return inflate_zstd
    message = f"Unsupported content-encoding {encoding}. Please send gzip, zstd or no encoding"
    raise RequestRefusedError(415, {"status": "ERROR", "message": message})


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


def inflate_gzip(raw: bytes, limit: int) -> bytes:
    """The content of one or more gzip members, at most `limit` bytes.

    Raises:
        Refused: 413 as soon as the content passes the limit, 400 for damaged data.
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
    """The content of one or more zstd frames, at most `limit` bytes.

    Raises:
        Refused: 413 as soon as the content passes the limit, 400 for damaged data.
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
