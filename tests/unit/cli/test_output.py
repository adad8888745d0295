"""Results as JSON, CSV and tables."""

import contextlib
import csv
import io
import json
import math
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.cli.output import (
    make_output_robust,
    print_csv,
    print_error,
    print_json,
    print_line,
    print_list,
    print_objects,
    print_rows,
    print_table,
    print_text,
    to_whole_second,
)
from treadle.cli.result_text import encode_value, to_cell_text, to_json_value
from treadle.spreadsheet import FORMULA_BEGINNINGS

EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2024, 1, 2, 3, 4, 5, 600_000), "2024-01-02T03:04:05.600000Z"),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02T03:04:05Z"),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=EAST), "2024-01-02T01:04:05Z"),
        (date(2024, 1, 2), "2024-01-02"),
        (time(3, 4, 5), "03:04:05"),
        (b"\x00\xff", "AP8="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), Decimal("1.10")),
        (Decimal("NaN"), None),
        ({1: [datetime(2024, 1, 2)]}, {"1": ["2024-01-02T00:00:00Z"]}),
        ((1, None, True), [1, None, True]),
        (timedelta(hours=1), "1:00:00"),
    ],
)
def test_plain_values(value: object, expected: object) -> None:
    assert to_json_value(value) == expected


def test_objects_are_a_json_array(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[tuple[object, ...]] = [(1, "a", Decimal("0.10")), (2, None, float("nan"))]
    print_objects(("id", "name", "n"), rows)
    out = capsys.readouterr().out
    assert '"n":0.10' in out
    assert json.loads(out) == [
        {"id": 1, "name": "a", "n": 0.1},
        {"id": 2, "name": None, "n": None},
    ]


def test_no_rows_are_an_empty_array(capsys: pytest.CaptureFixture[str]) -> None:
    print_objects(("id",), [])
    assert capsys.readouterr().out == "[]\n"


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b"]), min_size=1, max_size=8))
def test_no_column_is_lost_to_another_of_its_name(columns: list[str]) -> None:
    rows = [tuple(range(len(columns)))]
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: lines.extend(map(str, words)))
        print_objects(columns, rows)
    (found,) = json.loads("".join(lines))
    assert sorted(found.values()) == list(range(len(columns)))


def test_csv(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv(("id", "name"), [(1, 'a "b"\n,'), (None, [1, {"x": None}]), (True, 0.5)])
    assert capsys.readouterr().out == ('id,name\n1,"a ""b""\n,"\n,"[1,{""x"":null}]"\ntrue,0.5\n')


def rows() -> Iterator[tuple[object, ...]]:
    yield 1, "x" * 300, "[bold]not markup[/bold]"


def test_a_table_in_a_pipe_is_as_wide_as_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "long", "name"), rows())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "x" * 300 in lines[1]
    assert "[bold]not markup[/bold]" in lines[1]
    assert [line for line in lines if line.endswith(" ")] == []


def test_moments_are_seconds() -> None:
    assert to_whole_second(None) is None
    assert to_whole_second(1_500_000) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert to_cell_text(to_json_value(to_whole_second(1_500_000))) == "1970-01-01T00:00:01Z"


UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.text(st.characters() | st.sampled_from("\x1b\x9b\u202e\ud800\n\r"))
    | st.integers()
    | st.floats()
    | st.none()
    | st.booleans()
    | st.binary()
    | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=8,
)


def _find_unseen(shown: str) -> set[str]:
    return {one for one in shown if unicodedata.category(one) in UNSEEN and one != "\n"}


@given(st.lists(st.text(st.characters()), min_size=1, max_size=3), st.data())
def test_no_form_of_output_holds_a_control_character(
    columns: list[str], data: st.DataObject
) -> None:
    row = data.draw(st.tuples(*(VALUES for _ in columns)))
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        print_table(columns, [row])
        print_objects(columns, [row])
        print_rows(columns, [row], as_json=True)
        print_list(columns, [row], as_json=True)
        print_list(columns, [row], as_json=False)
        print_json(to_json_value(list(row)))
        print_line(str(row[0]))
        print_text(str(row[0]))
        print_error(str(row[0]))
    assert _find_unseen(out.getvalue()) == set()


@given(VALUES)
def test_json_is_exact(value: object) -> None:
    shown = encode_value(to_json_value(value))
    assert _find_unseen(shown) == set()
    plain = to_json_value(value)
    assert json.loads(shown) == json.loads(json.dumps(_without_decimals(plain)))


def _without_decimals(value: Any) -> Any:
    """What Python's own JSON can write of a value, which msgspec writes as well."""
    if isinstance(value, Decimal):
        return json.loads(encode_value(value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_decimals(inner) for key, inner in value.items()}
    return [_without_decimals(inner) for inner in value] if isinstance(value, list) else value


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1), st.booleans())
def test_csv_comes_back_as_it_was(cells: list[str], safe: bool) -> None:
    out = io.StringIO(newline="")
    with contextlib.redirect_stdout(out):
        print_csv(["x"] * len(cells), [cells], safe=safe)
    [_, row] = csv.reader(io.StringIO(out.getvalue(), newline=""))
    for sent, found in zip(cells, row, strict=True):
        assert found in ((sent, f"'{sent}") if safe else (sent,))
        if safe:
            assert not found.startswith(FORMULA_BEGINNINGS)


def test_numbers_stay_numbers_in_safe_csv(capsys: pytest.CaptureFixture[str]) -> None:
    print_csv(("a", "b", "c", "d"), [(-1, -1.5, Decimal("-2.50"), "-3")], safe=True)
    assert capsys.readouterr().out == "a,b,c,d\n-1,-1.5,-2.50,'-3\n"


def test_a_terminal_of_another_encoding_gets_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    make_output_robust()
    print_line("Łódź")
    sys.stdout.flush()
    assert raw.getvalue() == b"\\u0141\\xf3d\\u017a\n"
