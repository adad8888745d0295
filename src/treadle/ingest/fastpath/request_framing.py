"""Finds where the requests of a connection begin and end, and refuses those not to be served."""

import re
from typing import Final, NamedTuple

import httptools

from treadle.errors import InternalError, RequestRefusedError
from treadle.http.request_head import (
    TARGET_BYTES_MAX,
    Fields,
    check_head_size,
    check_header_count,
    check_request_head,
)
from treadle.ingest.fastpath.chunk_scanner import ChunkScanner

MALFORMED: Final = "Invalid HTTP request received."
"""The answer to what is no request: uvicorn's."""

_LINE_END: Final = b"\r\n"
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_FIRST_LINE_END: Final = b" HTTP/1.1\r\n"
_OFFER: Final = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)


class _ServedHead(NamedTuple):
    """The facts for which a head was served. The next head with the same facts is served, too.

    Attributes:
        names: of its headers, as sent and in order.
        host_name: the one of them that is the host.
        host: the value of the host.
    """

    names: tuple[bytes, ...]
    host_name: bytes
    host: bytes


class RequestFraming:
    """Follows the requests that a connection gives to uvicorn, one after the other.

    A parser like uvicorn's reads everything first. It is fed up to the end of each head and of each
    body, and has to see the end in the same place. Where it does not, the request is refused: two
    opinions about where a request ends are how requests are smuggled. What is too large, ambiguous
    or of another version is refused as well, so that uvicorn only gets requests that are served.

    Nothing behind a request is read before `feed` is called again, which has to wait for the
    answer. So a sender that does not wait has one request under way, however many it sends.

    Java's client offers HTTP/2 with every request to a plain port. A server may ignore that
    (RFC 9110, 7.8), but the parser stops behind such a head and takes the body for something else.
    So a head is held back until it is complete, and is passed on without the offer.

    Attributes:
        heads: how many heads were complete so far.
        inside: a head is complete and its body is not.
        target: of the last request, path and query as sent.
        declared_bytes: length of the body that is inside, as its head says; None where it comes in
            chunks.
        on_header: called by the parser with name and value of a header. A function of the
            interpreter, because a method would take longer than all else that is done here for a
            small request.
    """

    def __init__(self) -> None:
        self.heads = 0
        self.inside = False
        self.target = b""
        self.declared_bytes: int | None = None
        self._headers: dict[bytes, bytes] = {}  # of equal names the last one; and trailers
        self.on_header = self._headers.__setitem__
        self._fields: Fields | None = None
        self._served: _ServedHead | None = None
        self._held = b""  # an incomplete head
        self._empty_bytes = 0  # of empty lines before it
        self._begun = 0
        self._framed = 0
        self._complete = False
        self._missing: int | None = None  # of the body, where its length is declared
        self._chunks: ChunkScanner | None = None  # where it is sent in chunks
        self._start_parser()

    @property
    def between(self) -> bool:
        """Return whether every request so far is complete."""
        return not (self.inside or self._held)

    @property
    def keeps_alive(self) -> bool:
        """Return whether the last request is of HTTP/1.1 and leaves the connection open."""
        return self._parser.get_http_version() == "1.1" and self._parser.should_keep_alive()

    @property
    def method(self) -> bytes:
        """Return the method of the last request."""
        found: bytes = self._parser.get_method()
        return found

    @property
    def fields(self) -> Fields:
        """Return the headers of the last request in order, names in lower case."""
        if self._fields is None:
            self._fields = _lower_names(self._headers)
        return self._fields

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take what has arrived, up to the end of a request.

        Returns:
            The bytes that uvicorn is to be given, and those that follow the request.

        Raises:
            RequestRefusedError: nothing on this connection can be read from here on.
        """
        try:
            if self.between:
                data = self._skip_empty_lines(data)
                end = data.find(_HEAD_END) + len(_HEAD_END)
                length = _LENGTH.search(data, 0, end)
                if length is not None and end + int(length[1]) == len(data):
                    return self._feed_whole(data, end), b""
            return self._feed_parts(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise _make_malformed_error() from error

    def _skip_empty_lines(self, data: bytes) -> bytes:
        """Return what follows empty lines, which may come before a head (RFC 9112 2.2)."""
        request = data.lstrip(b"\r\n")
        if len(request) < len(data):
            self._empty_bytes += len(data) - len(request)
            check_head_size(self._empty_bytes, 0)
        return request

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
            data, end = head + body, len(head)
        self._framed += 1
        if not (self._complete and self._begun == self.heads == self._framed):
            raise _make_malformed_error()
        if not self._is_like_served(data, end):
            self._served = self._check_head(data, end)
        self._empty_bytes = 0
        return data

    def _feed_parts(self, data: bytes) -> tuple[bytes, bytes]:
        """Feed anything else in steps, up to the end of the head and of the body."""
        if self.inside:
            return self._feed_body(data, 0)
        fed = len(self._held)
        data = self._held + data
        end = data.find(_HEAD_END, max(0, fed - 3)) + len(_HEAD_END)
        if end < len(_HEAD_END):
            self._parser.feed_data(data[fed:])
            if self.heads != self._framed:  # it saw the end of a head, as after a bare line feed
                raise _make_malformed_error()
            check_header_count(data.count(_LINE_END) - 1)
            check_head_size(self._empty_bytes + len(data), len(self.target))
            self._held = data
            return b"", b""
        self._held = b""
        try:
            self._parser.feed_data(data[fed:end])
        except httptools.HttpParserUpgrade:
            head = self._feed_without_offer(data[:end])
            data = head + data[end:]
            end = len(head)
        self._begin_body(data, end)
        return self._feed_body(data, end) if self.inside else (data[:end], data[end:])

    def _start_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _feed_without_offer(self, head: bytes) -> bytes:
        """Parse a head anew without the protocol that it offers; return it so."""
        if self._parser.get_method() == b"CONNECT":
            raise _make_malformed_error()
        self._start_parser()
        self._begun -= 1
        self.heads -= 1
        head = _OFFER.sub(b"", head)
        self._parser.feed_data(head)
        return head

    def _begin_body(self, data: bytes, end: int) -> None:
        """Find out how the body behind a head ends.

        Args:
            data: the head, and what follows.
            end: of the head.
        """
        self._framed += 1
        if not self._begun == self.heads == self._framed:
            raise _make_malformed_error()
        self._check_head(data, end)
        self._empty_bytes = 0
        self.declared_bytes = self._missing = next(
            (int(value) for name, value in self.fields if name == b"content-length"), None
        )
        chunked = self._missing is None and not self._complete
        self._chunks = ChunkScanner() if chunked else None
        self._check_end()

    def _is_like_served(self, data: bytes, end: int) -> bool:
        """Return whether a head differs from the last one in nothing that decides.

        Args:
            data: a whole request, with a length of at most nine digits.
            end: of the head.
        """
        served = self._served
        headers = self._headers
        # As many header lines as the served head has names, so no name came twice.
        return (
            served is not None
            and tuple(headers) == served.names
            and headers[served.host_name] == served.host
            and self._empty_bytes + end <= TARGET_BYTES_MAX
            and data.count(_LINE_END, 0, end) == len(headers) + 2
            and data.startswith(_FIRST_LINE_END, data.find(_LINE_END) + 2 - len(_FIRST_LINE_END))
        )

    def _check_head(self, data: bytes, end: int) -> _ServedHead | None:
        """Refuse a head that is not served; return what decided, where the next may be like it.

        Args:
            data: the head, and what follows.
            end: of the head.
        """
        headers = self._headers
        lines = data.count(_LINE_END, 0, end) - 2
        unique = lines == len(headers)
        self._fields = _lower_names(headers) if unique else _read_fields(data[:end])
        check_head_size(self._empty_bytes + end, len(self.target))
        version = self._parser.get_http_version()
        check_request_head(version, self._fields)
        if not unique or version != "1.1":
            return None
        host = next(name for name in headers if name.lower() == b"host")
        return _ServedHead(tuple(headers), host, headers[host])

    def _feed_body(self, data: bytes, begin: int) -> tuple[bytes, bytes]:
        """Feed the parser with what is there of a body.

        Args:
            data: what has arrived, and the head before it.
            begin: where in it the body goes on.

        Returns:
            What uvicorn is to be given, without trailers: it would take them for headers of the
            head; and what follows the body.
        """
        if self._missing is not None:
            end = min(begin + self._missing, len(data))
            self._missing -= end - begin
        elif self._chunks is not None:
            end = self._chunks.scan(data, begin)
        else:
            raise InternalError("a body has a declared length, or comes in chunks")
        self._parser.feed_data(memoryview(data)[begin:end])
        self._check_end()
        trailers = None if self._chunks is None else self._chunks.trailers_begin
        if trailers is None:
            return data[:end], data[end:]
        if self.inside:
            return data[:trailers], data[end:]
        passed = data[:end] if end - trailers == len(_LINE_END) else data[:trailers] + _LINE_END
        return passed, data[end:]

    def _check_end(self) -> None:
        """Compare what the parser says with what the head said."""
        if self._missing is not None:
            ends = self._missing == 0
        else:
            ends = self._chunks is None or self._chunks.complete
        if self._complete != ends or not self._begun == self.heads == self._framed:
            raise _make_malformed_error()
        self.inside = not self._complete

    # --- called by the parser ---------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._begun += 1
        self._complete = False
        self.target = b""
        self._headers.clear()
        self._fields = None

    def on_url(self, part: bytes) -> None:
        """Note a part of the target."""
        self.target += part

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        self.heads += 1

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        self._complete = True


def _make_malformed_error() -> RequestRefusedError:
    return RequestRefusedError(400, MALFORMED)


class _FieldReader:
    """Collects the headers of a head."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))


def _read_fields(head: bytes) -> Fields:
    """Return all headers of a head that a parser has taken, names in lower case."""
    reader = _FieldReader()
    httptools.HttpRequestParser(reader).feed_data(head)
    return reader.fields


def _lower_names(headers: dict[bytes, bytes]) -> Fields:
    return [(name.lower(), value) for name, value in headers.items()]
