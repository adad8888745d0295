"""Rows of a load as Arrow tables, for destinations that keep files of columns."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from treadle.destinations.protocol import RowRefusedError
from treadle.tables.arrow_column import ArrowColumn, TypedColumn
from treadle.tables.column_type import ColumnType

ARROW_TYPES: Final[Mapping[ColumnType, Any]] = {
    ColumnType.BIGINT: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DECIMAL: pa.decimal128(38, 9),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.JSON: pa.string(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}


def make_columns(
    fields: Sequence[tuple[str, ColumnType, TypedColumn]],
    display_name: str,
    types: Mapping[ColumnType, Any] = ARROW_TYPES,
) -> "pa.Table":
    """Return columns as an Arrow table.

    Args:
        fields: name, type, and values of each column.
        display_name: of the destination.
        types: of Arrow.

    Raises:
        RowRefusedError: Arrow cannot hold a value.
    """
    return pa.table(
        [make_array(values, types[type_], display_name) for _, type_, values in fields],
        names=[name for name, *_ in fields],
    )


def make_array(column: TypedColumn, arrow: Any, display_name: str) -> "pa.ChunkedArray[Any]":
    """Return the values of a column as Arrow holds them.

    Args:
        column: the values.
        arrow: the type, as Arrow has it.
        display_name: of the destination.

    Raises:
        RowRefusedError: Arrow cannot hold one of them.
    """
    try:
        if isinstance(column, ArrowColumn):
            return column.array.cast(arrow)
        array = pa.array(column, arrow)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise RowRefusedError(f"{display_name} cannot store a value: {error}") from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def fit_types(rows: "pa.Table", types: Mapping[str, Any], display_name: str) -> "pa.Table":
    """Return rows with the types that a table has for their columns.

    Raises:
        RowRefusedError: a value does not fit.
    """
    fields = [pa.field(field.name, types.get(field.name, field.type)) for field in rows.schema]
    try:
        return rows.cast(pa.schema(fields))
    except pa.ArrowException as error:
        raise RowRefusedError(f"{display_name} cannot store a value: {error}") from error
