"""Results as JSON, CSV and tables."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.cli.output import (
    print_csv,
    print_objects,
    print_table,
    to_cell_text,
    to_json_value,
    to_whole_second,
)

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
