"""Which alternative of a schema an object fits (loading.md 3.1, unions)."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from treadle.tables import decimals, instants
from treadle.tables.model import ColumnType
from treadle.tables.typing import Shape, Typing


def choose(value: dict[str, Any], shapes: Sequence[Shape]) -> int:
    """Index of the first alternative an object fits, of the last when it fits none."""
    for number, shape in enumerate(shapes):
        if shape.required <= value.keys() and all(
            _fits(inner, shape.properties.get(key)) for key, inner in value.items()
        ):
            return number
    return len(shapes) - 1


def _fits(value: object, typing: Typing | None) -> bool:
    if typing is None or value is None or not typing.classes:
        return True
    if isinstance(value, bool):
        return "boolean" in typing.classes
    if isinstance(value, int):
        return bool({"integer", "number"} & typing.classes)
    if isinstance(value, (float, Decimal)):
        return "number" in typing.classes or ("integer" in typing.classes and value % 1 == 0)
    if isinstance(value, str):
        return "string" in typing.classes and any(_reads(value, each) for each in typing.texts)
    if isinstance(value, dict):
        return "object" in typing.classes
    return "array" in typing.classes


def _reads(text: str, type_: ColumnType) -> bool:
    if type_ is ColumnType.TIMESTAMP:
        try:
            return instants.parse(text) is not None
        except instants.OutOfRange:
            return False
    return type_ is not ColumnType.DECIMAL or decimals.parse(text) is not None
