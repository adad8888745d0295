"""Columns as Arrow holds them: a fifth of the memory, and ready for what a driver sends.

Where nobody looks at single values, which is the rule, no Python object is made of them again.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc

from treadle.tables.column_type import ColumnType

ARROW_ROWS_MIN: Final = 64
"""Shorter columns stay lists: Arrow takes a microsecond for each, whatever it holds."""

_ARROW_TYPES: Final[dict[ColumnType, Any]] = {
    ColumnType.BIGINT: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.int64(),
}


class ArrowColumn:
    """Values of one logical type and None, as Arrow holds them.

    It is no list: whoever looks at single values asks for all of them (`to_values`), which makes
    Python objects of them again and should be seen to do so.

    Args:
        array: int64, bool, double or string; timestamps are int64, microseconds since 1970.
    """

    __slots__ = ("array",)

    def __init__(self, array: "pa.ChunkedArray[Any]") -> None:
        self.array = array

    def __len__(self) -> int:
        """Return the number of values, None counted."""
        return len(self.array)

    def __repr__(self) -> str:
        """Show the values."""
        return f"ArrowColumn({self.array.to_pylist()!r})"

    @property
    def null_count(self) -> int:
        """Return how many values are None."""
        return self.array.null_count

    def may_hold_byte(self, byte: bytes) -> bool:
        """Return whether a byte may be in a column of texts; False is always right."""
        return any(
            data is not None and data.to_pybytes().find(byte) >= 0
            for chunk in self.array.chunks
            for data in chunk.buffers()[2:]
        )

    def take(self, rows: Sequence[int]) -> "ArrowColumn":
        """Return the values of these rows, in that order."""
        whole = self.array.combine_chunks()
        found = whole.take(pa.array(rows, pa.int32()))
        return ArrowColumn(
            found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])
        )


TypedColumn = Sequence[Any] | ArrowColumn
"""Values of one logical type and None; long ones as Arrow holds them, where it can."""


def to_arrow(column: TypedColumn, type_: ColumnType) -> ArrowColumn | None:
    """Return a column as Arrow holds it; None when it has a value that Arrow cannot hold.

    Args:
        column: values of the class that the type has everywhere (`model.RelationRows`), and None.
        type_: of the column.
    """
    if isinstance(column, ArrowColumn):
        return column
    arrow = _ARROW_TYPES.get(type_)
    if arrow is None:
        return None
    try:
        array = pa.array(column, arrow)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return None
    # More than 2 GB of text come in chunks; int and bool take one another without a word.
    return ArrowColumn(array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]))


def to_arrow_if_long(column: Sequence[Any], type_: ColumnType) -> TypedColumn:
    """Return the column as Arrow holds it where that pays and is possible, else as it is."""
    if len(column) < ARROW_ROWS_MIN:
        return column
    found = to_arrow(column, type_)
    return column if found is None else found


def to_values(column: TypedColumn) -> Sequence[Any]:
    """Return the values of a column as Python objects."""
    return column.array.to_pylist() if isinstance(column, ArrowColumn) else column


def find_present_rows(column: TypedColumn) -> Sequence[int]:
    """Return the rows whose value is not None, ascending."""
    if not isinstance(column, ArrowColumn):
        return [row for row, value in enumerate(column) if value is not None]
    if not column.null_count:
        return range(len(column))
    return cast("list[int]", pc.indices_nonzero(column.array.is_valid()).to_pylist())


def has_none(column: TypedColumn) -> bool:
    """Return whether a value is None."""
    return column.null_count > 0 if isinstance(column, ArrowColumn) else None in column


def concatenate_arrow(pieces: Sequence[TypedColumn], type_: ColumnType) -> ArrowColumn | None:
    """Join columns in Arrow; None when none of them is there, or one cannot be."""
    if not any(isinstance(piece, ArrowColumn) for piece in pieces):
        return None
    chunks: list[pa.Array[Any]] = []
    for piece in pieces:
        found = to_arrow(piece, type_)
        if found is None:
            return None
        chunks += found.array.chunks
    return ArrowColumn(pa.chunked_array(chunks, _ARROW_TYPES[type_]))


@lru_cache(maxsize=256)
def make_null_column(size: int, type_: ColumnType) -> TypedColumn:
    """Return a column of so many None."""
    arrow = _ARROW_TYPES.get(type_)
    if arrow is None or size < ARROW_ROWS_MIN:
        return [None] * size
    return ArrowColumn(pa.chunked_array([pa.nulls(size, arrow)]))
