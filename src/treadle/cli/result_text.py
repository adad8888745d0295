"""Rows as text, column by column: CSV, JSON and tables. Functions of values; `output` prints them.

Rows come in batches of columns. A column mostly has values of one type, so what is done to each is
decided once for the batch and not for each value: a million rows of ten columns take seconds.
"""

import base64
import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Final
from uuid import UUID

import msgspec

from treadle.spreadsheet import disarm_formula
from treadle.text import escape_json, escape_unprintable

Batch = Sequence[Sequence[object]]
"""Some rows, column by column: for each column its values, all of the same length."""

BATCH_ROWS: Final = 1_000

GAP: Final = "  "
"""Between two columns of a table."""

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

_AS_THEY_ARE: Final = frozenset({bool, int, float, str})
"""Types of values that are values of JSON."""

_NUMBERS: Final = frozenset({bool, int, float, Decimal})
"""Types of values whose JSON has no comma."""

_CELLS_AS_THEY_ARE: Final = frozenset({int, str})
"""Types of values of which a CSV cell is the text that Python gives."""


_QUOTED: Final = re.compile('[,"\r\n]')
"""Characters for which CSV puts a text in quotes."""


def make_batches(rows: Iterable[Sequence[object]]) -> Iterator[Batch]:
    """Return rows as batches of columns."""
    left = iter(rows)
    while batch := list(islice(left, BATCH_ROWS)):
        yield list(zip(*batch, strict=True))


def limit_batches(batches: Iterable[Batch], rows_max: int) -> Iterator[Batch]:
    """Give the first rows of batches."""
    left = rows_max
    for batch in batches:
        size = len(batch[0]) if batch else 0
        if size >= left:
            yield [column[:left] for column in batch]
            return
        left -= size
        yield batch


# Values ------------------------------------------------------------------------------------------


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


def to_json_value(value: object) -> Any:
    """Return a value of a database as a value of JSON.

    Times are ISO 8601 in UTC with a Z. A time without a zone is taken for UTC, as treadle loads it.
    Bytes are base64. Numbers that JSON does not have (NaN, infinities) are null.
    """
    match value:
        case datetime():
            return _format_instant(value)
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
    if value is None or isinstance(value, str):
        return value or ""
    text = encode_value(value)
    return "" if text == "null" else text  # NaN and infinities, which JSON has as null


def _format_instant(value: datetime) -> str:
    if value.tzinfo is not UTC:
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return value.isoformat()[: -len("+00:00")] + "Z"


def _to_json_column(values: Sequence[object]) -> Sequence[Any]:
    kinds = {*map(type, values)} - {type(None)}
    if kinds <= _AS_THEY_ARE:
        return values
    if kinds == {datetime}:
        # Columns of treadle's own hold few times, each many times over.
        texts: dict[object, str | None] = {None: None}
        for value in {*values}:
            if isinstance(value, datetime):
                texts[value] = _format_instant(value)
        return [texts[value] for value in values]
    if kinds == {Decimal}:
        return [
            value if not isinstance(value, Decimal) or value.is_finite() else None
            for value in values
        ]
    return [to_json_value(value) for value in values]


def _to_cells(values: Sequence[object], show: Callable[[str], str] | None) -> Sequence[object]:
    kinds = {*map(type, values)} - {type(None)}
    if show is None and kinds <= _CELLS_AS_THEY_ARE:
        return values
    if kinds <= _NUMBERS:
        plain = _to_json_column(values)
        # As one array: to encode each by itself takes three times as long.
        texts = _ENCODER.encode(plain)[1:-1].decode().split(",")
        # NaN and infinities are null, too, and so is no text of a number.
        return ["" if text == "null" else text for text in texts]
    shown = map(to_cell_text, _to_json_column(values))
    return list(shown if show is None else map(show, shown))


def _quote_formulas(values: Sequence[object]) -> list[object]:
    plain = _to_json_column(values)
    return [value if is_number(value) else disarm_formula(to_cell_text(value)) for value in plain]


