"""Reading records: whatever the form, they come as they were, and a mistake is named."""

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.record_files import json_reader, record_block
from treadle.record_files.json_reader import read_json
from treadle.record_files.record_block import RecordBlock, RecordFileError, RecordSkipper
from treadle.record_files.record_check import RecordChecker, check_record

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
    chunks = RecordSkipper(skip).skip(read_json(stream))
    return [json.loads(raw) for chunk in chunks for raw in chunk.raws]


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
    (chunk,) = read_json(io.BytesIO((form % record).encode()))
    assert chunk.raws == [record.encode()]
    assert RecordChecker(("n",), None).check(chunk) == (1, None, None)


@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"[]", b" [ ] \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf[]"]
)
def test_nothing_is_no_records(content: bytes) -> None:
    assert read(content) == []


@pytest.mark.parametrize("content", [b'\xef\xbb\xbf{"a":1}\n', b'\xef\xbb\xbf[{"a":1}]'])
def test_a_byte_order_mark_is_not_part_of_a_record(content: bytes) -> None:
    assert read(content) == [{"a": 1}]


@given(RECORDS, st.integers(1, 50), st.sampled_from([None, 1, "\t"]))
def test_objects_that_follow_each_other_come_as_they_are(
    records: list[Any], step: int, indent: int | str | None
) -> None:
    records = [{"first": 1}, *records]
    text = "\n".join(json.dumps(record, indent=indent) for record in records)
    assert read(text.encode(), step) == records


def test_one_object_over_several_lines_is_a_record() -> None:
    assert read(b'{\n  "a": {\n "b": [1,\n2]}}\n') == [{"a": {"b": [1, 2]}}]


def test_places() -> None:
    (lines, last) = read_json(io.BytesIO(b'{"a":1}\n\n{"a":2}\n{"a":3}'))
    assert [lines.describe_place(index) for index in (0, 1)] == ["record 1", "record 2 (line 3)"]
    assert last.describe_place(0) == "record 3 (line 4)"
    (array,) = read_json(io.BytesIO(b'[{"a":1},{"a":2}]'))
    assert [array.describe_place(index) for index in (0, 1)] == ["record 1", "record 2"]


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
    monkeypatch.setattr(record_block, "RECORD_BYTES_MAX", 100)
    content = form % (b'{"a":"' + b"x" * 100 + b'"}')
    with pytest.raises(
        RecordFileError, match=r"Record 1 has 108 bytes of JSON, and a request holds 100"
    ):
        read(content)


def test_a_file_without_line_ends_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_block, "RECORD_BYTES_MAX", 1000)
    monkeypatch.setattr(json_reader, "RECORD_BYTES_MAX", 1000)
    monkeypatch.setattr(json_reader, "CHUNK_BYTES", 500)
    content = io.BytesIO(b"x" * 100_000)
    with pytest.raises(RecordFileError, match="Record 1 has 1,500 bytes"):
        list(read_json(content))
    assert content.tell() <= 2000


def piece(raw: bytes) -> RecordBlock:
    return RecordBlock([raw], 6, [7])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"id":null}', "Record 6 (line 7) has null in its key field 'id'."),
        (b'{"id": null }', "Record 6 (line 7) has null in its key field 'id'."),
        (b"{}", "Record 6 (line 7) has no key field 'id'."),
        (b"[1]", "Record 6 (line 7) is not a JSON object: "),
        (b"{id:1}", "Record 6 (line 7) is not a JSON object: "),
        (b'{"id":NaN}', "Record 6 (line 7) is not a JSON object: "),
        (b'{"id":1} {"id":2}', "Record 6 (line 7) is not a JSON object: "),
        (b'{"id":1},{"id":2}', "Record 6 (line 7) is not a JSON object: "),
    ],
)
def test_a_bad_record_is_named_with_its_place(raw: bytes, said: str) -> None:
    right, sequences, fault = RecordChecker(("id",), None).check(piece(raw))
    assert (right, sequences) == (0, None)
    assert str(fault).startswith(said)
    assert ".." not in str(fault)


def test_records_before_a_bad_one_are_right() -> None:
    chunk = RecordBlock([b'{"id":1,"n":5}', b'{"id":2,"n":6}', b'{"n":7}', b'{"id":3}'], 1)
    right, sequences, fault = RecordChecker(("id",), "n").check(chunk)
    assert (right, sequences) == (2, [5, 6])
    assert str(fault) == "Record 3 has no key field 'id'."


@pytest.mark.parametrize("name", ['"', "a\\b", "\n", "é", ""])
def test_keys_may_have_any_name(name: str) -> None:
    chunk = RecordBlock([json.dumps({name: 1, "n": 3}).encode()], 1)
    assert RecordChecker((name,), "n").check(chunk) == (1, [3], None)
    assert RecordChecker((name, "x"), None).check(chunk).right == 0


def test_unpaired_surrogates_are_left_to_the_server() -> None:
    raw = rb'{"id":"\ud800","n":5}'
    assert RecordChecker(("id",), "n").check(piece(raw)) == (1, [5], None)


@given(st.integers(-(2**70), 2**70))
def test_a_sequence_is_a_64_bit_integer(value: int) -> None:
    found = RecordChecker(("id",), "at").check(piece(b'{"id":1,"at":%d}' % value))
    if -(2**63) <= value < 2**63:
        assert found == (1, [value], None)
    else:
        assert "is to be a whole number below 2^63, and it is" in str(found.fault)


@pytest.mark.parametrize("found", [b'"5"', b"1.5", b"true", b"null", b"[1]"])
def test_a_sequence_of_another_type_is_named(found: bytes) -> None:
    with pytest.raises(RecordFileError, match="'at' is to be a whole number"):
        check_record(b'{"id":1,"at":%s}' % found, "record 7", ("id",), "at")


def test_a_missing_sequence_is_named() -> None:
    with pytest.raises(RecordFileError, match=r"Record 7: .* and it is missing"):
        check_record(b'{"id":1}', "record 7", ("id",), "at")
