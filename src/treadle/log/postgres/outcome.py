"""What an answer of PostgreSQL means for an append: stored, not stored, or nobody knows.

Everything here is a function of values.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class AppendFate(Enum):
    """What became of a statement that appends.

    Attributes:
        STORED: it is on the primary and on as many standbys as the server waits for.
        REPEAT: nothing was stored, and it may be tried again at once.
        REFUSED: nothing was stored, and the server cannot take it now.
        UNKNOWN: it has to be found out.
    """

    STORED = "stored"
    REPEAT = "repeat"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ServerNotice:
    """A notice that came with an answer.

    Attributes:
        severity: in English, whatever the server's language: "WARNING".
        sqlstate: its code.
        text: message and detail.
    """

    severity: str
    sqlstate: str
    text: str


_UNREPLICATED_STATES: Final = frozenset({"01000", "57P01"})
"""A cancelled and a terminated wait for a standby. The first is the code of any warning."""

_UNREPLICATED_WORDS: Final = "synchronous replication"

_REPEATED_STATES: Final = frozenset(
    {
        "40001",  # serialisation
        "40P01",  # deadlock
        "42P01",  # the segment's table is gone: the log goes on in another
        "55P03",  # another append held the log's row for too long
        "57014",  # somebody cancelled the statement before its commit
        "23502",  # `statements.make_place_keys`: the append before it stored nothing
    }
)


def is_unreplicated(notice: ServerNotice, *, english: bool) -> bool:
    """Return whether a notice says that a commit may not be on a standby.

    A cancelled wait lets the statement succeed: only this warning tells that its rows could be lost
    with the primary.

    Args:
        notice: that came while the statement was under way.
        english: the server's messages are English. In another language any warning of these codes
            counts.
    """
    if notice.severity != "WARNING" or notice.sqlstate not in _UNREPLICATED_STATES:
        return False
    return not english or _UNREPLICATED_WORDS in notice.text


def is_english(lc_messages: str) -> bool:
    """Return whether a server with that setting writes its messages in English."""
    language = lc_messages.partition(".")[0]
    return language in ("", "C", "POSIX") or language.startswith("en")


def judge_error(severity: str | None, sqlstate: str | None) -> AppendFate:
    """Return what an error means for the append that it ended.

    An `ERROR` undoes the transaction, and says so before its commit. Anything else ends the
    connection, and the commit may have been before that.

    Args:
        severity: in English; None where the driver says that the connection is gone.
        sqlstate: its code; None where there is none.
    """
    if severity != "ERROR" or sqlstate is None:
        return AppendFate.UNKNOWN
    return AppendFate.REPEAT if sqlstate in _REPEATED_STATES else AppendFate.REFUSED


_OPERATOR_STATES: Final = ("28", "3D000", "3F000", "42")
"""Beginnings of codes that pass only when somebody changes something: credentials, no such
database, a missing right or table."""


def needs_operator(sqlstate: str | None) -> bool:
    """Return whether an error stays until somebody changes the database or its settings."""
    return sqlstate is not None and sqlstate.startswith(_OPERATOR_STATES)


DAMAGE_STATES: Final = frozenset({"XX001", "XX002"})
"""A damaged page of a table, and of an index."""


def is_damage(sqlstate: str | None) -> bool:
    """Return whether the server found something that it never wrote."""
    return sqlstate in DAMAGE_STATES
