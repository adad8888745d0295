"""Shows the changes of a plan, and folders that treadle did not make."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from treadle.destinations.files.object_names import (
    PARQUET,
    decode_folder,
    encode_folder,
)
from treadle.destinations.files.object_store import ObjectStore
from treadle.destinations.files.parquet_format import JSON_NOTE, SQL_TYPES
from treadle.destinations.scanned_engine import quote
from treadle.destinations.sql.schema_changes import group_additions
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, Column, CreateRelation, LoadPlan, PhysicalRelation

_LOGICAL: Final = (
    (pa.types.is_boolean, ColumnType.BOOLEAN),
    (lambda type_: type_ == pa.int64(), ColumnType.BIGINT),
    (lambda type_: type_ == pa.float64(), ColumnType.DOUBLE),
    (lambda type_: type_ == pa.decimal128(38, 9), ColumnType.DECIMAL),
    (lambda type_: pa.types.is_string(type_) or pa.types.is_large_string(type_), ColumnType.TEXT),
    (
        lambda type_: pa.types.is_timestamp(type_) and type_.tz is not None,
        ColumnType.TIMESTAMP,
    ),
)


def describe_foreign(
    store: ObjectStore, schema: str, known: Collection[str]
) -> Mapping[str, PhysicalRelation]:
    """Return the relations of folders in a schema that are not among those that treadle knows.

    Args:
        store: of the files.
        schema: the source's.
        known: folders.
    """
    place = encode_folder(schema)
    found = {}
    for folder in store.list_folders(place):
        name = decode_folder(folder)
        if folder not in known and name is not None:
            found[name] = _describe_folder(store, f"{place}/{folder}")
    return found


def _describe_folder(store: ObjectStore, folder: str) -> PhysicalRelation:
    """Return the columns of the last Parquet file of a folder; none where there is no such file."""
    keys = [key for key in store.list_keys(folder) if key.endswith(f".{PARQUET}")]
    source = store.open(keys[-1]) if keys else None
    if source is None:
        return PhysicalRelation({}, frozenset())
    schema = pq.read_schema(source)
    return PhysicalRelation(
        {
            field.name: ColumnType.JSON
            if field.metadata == JSON_NOTE
            else find_logical_type(field.type)
            for field in schema
        },
        frozenset(),
    )


def find_logical_type(type_: "pa.DataType") -> ColumnType | None:
    """Return the logical type of a column; None for a type that treadle never makes."""
    return next((logical for fits, logical in _LOGICAL if fits(type_)), None)


def list_changes(plan: LoadPlan, schema: str) -> list[str]:
    """Return what a load changes in the columns of tables, as statements of DuckDB."""
    return [
        statement
        for change in group_additions(plan.changes)
        for statement in _describe(change, schema)
    ]


def _define(column: Column) -> str:
    return f"{quote(column.name)} {SQL_TYPES[column.type]}"


def _describe(change: object, schema: str) -> Iterator[str]:
    match change:
        case list():
            for each in change:
                if isinstance(each, AddColumn):
                    place = quote(schema, each.relation)
                    yield f"ALTER TABLE {place} ADD COLUMN {_define(each.column)}"
        case CreateRelation(relation, False):
            columns = ", ".join(map(_define, relation.columns))
            yield f"CREATE TABLE {quote(schema, relation.name)} ({columns})"
