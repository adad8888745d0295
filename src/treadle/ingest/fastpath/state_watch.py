"""Watches how long a connection has been in its state, and whether its answers are read."""

import enum
from typing import Final

from treadle.errors import RequestRefusedError
from treadle.ingest.fastpath.connection_state import (
    WRITE_BYTES_MIN,
    WRITE_SECONDS,
    ConnectionState,
    get_patience,
)

LATE_HEAD: Final = "The head of the request arrived too slowly. Send it again."
LATE_BODY: Final = "The request body arrived too slowly. Send it again."


class LateEnd(enum.Enum):
    """How a connection ends that is late, where it has no answer to give."""

    CLOSE = enum.auto()
    """After what was written."""
    ABORT = enum.auto()
    """At once."""


class StateWatch:
    """What the last check of a connection saw, and since when.

    Time counts from the first check that sees a state, so that a request costs nothing here.
    """

    __slots__ = ("_seen", "_since", "_unsent")

    def __init__(self) -> None:
        self._seen: tuple[ConnectionState, int] | None = None
        self._since = 0.0
        self._unsent: tuple[float, int] | None = None

    def check(
        self,
        now: float,
        state: ConnectionState,
        *,
        requests: int,
        unsent_bytes: int,
        idle_seconds: float,
        declared_bytes: int | None,
    ) -> LateEnd | RequestRefusedError | None:
        """Look at a connection; return how it is to end when something took too long.

        Args:
            now: by the loop's clock.
            state: of the connection.
            requests: that it has answered.
            unsent_bytes: what it wrote and the system has not taken. While there is any, only the
                reader is late.
            idle_seconds: how long it may wait for another request.
            declared_bytes: length of the body that arrives; None where it is not known.

        Returns:
            The answer to a request that is late; another end where there is none to answer; None
            while nothing is late.
        """
        if unsent_bytes:
            return self._check_reader(now, unsent_bytes)
        self._unsent = None
        seen = state, requests
        if seen != self._seen:
            self._seen, self._since = seen, now
            return None
        patience = get_patience(
            state,
            used=requests > 0,
            idle_seconds=idle_seconds,
            declared_bytes=declared_bytes,
        )
        return _end_late_state(state) if now - self._since >= patience else None

    def _check_reader(self, now: float, unsent: int) -> LateEnd | None:
        """Give up a client that does not read its answer."""
        if self._unsent is None or unsent <= self._unsent[1] - WRITE_BYTES_MIN:
            self._unsent = now, unsent
        elif now - self._unsent[0] >= WRITE_SECONDS:
            return LateEnd.ABORT
        return None

    def forget_reader(self) -> None:
        """Note that the reader has taken enough for more to be written."""
        self._unsent = None


def _end_late_state(state: ConnectionState) -> LateEnd | RequestRefusedError:
    match state:
        case ConnectionState.HEAD:
            return RequestRefusedError(408, LATE_HEAD)
        case ConnectionState.BODY:
            return RequestRefusedError(408, LATE_BODY)
        case ConnectionState.READY:
            return LateEnd.CLOSE
        case _:
            return LateEnd.ABORT
