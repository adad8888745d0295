"""The states of a connection, and the time limit of each."""

import enum
import math
from typing import Final

from treadle.http.limits import (
    BODY_BYTES_MAX,
    BODY_BYTES_PER_SECOND_MIN,
    BODY_GRACE_SECONDS,
)

FIRST_BYTE_SECONDS: Final = 30.0
"""Seconds that a new connection may take until its first byte."""

HEAD_SECONDS: Final = 30.0
"""Seconds that a head may take from its first byte to its last."""

BODY_MARGIN_SECONDS: Final = 5.0
"""Seconds that the connection waits for a body beyond the time limit of the endpoint. So the
endpoint, which knows the right answer, ends the request first."""

ANSWER_SECONDS: Final = 300.0
"""Seconds until the answer to a complete request. Every endpoint has a shorter limit of its own, so
this one only ends a request that no endpoint works on."""

DRAIN_SECONDS: Final = 10.0
"""Seconds in which the rest of a body is read and dropped, after its request was answered."""

LINGER_SECONDS: Final = 2.0
"""Seconds in which a connection is still read after its last answer, so that the client can read
that answer. A socket that is closed with bytes unread resets the connection, and the answer may be
lost."""

WRITE_SECONDS: Final = 30.0
"""Seconds in which the client has to take WRITE_BYTES_MIN more of an answer."""

WRITE_BYTES_MIN: Final = 32 * 1024
"""Fewest bytes of a long answer that the client has to take in WRITE_SECONDS."""


class ConnectionState(enum.Enum):
    """States of a connection: each names what the connection waits for."""

    READY = enum.auto()
    """A request."""
    HEAD = enum.auto()
    """The rest of a head."""
    PIECES = enum.auto()
    """The rest of a body that may take the fast path; `body_buffer` has its deadline."""
    BODY = enum.auto()
    """The rest of a body that an endpoint reads."""
    ANSWER = enum.auto()
    """The answer to a request that is all there."""
    DRAIN = enum.auto()
    """The rest of a body that nobody reads: its request was answered."""
    CLOSING = enum.auto()
    """The other side: nothing more is read or answered."""


def get_patience(
    state: ConnectionState,
    *,
    used: bool,
    idle_seconds: float,
    declared_bytes: int | None,
) -> float:
    """Return how many seconds a connection may stay in a state.

    Args:
        state: the state.
        used: a request came before.
        idle_seconds: how long it may wait for another one.
        declared_bytes: length of the body that arrives; None where it is not known.
    """
    match state:
        case ConnectionState.READY:
            return idle_seconds if used else FIRST_BYTE_SECONDS
        case ConnectionState.HEAD:
            return HEAD_SECONDS
        case ConnectionState.BODY:
            expected = BODY_BYTES_MAX if declared_bytes is None else declared_bytes
            seconds = min(expected, BODY_BYTES_MAX) / BODY_BYTES_PER_SECOND_MIN
            return BODY_GRACE_SECONDS + seconds + BODY_MARGIN_SECONDS
        case ConnectionState.DRAIN:
            return DRAIN_SECONDS
        case ConnectionState.CLOSING:
            return LINGER_SECONDS
        case ConnectionState.ANSWER:
            return ANSWER_SECONDS
        case ConnectionState.PIECES:
            return math.inf
