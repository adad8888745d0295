"""Answers as JSON and CSV: exact values, and bounds that are told."""

import csv
import io
import json
from collections.abc import Sequence
from decimal import Decimal

import pytest

from treadle.desk.answer_file import encode_cell, write_csv, write_json
from treadle.destinations.asking import AnswerColumn, AnswerRows, ValueForm

NUMBER, JSON, TEXT = ValueForm.NUMBER, ValueForm.JSON, ValueForm.TEXT


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (NUMBER, None, b"null"),
        (NUMBER, "9223372036854775807", b"9223372036854775807"),
        (NUMBER, "-170141183460469231731687303715884105728", None),
        (NUMBER, "1.10", b"1.10"),
        (NUMBER, "-0.000000000000000001", None),
        (NUMBER, "1e+20", b"1e+20"),
        (NUMBER, "NaN", b'"NaN"'),
        (NUMBER, "-Infinity", b'"-Infinity"'),
        (NUMBER, "007", b'"007"'),
        (ValueForm.BOOLEAN, "true", b"true"),
        (ValueForm.BOOLEAN, "t", b'"t"'),
        (JSON, '{"a": 1.10, "a": [null]}', b'{"a": 1.10, "a": [null]}'),
        (JSON, '"\\ud800"', b'"\\"\\\\ud800\\""'),
        (JSON, '{"a":', b'"{\\"a\\":"'),
        (JSON, "1] evil [", b'"1] evil ["'),
        (ValueForm.BLOB, "AP8=", b'"AP8="'),
        (ValueForm.INSTANT, "infinity", b'"infinity"'),
        (TEXT, "1", b'"1"'),
        (TEXT, "", b'""'),
        (TEXT, 'a"\n\u202e\0', '"a\\"\\n\u202e\\u0000"'.encode()),
    ],
)
def test_a_cell_of_json(form: ValueForm, text: str | None, expected: bytes | None) -> None:
    found = encode_cell(form, text)
    assert found == ((text or "").encode() if expected is None else expected)
    json.loads(found)


def answer(rows: Sequence[Sequence[str | None]]) -> AnswerRows:
    columns = (AnswerColumn("id", "bigint", NUMBER), AnswerColumn("a,b", "text", TEXT))
    return AnswerRows(columns, iter(rows))


def test_an_answer_in_json() -> None:
    file = io.BytesIO()
    rows: list[list[str | None]] = [["1", "x"], ["2", None]]
    assert write_json(file, "q1", answer(rows), 10, lambda: 1.5) == (2, False)
    assert json.loads(file.getvalue(), parse_float=Decimal) == {
        "id": "q1",
        "columns": [{"name": "id", "type": "bigint"}, {"name": "a,b", "type": "text"}],
        "rows": [[1, "x"], [2, None]],
        "row_count": 2,
        "truncated": False,
        "milliseconds": Decimal("1.5"),
    }


def test_an_answer_without_rows() -> None:
    file = io.BytesIO()
    assert write_json(file, "q1", answer([]), 10, lambda: 0.0) == (0, False)
    assert json.loads(file.getvalue())["rows"] == []
    file = io.BytesIO()
    assert write_csv(file, answer([]), 10, safe=False) == (0, False)
    assert file.getvalue() == b'id,"a,b"\r\n'


def test_rows_beyond_the_limit_are_left_out_and_told() -> None:
    rows = [[str(number), "x"] for number in range(5)]
    file = io.BytesIO()
    assert write_json(file, "q", answer(rows), 3, lambda: 0.0) == (3, True)
    assert len(json.loads(file.getvalue())["rows"]) == 3
    assert write_json(io.BytesIO(), "q", answer(rows), 5, lambda: 0.0) == (5, False)


def test_bytes_beyond_the_limit_are_left_out_and_told() -> None:
    rows = [["1", "x" * 50], ["2", "x" * 50], ["3", "x"]]
    file = io.BytesIO()
    assert write_json(file, "q", answer(rows), 10, lambda: 0.0, bytes_max=100) == (1, True)
    assert json.loads(file.getvalue())["truncated"] is True
    file = io.BytesIO()
    assert write_csv(file, answer(rows), 10, safe=False, bytes_max=100) == (1, True)


def test_an_answer_in_csv_tells_null_from_an_empty_text() -> None:
    file = io.BytesIO()
    rows: list[list[str | None]] = [["1", ""], ["2", None], ["3", 'a "b"\r\nc']]
    assert write_csv(file, answer(rows), 10, safe=False) == (3, False)
    assert file.getvalue() == b'id,"a,b"\r\n1,""\r\n2,\r\n3,"a ""b""\r\nc"\r\n'
    found = list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))
    assert found[1:] == [["1", ""], ["2", ""], ["3", 'a "b"\r\nc']]


def test_texts_of_formulas_are_disarmed_and_numbers_stay() -> None:
    file = io.BytesIO()
    write_csv(file, answer([["-1", "=1+1"], ["NaN", "@x"]]), 10, safe=True)
    assert file.getvalue().splitlines()[1:] == [b"-1,'=1+1", b"NaN,'@x"]
