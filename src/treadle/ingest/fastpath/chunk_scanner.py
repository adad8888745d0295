"""Finds the end of a body that is sent in chunks."""

import re
from dataclasses import dataclass
from typing import Final

from treadle.errors import RequestRefusedError
from treadle.http.request_head import (
    REQUEST_HEAD_BYTES_MAX,
    SINGLE_HEADERS,
    check_header_count,
)

CHUNK_FRAMING_BYTES_MAX: Final = 4096
"""Bytes that the lines around chunks may have, beyond one byte for each byte of the body. A chunk
costs about 2 us, here and in uvicorn: without a bound, 20 MB in chunks of one byte would keep a
worker busy for 40 s. Chunks of eight bytes and more never reach the bound."""

_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


@dataclass(slots=True)
class ChunkScanner:
    """Follows the chunks of one body (RFC 9112 7.1).

    It looks at the lines between the chunks only, and jumps over what is in them. Extensions of
    chunks and trailers mean nothing here; their bytes are counted, because nothing else bounds
    them.

    Attributes:
        complete: the body and its trailers were all there.
        trailers_begin: where in what was scanned last the trailers begin, 0 where they had begun
            before; None while chunks come.
    """

    complete: bool = False
    trailers_begin: int | None = None
    _left: int = 0  # of a chunk, with the line break behind it
    _line: bytes = b""  # the begin of one that is not all there
    _framing_bytes: int = 0  # less one for each byte in a chunk
    _extra_bytes: int = 0
    _trailers: int = 0

    def scan(self, data: bytes, begin: int) -> int:
        """Return where the body ends in these bytes, or their length where it does not.

        Args:
            data: what has arrived.
            begin: where in it the body goes on.

        Raises:
            RequestRefusedError: 400, these are no chunks, or a trailer has the name of a header
                that may come once; 431, extensions and trailers are too many or too long.
        """
        if self.trailers_begin is not None:
            self.trailers_begin = begin
        at = begin
        size = len(data)
        while at < size and not self.complete:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at, at + REQUEST_HEAD_BYTES_MAX) + 1
            piece = data[at : end or min(at + REQUEST_HEAD_BYTES_MAX, size)]
            at += len(piece)
            self._line += piece
            if end:
                self._take_line(at)
            elif len(self._line) >= REQUEST_HEAD_BYTES_MAX:
                self._count_extra(REQUEST_HEAD_BYTES_MAX + 1)
        return at

    def _take_line(self, end: int) -> None:
        line, self._line = self._line, b""
        if self.trailers_begin is not None:
            self._count_extra(len(line))
            self.complete = line == b"\r\n"
            if not self.complete:
                self._check_trailer(line)
            return
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise RequestRefusedError(400, "The size of a chunk of the body is malformed.")
        self._count_extra(len(line) - found.end(1) - 2)
        size = int(found[1], 16)
        if size:
            self._left = size + 2
            self._framing_bytes += found.end(1) + 4 - size
            if self._framing_bytes > CHUNK_FRAMING_BYTES_MAX:
                raise RequestRefusedError(
                    400, "The chunks of the body are too small; send at least 8 bytes in each."
                )
        else:
            self.trailers_begin = end

    def _check_trailer(self, line: bytes) -> None:
        self._trailers += 1
        check_header_count(self._trailers)
        if line.partition(b":")[0].strip().lower() in SINGLE_HEADERS:
            raise RequestRefusedError(400, "A trailer has the name of a header of the head.")

    def _count_extra(self, count: int) -> None:
        self._extra_bytes += count
        if self._extra_bytes > REQUEST_HEAD_BYTES_MAX:
            raise RequestRefusedError(
                431,
                "The extensions of the chunks and the trailers have more than "
                f"{REQUEST_HEAD_BYTES_MAX} bytes.",
            )
