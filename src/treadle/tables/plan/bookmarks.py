"""The range of the replication keys of a load, for reports and webhooks (loading.md 11.1)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from treadle.tables.arrow_column import to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.names import Namer
from treadle.tables.prepare.version_group import VersionGroup
from treadle.timestamps import format_exact

_encode = msgspec.json.Encoder(decimal_format="number").encode


def find_bookmarks(
    sent: Sequence[str], groups: Sequence[VersionGroup], namer: Namer
) -> tuple[tuple[str, str, str], ...]:
    """Return (field as sent, least, greatest) as JSON texts, for fields of one type."""
    found = []
    for name in sent:
        folded = namer.name_field(None, name).folded
        values: dict[ColumnType, list[Any]] = {}
        for group in groups:
            each = group.frames[0].fields.get(folded)
            for type_, column in each.columns.items() if each is not None else ():
                present = [value for value in to_values(column) if value is not None]
                if present:
                    values.setdefault(type_, []).extend((min(present), max(present)))
        if len(values) == 1:
            ((type_, ends),) = values.items()
            found.append((name, _encode_bound(min(ends), type_), _encode_bound(max(ends), type_)))
    return tuple(found)


def _encode_bound(value: object, type_: ColumnType) -> str:
    if type_ is ColumnType.TIMESTAMP and isinstance(value, int):
        value = format_exact(value)
    return _encode(value).decode()
