r"""Rows as the text that LOAD DATA reads: a line each, with tabs between, `\N` for NULL.

Long columns are written by Arrow, some thousand rows at a time.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from treadle.tables.arrow_column import (
    ARROW_ROWS_MIN,
    ArrowColumn,
    TypedColumn,
    to_arrow,
    to_values,
)
from treadle.tables.column_type import ColumnType
from treadle.timestamps import format_microseconds

Text = TypeVar("Text", bound=str)

TypedField = tuple[ColumnType, TypedColumn]
"""Type and values of a column."""

PIECE_ROWS: Final = 8192
_ESCAPES: Final = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\0": "\\0"}
_TABLE: Final = str.maketrans(_ESCAPES)


def encode_rows(fields: Sequence[TypedField]) -> Iterator[bytes | memoryview]:
    """Give rows as text, in pieces.

    Args:
        fields: columns of one length.

    Raises:
        UnicodeEncodeError: a text is not Unicode.
    """
    count = len(fields[0][1])
    arrays = [_to_array(type_, column) for type_, column in fields] if count else []
    if count < ARROW_ROWS_MIN or None in arrays:
        yield _join_values(fields).encode()
        return
    for start in range(0, count, PIECE_ROWS):
        spelled = [
            pc.fill_null(_spell_array(type_, array.slice(start, PIECE_ROWS)), "\\N")
            for (type_, _), array in zip(fields, arrays, strict=True)
        ]
        lines = pc.binary_join_element_wise(*spelled, "\t")
        ended = pc.binary_join_element_wise(lines, pa.scalar("\n"), "")
        for chunk in ended.chunks if isinstance(ended, pa.ChunkedArray) else [ended]:
            _, offsets, data = chunk.buffers()
            if len(chunk) and offsets is not None and data is not None:
                ends = memoryview(offsets).cast("i")
                yield memoryview(data)[ends[chunk.offset] : ends[chunk.offset + len(chunk)]]


def spell_value(type_: ColumnType, value: Any) -> str:
    """Return a value as the server reads it, not escaped."""
    match type_:
        case ColumnType.TIMESTAMP:
            return format_microseconds(value).replace("T", " ").removesuffix("Z")
        case ColumnType.BOOLEAN:
            return "1" if value else "0"
        case ColumnType.DECIMAL:
            return format(value, "f")
        case ColumnType.DOUBLE:
            return repr(float(value))
        case _:
            return str(value)


def group_rows(rows: Sequence[Text], rows_max: int, bytes_max: int) -> Iterator[Sequence[Text]]:
    """Give rows in groups, in order.

    Args:
        rows: as text.
        rows_max: of a group.
        bytes_max: of a group in UTF-8; a longer row is a group by itself.
    """
    start = size = 0
    for at, row in enumerate(rows):
        added = len(row.encode())
        if at > start and (at - start >= rows_max or size + added > bytes_max):
            yield rows[start:at]
            start, size = at, 0
        size += added
    if rows:
        yield rows[start:]


def _join_values(fields: Sequence[TypedField]) -> str:
    columns = [
        [
            "\\N" if value is None else spell_value(type_, value).translate(_TABLE)
            for value in to_values(column)
        ]
        for type_, column in fields
    ]
    return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))


def _to_array(type_: ColumnType, column: TypedColumn) -> Any:
    """Return a column as Arrow holds it, decimals as text; None when it cannot."""
    if type_ is ColumnType.DECIMAL:
        texts = [None if value is None else _spell_decimal(value) for value in to_values(column)]
        return pa.chunked_array([pa.array(texts, pa.string())])
    held = to_arrow(column, ColumnType.TEXT if type_ is ColumnType.JSON else type_)
    return held.array if isinstance(held, ArrowColumn) else None


def _spell_decimal(value: Decimal) -> str:
    return format(value, "f")


def _spell_array(type_: ColumnType, array: Any) -> Any:
    match type_:
        case ColumnType.TIMESTAMP:
            # By a cast: strftime takes five times as long.
            return array.cast(pa.timestamp("us")).cast(pa.string())
        case ColumnType.BOOLEAN:
            return pc.if_else(array, "1", "0")
        case ColumnType.TEXT | ColumnType.JSON:
            for plain, escaped in _ESCAPES.items():
                if pc.any(pc.match_substring(array, plain)).as_py():
                    array = pc.replace_substring(array, plain, escaped)
            return array
        case _:
            return array.cast(pa.string())
