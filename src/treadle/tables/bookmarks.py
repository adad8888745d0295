"""The range of the replication keys of a load, for reports and webhooks (loading.md 11.1)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from treadle.tables import instants
from treadle.tables.model import ColumnType
from treadle.tables.names import Namer
from treadle.tables.prepare import Group

_encode = msgspec.json.Encoder(decimal_format="number").encode


def bookmarks(
    sent: Sequence[str], groups: Sequence[Group], namer: Namer
) -> tuple[tuple[str, str, str], ...]:
    """(field as sent, least, greatest) as JSON texts, for fields of one type with a value."""
    found = []
    for name in sent:
        folded = namer.field(None, name).folded
        values: dict[ColumnType, list[Any]] = {}
        for group in groups:
            each = group.frames[0].fields.get(folded)
            for type_, column in each.columns.items() if each is not None else ():
                present = [value for value in column if value is not None]
                if present:
                    values.setdefault(type_, []).extend((min(present), max(present)))
        if len(values) == 1:
            ((type_, ends),) = values.items()
            found.append((name, _json(min(ends), type_), _json(max(ends), type_)))
    return tuple(found)


def _json(value: object, type_: ColumnType) -> str:
    if type_ is ColumnType.TIMESTAMP and isinstance(value, int):
        value = instants.text(value)
    return _encode(value).decode()
