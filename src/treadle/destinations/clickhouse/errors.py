"""The meaning of ClickHouse's errors to a loader (loading.md 10.2, 10.3).

The server's own message is kept: operators search for it.
"""

import re
from collections.abc import Sequence
from typing import Final

from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.errors import TableStoppedError, TreadleError

MISSING: Final = frozenset({60, 81})
"""No such table or database."""

OVERDUE: Final = frozenset({159, 160, 394})
"""A statement was ended, or took too long."""

UNCERTAIN: Final = frozenset({0, 159, 209, 210, 236, 319, 394})
"""After these nobody knows whether an INSERT was done."""

_REFUSED_CHANGES: Final = frozenset(
    {
        15,  # a column of that name
        36,  # arguments that do not go together
        44,  # a column that cannot be
        57,  # a table of that name
        62,  # syntax
        69,  # a name that is too long
        82,  # a database of that name
        524,  # a column of the key
    }
)
"""Codes with which a name or a definition is refused in a schema change."""

_MEANINGS: Final[Sequence[tuple[frozenset[int], type[TreadleError], str]]] = (
    (
        frozenset({164, 192, 193, 194, 195, 291, 497, 516, 732}),
        AccessDeniedError,
        "ClickHouse: {text}",
    ),
    (
        frozenset(
            {
                *(74, 75, 76, 159, 160, 198, 201, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252),
                *(279, 290, 319, 341, 373, 384, 394, 425, 473, 517, 573, 722, 735, 745, 999),
            }
        ),
        DestinationUnavailableError,
        "ClickHouse cannot take the load now: {text}",
    ),
    # a relation, a column or a schema is not as the plan saw it
    (
        frozenset({8, 10, 15, 16, 20, 44, 47, 57, 60, 81, 82, 218}),
        PlanOutdatedError,
        "the table is not as it was planned: {text}",
    ),
    # a value or a row, by a type, a constraint or a view of the user
    (frozenset({6, 27, 53, 69, 70, 117, 131, 349, 395, 407, 469}), RowRefusedError, "{text}"),
)
"""Codes of errors -> what they mean."""

_AROUND: Final = re.compile(
    r"^Received ClickHouse exception, code: \d+, server response: |"
    r"DB::Exception: |\s*\(version [^()]*(?:\([^()]*\))?\)\s*|\s*\(for url .*\)$"
)


def error_code(error: Exception) -> int:
    """Return the server's code of an error; 0 for none."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else 0


def server_message(error: Exception) -> str:
    """Return the server's message as `Code: 60. text`, or the driver's, on one line."""
    return " ".join(_AROUND.sub("", " ".join(str(error).split())).split())[:2000]


def is_missing(error: Exception) -> bool:
    """Return whether a statement failed because a table or database is not there."""
    return error_code(error) in MISSING


def is_refused_change(error: Exception) -> bool:
    """Return whether the database refused a schema change for its content, such as a name."""
    return error_code(error) in _REFUSED_CHANGES


def translate(error: Exception) -> TreadleError:
    """Return the meaning of an error of a statement."""
    if isinstance(error, UnicodeEncodeError):
        return RowRefusedError(f"text that is not Unicode: {error.reason}")
    code, text = error_code(error), server_message(error)
    if not code:
        return DestinationUnavailableError(f"the connection to ClickHouse broke: {text}")
    for codes, kind, meaning in _MEANINGS:
        if code in codes:
            return kind(meaning.format(text=text))
    return TableStoppedError(f"ClickHouse refused the load: {text}")


def translate_login(error: Exception) -> TreadleError:
    """Return the meaning of a failed connection attempt."""
    text = server_message(error)
    if isinstance(translate(error), AccessDeniedError) or "CERTIFICATE_VERIFY" in text:
        return AccessDeniedError(f"ClickHouse refused the connection: {text}")
    return DestinationUnavailableError(f"ClickHouse cannot be reached: {text}")
