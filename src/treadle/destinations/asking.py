"""The contract of a destination that answers a question of a person, within bounds.

An answer is made of texts: each value as the database itself writes it, so that nothing is lost on
the way through a driver. `ValueForm` says which of them are numbers, JSON and so on.

A question is asked in a session of its own, which only reads. What keeps a statement from more than
that is the database, and not a look at its text.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

from treadle.destinations.protocol import LoadSession
from treadle.errors import OperatorError
from treadle.tables.schema_owner import SchemaOwner

QUESTION_BYTES_MAX: Final = 512 * 1024 * 1024
"""Memory that a database which runs in this process may take for a question."""

QUESTION_THREADS_MAX: Final = 2
"""Threads of such a database."""

ANSWER_ROWS_MAX: Final = 100_000
"""Most rows of an answer."""


class ValueForm(StrEnum):
    """Forms of the texts of a column.

    NUMBER is a number of JSON, or `NaN`, `Infinity` or `-Infinity`. BOOLEAN is `true` or `false`.
    JSON is a JSON text. BLOB is base64. INSTANT is a time in UTC, as `2024-01-02T03:04:05.5Z`; one
    outside of the years 1 to 9999, and infinity, are as the database writes them. TEXT is any text.
    """

    NUMBER = "number"
    BOOLEAN = "boolean"
    JSON = "json"
    BLOB = "blob"
    INSTANT = "instant"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """A column of an answer.

    Attributes:
        name: as the statement calls it.
        type: as the database calls it.
        form: of its texts.
    """

    name: str
    type: str
    form: ValueForm


AnswerRow = Sequence[str | None]
"""The texts of a row; None for NULL."""


@dataclass(frozen=True, slots=True)
class AnswerRows:
    """The answer to a question.

    Attributes:
        columns: of it.
        rows: read from the database while they are taken.
    """

    columns: tuple[AnswerColumn, ...]
    rows: Iterator[AnswerRow]


class StatementFaultError(OperatorError):
    """The database refuses a statement, in its own words.

    Attributes:
        position: character of the statement at which it is wrong, from 0; None where the database
            does not say.
    """

    def __init__(self, words: str, position: int | None = None) -> None:
        super().__init__(words)
        self.position = position


class StatementOverdueError(OperatorError):
    """A statement took longer than it may, and was ended."""


@dataclass(frozen=True, slots=True)
class RoleRights:
    """The rights of the role that asks.

    Attributes:
        role: its name; empty where the database knows no roles.
        dangerous: the rights by which a statement that only reads reaches the machine of the
            database, such as `superuser`.
    """

    role: str = ""
    dangerous: tuple[str, ...] = ()


class AskedSession(Protocol):
    """A session for one question."""

    @property
    def look_up(self) -> LoadSession:
        """The same connection, for treadle's own questions, which come first."""

    def find_rights(self) -> RoleRights:
        """Return the rights of the role that asks."""

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the schemas in which somebody can read a table or a view who asks here.

        Those that every database of the kind has, and treadle's own, are left out.
        """

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that the database records for schemas; None where it does not tell."""

    def read_relation(self, schema: str, relation: str, limit: int) -> AnswerRows:
        """Return the newest rows of a table of treadle's, by `_sdc_batched_at`."""

    def read_statement(self, statement: str, limit: int, *, wraps: bool) -> AnswerRows:
        """Run one statement of a person's, and return the first rows.

        Args:
            statement: SQL. After it nothing else can be asked in this session.
            limit: most rows.
            wraps: have it stand where a table can stand, so that the database takes nothing but a
                SELECT. Without that, it is for the rights of the role to say what it may.

        Raises:
            StatementFaultError: something is wrong with it.
            StatementOverdueError: it took too long. Also while rows are taken.
            DestinationUnavailableError: the connection broke.
        """


@runtime_checkable
class AskedDestination(Protocol):
    """A destination that can be asked."""

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Open a session for one question, which is ended after so many seconds.

        Raises:
            DestinationUnavailableError, AccessDeniedError: as `Destination.open`.
        """
