"""A connection over which the same kind of request comes again and again.

The HTTP server reads each request anew: it parses the head into a list of headers, starts a task
and exchanges messages with it, which takes longer than all that treadle does with a small push, and
copies a larger body four times more than it has to. Senders write the same head every time but for
the length of the body. So a head that was parsed once and is plain is remembered, and a request
that begins with the same bytes goes to `express` without all that, once it is there as a whole.
Whatever differs in a byte takes the long way, and so does what takes long to arrive.
"""

import re
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from treadle.errors import RetriableError
from treadle.http.body_reader import get_deadline_timer
from treadle.ingest.fastpath.body_buffer import BodyBuffer
from treadle.ingest.fastpath.handler import FAST_PATH_STATE, FastPathHandler, RequestHead, read_head

HEAD_BYTES_MAX: Final = 4096
"""Longest head that is remembered, once for each connection."""

HEADS_LEARNED_MAX: Final = 16
"""How often a connection may change the head to be remembered: one whose heads all differ would
only lose time."""

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})(?=[ \t]*\r\n)", re.IGNORECASE)


class HeadTemplate(NamedTuple):
    """The bytes of a request's head around the digits that say how long the body is.

    Attributes:
        before: from the request line to the digits.
        after: from the digits to the empty line, with it.
    """

    before: bytes
    after: bytes

    @classmethod
    def from_request(cls, received: bytes) -> Self | None:
        """The head of a request that was parsed; None where it is not plain.

        Args:
            received: its head, with one Content-Length header and no Transfer-Encoding, and of its
                body what is there.
        """
        end = received.find(_END, 0, HEAD_BYTES_MAX) + len(_END)
        if end < len(_END):
            return None
        lengths = list(_LENGTH.finditer(received, 0, end))
        if len(lengths) != 1 or end + int(lengths[0][1]) < len(received):
            return None
        length = lengths[0]
        return cls(received[: length.start(1)], received[length.end(1) : end])

    def locate_body(self, received: bytes) -> tuple[int, int] | None:
        """Where the body of a request with this head begins and ends; None where it has another.

        The end may lie beyond what was received, or before the end of it.
        """
        if not received.startswith(self.before):
            return None
        start = len(self.before)
        end = received.find(b"\r", start, start + 10)
        digits = received[start:end]
        # Where nothing was found `digits` is long or empty, and what follows is not there.
        if not received.startswith(self.after, end) or not digits.isdigit():
            return None
        begin = end + len(self.after)
        return begin, begin + int(digits)


