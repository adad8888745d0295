"""Data points: the scalar leaf values of a record (import-api.md 5)."""

from collections.abc import Iterable
from typing import Any

import msgspec

from treadle.records import json_decoder
from treadle.records.limits import DATA_POINTS_MAX
from treadle.records.partial_decode import has_too_many_values


def count_data_points(value: Any) -> int:
    """Count the scalar leaf values, null included, in arrays and objects at any depth."""
    found = 0
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            waiting.extend(value.values())
        elif type(value) in (list, tuple):
            waiting.extend(value)
        else:
            found += 1
    return found


def may_exceed_data_points(records: Iterable[msgspec.Raw]) -> bool:
    """Return whether any text is long enough for more data points than allowed; fast for many."""
    return max(map(len, records), default=0) > 2 * DATA_POINTS_MAX


def has_too_many_points(record: bytes | msgspec.Raw) -> bool:
    """Return whether the valid JSON text of a record holds more data points than allowed.

    Only a text with enough commas is decoded: a container of n elements has n - 1 of them, so that
    a whole record has one less than it has leaves. A text with a million values, arrays and objects
    is not decoded. If it has fewer leaves, its only purpose is to fill memory.
    """
    if len(record) <= 2 * DATA_POINTS_MAX:
        return False
    text = bytes(record)
    if json_decoder.count_bytes(text, b",") < DATA_POINTS_MAX:
        return False
    return (
        has_too_many_values(text)
        or count_data_points(json_decoder.decode_json(text)) > DATA_POINTS_MAX
    )
