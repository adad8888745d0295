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
from typing import Any, Final, cast

import uvicorn
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from treadle.errors import RequestRefusedError, RetriableError
from treadle.http.caller import CURRENT_CALLER
from treadle.http.deadline import get_deadline_timer
from treadle.http.request_head import REQUEST_HEAD_BYTES_MAX
from treadle.http.stop_notice import StopNotice
from treadle.ingest.fastpath.ahead_queue import AheadQueue
from treadle.ingest.fastpath.answer_writer import AnswerWriter
from treadle.ingest.fastpath.body_buffer import BodyBuffer
from treadle.ingest.fastpath.connection_sender import ConnectionSender
from treadle.ingest.fastpath.connection_state import ConnectionState
from treadle.ingest.fastpath.connection_table import CONNECTIONS_STATE
from treadle.ingest.fastpath.handler import FAST_PATH_STATE, FastPathHandler, RequestHead
from treadle.ingest.fastpath.head_memory import HeadMemory
from treadle.ingest.fastpath.inner_transport import InnerTransport
from treadle.ingest.fastpath.request_framing import RequestFraming
from treadle.ingest.fastpath.state_watch import LateEnd, StateWatch

STRANGER_AHEAD_BYTES_MAX: Final = REQUEST_HEAD_BYTES_MAX
"""Bytes that a stranger may send before the answer to its last request. Known senders may send one
read of the socket, 256 KB; in practice their clients send nothing before the answer."""

NEVER_SECONDS: Final = 10 * 365 * 24 * 60 * 60
"""Keep-alive of the protocol behind. This protocol closes idle connections, because the one behind
does not know of requests that took the fast path."""

DRAIN_STATE: Final = "treadle.drain"
"""Key of the notice that the server is about to stop, in the application's state."""

_STATE: Final = "treadle.connection"
"""Key of the connection in the state of each request that the protocol behind reads."""

# Without a look-up in the class for each request.
_READY: Final = ConnectionState.READY
_ANSWER: Final = ConnectionState.ANSWER


