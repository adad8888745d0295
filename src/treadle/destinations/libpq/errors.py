"""The meaning of psycopg's errors to a loader (loading.md 10.2, 10.3).

Functions take the name of the kind of server, for what they say.

The server's own message is kept: operators search for it.
"""

import re
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import sql

from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
    TableHeldError,
)
from treadle.errors import TableStoppedError, TreadleError

POSTGRES: Final = "PostgreSQL"

ROW_TOO_BIG = "row is too big for {server}"
"""Reason for rows past a page and keys past an index entry (loading.md 8.1)."""

TOO_MANY_COLUMNS = "ERROR: too many columns"
"""Reason when dropped columns count towards 1,600, which no plan can know (loading.md 5.3)."""

_REFUSED_CHANGES: Final = frozenset(
    {
        "42601",  # syntax
        "42602",  # a name
        "42611",  # the definition of a column
        "42622",  # a name that is too long
        "42701",  # a column of that name, also one of the system
        "42710",  # an object of that name, such as a type
        "42939",  # a reserved name
        "42P07",  # a table or an index of that name
        "42P16",  # the definition of a table
        "42P17",  # the definition of an object
    }
)
"""SQLSTATE codes with which a server refuses a name or a definition in a schema change."""

_MISSING = ("3F000", "42P01")
"""No such schema, no such table."""

_HELD: Final[Sequence[tuple[tuple[str, ...], str]]] = (
    # a lock that is not given, a deadlock, a serialisation
    (("55P03", "40"), "another session has the table, or rows of it: {text}"),
    (
        (
            "08P01",  # rows that the server cannot read
            "53400",  # a limit such as that of temporary files
            "57014",  # cancelled, as by its timeout
            "58",  # a file of the table
            "XX",  # a damaged index or row
        ),
        "{server} cannot take the load of this table now: {text}",
    ),
)
"""Beginnings of SQLSTATEs -> what is said, where the connection lives: the other tables can be
loaded."""

_MEANINGS: Final[Sequence[tuple[tuple[str, ...], type[TreadleError], str]]] = (
    # credentials, no such database, a missing right
    (("28", "3D000", "42501"), AccessDeniedError, "{text}"),
    (
        (
            "08",  # connection lost
            "25006",  # a standby
            "25P",  # a transaction that the server has ended, as one that stood still
            "40",  # deadlock, serialisation
            "53",  # disk full, memory, too many connections
            "55P03",  # lock not available
            "57",  # shut down, starting up, cancelled by a timeout
            "58",  # the server's own disk or files
            "F0",  # its configuration
            "XX",  # its own defect
        ),
        DestinationUnavailableError,
        "{server} cannot take the load now: {text}",
    ),
    # a relation, column, constraint or schema is not as the plan saw it
    (
        ("3F000", "42P01", "42P06", "42P07", "42P10", "42701", "42703", "42704", "42710"),
        PlanOutdatedError,
        "the table is not as it was planned: {text}",
    ),
    (("54011",), RowRefusedError, TOO_MANY_COLUMNS),
    (("54",), RowRefusedError, ROW_TOO_BIG),
    # NULL in a column of the user's: every row would be refused, so no row is to blame
    # (loading.md 5.2)
    (("23502",), TableStoppedError, "{server} refused the load: {text}"),
    # a value or a row, by a type, a constraint or a trigger of the user
    (("21", "22", "23", "44", "P0"), RowRefusedError, "{text}"),
    (("",), TableStoppedError, "{server} refused the load: {text}"),
)
"""Beginnings of SQLSTATEs -> what they mean; the first one that fits counts."""

_UNCAST: Final = re.compile(
    r"is of type .+ but expression is of type|operator does not exist: .+ = "
)
"""What is said of values that nothing casts to the type of a column, by itself or to compare."""

_GIVE_TYPE_BACK: Final = (
    "somebody changed the type of a column, and its values do not become that by themselves: give "
    "the column its former type again, or drop the table and send its data again"
)

_DENIED = re.compile(
    r"(?:permission denied for|must be owner of) (?P<kind>database|schema|table) (?P<name>.+)$"
    r"|permission denied to create temporary tables in database \"(?P<stages>.+)\"$"
)
_REMEDIES = {
    "database": sql.SQL("GRANT CREATE ON DATABASE {} TO <treadle's user>"),
    "schema": sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO <treadle's user>"),
    "stages": sql.SQL("GRANT TEMPORARY ON DATABASE {} TO <treadle's user>"),
    "table": sql.SQL("ALTER TABLE {} OWNER TO <treadle's user>"),
}
"""Loading changes tables, which only their owner may."""

_FORBIDDEN_AT_LOGIN = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "permission denied",
    "not permitted to log in",
    "certificate",
)
"""Login errors carry no SQLSTATE in libpq, so their text has to tell."""


def server_message(error: Exception) -> str:
    """Return the server's message as `ERROR: text`, or the driver's on one line."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return f"{error.diag.severity or 'ERROR'}: {error.diag.message_primary}"
    return " ".join(str(error).split())


def is_missing(error: Exception) -> bool:
    """Return whether a statement failed because a table or schema is not there."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _MISSING


def is_refused_change(error: Exception) -> bool:
    """Return whether the database refused a schema change for its content, such as a name."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _REFUSED_CHANGES


def translate_login(error: psycopg.Error, server: str = POSTGRES) -> TreadleError:
    """Return the meaning of a failed connection attempt."""
    text = server_message(error)
    if any(mark in text for mark in _FORBIDDEN_AT_LOGIN) and "could not translate" not in text:
        return AccessDeniedError(f"{server} refused the connection: {text}")
    return DestinationUnavailableError(f"{server} cannot be reached: {text}")


def advise_grant(text: str, refused: str = "") -> str:
    """Return the statement that gives the right which a message names; empty where none does.

    Servers that speak another language get no advice; the SQLSTATE names no right.

    Args:
        text: the message.
        refused: the statement that was refused, which names the schema of a table.
    """
    found = _DENIED.search(text)
    if found is None:
        return ""
    kind = found["kind"] or "stages"
    named = sql.Identifier(found["name"] or found["stages"])
    if kind == "table":
        called = re.escape(named.as_string(None))
        schema = re.search(rf'"((?:[^"]|"")+)"\.{called}', refused)
        if schema is not None:
            named = sql.Identifier(schema[1].replace('""', '"'), found["name"])
    statement = _REMEDIES[kind].format(named).as_string(None)
    return f"let its owner run: {statement}"


def translate(error: Exception, server: str = POSTGRES, *, is_alive: bool = True) -> TreadleError:
    """Return the meaning of an error of a statement.

    Args:
        error: of the driver.
        server: the name of the kind of server.
        is_alive: the connection can still be used.
    """
    text = server_message(error)
    if isinstance(error, UnicodeEncodeError):
        return RowRefusedError(f"text that is not Unicode: {error.reason}")
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    if state is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return DestinationUnavailableError(f"the connection to {server} broke: {text}")
        return RowRefusedError(text)  # the driver cannot write a value
    for codes, said in _HELD if is_alive else ():
        if state.startswith(codes):
            return TableHeldError(said.format(server=server, text=text))
    kind, meaning = next(
        (kind, meaning) for codes, kind, meaning in _MEANINGS if state.startswith(codes)
    )
    refused = " ".join(getattr(error, "__notes__", ()))
    remedy = advise_grant(text, refused) if kind is AccessDeniedError else ""
    if state in ("42804", "42883") and _UNCAST.search(text):
        remedy = _GIVE_TYPE_BACK
    return kind(meaning.format(server=server, text=f"{text}; {remedy}" if remedy else text))
