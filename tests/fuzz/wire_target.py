"""A target of the fuzzer: bytes on a connection are read as a strict reader of our own reads them.

The first byte of an input says into what pieces the rest is cut. Whatever comes, and however it is
cut, and whatever the connection knows from requests before: the same requests are answered, none
that a strict reading of RFC 9112 does not find, and what is not answered is refused or waits.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from tests.work_turns import ALONE
from uvicorn.server import ServerState

from treadle.http.request_head import HEADERS_MAX, REQUEST_HEAD_BYTES_MAX, SINGLE_HEADERS
from treadle.ingest.body_memory import BodyMemoryBudget
from treadle.ingest.body_threads import BodyThreads
from treadle.ingest.fastpath.connection import FastPathProtocol
from treadle.ingest.fastpath.connection_state import ConnectionState
from treadle.ingest.fastpath.handler import FAST_PATH_STATE, RequestHead, ResponseSink

USUAL: Final = (
    b"POST /v2/import/push HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer at_1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 3\r\n\r\n[0]"
)
"""A request whose head is remembered."""

TURNS_MAX: Final = 4_000
"""Turns of the event loop for one piece; a request takes about four."""

# --- a strict reader ------------------------------------------------------------------------------

_REQUEST_LINE: Final = re.compile(rb"([A-Z-]+) +([!-~]+) +HTTP/(1\.[01])")
"""More than one blank is allowed (RFC 9112 3)."""
_FIELD_LINE: Final = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)[ \t]*"
)
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?")


class StrictRequest(NamedTuple):
    """One request, as far as an application sees it."""

    method: bytes
    target: bytes
    body: bytes


@dataclass
class StrictReading:
    """What a strict reader finds in all bytes of a connection.

    Attributes:
        requests: those that are complete.
        refused: something follows them that is no request.
    """

    requests: list[StrictRequest] = field(default_factory=list)
    refused: bool = False


class _NoRequestError(Exception):
    """This is no request."""


class _IncompleteError(Exception):
    """The rest of a request is missing."""


def read_strictly(data: bytes) -> StrictReading:
    """Read all requests of a connection."""
    reading = StrictReading()
    ends = False
    try:
        while not ends and (data := data.lstrip(b"\r\n")):
            request, data, ends = _read_request(data)
            reading.requests.append(request)
    except _NoRequestError:
        reading.refused = True
    except _IncompleteError:
        pass
    return reading


def _read_request(data: bytes) -> tuple[StrictRequest, bytes, bool]:
    """A request, what follows it, and whether it is the last of the connection."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise _IncompleteError
    first, *lines = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None or len(lines) > HEADERS_MAX or len(head) > REQUEST_HEAD_BYTES_MAX:
        raise _NoRequestError
    method, target, version = line.groups()
    fields = _read_fields(lines)
    single = [(name, value) for name, value in fields if name in SINGLE_HEADERS]
    known = dict(single)
    if len(known) < len(single) or (b"host" not in known and version == b"1.1"):
        raise _NoRequestError
    if b"transfer-encoding" in known:
        if b"content-length" in known or known[b"transfer-encoding"].lower() != b"chunked":
            raise _NoRequestError
        body, rest = _read_chunks(rest)
    else:
        length = known.get(b"content-length", b"0")
        if re.fullmatch(rb"[0-9]{1,19}", length) is None:
            raise _NoRequestError
        if len(rest) < int(length):
            raise _IncompleteError
        body, rest = rest[: int(length)], rest[int(length) :]
    options = [option.strip().lower() for name, value in fields if name == b"connection"
               for option in value.split(b",")]  # fmt: skip
    return StrictRequest(method, target, body), rest, version == b"1.0" or b"close" in options


