"""Reads the records of a file, whatever its form: JSON, CSV or Parquet, compressed or not.

The first bytes tell the form, or the user does. Memory holds a part of the file at a time.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import IO, Final

from treadle.record_files.column_kinds import ColumnKind
from treadle.record_files.compression import CountingReader, PeekReader, decompress, read_whole
from treadle.record_files.csv_reader import DELIMITERS, CsvTypes, read_csv
from treadle.record_files.json_reader import read_json
from treadle.record_files.parquet_reader import read_parquet
from treadle.record_files.record_block import RecordBlock, RecordFileError


class FileFormat(StrEnum):
    """The form of a file, without its compression."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


_HEAD_BYTES: Final = 64 * 1024
_PARQUET_MARK: Final = b"PAR1"
_STRANGERS: Final = (
    (b"PK\x03\x04", "a ZIP archive or an Excel file", "unpack it, or save the sheet as CSV"),
    (b"BZh", "bzip2", "decompress it: bzcat FILE | treadle push -"),
    (b"\xfd7zXZ\0", "xz", "decompress it: xzcat FILE | treadle push -"),
    (b"\x04\x22\x4d\x18", "lz4", "decompress it: lz4cat FILE | treadle push -"),
    (b"Obj\x01", "Avro", "convert it to Parquet or JSON"),
    (b"ORC", "ORC", "convert it to Parquet or JSON"),
    (b"ARROW1", "Arrow", "convert it to Parquet or JSON"),
    (b"SQLite format 3", "a SQLite database", "export the table as CSV"),
)
"""First bytes of what is not read, what it is, and what to do."""

_JSON_NAMES: Final = (".json", ".ndjson", ".jsonl", ".ldjson")
_CSV_NAMES: Final = (".csv", ".tsv", ".tab", ".psv")
_COMPRESSED_NAMES: Final = (".gz", ".gzip", ".zst", ".zstd")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read.

    Attributes:
        format: of the files; None to recognize it.
        delimiter: of CSV; None to find it in the header.
        types: of the columns of CSV.
        schema: JSON text of a schema that all records fit; None for none.
        warn: told what cannot be sent as it is.
        name_files: messages name the file of a record, since there are several.
    """

    format: FileFormat | None = None
    delimiter: str | None = None
    types: CsvTypes = field(default_factory=CsvTypes)
    schema: bytes | None = None
    warn: Callable[[str], None] = lambda _: None
    name_files: bool = False


def read_records(
    stream: IO[bytes], name: str = "", options: ReadOptions | None = None
) -> Iterator[RecordBlock]:
    """Yield the records of a file in order.

    Args:
        stream: the file, or standard input.
        name: of the file; its end is a hint where the first bytes tell nothing.
        options: how to read it.

    Raises:
        RecordFileError: the file is in no form that is known, or not valid.
    """
    chosen = options or ReadOptions()
    try:
        yield from _read_records(stream, name, chosen)
    except RecordFileError as error:
        if chosen.name_files and name not in str(error):
            raise RecordFileError(f"In {name}: {error}") from error
        raise


def _read_records(stream: IO[bytes], name: str, chosen: ReadOptions) -> Iterator[RecordBlock]:
    shown = name if chosen.name_files else ""
    counter = CountingReader(stream)
    with ExitStack() as opened:
        content = decompress(counter)
        kind = chosen.format or recognize_format(content, name)
        if kind is FileFormat.PARQUET:
            found = read_parquet(
                opened.enter_context(_make_seekable(stream, counter, content)),
                schema=chosen.schema,
                warn=chosen.warn,
            )
        elif kind is FileFormat.CSV:
            found = read_csv(
                content,
                chosen.types,
                head=content.peek_available(_HEAD_BYTES),
                delimiter=chosen.delimiter,
                schema=chosen.schema,
            )
        else:
            found = read_json(content)
        for chunk in found:
            schema = chunk.schema if chosen.schema is None else chosen.schema
            yield chunk._replace(schema=schema, read=counter.count, file=shown)


def _make_seekable(stream: IO[bytes], counter: CountingReader, content: PeekReader) -> IO[bytes]:
    """Return a file that can be read from any place; a pipe is copied into one on the disk.

    So is what was compressed.
    """
    if stream.seekable() and counter.count == len(content.peek_available(0)):
        stream.seek(0)
        return _open_again(stream)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        read_whole(content, copy)
    except BaseException:
        copy.close()
        raise
    copy.seek(0)
    return copy


def _open_again(stream: IO[bytes]) -> IO[bytes]:
    """Return a file object of its own: whoever closes it leaves the other open."""
    return open(stream.fileno(), "rb", closefd=False)


def recognize_format(content: PeekReader, name: str) -> FileFormat:
    """Return the form of a file.

    Raises:
        RecordFileError: it is none of them; the text says what it is, and what to do.
    """
    head = content.peek(16)
    if head.startswith(_PARQUET_MARK):
        return FileFormat.PARQUET
    for mark, what, remedy in _STRANGERS:
        if head.startswith(mark):
            raise RecordFileError(
                f"The file is {what}; expected JSON, CSV or Parquet, gzip and zstd too: {remedy}."
            )
    ending = _find_ending(name)
    if ending in _JSON_NAMES:
        return FileFormat.JSON
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:  # blanks so far
        text = content.peek_available(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip()
    if ending in _CSV_NAMES:
        return FileFormat.CSV
    if not text or text[:1] in (b"{", b"["):
        return FileFormat.JSON
    line = content.peek_available(_HEAD_BYTES).partition(b"\n")[0]
    is_utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if is_utf16 or any(delimiter.encode() in line for delimiter in DELIMITERS):
        return FileFormat.CSV
    shown = line[:40].decode("utf-8", "replace")
    raise RecordFileError(
        f"The file begins with {shown!r}, which is not JSON, CSV or Parquet; if it is CSV with one "
        "column, say --format csv."
    )


def _find_ending(name: str) -> str:
    """Return the end of a file name, without that of a compression."""
    path = PurePath(name.lower())
    return (PurePath(path.stem) if path.suffix in _COMPRESSED_NAMES else path).suffix


def parse_types(texts: list[str]) -> tuple[bool, dict[str, ColumnKind]]:
    """Parse the values of `--types`: `auto`, `text`, and `COLUMN=TYPE`, joined by commas.

    Returns:
        Whether to guess the types of other columns; and column -> its kind.

    Raises:
        ValueError: a text is none of them.
    """
    guess = True
    named: dict[str, ColumnKind] = {}
    for text in texts:
        for part in text.split(","):
            name, equals, kind = part.rpartition("=")
            if equals:
                named[name] = ColumnKind(kind)
            elif part in ("auto", "text"):
                guess = part == "auto"
            else:
                raise ValueError(part)
    return guess, named
