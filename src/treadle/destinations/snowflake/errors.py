"""The meaning of Snowflake's errors to a loader (loading.md 10.2, 10.3).

The service's own message is kept: operators search for it. Numbers from 250000 on are the driver's.
"""

from collections.abc import Sequence
from typing import Final

from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.errors import TableStoppedError, TreadleError

MISSING: Final = frozenset({2003, 2043})
"""No such table or schema, or none that the role may see."""

LOCKED: Final = 625
"""Another transaction has held a lock for too long, or too many wait for it."""

ABORTED: Final = 615
"""The transaction was ended from outside."""

INTERRUPTED: Final = frozenset({604, 630})
"""A statement was ended, or took too long."""

DRIVERS_OWN: Final = 250_000
"""The first number of the driver's own errors: of the network, most of them."""

_REFUSED_CHANGES: Final = frozenset({1003, 1430, 2002})
"""Syntax, a column and an object of that name: with these a name or a definition is refused."""

_MEANINGS: Final[Sequence[tuple[range | frozenset[int], type[TreadleError], str]]] = (
    # a session that ended: the next one logs in again
    (
        range(390_110, 390_118),
        DestinationUnavailableError,
        "the session of Snowflake ended: {text}",
    ),
    # any other login, a missing right, a user or a key that is none
    (range(390_000, 395_000), AccessDeniedError, "Snowflake: {text}"),
    (frozenset({3001, 251005, 251006, 251008}), AccessDeniedError, "Snowflake: {text}"),
    # a lock, an end from outside, a warehouse that is missing, or whose quota is used up
    (
        frozenset({ABORTED, LOCKED, *INTERRUPTED, 603, 606, 90073}),
        DestinationUnavailableError,
        "Snowflake cannot take the load now: {text}",
    ),
    # a relation, a column or a schema is not as the plan saw it
    (
        frozenset({904, 1430, 2002, *MISSING}),
        PlanOutdatedError,
        "the table is not as it was planned: {text}",
    ),
    # NULL in a column of the user's: every row would be refused, so no row is to blame
    # (loading.md 5.2)
    (frozenset({100_072}), TableStoppedError, "Snowflake refused the load: {text}"),
    # a value, by its type or its length
    (range(100_000, 110_000), RowRefusedError, "{text}"),
)
"""Numbers of errors -> what they mean; the first that has a number counts."""


def error_number(error: Exception) -> int:
    """Return the service's or the driver's number of an error; 0 for none."""
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) and number > 0 else 0


def server_message(error: Exception) -> str:
    """Return the service's message as `002003 (42S02): text`, or the driver's, on one line."""
    return " ".join(str(getattr(error, "msg", None) or error).split())[:2000]


def is_missing(error: Exception) -> bool:
    """Return whether a statement failed because a table or schema is not there."""
    return error_number(error) in MISSING


def is_refused_change(error: Exception) -> bool:
    """Return whether the database refused a schema change for its content, such as a name."""
    return error_number(error) in _REFUSED_CHANGES


def is_unanswered(error: Exception) -> bool:
    """Return whether nobody knows what became of a statement: the service did not say."""
    number = error_number(error)
    return not number or number >= DRIVERS_OWN or number in INTERRUPTED


def translate(error: Exception) -> TreadleError:
    """Return the meaning of an error of a statement."""
    if isinstance(error, UnicodeEncodeError):
        return RowRefusedError(f"text that is not Unicode: {error.reason}")
    number, text = error_number(error), server_message(error)
    for numbers, kind, meaning in _MEANINGS:
        if number in numbers:
            return kind(meaning.format(text=text))
    if is_unanswered(error):
        return DestinationUnavailableError(f"the connection to Snowflake broke: {text}")
    return TableStoppedError(f"Snowflake refused the load: {text}")


def translate_login(error: Exception) -> TreadleError:
    """Return the meaning of a failed connection attempt."""
    text = server_message(error)
    if isinstance(translate(error), AccessDeniedError):
        return AccessDeniedError(f"Snowflake refused the connection: {text}")
    return DestinationUnavailableError(f"Snowflake cannot be reached: {text}")
