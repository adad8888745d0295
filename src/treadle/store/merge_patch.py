"""JSON merge patches (RFC 7396), by which the settings of a source are changed."""

from collections.abc import Mapping
from typing import Any


def apply_merge_patch(present: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with a patch applied: None removes a key, objects merge, others replace.

    Args:
        present: the settings; not changed.
        change: the patch.
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
