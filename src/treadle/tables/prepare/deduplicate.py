"""Finds the latest of several records with one key: the greatest sequence (loading.md 2.3)."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Literal


def find_latest_rows(
    keys: Sequence[Hashable],
    sequences: Sequence[int],
    tie: Literal["first", "last"] = "first",
    order: Iterable[int] | None = None,
) -> list[int] | None:
    """Return the latest row of each key, ascending; None when no key is there twice.

    Args:
        keys: of each row.
        sequences: of each row.
        tie: which of equal sequences stays, by order of arrival.
        order: rows in order of arrival, when that is not their own order.
    """
    if len(set(keys)) == len(keys):
        return None
    best: dict[Hashable, int] = {}
    at = best.get
    for row in range(len(keys)) if order is None else order:
        key = keys[row]
        known = at(key)
        if known is None or (
            sequences[row] > sequences[known]
            or (tie == "last" and sequences[row] == sequences[known])
        ):
            best[key] = row
    return sorted(best.values())
