"""The types of columns in Iceberg, in both directions, and schemas made of relations."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BooleanType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from treadle.tables.column_type import ColumnType
from treadle.tables.model import Column, PhysicalRelation, Relation

JSON_DOC: Final = "JSON"
"""The comment of a column of JSON texts: the format has no type for them."""

KEY_PROPERTY: Final = "treadle.key"
"""Names of the key's columns, one a line, where the format has no place for them: it takes no
double as a part of an identifier."""

ICEBERG_TYPES: Final[Mapping[ColumnType, IcebergType]] = {
    ColumnType.BIGINT: LongType(),
    ColumnType.BOOLEAN: BooleanType(),
    ColumnType.DECIMAL: DecimalType(38, 9),
    ColumnType.DOUBLE: DoubleType(),
    ColumnType.JSON: StringType(),
    ColumnType.TEXT: StringType(),
    ColumnType.TIMESTAMP: TimestamptzType(),
}

SQL_TYPES: Final[Mapping[ColumnType, str]] = {
    ColumnType.BIGINT: "BIGINT",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.DECIMAL: "DECIMAL(38, 9)",
    ColumnType.DOUBLE: "DOUBLE",
    ColumnType.JSON: "STRING",
    ColumnType.TEXT: "STRING",
    ColumnType.TIMESTAMP: "TIMESTAMP",
}
"""As Spark and Trino write them, for people."""

_LOGICAL: Final[Mapping[str, ColumnType]] = {
    str(ICEBERG_TYPES[type_]): type_ for type_ in ColumnType if type_ is not ColumnType.JSON
}


def make_schema(relation: Relation) -> Schema:
    """Return the schema of a table that is made for a relation."""
    fields = [
        NestedField(
            number,
            column.name,
            ICEBERG_TYPES[column.type],
            required=not column.nullable,
            doc=JSON_DOC if column.type is ColumnType.JSON else None,
        )
        for number, column in enumerate(relation.columns, 1)
    ]
    named = {field.name: field.field_id for field in fields}
    identifier = [named[name] for name in relation.key] if may_identify(relation) else []
    return Schema(*fields, identifier_field_ids=identifier)


def may_identify(relation: Relation) -> bool:
    """Return whether the format takes a relation's key as the identifier of a table."""
    return is_identifier([column for column in relation.columns if column.name in relation.key])


def is_identifier(columns: Iterable[Column]) -> bool:
    """Return whether the format takes columns as the identifier of a table."""
    return not any(column.type is ColumnType.DOUBLE or column.nullable for column in columns)


def list_key(schema: Schema, properties: Mapping[str, str]) -> frozenset[str]:
    """Return the names of a table's key columns; none for no key."""
    identifier = schema.identifier_field_names()
    if identifier:
        return frozenset(identifier)
    noted = properties.get(KEY_PROPERTY, "")
    present = {field.name for field in schema.fields}
    names = frozenset(filter(None, noted.split("\n")))
    return names if names <= present else frozenset()


def describe_schema(schema: Schema, properties: Mapping[str, str]) -> PhysicalRelation:
    """Return a table as its schema shows it."""
    return PhysicalRelation(
        {field.name: get_logical_type(field) for field in schema.fields},
        list_key(schema, properties),
    )


def get_logical_type(field: NestedField) -> ColumnType | None:
    """Return the logical type of a column; None for a type that treadle never makes."""
    if field.doc == JSON_DOC and isinstance(field.field_type, StringType):
        return ColumnType.JSON
    return _LOGICAL.get(str(field.field_type))


def list_arrow_types(schema: Schema) -> dict[str, Any]:
    """Return column name -> the type of its values in Arrow."""
    return {field.name: _find_arrow_type(field.field_type) for field in schema.fields}


@lru_cache(maxsize=256)
def _find_arrow_type(type_: IcebergType) -> Any:
    found = schema_to_pyarrow(type_, include_field_ids=False)
    return _SMALLER.get(found, found)


_SMALLER: Final[Mapping[Any, Any]] = {
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
}
"""What files are read as is not made larger: no batch of rows has 2 GB of texts."""


def may_be_identifier_type(type_: IcebergType) -> bool:
    """Return whether a column of a type may be a part of an identifier."""
    return type_.is_primitive and not isinstance(type_, DoubleType | FloatType)
