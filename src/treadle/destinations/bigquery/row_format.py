"""Rows of a load as Parquet, which a load job takes."""

import io
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from treadle.destinations.protocol import RowRefusedError
from treadle.tables.arrow_column import ArrowColumn, TypedColumn
from treadle.tables.column_type import ColumnType

ARROW_TYPES: Final[dict[ColumnType, Any]] = {
    ColumnType.BIGINT: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DECIMAL: pa.decimal128(38, 9),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.JSON: pa.string(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}


def encode_rows(fields: Sequence[tuple[str, ColumnType, TypedColumn]]) -> io.BytesIO:
    """Return columns as a Parquet file in memory.

    Args:
        fields: name, type, and values of each column; they have one length.

    Raises:
        RowRefusedError: a value is none of its type.
    """
    arrays = [_encode_column(name, type_, values) for name, type_, values in fields]
    table = pa.table(arrays, names=[name for name, *_ in fields])
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", coerce_timestamps="us")
    sink.seek(0)
    return sink


def _encode_column(name: str, type_: ColumnType, values: TypedColumn) -> Any:
    try:
        if isinstance(values, ArrowColumn):
            return values.array.cast(ARROW_TYPES[type_])
        return pa.array(values, ARROW_TYPES[type_])
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise RowRefusedError(f'"{name}": {error}') from error
