"""A connection over which the same kind of request comes again and again.

Uvicorn reads each request anew: it parses the head into a list of headers, starts a task and
exchanges messages with it. This takes longer than all that treadle does with a small push, and
copies a larger body four times more than it has to. Senders write the same head every time but for
the length of the body. So a plain head that was parsed once is remembered, if it has a token that
treadle knows. A request that begins with the same bytes goes to the handler without all that, once
it is there as a whole. Everything else goes to uvicorn: a head that differs in one byte, and a body
that takes long to arrive.

The connection also bounds what its sender may use. One request is under way at a time: while it is
answered nothing more is read, but for what came with it. A head is refused when it is too large or
ambiguous, and every state of the connection has a deadline.
"""

import asyncio
import copy
import functools
import http
import re
from collections import deque
from typing import Any, ClassVar, Final, cast

import uvicorn
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from treadle.errors import RequestRefusedError, RetriableError
from treadle.http.caller import CURRENT_CALLER
from treadle.http.deadline import get_deadline_timer
from treadle.http.request_head import REQUEST_HEAD_BYTES_MAX
from treadle.ingest.fastpath.body_buffer import BodyBuffer
from treadle.ingest.fastpath.connection_state import (
    WRITE_BYTES_MIN,
    WRITE_SECONDS,
    ConnectionState,
    get_patience,
)
from treadle.ingest.fastpath.connection_table import CONNECTIONS_STATE, ConnectionTable
from treadle.ingest.fastpath.handler import FAST_PATH_STATE, FastPathHandler, RequestHead, read_head
from treadle.ingest.fastpath.head_template import HEAD_BYTES_MAX, HeadTemplate
from treadle.ingest.fastpath.inner_transport import InnerTransport
from treadle.ingest.fastpath.request_framing import RequestFraming

HEADS_LEARNED_MAX: Final = 16
"""How often a connection may change the head that is remembered. Learning takes longer than the
fast path saves, so a connection whose heads all differ stops to learn."""

STRANGER_AHEAD_BYTES_MAX: Final = REQUEST_HEAD_BYTES_MAX
"""How many bytes a stranger may send ahead of an answer. Other senders have one read of the socket,
256 KB: no client of theirs sends ahead at all."""

AHEAD_PIECE_BYTES: Final = 16 * 1024
"""What is sent ahead is kept in pieces, because what follows a request is copied out of its
piece."""

_UNUSUAL: Final = re.compile(
    rb"\r\n(?:content-encoding|expect|idempotency-key|prefer|transfer-encoding):", re.IGNORECASE
)
"""Headers of requests that are not plain. `read_head` knows it exactly and takes longer."""

NEVER_SECONDS: Final = 10 * 365 * 24 * 60 * 60
"""Keep-alive of the protocol behind. This protocol closes idle connections, because the one behind
does not know of requests that took the fast path."""

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}

LATE_HEAD: Final = "The head of the request arrived too slowly. Send it again."
LATE_BODY: Final = "The request body arrived too slowly. Send it again."

_STATE: Final = "treadle.connection"
"""Key of the connection in the state of each request that the protocol behind reads."""

# Without a look-up in the class for each request.
_READY: Final = ConnectionState.READY
_ANSWER: Final = ConnectionState.ANSWER


