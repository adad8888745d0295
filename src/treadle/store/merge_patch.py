"""How a change of settings is merged into what is there."""

from collections.abc import Mapping
from typing import Any


def apply_merge_patch(present: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7396): null removes a key, objects are merged, others replace.

    Args:
        present: the settings as they are; left alone.
        change: what is to be different.
    """
    merged = dict(present)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = apply_merge_patch(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
