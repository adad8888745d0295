"""Finds the alternative of a schema that an object fits (loading.md 3.1, unions)."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from treadle.tables.column_type import ColumnType
from treadle.tables.prepare import decimals, timestamp_text
from treadle.tables.prepare.type_rules import ObjectRules, TypeRules


def choose_alternative(value: dict[str, Any], shapes: Sequence[ObjectRules]) -> int:
    """Return the first alternative that an object fits, the last when it fits none."""
    for number, shape in enumerate(shapes):
        if shape.required <= value.keys() and all(
            _fits(inner, shape.properties.get(key)) for key, inner in value.items()
        ):
            return number
    return len(shapes) - 1


def _fits(value: object, rules: TypeRules | None) -> bool:
    if rules is None or value is None or not rules.classes:
        return True
    if isinstance(value, bool):
        return "boolean" in rules.classes
    if isinstance(value, int):
        return bool({"integer", "number"} & rules.classes)
    if isinstance(value, (float, Decimal)):
        return "number" in rules.classes or ("integer" in rules.classes and value % 1 == 0)
    if isinstance(value, str):
        return "string" in rules.classes and any(_matches_text(value, each) for each in rules.texts)
    if isinstance(value, dict):
        return "object" in rules.classes
    return "array" in rules.classes


def _matches_text(text: str, type_: ColumnType) -> bool:
    if type_ is ColumnType.TIMESTAMP:
        try:
            return timestamp_text.parse_timestamp(text) is not None
        except timestamp_text.TimestampRangeError:
            return False
    return type_ is not ColumnType.DECIMAL or decimals.parse_decimal(text) is not None
