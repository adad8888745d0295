"""Reading records: whatever the form, they come as they were, and a mistake is named."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.cli import record_file
from treadle.cli.record_file import FileRecord, RecordFileError, check_record, read_records

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=12)


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe may."""

    def __init__(self, content: bytes, step: int) -> None:
        self._content = io.BytesIO(content)
        self._step = step

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(size, self._step) if size >= 0 else self._step)


@pytest.mark.parametrize("step", [1, 5, 1000])
def test_what_follows_an_array_is_found_wherever_a_read_ends(step: int) -> None:
    with pytest.raises(RecordFileError, match="Something follows the array, after record 1"):
        read(b'[{"a":1}]   x', step)


def read(content: bytes, step: int = 1 << 20, skip: int = 0) -> list[Any]:
    stream: Any = Trickle(content, step)
    return [json.loads(piece.raw) for piece in read_records(stream, skip)]


@given(RECORDS, st.integers(1, 50), st.booleans(), st.sampled_from(["\n", "\r\n", "\n \n"]))
def test_lines_come_as_they_are(records: list[Any], step: int, ascii_: bool, between: str) -> None:
    text = between.join(json.dumps(record, ensure_ascii=ascii_) for record in records)
    assert read(text.encode(errors="surrogatepass"), step) == records


@given(RECORDS, st.integers(1, 50), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_elements_of_an_array_come_as_they_are(
    records: list[Any], step: int, ascii_: bool, indent: int | str | None
) -> None:
    text = " \n" + json.dumps(records, ensure_ascii=ascii_, indent=indent) + "\n "
    assert read(text.encode(), step) == records


@given(RECORDS, st.integers(0, 15), st.booleans())
def test_records_that_were_pushed_before_are_left_out(
    records: list[Any], skip: int, array: bool
) -> None:
    lines = "\n".join(json.dumps(record) for record in records)
    text = json.dumps(records) if array else lines
    assert read(text.encode(), skip=skip) == records[skip:]


@pytest.mark.parametrize(
    "number", ["1e400", "0.10", "-0", "123456789012345678901234567890", "1" * 5000, "1.0E+2"]
)
@pytest.mark.parametrize("form", ["%s\n", "[%s]"])
def test_numbers_stay_as_they_are_written(number: str, form: str) -> None:
    record = f'{{"n":{number}}}'
    (piece,) = read_records(io.BytesIO((form % record).encode()))
    assert piece.raw == record.encode()
    assert check_record(piece, ("n",), None) is None


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"[]", b" [ ] \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf[]"]
)
def test_nothing_is_no_records(content: bytes) -> None:
    assert read(content) == []


@pytest.mark.parametrize("content", [b'\xef\xbb\xbf{"a":1}\n', b'\xef\xbb\xbf[{"a":1}]'])
def test_a_byte_order_mark_is_not_part_of_a_record(content: bytes) -> None:
    assert read(content) == [{"a": 1}]


def test_places_and_bytes_read() -> None:
    found = list(read_records(io.BytesIO(b'{"a":1}\n\n{"a":2}\n{"a":3}')))
    assert [piece.place for piece in found] == ["line 1", "line 3", "line 4"]
    assert [piece.read for piece in found] == [8, 17, 24]
    found = list(read_records(io.BytesIO(b'[{"a":1},{"a":2}]')))
    assert [piece.place for piece in found] == ["record 1", "record 2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"a":1} {"a":2}]', "A comma is missing or is too many in the array, after record 1."),
        (b'[{"a":1},]', "A comma is missing or is too many in the array, after record 1."),
        (b'[,{"a":1}]', "A comma is missing or is too many in the array, after record 0."),
        (b'[{"a":1}', "The array has no end, after record 1."),
        (b'[{"a":1},', "The array has no end, after record 1."),
        (b'[{"a":1}] {"a":2}', "Something follows the array, after record 1."),
        (b'[{"a":1},7]', "Record 2 is not a JSON object."),
        (b'[{"a":NaN}]', "Record 1 is not JSON: NaN is not JSON."),
        (b'[{"a":1},{"a"}]', "Record 2 is not JSON, or not within"),
        (b'[{"a":1},{"a":"x', "Record 2 is not JSON, or not within"),
        (b'[{"a":' + b"[" * 200_000, "Record 1 is nested too deeply."),
    ],
)
def test_a_broken_array_is_named_with_its_place(content: bytes, said: str) -> None:
    with pytest.raises(RecordFileError) as fault:
        read(content)
    assert str(fault.value).startswith(said)


@pytest.mark.parametrize("form", [b"%s", b"[%s]"])
def test_a_record_too_large_for_a_request_is_named(
    form: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_file, "RECORD_BYTES_MAX", 100)
    content = form % (b'{"a":"' + b"x" * 100 + b'"}')
    with pytest.raises(RecordFileError, match=r"(line|record) 1 has more than 100 bytes"):
        read(content)


def test_a_file_without_line_ends_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_file, "RECORD_BYTES_MAX", 1000)
    monkeypatch.setattr(record_file, "CHUNK_BYTES", 500)
    content = io.BytesIO(b"x" * 100_000)
    with pytest.raises(RecordFileError, match="line 1 has more than 1000 bytes"):
        list(read_records(content))
    assert content.tell() <= 2000


def piece(raw: bytes) -> FileRecord:
    return FileRecord(raw, "line", 7, 0)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"id":null}', "The key field 'id' is null in the record at line 7."),
        (b'{"id": null }', "The key field 'id' is null in the record at line 7."),
        (b"{}", "The key field 'id' is missing in the record at line 7."),
        (b"[1]", "The record at line 7 is not a JSON object: "),
        (b"{id:1}", "The record at line 7 is not a JSON object: "),
        (b'{"id":NaN}', "The record at line 7 is not a JSON object: "),
        (b'{"id":1} {"id":2}', "The record at line 7 is not a JSON object: "),
    ],
)
def test_a_bad_record_is_named_with_its_place(raw: bytes, said: str) -> None:
    with pytest.raises(RecordFileError) as fault:
        check_record(piece(raw), ("id",), None)
    assert str(fault.value).startswith(said)
    assert ".." not in str(fault.value)


def test_unpaired_surrogates_are_left_to_the_server() -> None:
    raw = rb'{"id":"\ud800","n":5}'
    assert check_record(piece(raw), ("id",), "n") == 5


@given(st.integers(-(2**70), 2**70))
def test_a_sequence_is_a_64_bit_integer(value: int) -> None:
    raw = b'{"id":1,"at":%d}' % value
    if -(2**63) <= value < 2**63:
        assert check_record(piece(raw), ("id",), "at") == value
    else:
        with pytest.raises(
            RecordFileError, match="is to be a whole number below 2\\^63, and it is"
        ):
            check_record(piece(raw), ("id",), "at")


@pytest.mark.parametrize("found", [b'"5"', b"1.5", b"true", b"null", b"[1]"])
def test_a_sequence_of_another_type_is_named(found: bytes) -> None:
    with pytest.raises(RecordFileError, match="'at' is to be a whole number"):
        check_record(piece(b'{"id":1,"at":%s}' % found), ("id",), "at")


def test_a_missing_sequence_is_named() -> None:
    with pytest.raises(RecordFileError, match="and it is missing in the record at line 7"):
        check_record(piece(b'{"id":1}'), ("id",), "at")
