"""Reads the requests about rows and statements."""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from treadle.control.lookups import ID_MAX, parse_id
from treadle.errors import RequestRefusedError
from treadle.questions import refusals
from treadle.questions.orders import ANSWER_BYTES_MAX, AnswerFormat

STATEMENT_LIMIT_MAX: Final = 100_000
"""Most rows of the answer to a statement."""

ROWS_LIMIT_MAX: Final = 1000
"""Most rows that are shown of a table."""

_KEYS: Final = frozenset({"sql", "limit", "id", "destination_id", "format"})
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class StatementRequest:
    """The request to run a statement.

    Attributes:
        sql: one statement.
        limit: most rows.
        id: of the question; None to have one made.
        destination_id: to run it in; None for the default one of the account.
        format: of the answer; None for what the header Accept says.
        bytes_max: most bytes of its rows; no request names it, a page does.
    """

    sql: str = field(repr=False)
    limit: int = 1000
    id: str | None = None
    destination_id: int | None = None
    format: AnswerFormat | None = None
    bytes_max: int = ANSWER_BYTES_MAX


def parse_statement(raw: bytes) -> StatementRequest:
    """Read the body of `POST /v1/query`.

    Raises:
        RequestRefusedError: 400, it is not as it must be.
    """
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise refusals.invalid_question("the body is not JSON") from error
    if not isinstance(found, dict):
        raise refusals.invalid_question('the body is a JSON object, such as {"sql": "SELECT 1"}')
    unknown = sorted(found.keys() - _KEYS)
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise refusals.invalid_question(f"{unknown[0][:100]} is no key; known are {known}")
    sql = found.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise refusals.invalid_question("sql is a text with one statement")
    return StatementRequest(
        sql,
        _read_number(found, "limit", 1000, STATEMENT_LIMIT_MAX),
        _read_question_id(found.get("id")),
        _read_destination_id(found.get("destination_id")),
        _read_format(found.get("format")),
    )


def _read_number(found: dict[str, Any], name: str, otherwise: int, most: int) -> int:
    value = found.get(name, otherwise)
    if type(value) is not int or not 1 <= value <= most:
        raise _not_a_number(name, most)
    return value


def _not_a_number(name: str, most: int) -> RequestRefusedError:
    return refusals.invalid_question(f"{name} is a number from 1 to {most}")


def _read_question_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise refusals.invalid_question("id is 1 to 64 letters, digits, - and _")
    return value


def _read_destination_id(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= ID_MAX:
        raise refusals.invalid_question("destination_id is the id of a destination")
    return value


def _read_format(value: object) -> AnswerFormat | None:
    if value is None:
        return None
    if value not in list(AnswerFormat):
        raise refusals.invalid_question("format is one of " + ", ".join(AnswerFormat))
    return AnswerFormat(str(value))


def parse_rows_limit(text: str | None, otherwise: int) -> int:
    """Return how many rows of a table are asked for.

    Raises:
        RequestRefusedError: 400, it is no number in the bounds.
    """
    if text is None:
        return otherwise
    number = parse_id(text)
    if number is None or number > ROWS_LIMIT_MAX:
        raise _not_a_number("limit", ROWS_LIMIT_MAX)
    return number


def choose_format(named: str | None, accept: str) -> AnswerFormat:
    """Return the format of an answer: the one that is named, or what the header Accept says.

    Raises:
        RequestRefusedError: 400, there is no format of that name.
    """
    return _read_format(named) or choose_by_accept(accept)


def choose_by_accept(accept: str) -> AnswerFormat:
    """Return CSV where the header Accept names it before JSON, and otherwise JSON."""
    for part in accept.lower().split(","):
        kind = part.partition(";")[0].strip()
        if kind == "text/csv":
            return AnswerFormat.CSV
        if kind in ("application/json", "application/*"):
            break
    return AnswerFormat.JSON


def mint_question_id(mint: Callable[[], uuid.UUID] = uuid.uuid4) -> str:
    """Return an id for a question that came without one."""
    return mint().hex
