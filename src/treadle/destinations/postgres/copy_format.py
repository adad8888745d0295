"""Rows in COPY's binary form, made by column: an eighth of what one row after the other costs.

Only for columns that Arrow can hold; `encode_rows` says so by None, and the caller writes rows.
The form: a row is the number of its fields (int16), and each field its length (int32, -1 for NULL)
and its bytes, everything in network order.
"""

import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from treadle.tables.arrow_column import ArrowColumn, TypedColumn, to_arrow
from treadle.tables.column_type import ColumnType

ROWS_MIN: Final = 64
"""Fewer rows are written quicker one by one."""

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

_ROWS: Final = 8192
"""Rows made at a time: about 2 MB, which stays in the processor's cache."""
_TEXT_BYTES_MAX: Final = 1 << 30
"""Most bytes of texts in rows made at a time: half of what a binary array of Arrow holds."""

_TIMESTAMP: Final = ColumnType.TIMESTAMP
_FIXED: Final = (ColumnType.BIGINT, ColumnType.DOUBLE, _TIMESTAMP)
_MICROSECONDS_TO_2000: Final = 946_684_800_000_000

_NULL: Final = pa.scalar(b"\xff\xff\xff\xff", pa.binary())
_LENGTH_OF_NULL: Final = pa.scalar(-1, pa.int32())
_TRUE: Final = pa.scalar(b"\0\0\0\1\1", pa.binary())
_FALSE: Final = pa.scalar(b"\0\0\0\1\0", pa.binary())
_EMPTY: Final = pa.scalar(b"", pa.binary())
_FIELD: Final = struct.pack(">iq", 8, 0)

Array = Any
"""An array of Arrow: its stubs have no type for one that is of one of several."""

Columns = Sequence[tuple[ColumnType, TypedColumn]]


def order_fields(types: Sequence[ColumnType]) -> list[int]:
    """Return positions of columns in the order that `encode_rows` takes: eight-byte ones first."""
    return sorted(range(len(types)), key=lambda at: types[at] not in _FIXED)


def encode_rows(columns: Columns) -> Iterator[memoryview | bytes] | None:
    """Return the bytes for COPY ... (FORMAT binary); None when rows have to be written one by one.

    Args:
        columns: (type, values) in the order that `order_fields` gives; all of one length.
    """
    if not columns or len(columns[0][1]) < ROWS_MIN or sys.byteorder != "little":
        return None
    held: list[tuple[ColumnType, ArrowColumn]] = []
    for type_, values in columns:
        found = to_arrow(values, type_)
        if found is None:
            return None
        held.append((type_, found))
    texts = sum(column.array.nbytes for type_, column in held if type_ is ColumnType.TEXT)
    if texts > _TEXT_BYTES_MAX:
        return None
    return _stream(held)


def _stream(columns: Sequence[tuple[ColumnType, ArrowColumn]]) -> Iterator[memoryview | bytes]:
    yield SIGNATURE
    size = len(columns[0][1])
    for start in range(0, size, _ROWS):
        yield _rows(
            [(type_, _piece(column, start, min(_ROWS, size - start))) for type_, column in columns]
        )
    yield TRAILER


def _piece(column: ArrowColumn, start: int, count: int) -> Array:
    chunks = column.array.slice(start, count).chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _rows(columns: Sequence[tuple[ColumnType, Array]]) -> memoryview:
    size = len(columns[0][1])
    parts: list[Any] = [pa.scalar(struct.pack(">h", len(columns)), pa.binary())]
    full: list[array[int]] = []
    for type_, column in columns:
        if type_ in _FIXED:
            numbers = _network_order(_since_2000(column) if type_ is _TIMESTAMP else column)
            if not column.null_count:
                full.append(numbers)
                continue
            parts += _blocks(full, size)
            full = []
            (block,) = _blocks([numbers], size)
            parts.append(pc.if_else(column.is_valid(), block, _NULL))
            continue
        parts += _blocks(full, size)
        full = []
        if type_ is ColumnType.BOOLEAN:
            parts.append(pc.fill_null(pc.if_else(column, _TRUE, _FALSE), _NULL))
        else:
            lengths = pc.fill_null(pc.binary_length(column), _LENGTH_OF_NULL)
            parts += [_binary(_network_order(lengths), 4, size), column.cast(pa.binary())]
    parts += _blocks(full, size)
    made = pc.binary_join_element_wise(*parts, _EMPTY, null_handling="replace", null_replacement="")
    _, offsets, data = made.buffers()
    return memoryview(data)[: memoryview(offsets).cast("i")[size]]


def _since_2000(column: Array) -> Array:
    return pc.subtract(column, pa.scalar(_MICROSECONDS_TO_2000, pa.int64()))


def _network_order(column: Array) -> "array[int]":
    """The bytes of an array of numbers, turned; those of a None are anything."""
    width = column.type.bit_width // 8
    turned = array("q" if width == 8 else "i")
    start = column.offset * width
    turned.frombytes(memoryview(column.buffers()[1])[start : start + len(column) * width])
    turned.byteswap()
    return turned


def _blocks(columns: "Sequence[array[int]]", size: int) -> list[Array]:
    """Eight-byte fields that stand side by side and have no NULL among them, as one array."""
    if not columns:
        return []
    width = 3 * len(columns)  # in words of four bytes: the length, two of the value
    made = bytearray(_FIELD * (len(columns) * size))
    words = memoryview(made).cast("i")
    for number, column in enumerate(columns):
        halves = memoryview(column).cast("B").cast("i")
        words[3 * number + 1 :: width] = halves[0::2]
        words[3 * number + 2 :: width] = halves[1::2]
    return [_binary(made, 4 * width, size)]


def _binary(data: "bytearray | array[int]", width: int, size: int) -> Array:
    """Values of one width as an array of byte strings."""
    return pa.Array.from_buffers(
        pa.binary(), size, [None, _offsets(width, size), pa.py_buffer(data)]
    )


@lru_cache(maxsize=64)
def _offsets(width: int, size: int) -> pa.Buffer:
    return pa.py_buffer(array("i", range(0, (size + 1) * width, width)))
