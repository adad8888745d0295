"""Prints everything that a command says: text and tables for a person, JSON and CSV for a program.

Names, values and errors come from whoever pushes records. On a terminal they must command nothing
and hide nothing, so text goes out through `print_line` and `print_table`, with each unprintable
character as an escape (`treadle.text`). No other module of the commands writes to standard output
or standard error; a test looks.
"""

import io
import os
import shutil
import sys
import traceback
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import TextIO

from treadle.cli.result_text import (
    Batch,
    encode_value,
    fit_table,
    make_batches,
    measure_width,
    to_json_value,
    write_blocks,
    write_csv,
    write_objects,
    write_table,
)
from treadle.text import escape_json, escape_lines, escape_unprintable
from treadle.timestamps import to_datetime


class TextColor(Enum):
    """Colours of text, as a terminal is told of them."""

    BOLD = "1"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"


def print_line(text: str = "", *, flush: bool = False) -> None:
    """Print one line for a person, whatever the values in it are.

    Args:
        text: a line break in it is shown as an escape.
        flush: show it now, since the next line may come much later.
    """
    print(escape_unprintable(text), flush=flush)


def print_labelled(label: str, color: TextColor, text: str) -> None:
    """Print a line at once that begins with a label in a colour, where there are colours."""
    print(color_text(escape_unprintable(label), color) + escape_unprintable(text), flush=True)


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


def print_pending() -> None:
    """Write what was printed and is not written yet."""
    print(end="", flush=True)


def end_output() -> None:
    """Write what is not written yet. Give up what cannot be: Python would fail at its own end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table with a line for each row, as wide as its content.

    On a terminal that is less wide each value has a line of its own instead: no value is folded.
    """
    kept = list(rows)
    lines = write_table(columns, kept, bold=_make_bold)
    if sys.stdout.isatty() and not kept:
        lines.append("none")
    if sys.stdout.isatty() and max(map(measure_width, lines[1:]), default=0) > find_width():
        lines = write_blocks(columns, kept)
    print("\n".join(lines))


def print_fitting_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """Print a table; on a terminal without the columns at the end that do not fit.

    Returns:
        How many columns were printed.
    """
    if sys.stdout.isatty():
        lines, fitting = fit_table(columns, rows, find_width(), bold=_make_bold)
    else:
        lines, fitting = write_table(columns, rows), len(columns)
    print("\n".join(lines))
    return fitting


def find_width() -> int:
    """Return how wide the terminal is, in characters."""
    return shutil.get_terminal_size().columns


def uses_colors(stream: TextIO) -> bool:
    """Return whether colours and bold letters are written: on a terminal, without `NO_COLOR`."""
    return (
        stream.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "dumb") != "dumb"
    )


def color_text(text: str, color: TextColor) -> str:
    """Return a text for standard output in a colour, where it shows colours."""
    return f"\x1b[{color.value}m{text}\x1b[0m" if uses_colors(sys.stdout) else text


def _make_bold(text: str) -> str:
    return color_text(text, TextColor.BOLD)


def print_csv(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, safe: bool = False
) -> None:
    """Print rows as CSV; see `print_csv_batches`."""
    print_csv_batches(columns, make_batches(rows), safe=safe)


def print_csv_batches(
    columns: Sequence[str], batches: Iterable[Batch], *, safe: bool = False
) -> None:
    """Print CSV with a header line. NULL is an empty field.

    Texts are exact, with the control characters that they hold, except on a terminal.

    Args:
        columns: the header line.
        batches: the rows, printed as they come.
        safe: see `write_csv`.
    """
    show = escape_unprintable if sys.stdout.isatty() else None
    for piece in write_csv(columns, batches, safe=safe, show=show):
        print(piece, end="")


def print_objects(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a JSON array, one object a line. A repeated column name gets a number: a, a_2."""
    print_object_batches(columns, make_batches(rows))


def print_object_batches(columns: Sequence[str], batches: Iterable[Batch]) -> None:
    """Print a JSON array as its rows come; see `print_objects`."""
    for piece in write_objects(columns, batches):
        print(piece, end="")


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[object]], *, as_json: bool) -> None:
    """Print a table, or a JSON array with one object a line."""
    (print_objects if as_json else print_table)(columns, rows)


def print_list(columns: Sequence[str], rows: Sequence[Sequence[object]], *, as_json: bool) -> None:
    """Print a table, or a JSON array on one line."""
    if as_json:
        print_json([dict(zip(columns, map(to_json_value, row), strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def to_whole_second(microseconds: int | None) -> datetime | None:
    """Return a time of the store as a datetime, without parts of a second."""
    if microseconds is None:
        return None
    return to_datetime(microseconds // 1_000_000 * 1_000_000)
