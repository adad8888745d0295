"""Where the requests of a connection begin and end."""

import re
from typing import Final

import httptools

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_OFFER: Final = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class RequestFraming:
    """Follows the requests that a connection gives to uvicorn.

    A parser like uvicorn's reads everything first. It is fed up to the end of each head and of each
    body, and has to see the end in the same place. Where it does not, nothing is known about the
    connection any more: two opinions about where a request ends are how requests are smuggled.

    Java's client offers HTTP/2 with every request to a plain port. A server may ignore that
    (RFC 9110, 7.8), but the parser stops behind such a head and takes the body for something else.
    So a head is held back until it is complete, and is passed on without the offer.

    Attributes:
        heads: how many heads were complete so far.
        lost: it is not known any more where requests begin and end.
    """

    def __init__(self) -> None:
        self.heads = 0
        self._held = b""  # an incomplete head
        self._begun = 0
        self._framed = 0
        self._inside = False  # a body
        self._complete = False
        self._missing: int | None = None  # of the body; None where it is sent in chunks
        self._tail = b""
        self.lost = False
        self._start_parser()

    @property
    def between(self) -> bool:
        """Return whether every request so far is complete."""
        return not (self._inside or self._held or self.lost)

    @property
    def keeps_alive(self) -> bool:
        """Return whether the last request is of HTTP/1.1 and leaves the connection open."""
        return self._parser.get_http_version() == "1.1" and self._parser.should_keep_alive()

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that uvicorn is to be given when these have arrived."""
        if self.lost:
            return data
        try:
            if self.between:
                end = data.find(_HEAD_END) + len(_HEAD_END)
                length = _LENGTH.search(data, 0, end)
                if length is not None and end + int(length[1]) == len(data):
                    return self._feed_whole(data, end)
            return self._feed_parts(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, _FramingLostError):
            self.lost = True  # uvicorn sees the same and answers 400
            data, self._held = self._held + data, b""
            return data

    def skip(self) -> None:
        """Count a whole request that came between others, without reading it."""
        self.heads += 1
        self._begun += 1
        self._framed += 1

    def _feed_whole(self, data: bytes, end: int) -> bytes:
        """Feed a request that is all there, as most are, in one step.

        Args:
            data: the request.
            end: of its head.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            head = self._feed_without_offer(data[:end])
            body = data[end:]
            self._parser.feed_data(body)
            data = head + body
        self._framed += 1
        if not (self._complete and self._begun == self.heads == self._framed):
            raise _FramingLostError
        return data

    def _feed_parts(self, data: bytes) -> bytes:
        """Feed anything else in steps, up to the end of each head and of each body."""
        fed = len(self._held)
        data = self._held + data
        begin = 0
        while fed < len(data):
            if self._inside:
                fed = begin = self._feed_body(data, fed)
                continue
            end = data.find(_HEAD_END, max(begin, fed - 3)) + len(_HEAD_END)
            if end < len(_HEAD_END):
                self._parser.feed_data(data[fed:])
                break
            try:
                self._parser.feed_data(data[fed:end])
            except httptools.HttpParserUpgrade:
                head = self._feed_without_offer(data[begin:end])
                data = data[:begin] + head + data[end:]
                end = begin + len(head)
            self._begin_body(data[begin:end])
            fed = begin = end
        self._held = data[begin:]
        return data[:begin]

    def _start_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _feed_without_offer(self, head: bytes) -> bytes:
        """Parse a head anew without the protocol that it offers; return it so."""
        if self._parser.get_method() == b"CONNECT":
            raise _FramingLostError
        self._start_parser()
        self._begun -= 1
        self.heads -= 1
        head = _OFFER.sub(b"", head)
        self._parser.feed_data(head)
        return head

    def _begin_body(self, head: bytes) -> None:
        """Find out how the body behind a head ends; bytes without a head were empty lines."""
        if self._begun != self.heads:
            raise _FramingLostError
        if self.heads == self._framed:
            return
        self._framed += 1
        length = _LENGTH.search(head)
        self._missing = None if length is None else int(length[1])
        self._tail = b""
        self._check_end()

    def _feed_body(self, data: bytes, fed: int) -> int:
        """Feed the parser with what is there of a body; return where that ends."""
        if self._missing is not None:
            end = min(fed + self._missing, len(data))
            self._missing -= end - fed
        else:  # the last chunk ends with an empty line, and other lines may
            near = (self._tail + data[fed : fed + 3]).find(_HEAD_END)
            found = fed - len(self._tail) + near if near >= 0 else data.find(_HEAD_END, fed)
            missed = near < 0 and found < 0
            end = len(data) if missed else found + len(_HEAD_END)
            self._tail = (self._tail + data[max(end - 3, fed) : end])[-3:]
        self._parser.feed_data(memoryview(data)[fed:end])
        self._check_end()
        return end

    def _check_end(self) -> None:
        """Compare what the parser says with what the head said."""
        as_declared = self._missing is None or self._complete == (self._missing == 0)
        if not as_declared or not self._begun == self.heads == self._framed:
            raise _FramingLostError
        self._inside = not self._complete

    # --- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._begun += 1
        self._complete = False

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        self.heads += 1

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._complete = True


class _FramingLostError(Exception):
    """The parser saw the end of a request in another place."""


class _HeadReader:
    """Collects what a parser finds in a head."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def parse_head(received: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Return method, target and headers of a request that a parser has taken.

    Args:
        received: its head, and of its body what is there.
    """
    reader = _HeadReader()
    parser = httptools.HttpRequestParser(reader)
    parser.feed_data(received[: received.find(_HEAD_END) + len(_HEAD_END)])
    return parser.get_method(), reader.target, reader.headers
