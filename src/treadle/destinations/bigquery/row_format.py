"""Rows of a load as Parquet, which a load job takes."""

import io
from collections.abc import Sequence

import pyarrow.parquet as pq

from treadle.destinations.arrow_rows import make_columns
from treadle.tables.arrow_column import TypedColumn
from treadle.tables.column_type import ColumnType


def encode_rows(fields: Sequence[tuple[str, ColumnType, TypedColumn]]) -> io.BytesIO:
    """Return columns as a Parquet file in memory.

    Args:
        fields: name, type, and values of each column; they have one length.

    Raises:
        RowRefusedError: a value is none of its type.
    """
    sink = io.BytesIO()
    table = make_columns(fields, "BigQuery")
    pq.write_table(table, sink, compression="zstd", coerce_timestamps="us")
    sink.seek(0)
    return sink
