"""Columns of a load as the Arrow arrays of files that destinations write."""

from typing import Any

import pyarrow as pa

from treadle.destinations.protocol import RowRefusedError
from treadle.tables.arrow_column import ArrowColumn, TypedColumn


def make_array(column: TypedColumn, arrow: Any, server: str) -> "pa.ChunkedArray[Any]":
    """Return the values of a column as Arrow holds them.

    Args:
        column: the values.
        arrow: the type.
        server: the name of the kind of destination, for errors.

    Raises:
        RowRefusedError: Arrow cannot hold one of them.
    """
    try:
        if isinstance(column, ArrowColumn):
            return column.array.cast(arrow)
        array = pa.array(column, arrow)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise RowRefusedError(f"{server} cannot store a value: {error}") from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
