"""Standard output that never keeps its writer waiting: what nobody reads yet goes to a file.

A question to a DuckDB file keeps the loader from it. So its answer is taken at the pace of the
database, also where it is shown by a pager that somebody reads page by page.
"""

import contextlib
import io
import os
import select
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Final

from treadle.errors import OperatorError

PIECE_BYTES: Final = select.PIPE_BUF
"""So many bytes are written to a pipe without waiting once it can be written to."""

COPIED_BYTES: Final = 256 * 1024


class OutputSpool(io.RawIOBase):
    """Writes to a descriptor as far as that can be done at once, and the rest to a file.

    Args:
        descriptor: stays open.
        spool: an empty file to write and read; it stays open.
    """

    def __init__(self, descriptor: int, spool: IO[bytes]) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._spool = spool
        self._written = 0  # bytes of the spool
        self._read = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def writable(self) -> bool:
        """Return true."""
        return True

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def write(self, data: Any) -> int:
        """Take all bytes, without waiting for a reader.

        Raises:
            BrokenPipeError: nobody reads any more.
            OperatorError: there is no room for what nobody has read yet.
        """
        while not self._has_nothing_kept() and self._is_ready():
            self._send_kept(PIECE_BYTES)
        left = memoryview(data)
        while self._has_nothing_kept() and left and self._is_ready():
            left = left[os.write(self._descriptor, left[:PIECE_BYTES]) :]
        if left:
            self._keep(left)
        return len(data)

    def send_rest(self) -> None:
        """Write what is kept, at the pace of the reader."""
        while not self._has_nothing_kept():
            self._send_kept(COPIED_BYTES)

    def _has_nothing_kept(self) -> bool:
        return self._read == self._written

    def _is_ready(self) -> bool:
        # A closed pipe is ready, too: writing to it tells of that.
        return bool(self._poll.poll(0))

    def _keep(self, data: memoryview) -> None:
        try:
            self._spool.seek(self._written)
            self._spool.write(data)
            self._spool.flush()
        except OSError as error:
            raise OperatorError(
                f"The answer does not fit into the folder {tempfile.gettempdir()}: "
                f"{error.strerror}; write it to a file, or name another folder in TMPDIR"
            ) from error
        self._written += len(data)

    def _send_kept(self, most: int) -> None:
        self._spool.seek(self._read)
        self._read += os.write(self._descriptor, self._spool.read(most))


@contextlib.contextmanager
def spool_output() -> Iterator[None]:
    """Take what the block prints without waiting for a reader; print the rest of it by `finish`.

    The rest is printed when the block has ended.
    """
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, AttributeError, ValueError):  # not a file of the system: it takes everything
        yield
        return
    sys.stdout.flush()
    with tempfile.TemporaryFile() as kept:
        spool = OutputSpool(descriptor, kept)
        taking = io.TextIOWrapper(
            io.BufferedWriter(spool, COPIED_BYTES),
            encoding=sys.stdout.encoding,
            errors=sys.stdout.errors,
            newline="",
        )
        try:
            with contextlib.redirect_stdout(taking):
                yield
            taking.flush()
            spool.send_rest()
        finally:
            with contextlib.suppress(OSError, ValueError):
                taking.detach().detach()  # which would close the descriptor
