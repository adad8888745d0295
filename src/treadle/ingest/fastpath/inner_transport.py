"""The transport that uvicorn's protocol, "the protocol behind", gets instead of the real one."""

import asyncio
from collections.abc import Callable, Sized
from typing import Any


class InnerTransport(asyncio.Transport):
    """Passes on what the protocol behind writes, and asks the connection where it closes.

    Two sides can stop reading: the protocol behind, while it has enough of a body, and the
    connection, while an answer is due. Reading goes on when neither of them stops it.

    Attributes:
        is_paused: the protocol behind has enough of a body.
        has_written: something was written since this was last set to False.
    """

    def __init__(
        self, transport: asyncio.Transport, close: Callable[[], None], ahead: Sized
    ) -> None:
        """Stand for a transport.

        Args:
            transport: the real one.
            close: called when the protocol behind closes.
            ahead: what came before an answer; the connection stops while there is any.
        """
        super().__init__()
        self._transport = transport
        self._close = close
        self._ahead = ahead
        self._is_closed = False
        self.is_paused = False
        self.has_written = False
        self._write: Callable[[Any], None] = transport.write

    def write(self, data: Any) -> None:
        """Write; after `close` nothing is written."""
        self.has_written = True
        self._write(data)

    def close(self) -> None:
        """Close after what was written."""
        if not self._is_closed:
            self.detach()
            self._close()

    def detach(self) -> None:
        """Write nothing more, without closing."""
        self._is_closed = True
        self._write = _drop

    def is_closing(self) -> bool:
        """Return whether nothing can be written any more."""
        return self._is_closed or self._transport.is_closing()

    def pause_reading(self) -> None:
        """Stop to read."""
        self.is_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again, unless the connection has stopped as well."""
        self.is_paused = False
        self.read_on()

    def read_on(self) -> None:
        """Read again, unless the connection or the protocol behind wants it to stop."""
        if not self._ahead and not self.is_paused:
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)


def _drop(_: Any) -> None:
    """Write nothing."""
