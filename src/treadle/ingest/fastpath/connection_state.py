"""The states of a connection, and how long it may stay in each."""

import enum
import math
from typing import Final

from treadle.http.limits import (
    BODY_BYTES_MAX,
    BODY_BYTES_PER_SECOND_MIN,
    BODY_GRACE_SECONDS,
)

FIRST_BYTE_SECONDS: Final = 30.0
"""How long a new connection may take to send anything."""

HEAD_SECONDS: Final = 30.0
"""How long a head may take to arrive, from its first byte."""

BODY_MARGIN_SECONDS: Final = 5.0
"""How much longer than promised the rest of a body is waited for: the endpoint that reads it gives
up before, and words the answer."""

ANSWER_SECONDS: Final = 300.0
"""How long a request that is all there may take. Whoever works on it ends much earlier; this is for
one that nobody works on."""

DRAIN_SECONDS: Final = 10.0
"""How long the rest of a body is read and dropped whose request was answered already."""

LINGER_SECONDS: Final = 2.0
"""How long a connection is read from after the last answer, so that its sender gets to read that. A
socket that is closed with bytes unread resets the connection, and the answer may be lost."""

WRITE_SECONDS: Final = 30.0
"""How long an answer waits for its reader to take WRITE_BYTES_MIN more of it."""

WRITE_BYTES_MIN: Final = 32 * 1024
"""What the reader of a long answer takes in WRITE_SECONDS, at least."""


class ConnectionState(enum.Enum):
    """What a connection waits for."""

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
