"""Tables as lines, and rows in batches."""

import io
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO

import pytest

from treadle.cli import output
from treadle.cli.output import print_fitting_table, print_table
from treadle.cli.output_spool import PIECE_BYTES, OutputSpool
from treadle.cli.result_text import (
    fit_table,
    limit_batches,
    make_batches,
    measure_width,
    write_blocks,
    write_csv,
    write_objects,
    write_table,
)

ROWS = [(1, "Ann", None), (20, "Łódź 東京", datetime(2024, 1, 2, tzinfo=UTC))]
COLUMNS = ("id", "name", "at")


def test_numbers_stand_at_the_right_and_no_line_ends_with_blanks() -> None:
    assert write_table(COLUMNS, ROWS) == [
        "id  name       at",
        " 1  Ann",
        "20  Łódź 東京  2024-01-02T00:00:00Z",
    ]


def test_what_a_terminal_would_obey_is_an_escape() -> None:
    assert write_table(("a\x1b",), [("x\ny",)]) == ["a\\x1b", "x\\ny"]


def test_columns_that_do_not_fit_are_left_out_from_the_end() -> None:
    lines, fitting = fit_table(COLUMNS, ROWS, 20)
    assert fitting == 2
    assert lines == ["id  name", " 1  Ann", "20  Łódź 東京"]
    assert fit_table(COLUMNS, ROWS, 35)[1] == 3
    # One is always there, as it is.
    assert fit_table(("a", "b"), [("x" * 50, 1)], 20) == (["a", "x" * 50], 1)


def test_blocks_have_a_line_for_each_value() -> None:
    assert write_blocks(COLUMNS, ROWS) == [
        *("id    1", "name  Ann", "at", ""),
        *("id    20", "name  Łódź 東京", "at    2024-01-02T00:00:00Z"),
    ]


@pytest.mark.parametrize(("text", "width"), [("", 0), ("abc", 3), ("東京", 4), ("e\u0301", 1)])
def test_widths(text: str, width: int) -> None:
    assert measure_width(text) == width


def test_rows_come_in_batches_of_columns() -> None:
    rows = [(n, str(n)) for n in range(2_500)]
    batches = list(make_batches(iter(rows)))
    assert [len(batch[0]) for batch in batches] == [1_000, 1_000, 500]
    assert [row for batch in batches for row in zip(*batch, strict=True)] == rows
    limited = list(limit_batches(iter(batches), 1_001))
    assert [len(batch[0]) for batch in limited] == [1_000, 1]


def test_columns_of_several_types_are_written_as_single_values_are() -> None:
    rows: list[tuple[object, ...]] = [
        (1, "a", True, 0.5, datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (None, None, None, None, None),
        ("x", 2, 1.5, float("nan"), "0001-01-01 00:00:00+00 BC"),
    ]
    columns = ("a", "b", "c", "d", "e")
    text = "".join(write_csv(columns, make_batches(rows)))
    assert text == (
        "a,b,c,d,e\n1,a,true,0.5,2024-01-02T03:04:05.000006Z\n,,,,\n"
        "x,2,1.5,,0001-01-01 00:00:00+00 BC\n"
    )
    objects = json.loads("".join(write_objects(columns, make_batches(rows))))
    assert [tuple(each.values()) for each in objects] == [
        (1, "a", True, 0.5, "2024-01-02T03:04:05.000006Z"),
        (None, None, None, None, None),
        ("x", 2, 1.5, None, "0001-01-01 00:00:00+00 BC"),
    ]


def test_a_number_that_is_none_is_an_empty_field_in_each_column() -> None:
    nan, infinity = float("nan"), float("-inf")
    doubles: list[object] = [nan, 1.5, None, infinity]
    columns: list[list[object]] = [
        doubles,
        [Decimal("NaN"), Decimal("1.5"), None, 2.5],
        [nan, "x", "null", infinity],
    ]
    text = "".join(write_csv(("a", "b", "c"), [columns]))
    assert text == "a,b,c\n,,\n1.5,1.5,x\n,,null\n,2.5,\n"
    shown = "".join(write_csv(("a", "b", "c"), [columns], show=str))
    assert shown == "".join(write_csv(("a", "b", "c"), [columns], safe=True)) == text
    assert write_table(("a",), [(value,) for value in doubles])[1::2] == ["", ""]


def test_an_array_goes_on_over_batches() -> None:
    text = "".join(write_objects(("n",), make_batches((n,) for n in range(1_500))))
    assert json.loads(text) == [{"n": n} for n in range(1_500)]
    assert text.count("\n") == 1_500


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], str]:
    """What a terminal of 40 characters is sent."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(block: Callable[[], object]) -> str:
        terminal = _Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", terminal)
            block()
        return terminal.getvalue()

    return run


def test_a_wide_list_is_shown_in_blocks_on_a_terminal(
    shown: Callable[[Callable[[], object]], str],
) -> None:
    text = shown(lambda: print_table(("id", "what"), [(1, "w" * 60)]))
    assert text == f"id    1\nwhat  {'w' * 60}\n"
    assert "id" in shown(lambda: print_table(("id",), [(1,)]))


def test_names_of_columns_are_bold_unless_no_color_says_no(
    shown: Callable[[Callable[[], object]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def show() -> None:
        print_fitting_table(("id", "wide"), [(1, "w" * 60)])

    assert shown(show) == "\x1b[1mid\x1b[0m\n 1\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(show) == "id\n 1\n"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert shown(show) == "id\n 1\n"
    assert not output.uses_colors(io.StringIO())


@pytest.fixture
def kept(tmp_path: Path) -> IO[bytes]:
    return (tmp_path / "spool").open("w+b")


def test_a_reader_that_does_not_read_keeps_nobody_waiting(kept: IO[bytes]) -> None:
    reading, writing = os.pipe()
    text = os.urandom(100) * 10_000
    with kept, os.fdopen(reading, "rb", buffering=0) as reader:
        spool = OutputSpool(writing, kept)
        for start in range(0, len(text), 70_000):
            spool.write(text[start : start + 70_000])
        assert os.fstat(kept.fileno()).st_size > len(text) // 2
        found = bytearray()
        while len(found) < 500_000:
            found += reader.read(PIECE_BYTES)
            spool.write(b"")
        # What is read is made room for, in order.
        spool.write(b"end")
        child = os.fork()
        if not child:
            spool.send_rest()
            os._exit(0)
        os.close(writing)
        while part := reader.read(65536):
            found += part
        os.waitpid(child, 0)
    assert bytes(found) == text + b"end"


def test_a_reader_that_is_gone_ends_the_writing(kept: IO[bytes]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with kept, pytest.raises(BrokenPipeError):
        OutputSpool(writing, kept).write(b"x")
    os.close(writing)
