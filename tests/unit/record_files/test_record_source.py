"""Files are recognized by their first bytes, and decompressed whatever they are."""

import gzip
import io
import json
import math
import random
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from treadle.record_files.column_kinds import ColumnKind
from treadle.record_files.record_block import RecordFileError
from treadle.record_files.record_source import FileFormat, ReadOptions, parse_types, read_records

RECORDS = [{"id": number, "name": f"Ann {number}"} for number in range(2_000)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
CSV = "id,name\n" + "".join(f"{one['id']},{one['name']}\n" for one in RECORDS)


def make_parquet(**how: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(RECORDS), out, **how)
    return out.getvalue()


def compress_zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


def keep(content: bytes) -> bytes:
    return content


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": keep,
    "gzip": gzip.compress,
    "zstd": compress_zstd,
    "gzip of zstd": lambda content: gzip.compress(compress_zstd(content)),
    "gzip of gzip": lambda content: gzip.compress(gzip.compress(content)),
    "two gzip members": lambda content: (
        gzip.compress(content[:999]) + gzip.compress(content[999:]) + b"\0" * 512
    ),
    "two zstd frames": lambda content: compress_zstd(content[:999]) + compress_zstd(content[999:]),
}
FORMS = {
    "lines": LINES,
    "array": json.dumps(RECORDS, indent=1).encode(),
    "csv": CSV.encode(),
    "parquet": make_parquet(row_group_size=300),
}


class Pipe(io.RawIOBase):
    """A stream that cannot go back, and gives as much as it likes."""

    def __init__(self, content: bytes, step: int = 1_000) -> None:
        self._content = io.BytesIO(content)
        self._step = step

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(self._step, size) if size >= 0 else self._step)


def read(content: bytes, name: str = "", options: ReadOptions | None = None) -> list[Any]:
    stream: Any = Pipe(content)
    found = read_records(stream, name, options)
    return [json.loads(raw) for chunk in found for raw in chunk.raws]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_every_form_is_recognized(form: str, compression: str, tmp_path: Path) -> None:
    content = COMPRESSIONS[compression](FORMS[form])
    assert read(content) == RECORDS
    file = tmp_path / "file"
    file.write_bytes(content)
    with file.open("rb", buffering=0) as stream:
        chunks = list(read_records(stream, str(file)))
    assert [json.loads(raw) for chunk in chunks for raw in chunk.raws] == RECORDS
    assert chunks[0].first == 1
    if form != "parquet":
        assert chunks[-1].read == len(content)


@pytest.mark.parametrize("compression", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["lines", "array", "csv"])
def test_a_file_is_read_as_its_records_are_taken(form: str, compression: str) -> None:
    noise = [random.Random(number).randbytes(40).hex() for number in range(500)]
    records = [{"id": number, "noise": noise[number % 500]} for number in range(60_000)]
    content = {
        "lines": lambda: "\n".join(map(json.dumps, records)),
        "array": lambda: json.dumps(records),
        "csv": lambda: "id,noise\n" + "".join(f"{n['id']},{n['noise']}\n" for n in records),
    }[form]().encode()
    stream: Any = Pipe(COMPRESSIONS[compression](content), 65_536)
    found = read_records(stream)
    first = next(found)
    assert 0 < first.read < 0.6 * len(content)
    assert len(first.raws) < len(records) / 2
    assert len(first.raws) + sum(len(block.raws) for block in found) == len(records)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_is_cut_or_damaged_is_said(compression: str) -> None:
    content = COMPRESSIONS[compression](LINES)
    with pytest.raises(RecordFileError, match=f"The {compression} data ends in the middle"):
        read(content[:-20])
    damaged = content[:200] + bytes(byte ^ 0xFF for byte in content[200:260]) + content[260:]
    with pytest.raises(RecordFileError, match=f"The {compression} data is damaged"):
        list(read_records(io.BytesIO(damaged), "a.ndjson"))


def test_a_wrong_checksum_is_damage() -> None:
    content = bytearray(gzip.compress(LINES))
    content[-6] ^= 0xFF
    with pytest.raises(RecordFileError, match="The gzip data is damaged"):
        read(bytes(content))
    assert zlib.crc32(LINES) != 0