class FastPathProtocol(HttpToolsProtocol):
    """The HTTP server's connection with a short way for requests whose head it knows."""

    if TYPE_CHECKING:
        cycle: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As the server makes them; the application's state names its `FastPathHandler`."""
        super().__init__(*args, **kwargs)
        self._express: FastPathHandler | None = self.app_state.get(FAST_PATH_STATE)
        self._lessons = HEADS_LEARNED_MAX
        self._head: HeadTemplate | None = None
        self._told: RequestHead | None = None
        self._inside = False  # of a request that is parsed and not all there
        self._arrival: BodyBuffer | None = None  # of a request that is not parsed and not all there
        self._waiting = False  # for an answer of `express`
        self._ending = False
        self._held: list[bytes] = []
        self._answered_at = 0.0
        self._offer: tuple[bytes, int] | None = None  # a head without its offer, and its end

    # --- what comes in ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what arrived: a request of a known head, or anything else."""
        if self._waiting:
            self._held.append(data)
            self.flow.pause_reading()
            return
        if self._express is None:
            self._parse(data)
            return
        if self._arrival is not None:
            self._go_on(self._express, self._arrival, data)
            return
        between = not self._inside and (self.cycle is None or self.cycle.response_complete)
        if between and self._begin(self._express, data):
            return
        self._parse(data)
        if between and self._lessons:
            self._learn(data)

    def _begin(self, express: FastPathHandler, data: bytes) -> bool:
        """Take a request the short way, or wait for the rest of it; False where that cannot be."""
        if self._head is None or self._told is None or self.flow.write_paused:
            return False
        place = self._head.locate_body(data)
        if place is None:
            return False
        begin, end = place
        if end <= len(data):
            return end == len(data) and self._take(express, self._told, data[begin:])
        if not express.can_take(self._told, end - begin):
            return False
        self._arrival = BodyBuffer(
            self._told, data[:begin], end - begin, express.memory, self._late
        )
        get_deadline_timer(self.loop).start(self._arrival)
        self._go_on(express, self._arrival, data[begin:])
        return True

    def _take(self, express: FastPathHandler, head: RequestHead, body: bytes) -> bool:
        self._waiting = True
        if express.take(head, body, self):
            return True
        self._waiting = False
        return False

    def _go_on(self, express: FastPathHandler, arrival: BodyBuffer, data: bytes) -> None:
        """More of a request has come."""
        try:
            arrival.add(data)
        except RetriableError:  # the long way says so
            self._go_round()
            return
        if arrival.missing < 0:  # another request begins
            self._go_round()
        elif arrival.missing == 0:
            head, body = self._arrived(arrival)
            if not self._take(express, arrival.told, body):
                self._parse(head + body)

    def _late(self) -> None:
        """A request takes long to arrive; on a turn of its own, for others are looked at now."""
        self.loop.call_soon(self._go_round)

    def _go_round(self) -> None:
        """Let what is there of a request go the long way, with what is still to come."""
        if self._arrival is not None:
            self._parse(b"".join(self._arrived(self._arrival)))

    def _arrived(self, arrival: BodyBuffer) -> tuple[bytes, bytes]:
        """Head and body of a request, which is no more waited for."""
        self._arrival = None
        get_deadline_timer(self.loop).discard(arrival)
        return arrival.release()

    def _parse(self, data: bytes) -> None:
        """Let the server below read requests.

        Java's client offers HTTP/2 with every request to a plain port. A server may ignore that
        (RFC 9110, 7.8), but the parser stops behind such a head and takes the body for something
        else. So a parser that has not heard of the offer reads the request from its head on.
        """
        while data:
            super().data_received(data)
            if self._offer is None or self.transport.is_closing():
                return
            (head, end), self._offer = self._offer, None
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            data = head + data[end:]

    def _ignored(self) -> bool:
        """Whether the request that is parsed offers another protocol, which is not taken."""
        return (
            self.parser.should_upgrade()
            and self.parser.get_method() != b"CONNECT"
            and not self._should_upgrade()
        )

    def _unsupported_upgrade_warning(self) -> None:
        """The parser has stopped behind a head with an offer."""
        stopped = sys.exc_info()[1]
        if not isinstance(stopped, httptools.HttpParserUpgrade) or not self._ignored():
            super()._unsupported_upgrade_warning()
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % each for each in self.headers if each[0] != b"upgrade"]
        self._offer = b"\r\n".join(lines) + b"\r\n\r\n", stopped.args[0]

    def on_headers_complete(self) -> None:
        """A head is there as a whole; one with an offer is read again."""
        if not self._ignored():
            super().on_headers_complete()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._inside = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """A request is there as a whole, but for one that is read again."""
        if not self._ignored():
            self._inside = False
            super().on_message_complete()

    def _learn(self, data: bytes) -> None:
        """Remember the head of the request that was just parsed, if it is plain."""
        if self.parser is None or self.transport.is_closing():
            return
        if self._head is not None and self._head.locate_body(data) is not None:
            return
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return
        found = read_head(self.parser.get_method(), self.url, self.headers)
        head = None if found is None else HeadTemplate.from_request(data)
        if head is not None:
            self._lessons -= 1
            self._head, self._told = head, found

    # --- what goes out ----------------------------------------------------------------------------

    def reply(self, response: Response) -> None:
        """Write the answer of `express`, to the byte as the server below does."""
        self._waiting = False
        if self.transport.is_closing():
            return
        content = [STATUS_LINE[response.status_code]]
        for name, value in self.server_state.default_headers:
            content += name, b": ", value, b"\r\n"
        for name, value in response.raw_headers:
            content += name, b": ", value, b"\r\n"
        if self._ending:
            content.append(b"connection: close\r\n")
        content += b"\r\n", bytes(response.body)
        self.transport.write(b"".join(content))
        self.server_state.total_requests += 1
        if self._ending:
            self.transport.close()
            return
        self._answered_at = self.loop.time()
        if self._held:
            held, self._held = b"".join(self._held), []
            self.flow.resume_reading()
            self.data_received(held)

    # --- when it ends -----------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Close now, or after the answer that is due."""
        if self._waiting:
            self._ending = True
            return
        self._go_round()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a request that will not be there as a whole."""
        if self._arrival is not None:
            self._arrived(self._arrival)
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if nothing came for so long.

        Requests that `express` takes do not stop and start the timer, which takes longer than to
        look here now and then whether there were any.
        """
        idle = 0.0 if self._waiting or self._arrival else self.loop.time() - self._answered_at
        if idle >= self.timeout_keep_alive or self.transport.is_closing():
            super().timeout_keep_alive_handler()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive - idle, self.timeout_keep_alive_handler
            )