class FastPathProtocol(asyncio.Protocol):
    """Stands between a transport and uvicorn's protocol, and takes requests whose head it knows.

    The protocol behind is known by what any protocol has, by its `shutdown`, and by the requests
    that its application gets; README.md lists every name.

    Attributes:
        timeout_keep_alive: seconds that the connection may be idle.
        sender: at the other end.
    """

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
        self._handler: FastPathHandler | None = app_state.get(FAST_PATH_STATE)
        self.sender = ConnectionSender(self, app_state.get(CONNECTIONS_STATE), self._handler)
        self._heads = HeadMemory()
        self._buffer: BodyBuffer | None = None  # of a request that is not all there
        self._state = _READY
        self._requests = 0  # that were answered
        self._is_waiting = False  # for an answer of the handler
        notice: StopNotice | None = app_state.get(DRAIN_STATE)
        self._is_ending = notice is not None and notice.announced
        self._write_paused = False
        self._ahead = AheadQueue()
        self._watch = StateWatch()

    # --- what comes in ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; take the place of the protocol behind among those that the server stops."""
        self._transport = cast(asyncio.Transport, transport)
        self._writer = AnswerWriter(self._transport, self._server_state)
        self._inner_transport = InnerTransport(self._transport, self._close, self._ahead)
        self._inner.connection_made(self._inner_transport)
        self._server_state.connections.discard(self._inner)
        self._server_state.connections.add(cast(Any, self))
        peer = transport.get_extra_info("peername")
        if not self.sender.take_place(str(peer[0]) if isinstance(peer, tuple) else ""):
            self.abort()
            return
        get_deadline_timer(self._loop).start(self)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived: a request with a known head, or anything else."""
        state = self._state
        if state is _READY:
            if self._handler is not None and self._try_fast_path(self._handler, data):
                return
            template = self._heads.passed
            if template is not None and template.is_head_of(data):
                self._framing.skip()
                self._state = _ANSWER
                self._inner_transport.has_written = False
                self._inner.data_received(data)
            else:
                self._pass_on(data, learn=True)
        elif state is _ANSWER:
            self._ahead.add(data)
            self._hold_ahead()
        elif state is ConnectionState.PIECES:
            if self._handler is not None and self._buffer is not None:
                self._add_piece(self._handler, self._buffer, data)
        elif state is not ConnectionState.CLOSING:
            self._pass_on(data)

    def _try_fast_path(self, handler: FastPathHandler, data: bytes) -> bool:
        """Take a request, or wait for the rest of it; return whether either was possible."""
        heads = self._heads
        template, head = heads.template, heads.head
        if template is None or head is None:
            return False
        place = template.locate_body(data)
        if place is None:
            return False
        begin, end = place
        if end <= len(data):
            return end == len(data) and self._take(handler, head, data[begin:])
        source_id = handler.find_sender(head, end - begin)
        if source_id is None:
            return False
        # The timer is checking other deadlines when it is late, so that has a turn of its own.
        on_late = functools.partial(self._loop.call_soon, self._pass_buffer)
        self._buffer = BodyBuffer(
            head, data[:begin], end - begin, handler.budget, source_id, on_late
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
            sender = self.sender
            if not sender.is_known:
                sender.check_token(framing)
            if learn and sender.is_known:
                self._heads.learn(framing, data, passed, self._transport)
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
            self._ahead.put_back(rest)
            self._hold_ahead()
            if self._state is _READY:
                self._take_ahead()

    # --- what comes before an answer --------------------------------------------------------------

    def _hold_ahead(self) -> None:
        """Read no more until what came ahead is taken; a stranger may send only so much of it."""
        self._transport.pause_reading()
        if self._ahead.size > STRANGER_AHEAD_BYTES_MAX and not self.sender.is_known:
            self.shutdown()

    def _take_ahead(self) -> None:
        """Take what came before the answer, up to the end of the next request."""
        while self._ahead and self._state not in (_ANSWER, ConnectionState.CLOSING):
            self.data_received(self._ahead.take())
        self._inner_transport.read_on()

    # --- what goes out ----------------------------------------------------------------------------

    def reply(self, response: Response) -> None:
        """Write an answer of the handler, to the byte as uvicorn does."""
        self._is_waiting = False
        if self._state is not _ANSWER or self._transport.is_closing():
            return
        self._writer.write(response, close=self._is_ending)
        self._requests += 1
        if self._is_ending:
            self._close()
        elif not self._write_paused:
            self._state = _READY
            if self._ahead:
                self._take_ahead()

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
        self._watch.forget_reader()
        self._inner.resume_writing()
        if (
            self._state is _ANSWER
            and not self._is_waiting
            and self._framing.heads == self._answered
        ):
            self._end_answer()

    # --- when it ends -----------------------------------------------------------------------------

    @property
    def is_ending(self) -> bool:
        """Return whether the next answer is the last one."""
        return self._is_ending

    def end_after_answer(self) -> None:
        """Close after the next answer, which says so: another server takes further requests."""
        self._is_ending = True

    def shutdown(self) -> None:
        """Close now, or after the answer that is due."""
        self._ahead.drop()
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
        self.sender.record_refusal(refused)
        if answerable and not self._transport.is_closing():
            self._writer.write(PlainTextResponse(str(refused.body), refused.status), close=True)
        self._close(is_cut=True)

    def _close(self, *, is_cut: bool = False) -> None:
        """Close after what was written.

        Where the other side may still be sending it is read from for a while: see LINGER_SECONDS.

        Args:
            is_cut: what arrives is not taken to its end.
        """
        self._ahead.drop()
        rest = is_cut or self._ahead.is_cut or not self._framing.between
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
        self.sender.leave_place()
        get_deadline_timer(self._loop).discard(self)
        if self._buffer is not None:
            self._drop_buffer(self._buffer)
        self._state = ConnectionState.CLOSING
        self._ahead.drop()
        self._inner_transport.detach()
        self._inner.connection_lost(exc)

    def check_deadline(self, now: float) -> bool:
        """End a state that took too long; return False: the next one has a deadline, too."""
        late = self._watch.check(
            now,
            self._state,
            requests=self._requests,
            unsent_bytes=self._transport.get_write_buffer_size(),
            idle_seconds=self.timeout_keep_alive,
            declared_bytes=self._framing.declared_bytes,
        )
        if isinstance(late, RequestRefusedError):
            self._refuse(late)
        elif late is LateEnd.CLOSE:
            self._close()
        elif late is LateEnd.ABORT:
            self.abort()
        return False


class _AnswerReporter:
    """The application, wrapped so that each connection learns when a request was answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: FastPathProtocol = scope["state"][_STATE]
        CURRENT_CALLER.set(connection.sender)
        if connection.is_ending:
            send = _end_connection(send)
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # A server that stops cancels requests. If the connection is closed already, nobody
            # waits for the answer, and uvicorn would log a traceback for each request.
            if not connection.is_closing:
                raise
        finally:
            connection.record_answer()


def _end_connection(send: Send) -> Send:
    """Let an answer say that its connection ends; the protocol behind closes it then."""

    async def send_last(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ())]
            # A refusal may say so itself, and no header is sent twice (import-api.md 4).
            if not any(name.lower() == b"connection" for name, _ in headers):
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await send(message)

    return send_last


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
