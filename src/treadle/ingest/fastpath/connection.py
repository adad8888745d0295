"""A connection over which the same kind of request comes again and again.

Uvicorn reads each request anew: it parses the head into a list of headers, starts a task and
exchanges messages with it. This takes longer than all that treadle does with a small push, and
copies a larger body four times more than it has to. Senders write the same head every time but for
the length of the body. So a plain head that was parsed once is remembered. A request that begins
with the same bytes goes to the handler without all that, once it is there as a whole. Everything
else goes to uvicorn: a head that differs in one byte, and a body that takes long to arrive.
"""

import asyncio
import copy
import functools
import http
import re
from typing import Any, Final, cast

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from treadle.errors import RetriableError
from treadle.http.deadline import get_deadline_timer
from treadle.ingest.fastpath.body_buffer import BodyBuffer
from treadle.ingest.fastpath.handler import FAST_PATH_STATE, FastPathHandler, RequestHead, read_head
from treadle.ingest.fastpath.head_template import HEAD_BYTES_MAX, HeadTemplate
from treadle.ingest.fastpath.request_framing import RequestFraming, parse_head

HEADS_LEARNED_MAX: Final = 16
"""How often a connection may change the head that is remembered. Learning takes longer than the
fast path saves, so a connection whose heads all differ stops to learn."""

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

_STATE: Final = "treadle.connection"
"""Key of the connection in the state of each request that the protocol behind reads."""