def is_number(value: object) -> bool:
    """Return whether a value of JSON is a number."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


# Forms -------------------------------------------------------------------------------------------


def write_csv(
    columns: Sequence[str],
    batches: Iterable[Batch],
    *,
    safe: bool = False,
    show: Callable[[str], str] | None = None,
) -> Iterator[str]:
    """Give CSV piece by piece: a header line, and a line for each row. NULL is an empty field.

    Args:
        columns: the header line.
        batches: the rows.
        safe: for a spreadsheet: a text that would be a formula there gets an apostrophe before it.
            Numbers stay numbers.
        show: changes each text, for eyes; None for exact ones.
    """
    lines = _Lines()
    # Before Python 3.13 the writer quotes a carriage return only where lines end with one.
    writer = csv.writer(lines, lineterminator="\r\n")
    names = [disarm_formula(name) for name in columns] if safe else columns
    writer.writerow(names if show is None else map(show, names))
    yield lines.take()
    for batch in batches:
        shown = map(_quote_formulas, batch) if safe else batch
        cells = [_to_cells(column, show) for column in shown]
        if len(cells) > 1 and not any(map(_needs_quotes, cells)):
            # The writer looks at every character; most rows need no quotes.
            texts = (_to_texts(column) for column in cells)
            yield "\n".join(map(",".join, zip(*texts, strict=True))) + "\n"
            continue
        writer.writerows(zip(*cells, strict=True))
        yield lines.take()


def _to_texts(cells: Sequence[object]) -> list[str]:
    return ["" if cell is None else str(cell) for cell in cells]


def _needs_quotes(cells: Sequence[object]) -> bool:
    return _QUOTED.search("\t".join(cell for cell in cells if isinstance(cell, str))) is not None


class _Lines:
    """Gathers lines that end with CR and LF, and gives them with LF alone."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.write = self._lines.append

    def take(self) -> str:
        text = "".join([line[:-2] + "\n" for line in self._lines])
        self._lines.clear()
        return text


def write_objects(columns: Sequence[str], batches: Iterable[Batch]) -> Iterator[str]:
    """Give a JSON array piece by piece, one object a line.

    A repeated column name gets a number: a, a_2.
    """
    names = _number_duplicates(columns)
    before = "["
    for batch in batches:
        rows = zip(*map(_to_json_column, batch), strict=True)
        objects = [dict(zip(names, row, strict=True)) for row in rows]
        if objects:
            yield before + ",\n ".join(_encode_objects(objects))
            before = ",\n "
    yield "[]\n" if before == "[" else "]\n"


def _encode_objects(objects: Sequence[Mapping[str, object]]) -> list[str]:
    try:
        lines = _ENCODER.encode_lines(objects).decode().split("\n")[:-1]
    except UnicodeEncodeError:
        return [encode_value(each) for each in objects]
    return [escape_json(line) for line in lines]


def write_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    bold: Callable[[str], str] = str,
) -> list[str]:
    """Return a table as lines, each as wide as its content; no value is folded.

    Args:
        columns: the names.
        rows: the values.
        bold: marks the names of the columns.
    """
    return _join_cells(_lay_out(columns, rows), bold)


def fit_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    width: int,
    *,
    bold: Callable[[str], str] = str,
) -> tuple[list[str], int]:
    """Return a table as lines of a width at most, and how many columns it has.

    The columns at the end are left out that do not fit; the first one is always there.

    Args:
        columns: the names.
        rows: the values.
        width: of the lines, in characters of a terminal.
        bold: marks the names of the columns.
    """
    laid_out = _lay_out(columns, rows)
    taken = fitting = 0
    for column in laid_out:
        taken += measure_width(column[0]) + (len(GAP) if fitting else 0)
        if fitting and taken > width:
            break
        fitting += 1
    return _join_cells(laid_out[:fitting], bold), fitting


def write_blocks(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return rows as blocks of lines, a line for each value, for rows that are too long."""
    names = [escape_unprintable(column) for column in columns]
    widest = max(map(measure_width, names), default=0)
    lines: list[str] = []
    for row in rows:
        if lines:
            lines.append("")
        for name, value in zip(names, row, strict=True):
            shown = escape_unprintable(to_cell_text(to_json_value(value)))
            lines.append((_pad(name, widest) + GAP + shown).rstrip(" "))
    return lines


def _lay_out(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[list[str]]:
    """Return the cells of each column, the name first, all of the same width."""
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    laid_out = []
    for name, column in zip(columns, values, strict=True):
        plain = _to_json_column(column)
        cells = [escape_unprintable(name)]
        cells += [escape_unprintable(to_cell_text(value)) for value in plain]
        widest = max(map(measure_width, cells))
        to_right = any(map(is_number, plain))
        laid_out.append([_pad(cell, widest, to_right=to_right) for cell in cells])
    return laid_out


def _join_cells(laid_out: Sequence[Sequence[str]], bold: Callable[[str], str]) -> list[str]:
    lines = [GAP.join(cells).rstrip(" ") for cells in zip(*laid_out, strict=True)]
    return [bold(lines[0]), *lines[1:]] if lines else []


def measure_width(text: str) -> int:
    """Return how many columns of a terminal a text takes; it has no characters without a width."""
    if text.isascii():
        return len(text)
    return sum(_measure_character(character) for character in text)


def _measure_character(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _pad(text: str, width: int, *, to_right: bool = False) -> str:
    blanks = " " * (width - measure_width(text))
    return blanks + text if to_right else text + blanks


def _number_duplicates(columns: Sequence[str]) -> list[str]:
    names: list[str] = []
    for column in columns:
        name, number = column, 1
        while name in names or (number > 1 and name in columns):
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names
