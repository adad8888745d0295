"""CSV: every value arrives with the type of its column, and a mistake is named with its place."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.record_files.column_kinds import (
    ColumnKind,
    WrongValueError,
    convert_column,
    guess_kind,
    read_kind,
)
from treadle.record_files.csv_reader import CsvTypes, read_csv
from treadle.record_files.record_block import RecordBlock, RecordFileError

TEXT = CsvTypes(guess=False)


def read_chunks(content: bytes, types: CsvTypes | None = None, **how: Any) -> list[RecordBlock]:
    return list(read_csv(io.BytesIO(content), types or CsvTypes(), head=content[:4096], **how))


def read(content: bytes, types: CsvTypes | None = None, **how: Any) -> list[Any]:
    return [json.loads(raw) for chunk in read_chunks(content, types, **how) for raw in chunk.raws]


NAMES = st.lists(
    st.text(min_size=1).map(str.strip).filter(bool), min_size=2, max_size=4, unique=True
)
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(NAMES, st.data(), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
def test_texts_come_as_they_are_and_empty_ones_are_left_out(
    names: list[str], data: st.DataObject, delimiter: str, end: str
) -> None:
    names = [f"n{name}" for name in names if "\0" not in name and name.isprintable()]
    if len(names) < 2:
        return
    row = st.lists(CELL, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, max_size=5))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    found = read(out.getvalue().encode(), TEXT, delimiter=delimiter)
    assert found == [
        {name: value for name, value in zip(names, row, strict=True) if value} for row in rows
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "", "-20", "0"], ColumnKind.INTEGER),
        (["999999999999999999"], ColumnKind.INTEGER),
        (["9999999999999999999"], ColumnKind.DECIMAL),
        (["1", "1.5", "-0.25", "1e3", "2E-7"], ColumnKind.NUMBER),
        (["0.12345678901234567"], ColumnKind.DECIMAL),
        (["0.12345678901234567", "1e3"], ColumnKind.TEXT),
        (["007"], ColumnKind.TEXT),
        (["+1"], ColumnKind.TEXT),
        ([" 1"], ColumnKind.TEXT),
        (["1_000"], ColumnKind.TEXT),
        (["1,5"], ColumnKind.TEXT),
        (["1.", ".5"], ColumnKind.TEXT),
        (["\u0663"], ColumnKind.TEXT),
        (["1\n2"], ColumnKind.TEXT),
        (["NaN"], ColumnKind.TEXT),
        (["true", "FALSE", ""], ColumnKind.BOOLEAN),
        (["yes"], ColumnKind.TEXT),
        (["2026-01-31T12:00:00Z", "2026-01-31 12:00:00.5+02:00", ""], ColumnKind.TIMESTAMP),
        (["2026-01-31"], ColumnKind.TEXT),
        (["2026-13-31T12:00:00Z"], ColumnKind.TEXT),
        (["", ""], ColumnKind.TEXT),
        ([], ColumnKind.TEXT),
        (["A-2", "1"], ColumnKind.TEXT),
    ],
)
def test_a_type_is_guessed_only_where_every_value_has_its_form(
    values: list[str], kind: ColumnKind
) -> None:
    assert guess_kind(values) is kind


@pytest.mark.parametrize(
    ("kind", "value", "encoded"),
    [
        (ColumnKind.TEXT, "007", '"007"'),
        (ColumnKind.TEXT, "", "null"),
        (ColumnKind.INTEGER, "+007", "7"),
        (ColumnKind.INTEGER, "-0012345678901234567890", "-12345678901234567890"),
        (ColumnKind.INTEGER, "9" * 5000, "9" * 5000),
        (ColumnKind.INTEGER, "", "null"),
        (ColumnKind.NUMBER, "1.50", "1.5"),
        (ColumnKind.NUMBER, "3", "3.0"),
        (ColumnKind.NUMBER, "-.5", "-0.5"),
        (ColumnKind.NUMBER, "00.12345678901234567", "0.12345678901234567"),
        (ColumnKind.NUMBER, "1." + "0" * 20 + "E400", "1." + "0" * 20 + "e400"),
        (ColumnKind.NUMBER, "+1E999", "1e999"),
        (ColumnKind.NUMBER, "-1e999", "-1e999"),
        (ColumnKind.DECIMAL, "+1.10", '"1.10"'),
        (ColumnKind.BOOLEAN, "True", "true"),
        (ColumnKind.BOOLEAN, "FALSE", "false"),
        (ColumnKind.TIMESTAMP, "2026-01-31T12:00:00Z", '"2026-01-31T12:00:00Z"'),
        (ColumnKind.TIMESTAMP, "2026-01-31 12:00:00", '"2026-01-31T12:00:00Z"'),
        (ColumnKind.TIMESTAMP, "2026-01-31 12:00:00 Z", '"2026-01-31T12:00:00Z"'),
        (ColumnKind.TIMESTAMP, "2026-01-31 12:00:00.25+0230", '"2026-01-31T12:00:00.25+02:30"'),
        (ColumnKind.TIMESTAMP, "2026-01-31T12:00:00-05", '"2026-01-31T12:00:00-05:00"'),
        (ColumnKind.JSON, '{"a": [1.50]}', '{"a": [1.50]}'),
        (ColumnKind.JSON, '{"a":\r\n [1.50,\n"\\n"]}\n', '{"a":[1.50,"\\n"]}'),
    ],
)
def test_a_value_is_encoded_with_the_type_of_its_column(
    kind: ColumnKind, value: str, encoded: str
) -> None:
    assert msgspec.json.encode(convert_column(kind, [value])).decode() == f"[{encoded}]"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_doubles_stay_what_they_are(values: list[float]) -> None:
    found = msgspec.json.decode(
        msgspec.json.encode(convert_column(ColumnKind.NUMBER, [repr(one) for one in values]))
    )
    assert found == values


@pytest.mark.parametrize("kind", [kind for kind in ColumnKind if kind is not ColumnKind.TEXT])
@pytest.mark.parametrize("value", ["A-2", "1 2", "{", "1\n2"])
def test_a_value_that_does_not_fit_is_found(kind: ColumnKind, value: str) -> None:
    with pytest.raises(WrongValueError) as error:
        convert_column(kind, ["", "", value, ""])
    assert error.value.index == 2


def test_a_long_value_that_does_not_fit_is_found_at_once() -> None:
    assert guess_kind(["1" * 2_000_000 + "x"] * 3) is ColumnKind.TEXT


def test_columns_get_types_and_a_schema() -> None:
    content = b"id,zip,price,at,ok\r\n1,007,1.5,2026-01-01T00:00:00Z,true\r\n2,8,,,\r\n"
    (chunk,) = read_chunks(content)
    assert [json.loads(raw) for raw in chunk.raws] == [
        {"id": 1, "zip": "007", "price": 1.5, "at": "2026-01-01T00:00:00Z", "ok": True},
        {"id": 2, "zip": "8"},
    ]
    assert (chunk.first, chunk.lines) == (1, [2, 3])
    assert chunk.schema is not None
    assert json.loads(chunk.schema)["properties"] == {
        "id": {"type": ["null", "integer"]},
        "zip": {"type": ["null", "string"]},
        "price": {"type": ["null", "number"]},
        "at": {"type": ["null", "string"], "format": "date-time"},
        "ok": {"type": ["null", "boolean"]},
    }


def test_types_come_from_names_before_a_schema_before_a_guess() -> None:
    price = {"type": "number", "multipleOf": 0.01}
    types = CsvTypes(
        named={"id": ColumnKind.TEXT},
        schema={"properties": {"id": {"type": "integer"}, "price": price}},
    )
    (chunk,) = read_chunks(b"id;price;n\n1;2;3\n", types)
    assert json.loads(chunk.raws[0]) == {"id": "1", "price": 2.0, "n": 3}
    assert chunk.schema is not None
    assert json.loads(chunk.schema)["properties"]["price"] == price
    (chunk,) = read_chunks(b"a,b\n1,2\n", TEXT)
    assert (chunk.raws, chunk.schema) == ([b'{"a":"1","b":"2"}'], None)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "integer"}, ColumnKind.INTEGER),
        ({"type": ["null", "number"]}, ColumnKind.NUMBER),
        ({"type": ["integer", "number"]}, ColumnKind.NUMBER),
        ({"type": ["null", "string"], "format": "date-time"}, ColumnKind.TIMESTAMP),
        (
            {"anyOf": [{"type": "null"}, {"type": "string", "format": "date-time"}]},
            ColumnKind.TIMESTAMP,
        ),
        ({"type": "string", "format": "singer.decimal"}, ColumnKind.DECIMAL),
        ({"type": ["string", "integer"]}, ColumnKind.TEXT),
        ({"type": "boolean"}, ColumnKind.BOOLEAN),
        ({"type": "array"}, ColumnKind.JSON),
        ({}, ColumnKind.TEXT),
        (True, ColumnKind.TEXT),
    ],
)
def test_a_property_of_a_schema_says_the_type(schema: object, kind: ColumnKind) -> None:
    assert read_kind(schema) is kind


def rows(count: int) -> list[str]:
    return [f"{number},x" for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [*rows(10_001), "A-2,x"],
            "Record 10002 (line 10003): id is to be a whole number such as 42, and it is 'A-2'; ",
        ),
        (["1,x", "2"], "Record 2 has 1 values, and the header has 2 names; correct the file"),
        (["1,x", '2,"x" y'], "is no CSV, at line 3: ',' expected after '\"'; correct the file"),
        (["1,x", '2,"x'], "is no CSV, at line 3: unexpected end of data"),
        (["1,\xff"], "The file is not UTF-8 near line"),
    ],
)
def test_a_mistake_is_named_with_its_place(lines: Sequence[str], said: str) -> None:
    content = "\n".join(["id,name", *lines]).encode("latin-1")
    with pytest.raises(RecordFileError) as error:
        read(content)
    assert said in str(error.value)
    assert "correct the file" in str(error.value) or "convert it" in str(error.value)


def test_values_over_several_lines_and_blank_lines_are_counted() -> None:
    content = b'a,b\n1,"x\ny"\n2,z\n'
    (chunk,) = read_chunks(content)
    assert chunk.lines == [2, 4]
    assert read(b"a,b\n\n1,2\n\n") == [{"a": 1, "b": 2}]


def test_json_over_several_lines_stays_in_its_record() -> None:
    content = b'id,j\n1,"{""a"":\n1}"\n2,"[\n]"\n'
    types = CsvTypes(named={"j": ColumnKind.JSON})
    assert read(content, types) == [{"id": 1, "j": {"a": 1}}, {"id": 2, "j": []}]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", []),
        (b"a,b\n", []),
        (b"\xef\xbb\xbfa,b\n1,2\n", [{"a": 1, "b": 2}]),
        ("a\tb\r\nü\t2\r\n".encode("utf-16"), [{"a": "ü", "b": 2}]),
        (b'"a;x"|b\n1|2\n', [{"a;x": 1, "b": 2}]),
        (b'a,,"q""q"\n1,2,3\n', [{"a": 1, "column_2": 2, 'q"q': 3}]),
    ],
)
def test_headers(content: bytes, found: list[Any]) -> None:
    assert read(content) == found


def test_a_name_that_stands_twice_or_nowhere_is_refused() -> None:
    with pytest.raises(RecordFileError, match="The header names 'a' twice"):
        read(b"a,b,a\n1,2,3\n")
    with pytest.raises(RecordFileError, match="names the column 'c', and the header has a, b"):
        read(b"a,b\n1,2\n", CsvTypes(named={"c": ColumnKind.TEXT}))
