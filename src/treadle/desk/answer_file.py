"""Writes an answer into a file as JSON or CSV, row by row, within bounds."""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import BinaryIO, Final

import msgspec

from treadle.destinations.asking import AnswerColumn, AnswerRow, AnswerRows, ValueForm
from treadle.questions.orders import ANSWER_BYTES_MAX, AnswerFormat
from treadle.spreadsheet import disarm_formula

_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_QUOTED: Final = re.compile(r'[",\r\n]')

encode_text: Final = msgspec.json.Encoder().encode


def write_json(
    file: BinaryIO,
    question_id: str,
    answer: AnswerRows,
    limit: int,
    measure: Callable[[], float],
    bytes_max: int = ANSWER_BYTES_MAX,
) -> tuple[int, bool]:
    """Write an answer as one JSON object; return how many rows it has, and whether there are more.

    Args:
        file: to write to.
        question_id: of the question.
        answer: columns and rows.
        limit: most rows.
        measure: returns the milliseconds since the question came.
        bytes_max: most bytes of all rows.
    """
    columns = [{"name": one.name, "type": one.type} for one in answer.columns]
    file.write(b'{"id":' + encode_text(question_id) + b',"columns":' + encode_text(columns))
    file.write(b',"rows":[')
    forms = [column.form for column in answer.columns]

    def encode(row: AnswerRow, first: bool) -> bytes:
        cells = b",".join(map(encode_cell, forms, row))
        return (b"[" if first else b",[") + cells + b"]"

    rows, truncated = _write_rows(file, answer.rows, limit, bytes_max, encode)
    told = {"row_count": rows, "truncated": truncated, "milliseconds": measure()}
    file.write(b"]," + encode_text(told)[1:])
    return rows, truncated


def write_csv(
    file: BinaryIO,
    answer: AnswerRows,
    limit: int,
    *,
    safe: bool,
    bytes_max: int = ANSWER_BYTES_MAX,
) -> tuple[int, bool]:
    """Write an answer as CSV (RFC 4180); return how many rows it has, and whether there are more.

    NULL is an empty field, an empty text is `""`.

    Args:
        file: to write to.
        answer: columns and rows.
        limit: most rows.
        safe: for a spreadsheet: a text that would be a formula there gets an apostrophe.
        bytes_max: most bytes of all rows.
    """
    names = [column.name for column in answer.columns]
    texts = [AnswerColumn(name, "", ValueForm.TEXT) for name in names]
    file.write(encode_line(texts, names, safe=safe))

    def encode(row: AnswerRow, first: bool) -> bytes:
        return encode_line(answer.columns, row, safe=safe)

    return _write_rows(file, answer.rows, limit, bytes_max, encode)


def write_answer(
    file: BinaryIO,
    question_id: str,
    format_: AnswerFormat,
    answer: AnswerRows,
    limit: int,
    measure: Callable[[], float],
    bytes_max: int = ANSWER_BYTES_MAX,
) -> tuple[int, bool]:
    """Write an answer in a format; arguments and result as of the functions for each."""
    if format_ is AnswerFormat.JSON:
        return write_json(file, question_id, answer, limit, measure, bytes_max)
    safe = format_ is AnswerFormat.CSV_SAFE
    return write_csv(file, answer, limit, safe=safe, bytes_max=bytes_max)


def _write_rows(
    file: BinaryIO,
    rows: Iterable[AnswerRow],
    limit: int,
    bytes_max: int,
    encode: Callable[[AnswerRow, bool], bytes],
) -> tuple[int, bool]:
    count, left = 0, bytes_max
    for row in islice(rows, limit + 1):
        if count == limit:
            return count, True
        encoded = encode(row, count == 0)
        if len(encoded) > left:
            return count, True
        left -= len(encoded)
        file.write(encoded)
        count += 1
    return count, False


def encode_cell(form: ValueForm, text: str | None) -> bytes:
    """Return a value as JSON. What is no number of JSON, such as NaN, is a text."""
    if text is None:
        return b"null"
    match form:
        case ValueForm.NUMBER:
            return text.encode() if _NUMBER.fullmatch(text) else encode_text(text)
        case ValueForm.BOOLEAN:
            return text.encode() if text in ("true", "false") else encode_text(text)
        case ValueForm.JSON:
            return _encode_document(text)
    return encode_text(text)


def _encode_document(text: str) -> bytes:
    """Return a JSON text as it is; one that a reader might not take as a text."""
    raw = text.encode()
    try:
        msgspec.json.decode(raw, type=msgspec.Raw)
    except msgspec.DecodeError:
        return encode_text(text)
    return raw


def encode_line(columns: Sequence[AnswerColumn], row: AnswerRow, *, safe: bool) -> bytes:
    """Return a line of CSV with its end."""
    cells = (
        _encode_field(text, column.form, safe=safe)
        for column, text in zip(columns, row, strict=True)
    )
    return (",".join(cells) + "\r\n").encode()


def _encode_field(text: str | None, form: ValueForm, *, safe: bool) -> str:
    if text is None:
        return ""
    if safe and not (form is ValueForm.NUMBER and _NUMBER.fullmatch(text)):
        text = disarm_formula(text)
    if not text or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text
