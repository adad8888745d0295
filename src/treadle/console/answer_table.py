"""Answers to statements as tables of texts: exact, bounded, and of whatever anybody stored.

Pure: the bytes of an answer in JSON -> a value for a page.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from treadle.errors import RequestRefusedError

CELLS_MAX: Final = 25_000
"""Most cells that a page shows: 1,000 rows of 25 columns, fewer rows of more."""

CELL_CHARACTERS_MAX: Final = 300
"""Most characters of a cell on a page."""

LINE_CHARACTERS_MAX: Final = 120
"""Most characters of the line of a statement that is quoted with an error."""

CellKind = Literal["text", "number", "null"]


@dataclass(frozen=True, slots=True)
class AnswerCell:
    """A value of an answer.

    Attributes:
        text: as exact as in the database, and cut where it is long.
        kind: of the value; NULL has the text "NULL".
    """

    text: str
    kind: CellKind


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """An answer as a page shows it.

    Attributes:
        columns: name and type of each.
        rows: those that are shown, no more than CELLS_MAX cells.
        row_count: rows of the answer.
        truncated: the statement has more rows than the answer.
        milliseconds: that it took.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[AnswerCell, ...], ...]
    row_count: int
    truncated: bool
    milliseconds: float


@dataclass(frozen=True, slots=True)
class StatementFault:
    """Why a statement has no answer.

    Attributes:
        message: a sentence, often the database's.
        line, column: where the statement is wrong, from 1; None where that is not known.
        quoted: the line of the statement.
    """

    message: str
    line: int | None = None
    column: int | None = None
    quoted: str = ""


class _Column(msgspec.Struct):
    name: str
    type: str


class _Answer(msgspec.Struct):
    columns: list[_Column]
    rows: list[list[msgspec.Raw]]
    row_count: int
    truncated: bool
    milliseconds: float


_decode_answer = msgspec.json.Decoder(_Answer).decode


def read_answer(encoded: bytes) -> AnswerTable:
    """Return an answer in JSON as a table.

    Args:
        encoded: what the desk wrote.
    """
    found = _decode_answer(encoded)
    most = max(1, CELLS_MAX // max(1, len(found.columns)))
    return AnswerTable(
        columns=tuple((column.name, column.type) for column in found.columns),
        rows=tuple(tuple(map(read_cell, row)) for row in found.rows[:most]),
        row_count=found.row_count,
        truncated=found.truncated,
        milliseconds=found.milliseconds,
    )


def read_cell(raw: msgspec.Raw) -> AnswerCell:
    """Return a value of JSON as a cell; a number keeps all its digits."""
    encoded = bytes(raw)
    if encoded == b"null":
        return AnswerCell("NULL", "null")
    if encoded[:1] == b'"':
        return AnswerCell(_cut(msgspec.json.decode(encoded, type=str)), "text")
    is_number = encoded[:1].isdigit() or encoded[:1] == b"-"
    return AnswerCell(_cut(encoded.decode("utf-8", "replace")), "number" if is_number else "text")


def _cut(text: str) -> str:
    most = CELL_CHARACTERS_MAX
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def describe_fault(refused: RequestRefusedError, message: str, sql: str) -> StatementFault:
    """Return why a statement was refused, with the place where it is wrong.

    Args:
        refused: by the operation or the desk.
        message: its sentence.
        sql: the statement.
    """
    body: Any = refused.body
    data = body.get("data") if isinstance(body, dict) else None
    position = data.get("position") if isinstance(data, dict) else None
    if not isinstance(position, dict):
        return StatementFault(message)
    line, column = int(position["line"]), int(position["column"])
    lines = sql.split("\n")
    quoted = lines[line - 1] if 1 <= line <= len(lines) else ""
    first = max(0, column - 1 - LINE_CHARACTERS_MAX // 2)
    return StatementFault(message, line, column, quoted[first : first + LINE_CHARACTERS_MAX])
