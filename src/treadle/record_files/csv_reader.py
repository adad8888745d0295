"""Reads CSV: a header line with the names of the fields, and a record in each row.

An empty value is null. The delimiter is the one of comma, semicolon, tab and bar that the header
has most often. Types: see `column_kinds`.
"""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from treadle.client.request_batch import RECORD_BYTES_MAX, capitalize, describe_place
from treadle.record_files.column_kinds import (
    EXPECTED,
    ColumnKind,
    WrongValueError,
    convert_column,
    guess_kind,
    make_schema,
    read_kind,
)
from treadle.record_files.compression import ByteReader
from treadle.record_files.record_block import (
    RecordBlock,
    RecordFileError,
    check_sizes,
)
from treadle.record_files.row_encoder import RowEncoder

DELIMITERS: Final = (",", ";", "\t", "|")

SAMPLE_ROWS: Final = 10_000
"""The types of columns are guessed from so many rows at the beginning."""

_CHUNK_ROWS: Final = 500
"""Few enough that the garbage collector finds no reason to look at all of them."""
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_SAMPLE_BYTES: Final = 16 * 1024 * 1024
_BUFFER_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class CsvTypes:
    """How the types of columns are decided.

    Attributes:
        guess: guess the types of columns that are not named; otherwise they are text.
        named: column -> its kind.
        schema: a JSON schema of the records, whose properties come after the named columns.
    """

    guess: bool = True
    named: Mapping[str, ColumnKind] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schemas of the fields that have one."""
        return {} if self.schema is None else self.schema.get("properties", {})

    def decide(self, names: Sequence[str], sample: Sequence[Sequence[str]]) -> list[ColumnKind]:
        """Return the kind of each column.

        Args:
            names: of the columns.
            sample: the values of each column in the first rows.
        """
        properties = self.properties
        found: list[ColumnKind] = []
        for name, values in zip(names, sample, strict=True):
            if name in self.named:
                found.append(self.named[name])
            elif name in properties:
                found.append(read_kind(properties[name]))
            else:
                found.append(guess_kind(values) if self.guess else ColumnKind.TEXT)
        return found


class _ByteStream(io.RawIOBase):
    """What io.TextIOWrapper can read."""

    def __init__(self, stream: ByteReader) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._stream.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def read_csv(
    stream: ByteReader,
    types: CsvTypes,
    *,
    head: bytes,
    delimiter: str | None = None,
    schema: bytes | None = None,
) -> Iterator[RecordBlock]:
    """Yield the records of a CSV file.

    Args:
        stream: its bytes.
        types: how the types of columns are decided.
        head: the first bytes of the stream, which are in the stream, too.
        delimiter: a character; None to find it in the header.
        schema: JSON text of the schema of the records; None to make it of the types.

    Raises:
        RecordFileError: the file is no CSV or no UTF-8, or a value has not the type of its column.
    """
    csv.field_size_limit(RECORD_BYTES_MAX)
    raw = io.BufferedReader(_ByteStream(stream), _BUFFER_BYTES)
    text = io.TextIOWrapper(raw, find_encoding(head), newline="")
    rows = csv.reader(text, delimiter=delimiter or find_delimiter(head), strict=True)
    yield from _CsvRows(rows, types, schema).read()


def find_encoding(head: bytes) -> str:
    """Return the encoding that a byte order mark names; UTF-8 without one."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def find_delimiter(head: bytes) -> str:
    """Return the delimiter of a header line."""
    line = head.decode(find_encoding(head), "replace").lstrip().partition("\n")[0]
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


