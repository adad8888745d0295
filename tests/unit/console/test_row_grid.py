"""Rows as cells of a page."""

import json

from treadle.console.row_grid import CELL_CHARACTERS_MAX, COLUMNS_MAX, make_grid


def make_answer(columns: int, rows: list[list[object]]) -> bytes:
    found = {
        "id": "q",
        "columns": [{"name": f"c{number}", "type": "text"} for number in range(columns)],
        "rows": rows,
        "row_count": len(rows),
        "truncated": False,
        "milliseconds": 1.25,
    }
    return json.dumps(found).encode()


def test_values_are_as_exact_as_they_came() -> None:
    grid, took = make_grid(make_answer(4, [[10**30, None, "<b>\u202e", {"a": 1}]]))
    assert took == 1.25
    assert grid.rows == [[str(10**30), None, "<b>\\u202e", '{"a": 1}']]
    assert (grid.columns_left, grid.rows_left) == (0, 0)


def test_columns_are_in_the_order_of_people() -> None:
    found = {
        "columns": [{"name": name, "type": "text"} for name in ("_sdc_sequence", "b", "a", "id")],
        "rows": [[1, 2, 3, 4]],
        "truncated": False,
        "milliseconds": 1,
    }
    grid, _ = make_grid(json.dumps(found).encode(), {"id"})
    assert [column.name for column in grid.columns] == ["id", "b", "a", "_sdc_sequence"]
    assert grid.rows == [["4", "2", "3", "1"]]


def test_what_does_not_fit_is_counted() -> None:
    row: list[object] = ["x" * 1_000] * 60
    grid, _ = make_grid(make_answer(60, [row] * 50))
    assert len(grid.columns) == COLUMNS_MAX
    assert grid.columns_left == 20
    assert all(len(cell or "") <= CELL_CHARACTERS_MAX for cell in grid.rows[0])
    assert 0 < len(grid.rows) < 50
    assert len(grid.rows) + grid.rows_left == 50
