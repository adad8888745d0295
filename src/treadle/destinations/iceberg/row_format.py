"""Rows of a load as Arrow tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from treadle.destinations import arrow_rows
from treadle.destinations.iceberg.schema_types import ARROW_TYPES
from treadle.destinations.protocol import RowRefusedError
from treadle.tables.arrow_column import TypedColumn
from treadle.tables.column_type import ColumnType
from treadle.tables.model import RelationRows


def make_rows(rows: RelationRows) -> "pa.Table":
    """Return the columns of rows that have values, by name.

    Raises:
        RowRefusedError: Arrow cannot hold a value.
    """
    types = {column.name: column.type for column in rows.relation.columns}
    return make_columns([(name, types[name], values) for name, values in rows.columns.items()])


def make_columns(fields: Sequence[tuple[str, ColumnType, TypedColumn]]) -> "pa.Table":
    """Return columns as an Arrow table.

    Args:
        fields: name, type, and values of each column.

    Raises:
        RowRefusedError: Arrow cannot hold a value.
    """
    return pa.table(
        [make_array(values, type_) for _, type_, values in fields],
        names=[name for name, *_ in fields],
    )


def make_array(column: TypedColumn, type_: ColumnType) -> "pa.ChunkedArray[Any]":
    """Return the values of a column as Arrow holds them.

    Raises:
        RowRefusedError: Arrow cannot hold one of them.
    """
    return arrow_rows.make_array(column, ARROW_TYPES[type_], "Iceberg")


def fit_types(rows: "pa.Table", types: Mapping[str, Any]) -> "pa.Table":
    """Return rows with the types that a table has for their columns.

    Raises:
        RowRefusedError: a value does not fit.
    """
    fields = [pa.field(field.name, types.get(field.name, field.type)) for field in rows.schema]
    try:
        return rows.cast(pa.schema(fields))
    except pa.ArrowException as error:
        raise RowRefusedError(f"Iceberg cannot store a value: {error}") from error
