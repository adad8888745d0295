"""The meaning of PyMySQL's errors to a loader (loading.md 10.2, 10.3).

The server's own message is kept: operators search for it.
"""

import re
import ssl
from collections.abc import Sequence
from typing import Final

import pymysql

from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
    TableHeldError,
)
from treadle.errors import TableStoppedError, TreadleError

ROW_TOO_BIG: Final = "row is too big for MySQL"
"""Reason for rows past half a page (loading.md 8.1)."""

TOO_MANY_COLUMNS: Final = "ERROR: too many columns"
"""Reason where a table cannot have so many columns (loading.md 5.3)."""

FILES_REFUSED: Final = frozenset({1148, 3948, 4166})
"""The server does not take LOAD DATA LOCAL."""

REOPENED: Final = 1137
"""A statement names a temporary table twice, which MySQL does not take, and MariaDB does."""

MISSING: Final = frozenset({1046, 1049, 1051, 1109, 1146})
"""No such table or schema."""

INTERRUPTED: Final = frozenset({1317, 1969, 3024})
"""A statement was ended, or took too long."""

ENDED: Final = INTERRUPTED | {1053, 1927, 4031}
"""The server ends the session, or what it does."""

HALF_COMMITTED: Final = frozenset({1180, 1181, 3100})
"""COMMIT failed in the engine or in what replicates it, which may have had the transaction."""

_REFUSED_CHANGES: Final = frozenset(
    {
        1007,  # a database of that name
        1050,  # a table of that name
        1059,  # a name that is too long
        1060,  # a column of that name
        1064,  # syntax
        1068,  # a second primary key
        1069,  # too many keys
        1070,  # too many columns in a key
        1071,  # a key that is too long
        1074,  # a column that is too long
        1102,  # a schema's name
        1103,  # a table's name
        1166,  # a column's name
        1280,  # an index's name
        1300,  # a character that no name has
        1366,
    }
)
"""Numbers of errors with which a name or a definition is refused in a schema change."""

_UNAVAILABLE: Final = "MySQL cannot take the load now: {text}"

_FULL_DISK: Final = re.compile(r"\b(errno|Errcode): 28\b")
"""ENOSPC, where a file, a table or a schema is to be made. Texts of other errors have values of
records in them."""

_MEANINGS: Final[Sequence[tuple[frozenset[int], type[TreadleError], str]]] = (
    # credentials, a missing right
    (
        frozenset({1044, 1045, 1142, 1143, 1227, 1251, 1370, 1410, 1698, 1820, 3118, 4151}),
        AccessDeniedError,
        "{text}",
    ),
    # a table has to have a primary key: by a variable that the session may not set, and by Group
    # Replication
    (
        frozenset({3750}),
        AccessDeniedError,
        "{text}; let its owner run: GRANT SESSION_VARIABLES_ADMIN ON *.* TO <treadle's user>",
    ),
    (
        frozenset({3098}),
        TableStoppedError,
        "MySQL refused the load: {text}; Group Replication wants a primary key in each table",
    ),
    (
        frozenset(
            {
                *(1020, 1021, 1026, 1030, 1037, 1038, 1040, 1041, 1047, 1053, 1077, 1079),
                *(1105, 1114, 1129, 1158, 1159, 1160, 1161, 1184),  # full, or the network
                *(1203, 1206, 1226, 1290, 1317, 1637, 1792, 1836, 1927, 1969),
                *(3024, 3101, 3168, 4031),
                *(3796, 3797, 3798, 3799),  # a member of a group that is not ready
                *HALF_COMMITTED,
                *range(2000, 2100),  # the driver's: the connection
            }
        ),
        DestinationUnavailableError,
        _UNAVAILABLE,
    ),
    # a table or rows that another session has, or each the other's
    (
        frozenset({1205, 1213, 3058, 3572}),
        TableHeldError,
        "another session has the table, or rows of it: {text}",
    ),
    # a relation, column, key or schema is not as the plan saw it
    (
        frozenset({1007, 1008, 1049, 1050, 1051, 1054, 1060, 1068, 1091, 1146, 1347, 1412}),
        PlanOutdatedError,
        "the table is not as it was planned: {text}",
    ),
    (frozenset({1117}), RowRefusedError, TOO_MANY_COLUMNS),
    (frozenset({1118, 1153, 1301}), RowRefusedError, ROW_TOO_BIG),
    # NULL in a column of the user's: every row would be refused, so no row is to blame
    # (loading.md 5.2)
    (frozenset({1048, 1364}), TableStoppedError, "MySQL refused the load: {text}"),
    # a value or a row, by a type, a constraint or a trigger of the user
    (
        frozenset(
            {
                *(1022, 1062, 1138, 1169, 1216, 1217, 1261, 1262, 1263, 1264, 1265, 1292, 1366),
                *(1367, 1406, 1411, 1415, 1451, 1452, 1458, 1526, 1557, 1586, 1644, 1690, 3156),
                *(3140, 3819, 4025, 4078),
            }
        ),
        RowRefusedError,
        "{text}",
    ),
)
"""Numbers of errors -> what they mean."""


def error_number(error: Exception) -> int:
    """Return the server's or the driver's number of an error; 0 for none."""
    number = error.args[0] if isinstance(error, pymysql.Error) and error.args else 0
    return number if isinstance(number, int) else 0


def server_message(error: Exception) -> str:
    """Return the server's message as `ERROR 1146: text`, or the driver's, on one line."""
    text = " ".join(str(error.args[-1] if error.args else error).split())
    number = error_number(error)
    return f"ERROR {number}: {text}" if 1000 <= number < 2000 or number >= 3000 else text


def is_missing(error: Exception) -> bool:
    """Return whether a statement failed because a table or schema is not there."""
    return error_number(error) in MISSING


def is_refused_change(error: Exception) -> bool:
    """Return whether the database refused a schema change for its content, such as a name."""
    return error_number(error) in _REFUSED_CHANGES


def translate_login(error: Exception) -> TreadleError:
    """Return the meaning of a failed connection attempt."""
    text = server_message(error)
    cause = getattr(error, "original_exception", None)
    is_unverified = isinstance(cause, ssl.SSLCertVerificationError)
    if is_unverified or isinstance(translate(error), AccessDeniedError):
        return AccessDeniedError(f"MySQL refused the connection: {text}")
    return DestinationUnavailableError(f"MySQL cannot be reached: {text}")


def translate(error: Exception) -> TreadleError:
    """Return the meaning of an error of a statement."""
    if isinstance(error, UnicodeEncodeError):
        return RowRefusedError(f"text that is not Unicode: {error.reason}")
    return explain(error_number(error), server_message(error))


def explain(number: int, text: str) -> TreadleError:
    """Return the meaning of an error, or of a warning that LOAD DATA makes of one.

    Args:
        number: the server's.
        text: its message.
    """
    if number == 1005 and "Too many columns" in text:  # how MariaDB's InnoDB says it
        return RowRefusedError(TOO_MANY_COLUMNS)
    if not number:
        broke = "the connection to MySQL broke" + (f": {text}" if text else "")
        return DestinationUnavailableError(broke)
    if (number < 1000 or number in (1004, 1005, 1006)) and _FULL_DISK.search(text):
        return DestinationUnavailableError(_UNAVAILABLE.format(text=text))
    for numbers, kind, meaning in _MEANINGS:
        if number in numbers:
            return kind(meaning.format(text=text))
    return TableStoppedError(f"MySQL refused the load: {text}")