def _read_fields(lines: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in lines:
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise _NoRequestError
        fields.append((found[1].lower(), found[2]))
    return fields


def _read_chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise _IncompleteError
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise _NoRequestError
        size = int(found[1], 16)
        if size == 0:
            break
        if len(rest) < size + 2:
            raise _IncompleteError
        if rest[size : size + 2] != b"\r\n":
            raise _NoRequestError
        body, rest = body + rest[:size], rest[size + 2 :]
    lines = []
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise _IncompleteError
        if not line:
            break
        lines.append(line)
    if any(name in SINGLE_HEADERS for name, _ in _read_fields(lines)):
        raise _NoRequestError
    return body, rest


# --- the connection -------------------------------------------------------------------------------


class _Wire(asyncio.Transport):
    """What the connection writes."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def write_eof(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class _Site:
    """An application and a handler of the fast path that note what they are asked."""

    def __init__(self) -> None:
        self.seen: list[StrictRequest] = []
        self.budget = BodyMemoryBudget(BodyThreads(ALONE))
        self.config = uvicorn.Config(
            self.app, interface="asgi3", log_config=None, server_header=False
        )
        self.config.load()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        self.seen.append(StrictRequest(scope["method"].encode(), target, body))
        await Response(b"ok")(scope, receive, send)

    def find_account(self, headers: Sequence[tuple[bytes, bytes]]) -> int | None:
        return 1

    def find_sender(self, head: RequestHead, size: int) -> int | None:
        return 1

    def take(self, head: RequestHead, body: bytes, sink: ResponseSink) -> bool:
        self.seen.append(StrictRequest(b"POST", head.path.encode(), body))
        asyncio.get_running_loop().call_soon(sink.reply, Response(b"ok"))
        return True

    async def serve(self, pieces: Sequence[bytes]) -> tuple[list[StrictRequest], bytes, bool]:
        """What is seen and answered of these pieces, and whether the connection ended."""
        self.seen = []
        wire = _Wire()
        state: dict[str, Any] = {FAST_PATH_STATE: self}
        connection = FastPathProtocol(self.config, ServerState(), state)
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            await self._settle(connection)
            bound = 2 * REQUEST_HEAD_BYTES_MAX + len(piece)
            assert len(connection._framing._held) + connection._ahead.size <= bound
        closed = wire.closed
        connection.connection_lost(None)
        for _ in range(8):  # whoever waits for the rest of a body learns that there is none
            await asyncio.sleep(0)
        assert self.budget._held_bytes == 0
        return self.seen, wire.sent, closed

    async def _settle(self, connection: FastPathProtocol) -> None:
        """Let go on what can, until nothing is due."""
        for _ in range(TURNS_MAX):
            if connection._state is not ConnectionState.ANSWER:
                return
            await asyncio.sleep(0)
        raise AssertionError("a request was not answered")


_site: list[tuple[asyncio.AbstractEventLoop, _Site]] = []


def _get_site() -> tuple[asyncio.AbstractEventLoop, _Site]:
    if not _site:
        _site.append((asyncio.new_event_loop(), _Site()))
    return _site[0]


def _shorten(target: bytes) -> bytes:
    """A target as an application sees it: without a host, a fragment or an empty query."""
    target = re.sub(rb"^[A-Za-z]+://[^/?#]*", b"", target)
    return target.partition(b"#")[0].removesuffix(b"?")


def _list_statuses(sent: bytes) -> list[bytes]:
    """The statuses of answers. Where two faults come together, the pieces decide which is seen."""
    found = re.findall(rb"HTTP/1\.1 (\d{3}) ", sent)
    return [status if status in (b"200", b"100") else b"refused" for status in found]


def fuzz_wire(data: bytes) -> None:
    """Send bytes over a connection whole and in pieces, fresh and after known requests."""
    size, data = data[:1], data[1:]
    loop, site = _get_site()
    step = 1 + (size or b"\0")[0] % 97
    cut = [data[at : at + step] for at in range(0, len(data), step)]
    seen, sent, closed = loop.run_until_complete(site.serve([data]))
    statuses = _list_statuses(sent)
    for before, pieces in (([], cut), ([USUAL] * 2, [data]), ([USUAL] * 2, cut)):
        again, answers, ended = loop.run_until_complete(site.serve([*before, *pieces]))
        assert again[len(before) :] == seen
        assert _list_statuses(answers)[len(before) :] == statuses
        assert ended == closed

    expected = read_strictly(data)
    found = [one._replace(target=_shorten(one.target)) for one in expected.requests]
    shown = [one._replace(target=_shorten(one.target)) for one in seen]
    assert shown == found[: len(shown)]
    refused = statuses.count(b"refused")
    assert refused <= 1
    assert statuses.count(b"200") == len(shown)
    if refused:
        assert closed
        assert statuses[-1] == b"refused"
    if len(shown) < len(found) or expected.refused:
        assert closed
        assert refused or b"\r\nconnection: close\r\n" in sent