class FastPathProtocol(asyncio.Protocol):
    """Stands between a transport and uvicorn's protocol, and takes requests whose head it knows.

    The protocol behind is known by what any protocol has, by its `shutdown`, and by the requests
    that its application gets; README.md lists every name.
    """

    _default_head: ClassVar[tuple[list[tuple[bytes, bytes]], bytes]] = ([], b"")
    """The headers of every answer that were made last, and their bytes."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Serve one connection; uvicorn calls this as it would make its own protocol.

        Args:
            config: of the server.
            server_state: what the connections of the server share.
            app_state: what the application's lifespan gave. Without FAST_PATH_STATE every request
                goes to uvicorn, and without CONNECTIONS_STATE there is no bound of connections.
            _loop: the event loop; the running one when None.
        """
        self.timeout_keep_alive: float = config.timeout_keep_alive
        self._loop = _loop or asyncio.get_running_loop()
        self._server_state = server_state
        self._inner = HttpToolsProtocol(
            _inner_config(config), server_state, {**app_state, _STATE: self}, self._loop
        )
        self._framing = RequestFraming()
        self._answered = 0  # requests, of those that the protocol behind was given
        self._transport: asyncio.Transport
        self._inner_transport: InnerTransport
        self._address = ""
        self._table: ConnectionTable | None = app_state.get(CONNECTIONS_STATE)
        self._handler: FastPathHandler | None = app_state.get(FAST_PATH_STATE)
        self._is_known = False  # by a token that came over it
        self._plain_heads_left = self._passed_heads_left = HEADS_LEARNED_MAX
        self._passed_template: HeadTemplate | None = None  # of a request that went on as it came
        self._template: HeadTemplate | None = None
        self._head: RequestHead | None = None
        self._buffer: BodyBuffer | None = None  # of a request that is not all there
        self._state = _READY
        self._requests = 0  # that were answered
        self._is_waiting = False  # for an answer of the handler
        self._is_ending = False
        self._write_paused = False
        self._ahead: deque[bytes] = deque()  # what came before the answer
        self._ahead_bytes = 0
        self._is_cut = False  # what came ahead is dropped
        # What the last check of deadlines saw, and since when.
        self._seen: tuple[ConnectionState, int] | None = None
        self._since = 0.0
        self._unsent: tuple[float, int] | None = None

    # --- what comes in ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; take the place of the protocol behind among those that the server stops."""
        self._transport = cast(asyncio.Transport, transport)
        self._inner_transport = InnerTransport(self._transport, self._close, self._resume_reading)
        self._inner.connection_made(self._inner_transport)
        self._server_state.connections.discard(self._inner)
        self._server_state.connections.add(cast(Any, self))
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        if self._table is not None and not self._table.add(self, self._address):
            self.abort()
            return
        get_deadline_timer(self._loop).start(self)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived: a request with a known head, or anything else."""
        state = self._state
        if state is _READY:
            if self._handler is not None and self._try_fast_path(self._handler, data):
                return
            template = self._passed_template
            if template is not None and template.is_head_of(data):
                self._framing.skip()
                self._state = _ANSWER
                self._inner_transport.has_written = False
                self._inner.data_received(data)
            else:
                self._pass_on(data, learn=True)
        elif state is _ANSWER:
            self._keep_ahead(data)
        elif state is ConnectionState.PIECES:
            if self._handler is not None and self._buffer is not None:
                self._add_piece(self._handler, self._buffer, data)
        elif state is not ConnectionState.CLOSING:
            self._pass_on(data)

    def _try_fast_path(self, handler: FastPathHandler, data: bytes) -> bool:
        """Take a request, or wait for the rest of it; return whether either was possible."""
        if self._template is None or self._head is None:
            return False
        place = self._template.locate_body(data)
        if place is None:
            return False
        begin, end = place
        if end <= len(data):
            return end == len(data) and self._take(handler, self._head, data[begin:])
        source_id = handler.find_sender(self._head, end - begin)
        if source_id is None:
            return False
        self._buffer = BodyBuffer(
            self._head, data[:begin], end - begin, handler.budget, source_id, self._on_late_body
        )
        self._state = ConnectionState.PIECES
        get_deadline_timer(self._loop).start(self._buffer)
        self._add_piece(handler, self._buffer, data[begin:])
        return True

    def _take(self, handler: FastPathHandler, head: RequestHead, body: bytes) -> bool:
        self._state = _ANSWER
        self._is_waiting = True
        if handler.take(head, body, self):
            return True
        self._is_waiting = False
        self._state = _READY
        return False

    def _add_piece(self, handler: FastPathHandler, buffer: BodyBuffer, data: bytes) -> None:
        """Add a piece to a request; take it when it is all there."""
        try:
            buffer.add(data)
        except RetriableError:  # its endpoint says so
            self._pass_buffer()
            return
        if buffer.missing_bytes < 0:  # another request begins
            self._pass_buffer()
        elif buffer.missing_bytes == 0:
            head, body = self._drop_buffer(buffer)
            if not self._take(handler, buffer.head, body):
                self._pass_on(head + body)

    def _on_late_body(self) -> None:
        """Give up a request that takes long to arrive.

        The timer is checking other deadlines now, so it is done on a turn of its own.
        """
        self._loop.call_soon(self._pass_buffer)

    def _pass_buffer(self) -> None:
        """Pass on what is there of a request; what is still to come will follow it."""
        if self._buffer is not None:
            self._pass_on(b"".join(self._drop_buffer(self._buffer)))

    def _drop_buffer(self, buffer: BodyBuffer) -> tuple[bytes, bytes]:
        """Stop waiting for a request; return its head and what is there of its body."""
        self._buffer = None
        self._state = _READY
        get_deadline_timer(self._loop).discard(buffer)
        return buffer.release()

    def _pass_on(self, data: bytes, *, learn: bool = False) -> None:
        """Give the protocol behind what has arrived, up to the end of one request.

        Args:
            data: begins where a request begins, or goes on with one.
            learn: its head may be remembered.
        """
        framing = self._framing
        heads = framing.heads
        try:
            passed, rest = framing.feed(data)
        except RequestRefusedError as refused:
            self._refuse(refused)
            return
        if framing.heads > heads:
            self._inner_transport.has_written = False
            if not self._is_known:
                self._find_out_token()
            if learn and self._is_known:
                self._learn(data, passed)
        due = framing.heads != self._answered
        if framing.inside:
            self._state = ConnectionState.BODY if due else ConnectionState.DRAIN
        elif due:
            self._state = _ANSWER
        else:
            self._state = _READY if framing.between else ConnectionState.HEAD
        if passed:
            self._inner.data_received(passed)
        if rest and not self.is_closing:
            self._put_back(rest)
            if self._state is _READY:
                self._take_ahead()

    def _find_out_token(self) -> None:
        """Find out whether the sender of a request is known, before anything is kept for it."""
        if self._handler is not None and self._handler.knows_token(self._framing.fields):
            self.mark_known()

    def mark_known(self) -> None:
        """Note that a request came with a token that treadle knows."""
        if not self._is_known:
            self._is_known = True
            if self._table is not None:
                self._table.mark_known(self)

    def _learn(self, data: bytes, passed: bytes) -> None:
        """Remember the head of the request that is passed on.

        Args:
            data: as received.
            passed: as the protocol behind gets it.
        """
        framing = self._framing
        plain = (
            self._plain_heads_left > 0
            and (self._template is None or self._template.locate_body(data) is None)
            and _UNUSUAL.search(passed, 0, HEAD_BYTES_MAX) is None
        )
        if not plain and not self._passed_heads_left:
            return
        head = HeadTemplate.from_request(data)
        if head is None or self._transport.is_closing() or not framing.keeps_alive:
            return
        if self._passed_heads_left and passed == data:
            self._passed_heads_left -= 1
            self._passed_template = head
        found = read_head(framing.method, framing.target, framing.fields) if plain else None
        if found is not None:
            self._plain_heads_left -= 1
            self._template, self._head = head, found

    # --- what comes before an answer --------------------------------------------------------------

    def _keep_ahead(self, data: bytes) -> None:
        """Keep what came before the answer, and read no more until it is sent."""
        self._ahead.append(data)
        self._count_ahead(len(data))

    def _put_back(self, rest: bytes) -> None:
        """Keep what came with a request, before what came later."""
        pieces = range(0, len(rest), AHEAD_PIECE_BYTES)
        self._ahead.extendleft(rest[at : at + AHEAD_PIECE_BYTES] for at in reversed(pieces))
        self._count_ahead(len(rest))

    def _count_ahead(self, count: int) -> None:
        self._transport.pause_reading()
        self._ahead_bytes += count
        if self._ahead_bytes > STRANGER_AHEAD_BYTES_MAX and not self._is_known:
            self._drop_ahead()
            self.shutdown()

    def _drop_ahead(self) -> None:
        if self._ahead:
            self._ahead.clear()
            self._ahead_bytes = 0
            self._is_cut = True

    def _take_ahead(self) -> None:
        """Take what came before the answer, up to the end of the next request."""
        while self._ahead and self._state not in (_ANSWER, ConnectionState.CLOSING):
            if self._ahead_bytes <= AHEAD_PIECE_BYTES:
                data = b"".join(self._ahead)
                self._ahead.clear()
            else:
                data = self._ahead.popleft()
            self._ahead_bytes -= len(data)
            self.data_received(data)
        if not self._ahead:
            self._resume_reading()

    def _resume_reading(self) -> None:
        """Read again, unless something that came before is kept."""
        if not self._ahead and not self._inner_transport.is_paused:
            self._transport.resume_reading()

    # --- what goes out ----------------------------------------------------------------------------

    def reply(self, response: Response) -> None:
        """Write an answer of the handler, to the byte as uvicorn does."""
        self._is_waiting = False
        if self._state is not _ANSWER or self._transport.is_closing():
            return
        self._write(response, close=self._is_ending)
        self._requests += 1
        if self._is_ending:
            self._close()
        elif not self._write_paused:
            self._state = _READY
            if self._ahead:
                self._take_ahead()

    def _write(self, response: Response, *, close: bool) -> None:
        content = [STATUS_LINES[response.status_code], self._get_default_head()]
        for name, value in response.raw_headers:
            content += name, b": ", value, b"\r\n"
        if close:
            content.append(b"connection: close\r\n")
        content += b"\r\n", bytes(response.body)
        self._transport.write(b"".join(content))
        self._server_state.total_requests += 1

    def _get_default_head(self) -> bytes:
        """Return the headers of every answer, which the server changes once a second."""
        defaults, head = FastPathProtocol._default_head
        present = self._server_state.default_headers
        if defaults is not present:
            head = b"".join(b"%b: %b\r\n" % pair for pair in present)
            FastPathProtocol._default_head = present, head
        return head

    @property
    def is_closing(self) -> bool:
        """Return whether nothing can be answered any more."""
        return self._state is ConnectionState.CLOSING

    def record_answer(self) -> None:
        """Note that the protocol behind has answered one of its requests."""
        self._answered += 1
        self._requests += 1
        if self._state is ConnectionState.BODY:
            self._state = ConnectionState.DRAIN
        elif self._state is _ANSWER and not self._write_paused:
            self._end_answer()

    def _end_answer(self) -> None:
        if not self._ahead:
            self._state = _READY
        else:
            # The protocol behind is still ending the request.
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Go on with what came before an answer that is sent now."""
        if self._state is _ANSWER and not self._write_paused:
            self._state = _READY
            self._take_ahead()

    def pause_writing(self) -> None:
        """Stop writing: the transport's buffer is full."""
        self._write_paused = True
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Go on writing: the transport's buffer has room again."""
        self._write_paused = False
        self._unsent = None
        self._inner.resume_writing()
        if (
            self._state is _ANSWER
            and not self._is_waiting
            and self._framing.heads == self._answered
        ):
            self._end_answer()

    # --- when it ends -----------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Close now, or after the answer that is due."""
        self._drop_ahead()
        if self._is_waiting:
            self._is_ending = True
            return
        self._pass_buffer()
        if self._state is not ConnectionState.CLOSING:
            self._inner.shutdown()

    def abort(self) -> None:
        """Close at once."""
        self._state = ConnectionState.CLOSING
        self._transport.abort()

    def _refuse(self, refused: RequestRefusedError) -> None:
        """Answer what is no request that is served, and close.

        It has no answer where another one was begun.
        """
        under_way = self._state in (ConnectionState.BODY, ConnectionState.DRAIN)
        answerable = not (under_way and self._inner_transport.has_written)
        self._inner_transport.detach()
        if under_way:
            self._inner.connection_lost(None)  # whoever reads the body learns that it ends here
        if self._table is not None:
            self._table.record_refusal(refused.status, self._address, str(refused.body))
        if answerable and not self._transport.is_closing():
            self._write(PlainTextResponse(str(refused.body), refused.status), close=True)
        self._is_cut = True
        self._close()

    def _close(self) -> None:
        """Close after what was written.

        Where the other side may still be sending it is read from for a while: see LINGER_SECONDS.
        """
        self._drop_ahead()
        rest = self._is_cut or not self._framing.between
        self._state = ConnectionState.CLOSING
        if not rest or self._transport.is_closing():
            self._transport.close()
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; give up a request that will never be all there."""
        self._server_state.connections.discard(cast(Any, self))
        if self._table is not None:
            self._table.remove(self)
        get_deadline_timer(self._loop).discard(self)
        if self._buffer is not None:
            self._drop_buffer(self._buffer)
        self._state = ConnectionState.CLOSING
        self._drop_ahead()
        self._inner_transport.detach()
        self._inner.connection_lost(exc)

    def check_deadline(self, now: float) -> bool:
        """End a state that took too long; return False: the next one has a deadline, too.

        Time counts from the first check that sees a state, so that a request costs nothing here.
        """
        unsent = self._transport.get_write_buffer_size()
        if unsent:
            self._check_reader(now, unsent)
            return False
        self._unsent = None
        seen = self._state, self._requests
        if seen != self._seen:
            self._seen, self._since = seen, now
            return False
        patience = get_patience(
            self._state,
            used=self._requests > 0,
            idle_seconds=self.timeout_keep_alive,
            declared_bytes=self._framing.declared_bytes,
        )
        if now - self._since >= patience:
            self._end_late_state()
        return False

    def _check_reader(self, now: float, unsent: int) -> None:
        """Give up a client that does not read its answer."""
        if self._unsent is None or unsent <= self._unsent[1] - WRITE_BYTES_MIN:
            self._unsent = now, unsent
        elif now - self._unsent[0] >= WRITE_SECONDS:
            self.abort()

    def _end_late_state(self) -> None:
        match self._state:
            case ConnectionState.HEAD:
                self._refuse(RequestRefusedError(408, LATE_HEAD))
            case ConnectionState.BODY:
                self._refuse(RequestRefusedError(408, LATE_BODY))
            case ConnectionState.READY:
                self._close()
            case _:
                self.abort()


class _AnswerReporter:
    """The application, wrapped so that each connection learns when a request was answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: FastPathProtocol = scope["state"][_STATE]
        CURRENT_CALLER.set(connection)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Done by a server that stops. Where the connection is closed already, nobody waits for
            # an answer, and uvicorn would log a traceback for each.
            if not connection.is_closing:
                raise
        finally:
            connection.record_answer()


@functools.lru_cache(maxsize=1)
def _inner_config(config: uvicorn.Config) -> uvicorn.Config:
    """Return the configuration of the protocols behind.

    Their application reports answers, and they do not close idle connections.
    """
    if not config.loaded:
        config.load()
    inner = copy.copy(config)
    inner.loaded_app = cast(Any, _AnswerReporter(cast(Any, config.loaded_app)))
    inner.timeout_keep_alive = NEVER_SECONDS
    return inner
