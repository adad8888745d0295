"""The logical types of columns (loading.md 3.2)."""

from enum import StrEnum


class ColumnType(StrEnum):
    """Logical types (loading.md 3.2). JSON is only made by the option `nested: json`."""

    BIGINT = "bigint"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"
    DOUBLE = "double"
    JSON = "json"
    TEXT = "text"
    TIMESTAMP = "timestamp"