class FastPathProtocol(asyncio.Protocol):
    """Stands between a transport and uvicorn's protocol, and takes requests whose head it knows.

    The protocol behind is known by what any protocol has, by its `shutdown`, and by the requests
    that its application gets; README.md lists every name.
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
                goes to uvicorn.
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
        self._handler: FastPathHandler | None = app_state.get(FAST_PATH_STATE)
        self._plain_heads_left = self._passed_heads_left = HEADS_LEARNED_MAX
        self._passed_template: HeadTemplate | None = None  # of a request that went on as it came
        self._template: HeadTemplate | None = None
        self._head: RequestHead | None = None
        self._buffer: BodyBuffer | None = None  # of a request that is not all there
        self._is_waiting = False  # for an answer of the handler
        self._is_ending = False
        self._write_paused = False
        self._early: list[bytes] = []  # what came before the answer
        self._answered_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- what comes in ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; take the place of the protocol behind among those that the server stops."""
        self._transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(self._transport)
        self._server_state.connections.discard(self._inner)
        self._server_state.connections.add(cast(Any, self))

    def data_received(self, data: bytes) -> None:
        """Take what has arrived: a request with a known head, or anything else."""
        if self._is_waiting:
            self._early.append(data)
            self._transport.pause_reading()
            return
        if self._buffer is not None and self._handler is not None:
            self._add_piece(self._handler, self._buffer, data)
            return
        framing = self._framing
        between = framing.between and framing.heads == self._answered
        if self._handler is None or not between:
            self._pass_on(data)
        elif self._try_fast_path(self._handler, data):
            pass
        elif self._passed_template is not None and self._passed_template.is_head_of(data):
            framing.skip()
            self._inner.data_received(data)
        else:
            known = framing.heads
            passed = self._pass_on(data)
            if framing.heads == known + 1:
                self._learn(data, passed)

    def _try_fast_path(self, handler: FastPathHandler, data: bytes) -> bool:
        """Take a request, or wait for the rest of it; return whether either was possible."""
        if self._template is None or self._head is None or self._write_paused:
            return False
        place = self._template.locate_body(data)
        if place is None:
            return False
        begin, end = place
        if end <= len(data):
            return end == len(data) and self._take(handler, self._head, data[begin:])
        if not handler.can_take(self._head, end - begin):
            return False
        self._buffer = BodyBuffer(
            self._head, data[:begin], end - begin, handler.budget, self._on_late
        )
        get_deadline_timer(self._loop).start(self._buffer)
        self._add_piece(handler, self._buffer, data[begin:])
        return True

    def _take(self, handler: FastPathHandler, head: RequestHead, body: bytes) -> bool:
        self._is_waiting = True
        if handler.take(head, body, self):
            return True
        self._is_waiting = False
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

    def _on_late(self) -> None:
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
        get_deadline_timer(self._loop).discard(buffer)
        return buffer.release()

    def _pass_on(self, data: bytes) -> bytes:
        """Give bytes to the protocol behind; return them as it got them."""
        passed = self._framing.feed(data)
        if passed:
            self._inner.data_received(passed)
        return passed

    def _learn(self, data: bytes, passed: bytes) -> None:
        """Remember the head of the request that was just passed on.

        Args:
            data: as received.
            passed: as the protocol behind got it.
        """
        plain = (
            self._plain_heads_left > 0
            and (self._template is None or self._template.locate_body(data) is None)
            and _UNUSUAL.search(passed, 0, HEAD_BYTES_MAX) is None
        )
        if not plain and not self._passed_heads_left:
            return
        head = HeadTemplate.from_request(data)
        if head is None or self._transport.is_closing() or not self._framing.keeps_alive:
            return
        if self._passed_heads_left and passed == data:
            self._passed_heads_left -= 1
            self._passed_template = head
        found = read_head(*parse_head(passed)) if plain else None
        if found is not None:
            self._plain_heads_left -= 1
            self._template, self._head = head, found

    # --- what goes out ----------------------------------------------------------------------------

    def reply(self, response: Response) -> None:
        """Write an answer of the handler, to the byte as uvicorn does."""
        self._is_waiting = False
        if self._transport.is_closing():
            return
        content = [STATUS_LINES[response.status_code]]
        for name, value in self._server_state.default_headers:
            content += name, b": ", value, b"\r\n"
        for name, value in response.raw_headers:
            content += name, b": ", value, b"\r\n"
        if self._is_ending:
            content.append(b"connection: close\r\n")
        content += b"\r\n", bytes(response.body)
        self._transport.write(b"".join(content))
        self._server_state.total_requests += 1
        if self._is_ending:
            self._transport.close()
            return
        self._restart_idle_time()
        if self._early:
            early, self._early = b"".join(self._early), []
            self._transport.resume_reading()
            self.data_received(early)

    def record_answer(self) -> None:
        """Note that the protocol behind has answered one of its requests."""
        self._answered += 1
        self._restart_idle_time()

    def _restart_idle_time(self) -> None:
        self._answered_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def pause_writing(self) -> None:
        """Stop writing: the transport's buffer is full."""
        self._write_paused = True
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Go on writing: the transport's buffer has room again."""
        self._write_paused = False
        self._inner.resume_writing()

    # --- when it ends -----------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Close now, or after the answer that is due."""
        if self._is_waiting:
            self._is_ending = True
            return
        self._pass_buffer()
        self._inner.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; give up a request that will never be all there."""
        self._server_state.connections.discard(cast(Any, self))
        if self._buffer is not None:
            self._drop_buffer(self._buffer)
        if self._timer is not None:
            self._timer.cancel()
        self._inner.connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for so long; otherwise check again later.

        An answer does not restart the timer: that takes longer than to compare the times here now
        and then.
        """
        framing = self._framing
        below = not framing.between or framing.heads != self._answered
        busy = self._is_waiting or self._buffer is not None or (below and not framing.lost)
        idle = 0.0 if busy else self._loop.time() - self._answered_at
        if idle >= self.timeout_keep_alive or self._transport.is_closing():
            self._transport.close()
        else:
            self._timer = self._loop.call_later(
                self.timeout_keep_alive - idle, self.timeout_keep_alive_handler
            )


class _AnswerReporter:
    """The application, wrapped so that each connection learns when a request was answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            scope["state"][_STATE].record_answer()


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
