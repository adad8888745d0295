"""Answers as tables: exact, bounded."""

import json

import msgspec

from treadle.console.answer_table import (
    CELL_CHARACTERS_MAX,
    CELLS_MAX,
    describe_fault,
    read_answer,
    read_cell,
)
from treadle.questions import refusals


def encode_answer(columns: int, rows: str, row_count: int, *, truncated: bool = False) -> bytes:
    names = [{"name": f"c{number}", "type": "bigint"} for number in range(columns)]
    told = {"row_count": row_count, "truncated": truncated, "milliseconds": 1.5}
    return (
        f'{{"id":"x","columns":{json.dumps(names)},"rows":{rows},'.encode()
        + json.dumps(told).encode()[1:]
    )


def test_a_number_keeps_its_digits_and_null_is_no_text() -> None:
    exact = "123456789012345678901234567890.10"
    rows = f'[[{exact},null,"null",true],[{{"a":[1.50]}},-1,"",0]]'
    found = read_answer(encode_answer(4, rows, 2))
    assert [(cell.text, cell.kind) for cell in found.rows[0]] == [
        (exact, "number"),
        ("NULL", "null"),
        ("null", "text"),
        ("true", "text"),
    ]
    assert [cell.text for cell in found.rows[1]] == ['{"a":[1.50]}', "-1", "", "0"]
    assert found.columns[0] == ("c0", "bigint")
    assert (found.row_count, found.truncated, found.milliseconds) == (2, False, 1.5)


def test_a_page_has_so_many_cells_and_short_ones() -> None:
    columns = CELLS_MAX // 10
    row = "[" + ",".join(["1"] * columns) + "]"
    found = read_answer(encode_answer(columns, "[" + ",".join([row] * 30) + "]", 30))
    assert (len(found.rows), found.row_count) == (10, 30)
    assert read_answer(encode_answer(0, "[]", 0)).rows == ()
    long = read_cell(msgspec.Raw(json.dumps("x" * 5_000).encode()))
    assert long.text == "x" * CELL_CHARACTERS_MAX + "... (5,000 characters)"


def test_a_fault_quotes_the_line_where_it_is() -> None:
    sql = "select 1,\n  nix\nfrom t"
    refused = refusals.statement_refused("column nix does not exist", sql, sql.index("nix"))
    found = describe_fault(refused, "column nix does not exist", sql)
    assert (found.line, found.column, found.quoted) == (2, 3, "  nix")
    assert describe_fault(refusals.statement_stopped(), "stopped", sql).line is None
    wide = "select " + "x" * 10_000
    refused = refusals.statement_refused("no", wide, 9_000)
    assert len(describe_fault(refused, "no", wide).quoted) <= 120