def test_too_many_layers_are_refused() -> None:
    content = LINES
    for _ in range(4):
        content = gzip.compress(content)
    with pytest.raises(RecordFileError, match="compressed more than 4 times"):
        read(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "The file is a ZIP archive or an Excel file; expected JSON, CSV or"),
        (b"BZh91AY", "The file is bzip2; .* decompress it: bzcat FILE"),
        (b"\xfd7zXZ\0\0", "The file is xz;"),
        (b"Obj\x01....", "The file is Avro; .* convert it to Parquet or JSON"),
        (b"hello\nworld\n", "begins with 'hello', which is not JSON, CSV or Parquet"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(content: bytes, said: str) -> None:
    with pytest.raises(RecordFileError, match=said):
        read(content)


def test_a_name_or_the_user_decides_where_the_bytes_do_not() -> None:
    assert read(b"id\n1\n", "a.csv") == [{"id": 1}]
    assert read(b"id\n1\n", "a.CSV.gz") == [{"id": 1}]
    assert read(b"id\n1\n", "", ReadOptions(format=FileFormat.CSV)) == [{"id": 1}]
    assert read(b"[a],b\n1,2\n", "a.csv") == [{"[a]": 1, "b": 2}]
    assert read(b"  \n", "") == read(b"") == []


def test_the_types_of_parquet_are_kept() -> None:
    noon = datetime(2026, 1, 1, 12, 0, 0, 5, UTC)
    table = pa.table(
        {
            "i": pa.array([2**63 - 1, None]),
            "big": pa.array([2**64 - 1, 0], pa.uint64()),
            "f": pa.array([0.1, None]),
            "flag": pa.array([True, None]),
            "text": pa.array(["é", "1"]).dictionary_encode(),
            "price": pa.array([Decimal("12345678901234567.10"), None], pa.decimal128(30, 2)),
            "at": pa.array([noon, None], pa.timestamp("us", tz="Europe/Berlin")),
            "local": pa.array([noon.replace(tzinfo=None), None], pa.timestamp("ms")),
            "day": pa.array([date(2026, 2, 3), None]),
            "raw": pa.array([b"\0\1", None]),
            "lines": pa.array([[{"p": Decimal("1.50"), "at": noon}], []]),
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        }
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    (chunk,) = read_records(io.BytesIO(out.getvalue()))
    assert json.loads(chunk.raws[0]) == {
        "i": 2**63 - 1,
        "big": 2**64 - 1,
        "f": 0.1,
        "flag": True,
        "text": "é",
        "price": "12345678901234567.10",
        "at": "2026-01-01T12:00:00.000005Z",
        "local": "2026-01-01T12:00:00.000Z",
        "day": "2026-02-03",
        "raw": "AAE=",
        "lines": [{"p": "1.50", "at": "2026-01-01T12:00:00.000005Z"}],
        "map": {"a": 1},
    }
    assert json.loads(chunk.raws[1]) == {"big": 0, "text": "1", "lines": []}
    assert chunk.schema is not None
    kinds = json.loads(chunk.schema)["properties"]
    decimal = {"type": ["null", "string"], "format": "singer.decimal"}
    timestamp = {"type": ["null", "string"], "format": "date-time"}
    assert (kinds["price"], kinds["at"], kinds["local"]) == (decimal, timestamp, timestamp)
    assert kinds["lines"]["items"]["properties"] == {"p": decimal, "at": timestamp}


def test_a_time_beyond_the_year_9999_has_its_form() -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"at": pa.array([253402300800000], pa.timestamp("ms"))}), out)
    assert read(out.getvalue()) == [{"at": "10000-01-01T00:00:00.000Z"}]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[math.inf, 1.0], None], pa.list_(pa.float64())),
        ([[1.0, math.nan]], pa.list_(pa.float64(), 2)),
        (
            [{"a": [{"b": math.nan}]}, None],
            pa.struct([("a", pa.list_(pa.struct([("b", pa.float32())])))]),
        ),
        ([[("k", math.nan)], None], pa.map_(pa.string(), pa.float64())),
    ],
)
def test_numbers_that_json_lacks_are_said_also_where_they_are_nested(
    values: list[Any], kind: pa.DataType
) -> None:
    for rows, count in ((values, 1), ([None], 0)):
        out = io.BytesIO()
        pq.write_table(pa.table({"f": pa.array(rows, kind)}), out)
        told: list[str] = []
        list(read_records(io.BytesIO(out.getvalue()), options=ReadOptions(warn=told.append)))
        assert len(told) == count


def test_numbers_that_json_lacks_are_said_once() -> None:
    out = io.BytesIO()
    pq.write_table(pa.table({"f": [1.0, float("nan")] * 6_000, "n": [1] * 12_000}), out)
    told: list[str] = []
    found = list(read_records(io.BytesIO(out.getvalue()), options=ReadOptions(warn=told.append)))
    assert sum(len(chunk.raws) for chunk in found) == 12_000
    assert json.loads(found[0].raws[1]) == {"f": None, "n": 1}
    (only,) = told
    assert only.startswith("Values of f that are no number (NaN, infinity) are sent as null")


def test_a_parquet_file_that_is_cut_is_said() -> None:
    with pytest.raises(RecordFileError, match=r"The Parquet file cannot be read: .*\."):
        read(make_parquet()[:-10])


def test_types_are_parsed() -> None:
    assert parse_types([]) == (True, {})
    assert parse_types(["text,a=integer", "b=c=decimal"]) == (
        False,
        {"a": ColumnKind.INTEGER, "b=c": ColumnKind.DECIMAL},
    )
    for wrong in ("", "a", "a=int"):
        with pytest.raises(ValueError, match=r"^a?$|int"):
            parse_types([wrong])
