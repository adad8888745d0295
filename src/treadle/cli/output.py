"""Prints everything that a command says: text and tables for a person, JSON and CSV for a program.

Names, values and errors come from whoever pushes records. On a terminal they must command nothing
and hide nothing, so text goes out through `print_line` and `print_table`, with each unprintable
character as an escape (`treadle.text`). No other module of the commands writes to standard output
or standard error; a test looks.
"""

import base64
import csv
import io
import json
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from types import TracebackType
from typing import Any, TextIO
from uuid import UUID

import msgspec

from treadle.spreadsheet import disarm_formula
from treadle.text import escape_json, escape_lines, escape_unprintable
from treadle.timestamps import to_datetime

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def print_line(text: str = "", *, flush: bool = False) -> None:
    """Print one line for a person, whatever the values in it are.

    Args:
        text: a line break in it is shown as an escape.
        flush: show it now, since the next line may come much later.
    """
    print(escape_unprintable(text), flush=flush)


def print_text(text: str) -> None:
    """Print a text of several lines for a person."""
    print(escape_lines(text))


def clear_screen() -> None:
    """Empty the terminal, where there is one, so that the next text begins at its top."""
    if sys.stdout.isatty():
        print("\x1b[2J\x1b[H", end="")


def print_error(text: str) -> None:
    """Print a message on standard error, as one line that begins with the program's name."""
    print(f"treadle: {escape_unprintable(text)}", file=sys.stderr)


def print_traceback(
    kind: type[BaseException], error: BaseException, found: TracebackType | None
) -> None:
    """Print an error that nobody caught, as Python does."""
    lines = "".join(traceback.format_exception(kind, error, found))
    print(escape_lines(lines), file=sys.stderr, end="")


def ask_user(question: str) -> str:
    """Return what the user types behind a question."""
    return input(escape_unprintable(question))


def make_output_robust() -> None:
    """Show characters that the terminal's encoding lacks as escapes, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: object) -> None:
    """Print one JSON value on one line. It must be one that `to_json_value` returns."""
    print(encode_value(value))


def print_raw_json(text: bytes) -> None:
    """Print a JSON text on one line, and show it now: another program waits for it."""
    print(escape_json(text.decode("utf-8", "surrogateescape")), flush=True)


def encode_value(value: object) -> str:
    """Return a value as JSON on one line, exact, and with an escape for what cannot be seen."""
    try:
        text = _ENCODER.encode(value).decode()
    except UnicodeEncodeError:  # an unpaired surrogate, which msgspec does not write
        text = _encode_surrogates(value)
    return escape_json(text)


def _encode_surrogates(value: object) -> str:
    match value:
        case str():
            return json.dumps(value)
        case Mapping():
            pairs = (f"{json.dumps(key)}:{_encode_surrogates(of)}" for key, of in value.items())
            return "{" + ",".join(pairs) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_encode_surrogates, value)) + "]"
        case _:
            return _ENCODER.encode(value).decode()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table as wide as the terminal; in a pipe, as wide as its content."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kept = [[to_json_value(value) for value in row] for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        numbers = any(_is_number(row[index]) for row in kept)
        table.add_column(
            Text(escape_unprintable(column)),
            justify="right" if numbers else "left",
            overflow="fold",
        )
    for row in kept:
        table.add_row(*(Text(escape_unprintable(to_cell_text(value))) for value in row))
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=1_000_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    print(re.sub(" +$", "", captured.get(), flags=re.MULTILINE), end="")


def print_csv(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, safe: bool = False
) -> None:
    """Print CSV with a header line. NULL is an empty field.

    Texts are exact, with the control characters that they hold, except on a terminal.

    Args:
        columns: the header line.
        rows: of values.
        safe: for a spreadsheet: a text that would be a formula there gets an apostrophe before it.
            Numbers stay numbers.
    """
    shows = escape_unprintable if sys.stdout.isatty() else str
    # Before Python 3.13 the writer quotes a carriage return only where lines end with one.
    writer = csv.writer(_UnixLines(sys.stdout), lineterminator="\r\n")
    for row in chain([columns], rows):
        cells = [to_json_value(value) for value in row]
        texts = [_quote_formula(cell) if safe else to_cell_text(cell) for cell in cells]
        writer.writerow([shows(text) for text in texts])


class _UnixLines:
    """Writes rows that end with CR and LF with LF alone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> None:
        self._stream.write(row.removesuffix("\r\n") + "\n")


def _quote_formula(value: object) -> str:
    text = to_cell_text(value)
    return text if _is_number(value) else disarm_formula(text)


def print_objects(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a JSON array, one object a line. A repeated column name gets a number: a, a_2."""
    names = _number_duplicates(columns)
    before = "["
    for row in rows:
        value = dict(zip(names, map(to_json_value, row), strict=True))
        print(before, encode_value(value), sep="", end="")
        before = ",\n "
    print("]" if before != "[" else "[]")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[object]], *, as_json: bool) -> None:
    """Print a table, or a JSON array with one object a line."""
    (print_objects if as_json else print_table)(columns, rows)


def print_list(columns: Sequence[str], rows: Sequence[Sequence[object]], *, as_json: bool) -> None:
    """Print a table, or a JSON array on one line."""
    if as_json:
        print_json([dict(zip(columns, map(to_json_value, row), strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def to_json_value(value: object) -> Any:
    """Return a value of a database as a value of JSON.

    Times are ISO 8601 in UTC with a Z. A time without a zone is taken for UTC, as treadle loads it.
    Bytes are base64. Numbers that JSON does not have (NaN, infinities) are null.
    """
    match value:
        case datetime():
            in_utc = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return in_utc.isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case Decimal():
            return value if value.is_finite() else None
        case UUID():
            return str(value)
        case Mapping():
            return {str(key): to_json_value(inner) for key, inner in value.items()}
        case list() | tuple() | set():
            return [to_json_value(inner) for inner in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def to_cell_text(value: object) -> str:
    """Return a value of JSON as a cell: text as it is, null as nothing, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else encode_value(value)


def to_whole_second(microseconds: int | None) -> datetime | None:
    """Return a time of the store as a datetime, without parts of a second."""
    if microseconds is None:
        return None
    return to_datetime(microseconds // 1_000_000 * 1_000_000)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _number_duplicates(columns: Sequence[str]) -> list[str]:
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names or (number > 1 and name in columns):
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names
