"""Questions for the desk: values, and their bytes for the way to a task process."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from treadle.http.address_policy import AddressPolicy
from treadle.tables.schema_owner import UNOWNED, SchemaOwner

ROWS_DEFAULT: Final = 1000
"""Rows that are shown where nobody says how many."""

NEWEST_DEFAULT: Final = 50
"""Rows of a table that are shown where nobody says how many."""

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""Most bytes of an answer, as JSON or CSV. Rows beyond are left out, which the answer says."""

T = TypeVar("T")


class AnswerFormat(StrEnum):
    """Formats of an answer. CSV_SAFE is CSV in which no text is a formula for a spreadsheet."""

    JSON = "json"
    CSV = "csv"
    CSV_SAFE = "csv-safe"


class QuestionKind(StrEnum):
    """Kinds of questions: a table of the desk names the function that answers each."""

    STATEMENT = "statement"
    ROWS = "rows"
    DOCTOR = "doctor"
    DOCTOR_WHOLE = "doctor-whole"
    COUNTS = "counts"


@dataclass(frozen=True, slots=True)
class DatabaseOrder:
    """The database that is asked, and how.

    Attributes:
        url: with credentials.
        turns: the folder of claims, see `LoaderPriority`.
        seconds: that a statement may take.
        policy: which addresses are connected to, since an account named them; None for any.
    """

    url: str = field(repr=False)
    turns: Path
    seconds: float
    policy: AddressPolicy | None = None


@dataclass(frozen=True, slots=True)
class ReachOrder:
    """What an account may read, see `AccountReach`."""

    is_alone: bool
    has_own_role: bool = False
    owner: SchemaOwner = UNOWNED
    own: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    shares_login: bool = False


@dataclass(frozen=True, slots=True)
class StatementOrder:
    """A statement of a person's.

    Attributes:
        id: of the question, for the answer.
        database: to ask.
        sql: one statement.
        limit: most rows.
        format: of the answer.
        reach: what the account may read.
        wraps: see `AskedSession.read_statement`.
        bytes_max: most bytes of all rows of the answer.
    """

    id: str
    database: DatabaseOrder
    sql: str = field(repr=False)
    limit: int
    format: AnswerFormat
    reach: ReachOrder
    wraps: bool = True
    bytes_max: int = ANSWER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class RowsOrder:
    """The newest rows of a table.

    Attributes:
        id: of the question, for the answer.
        database: to ask.
        schema: of the source.
        table: name as sent.
        options: settings of the source, which take part in the name of the table.
        owner: of the schema.
        limit: most rows.
        format: of the answer.
    """

    id: str
    database: DatabaseOrder
    schema: str
    table: str
    options: dict[str, Any]
    owner: SchemaOwner
    limit: int
    format: AnswerFormat


@dataclass(frozen=True, slots=True)
class TaskOrder:
    """An order as a task process gets it.

    Attributes:
        path: the file for the answer, which is there and empty.
        order: JSON of one of the orders.
    """

    path: Path
    order: str


@dataclass(frozen=True, slots=True)
class AnswerNote:
    """What a task process tells of an answer that it wrote.

    Attributes:
        rows: how many it has.
        truncated: there are more.
        milliseconds: from the question to the last row.
    """

    rows: int
    truncated: bool
    milliseconds: float


def encode_value(value: object) -> bytes:
    """Encode an order or a note."""
    return msgspec.json.encode(value, enc_hook=str)  # of paths


def decode_value(payload: bytes | str, kind: type[T]) -> T:
    """Decode what `encode_value` encoded."""
    return msgspec.json.decode(payload, type=kind, dec_hook=lambda kind, value: kind(value))
