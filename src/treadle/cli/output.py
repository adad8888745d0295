"""Prints results: as a table for a person, as JSON or CSV for a program."""

import base64
import csv
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from treadle.timestamps import to_datetime

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def print_json(value: object) -> None:
    """Print one JSON value on one line. It must be one that `to_json_value` returns."""
    print(_ENCODER.encode(value).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table as wide as the terminal; in a pipe, as wide as its content."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kept = [[to_json_value(value) for value in row] for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        numbers = any(_is_number(row[index]) for row in kept)
        table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold")
    for row in kept:
        table.add_row(*(Text(to_cell_text(value)) for value in row))
    if sys.stdout.isatty():
        Console(highlight=False).print(table)
        return
    console = Console(width=1_000_000, highlight=False)
    with console.capture() as captured:
        console.print(table)
    print(re.sub(" +$", "", captured.get(), flags=re.MULTILINE), end="")


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV with a header line. NULL is an empty field."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([to_cell_text(to_json_value(value)) for value in row] for row in rows)


def print_objects(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a JSON array, one object a line. A repeated column name gets a number: a, a_2."""
    names = _number_duplicates(columns)
    before = "["
    for row in rows:
        value = dict(zip(names, map(to_json_value, row), strict=True))
        print(before, _ENCODER.encode(value).decode(), sep="", end="")
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
    return value if isinstance(value, str) else _ENCODER.encode(value).decode()


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