class _CsvRows:
    """Reads the rows of one file."""

    def __init__(self, rows: Any, types: CsvTypes, schema: bytes | None) -> None:
        self._rows = rows
        self._types = types
        self._schema = schema
        self._count = 0
        self._encoded = 0
        self._names: list[str] = []

    def read(self) -> Iterator[RecordBlock]:
        header = self._read_rows(1, header=True)
        if not header:
            return
        self._names = self._check_header(header[0])
        line = self._rows.line_num
        sample, lines = self._read_sample(line)
        kinds = self._types.decide(
            self._names, list(zip(*sample, strict=True)) or [()] * len(self._names)
        )
        named = dict(zip(self._names, kinds, strict=True))
        own = {n: s for n, s in self._types.properties.items() if n not in self._types.named}
        schema = self._schema or make_schema(named, own)
        encoder = RowEncoder(self._names, nulls=self._schema is not None)
        size = _CHUNK_ROWS
        for start in range(0, len(sample), size):
            part = slice(start, start + size)
            yield self._encode(sample[part], lines[part], kinds, encoder, schema)
        del sample, lines
        while True:
            line = self._rows.line_num
            found = self._read_rows(size)
            if not found:
                return
            chunk = self._encode(found, self._number(found, line), kinds, encoder, schema)
            yield chunk
            average = sum(map(len, chunk.raws)) // len(chunk.raws) + 1
            size = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // average))

    def _read_sample(self, line: int) -> tuple[list[list[str]], list[int]]:
        sample: list[list[str]] = []
        lines: list[int] = []
        size = 0
        while len(sample) < SAMPLE_ROWS and size < _SAMPLE_BYTES:
            found = self._read_rows(min(100, SAMPLE_ROWS - len(sample)))
            if not found:
                break
            sample += found
            lines += self._number(found, line)
            line = self._rows.line_num
            size += sum(sum(map(len, row)) for row in found)
        return sample, lines

    def _read_rows(self, count: int, *, header: bool = False) -> list[list[str]]:
        """Return at most so many rows that are not blank."""
        where = "The header" if header else ""
        try:
            found = list(islice(self._rows, count))
            while found and not all(found):
                found = [row for row in found if row]
                if not found:
                    found = list(islice(self._rows, count))
        except csv.Error as error:
            place = where or f"Record {self._count + 1} or one soon behind it"
            raise RecordFileError(
                f"{place} is no CSV, at line {self._rows.line_num}: {error}; correct the file, or "
                "name its delimiter with --delimiter."
            ) from error
        except UnicodeError as error:
            raise RecordFileError(
                f"The file is not UTF-8 near line {self._rows.line_num + 1} ({error}); convert it, "
                "for example with `iconv -f WINDOWS-1252 -t UTF-8`."
            ) from error
        if not header:
            self._check_lengths(found)
            self._count += len(found)
        return found

    def _check_lengths(self, rows: Sequence[Sequence[str]]) -> None:
        wanted = len(self._names)
        if set(map(len, rows)) - {wanted}:
            index = next(i for i, row in enumerate(rows) if len(row) != wanted)
            number = self._count + index + 1
            raise RecordFileError(
                f"Record {number} has {len(rows[index])} values, and the header has {wanted} "
                "names; correct the file, or name its delimiter with --delimiter."
            )

    def _number(self, rows: Sequence[Sequence[str]], line: int) -> list[int]:
        """Return the line of each row, behind the line `line`."""
        if self._rows.line_num - line == len(rows):
            return list(range(line + 1, line + len(rows) + 1))
        found = []
        for row in rows:  # blank lines between rows are not counted
            found.append(line + 1)
            line += 1 + sum(value.count("\n") for value in row)
        return found

    def _check_header(self, header: list[str]) -> list[str]:
        names = [name.strip() or f"column_{n}" for n, name in enumerate(header, 1)]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise RecordFileError(
                f"The header names {twice[0]!r} twice; give each column a name of its own."
            )
        unknown = [name for name in self._types.named if name not in names]
        if unknown:
            raise RecordFileError(
                f"--types names the column {unknown[0]!r}, and the header has {', '.join(names)}."
            )
        return names

    def _encode(
        self,
        rows: Sequence[Sequence[str]],
        lines: Sequence[int],
        kinds: Sequence[ColumnKind],
        encoder: RowEncoder,
        schema: bytes | None,
    ) -> RecordBlock:
        first = self._encoded + 1
        self._encoded += len(rows)
        columns = []
        for name, kind, values in zip(self._names, kinds, zip(*rows, strict=True), strict=True):
            try:
                columns.append(convert_column(kind, values))
            except WrongValueError as error:
                place = describe_place(first + error.index, lines[error.index], "")
                value = values[error.index]
                shown = value if len(value) <= 60 else value[:60] + "..."
                raise RecordFileError(
                    f"{capitalize(place)}: {name} is to be {EXPECTED[kind]}, and it is {shown!r}; "
                    f"correct the file, or push the column as text with --types {name}=text."
                ) from error
        return check_sizes(RecordBlock(encoder.encode(columns), first, lines, schema))
