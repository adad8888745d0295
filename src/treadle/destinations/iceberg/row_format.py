"""Rows of a load as Arrow tables, in Iceberg's types."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from treadle.destinations import arrow_rows
from treadle.tables.arrow_column import TypedColumn
from treadle.tables.column_type import ColumnType
from treadle.tables.model import RelationRows

DISPLAY_NAME: Final = "Iceberg"


def make_rows(rows: RelationRows) -> "pa.Table":
    """Return the columns of rows that have values, by name; see `arrow_rows.make_columns`."""
    types = {column.name: column.type for column in rows.relation.columns}
    return make_columns([(name, types[name], values) for name, values in rows.columns.items()])


def make_columns(fields: Sequence[tuple[str, ColumnType, TypedColumn]]) -> "pa.Table":
    """Return columns as an Arrow table; see `arrow_rows.make_columns`."""
    return arrow_rows.make_columns(fields, DISPLAY_NAME)


def make_array(column: TypedColumn, type_: ColumnType) -> "pa.ChunkedArray[Any]":
    """Return the values of a column as Arrow holds them; see `arrow_rows.make_array`."""
    return arrow_rows.make_array(column, arrow_rows.ARROW_TYPES[type_], DISPLAY_NAME)


def fit_types(rows: "pa.Table", types: Mapping[str, Any]) -> "pa.Table":
    """Return rows with the types of a table's columns; see `arrow_rows.fit_types`."""
    return arrow_rows.fit_types(rows, types, DISPLAY_NAME)
