"""Rows of a load as Parquet files, rejected records as lines of JSON, and both read again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from treadle.destinations.arrow_rows import ARROW_TYPES, make_array
from treadle.destinations.layout import REJECTED_COLUMNS
from treadle.destinations.protocol import RowRefusedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, LoadPlan, RelationRows
from treadle.tables.profiles import FILES
from treadle.timestamps import format_microseconds

DICTIONARY_BYTES_MAX: Final = 128 * 1024
"""Columns of many different values are smaller without a dictionary, and written in half of the
time. It ends where it is larger than this; a column of few values keeps it."""

JSON_NOTE: Final = {b"treadle.type": b"json"}
"""Metadata of a column of JSON texts, which the format has no type for that all readers take."""

BATCH_ROWS: Final = 16_384
"""Rows that are decoded at once."""

SQL_TYPES: Final[Mapping[ColumnType, str]] = {
    ColumnType.BIGINT: "BIGINT",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.DECIMAL: "DECIMAL(38,9)",
    ColumnType.DOUBLE: "DOUBLE",
    ColumnType.JSON: "VARCHAR",
    ColumnType.TEXT: "VARCHAR",
    ColumnType.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}
"""What DuckDB reads the types of columns as."""


def make_table(rows: RelationRows) -> "pa.Table":
    """Return rows with all columns of their relation, in its order; NULL where none is given.

    Raises:
        RowRefusedError: Arrow cannot hold a value.
    """
    size = len(rows)
    columns = rows.relation.columns
    arrays = [
        make_array(rows.columns[column.name], ARROW_TYPES[column.type], FILES.display_name)
        if column.name in rows.columns
        else pa.nulls(size, ARROW_TYPES[column.type])
        for column in columns
    ]
    return pa.table(arrays, schema=make_schema(columns))


def make_schema(columns: Sequence[Column]) -> "pa.Schema":
    """Return the columns of a file.

    All of them may be NULL: a file that is read beside it, of before or after a change of the key,
    may lack any.
    """
    return pa.schema(
        [
            pa.field(
                column.name,
                ARROW_TYPES[column.type],
                metadata=JSON_NOTE if column.type is ColumnType.JSON else None,
            )
            for column in columns
        ]
    )


def encode_parquet(table: "pa.Table") -> memoryview:
    """Return the content of a file.

    Raises:
        RowRefusedError: the format cannot hold a value.
    """
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=1,
            dictionary_pagesize_limit=DICTIONARY_BYTES_MAX,
        )
    except pa.ArrowException as error:
        raise RowRefusedError(f"{FILES.display_name} cannot store a value: {error}") from error
    return memoryview(sink.getvalue()).cast("B")


def encode_rejections(plan: LoadPlan) -> bytes:
    """Return the rejected records of a load, one a line."""
    at = format_microseconds(plan.rejected_at)
    lines = [
        {
            "record": each.record,
            "reason": each.reason,
            "table_name": each.table_name,
            "_sdc_rejected_at": at,
            "code": each.code.value,
            "field": each.field,
        }
        for each in plan.rejections
    ]
    for line in lines:
        for name, value in line.items():
            if value is not None:
                line[name] = value.replace("\0", "")  # which many readers refuse in a text
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def read_parquet(source: Any, columns: Sequence[Column]) -> "Iterator[pa.RecordBatch]":
    """Give the rows of a file with columns of a relation: NULL where the file lacks one.

    Args:
        source: of the file, for Arrow.
        columns: that are wanted. A column of another type is cast.
    """
    schema = make_schema(columns)
    with pq.ParquetFile(source) as file:
        held = [name for name in schema.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(BATCH_ROWS, columns=held):
            arrays = [
                batch.column(batch.schema.get_field_index(field.name)).cast(field.type)
                if field.name in batch.schema.names
                else pa.nulls(batch.num_rows, field.type)
                for field in schema
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class _RejectedLine(msgspec.Struct, frozen=True):
    record: str | None = None
    reason: str | None = None
    table_name: str | None = None
    code: str | None = None
    field: str | None = None
    rejected_at: str | None = msgspec.field(name="_sdc_rejected_at", default=None)


_LINES: Final = msgspec.json.Decoder(_RejectedLine)


def read_rejections(data: bytes) -> "pa.RecordBatch":
    """Return the rejected records of a file, with the columns of `_sdc_rejected`."""
    lines = _LINES.decode_lines(data)
    values: dict[str, list[Any]] = {
        "record": [line.record for line in lines],
        "reason": [line.reason for line in lines],
        "table_name": [line.table_name for line in lines],
        "_sdc_rejected_at": [line.rejected_at for line in lines],
        "code": [line.code for line in lines],
        "field": [line.field for line in lines],
    }
    schema = make_schema(REJECTED_COLUMNS)
    arrays = [pa.array(values[field.name], pa.string()).cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
