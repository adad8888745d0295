"""Finds the records that a database refuses, when it refused a load as a whole."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Record = TypeVar("Record")


def find_refused(
    records: Sequence[Record], rehearse: Callable[[Sequence[Record]], str | None]
) -> dict[Record, str]:
    """Return the records that are refused when they are loaded without the others, with reasons.

    Halves are tried until each refused record stands alone, so `k` bad records among `n` cost
    about `2 k log2(n)` rehearsals, the larger ones rare.

    Args:
        records: names of the records, in order.
        rehearse: tries to load just these; returns why they were refused, or None.
    """
    found: dict[Record, str] = {}
    waiting = [records]
    while waiting:
        some = waiting.pop()
        if not some:
            continue
        reason = rehearse(some)
        if reason is None:
            continue
        if len(some) == 1:
            found[some[0]] = reason
        else:
            middle = len(some) // 2
            waiting += [some[middle:], some[:middle]]
    return found


def find_refused_together(
    records: Sequence[Record], rehearse: Callable[[Sequence[Record]], str | None]
) -> dict[Record, str]:
    """Return the records to leave out, with reasons, so that the others can be loaded together.

    For records that are taken alone and refused with others, such as two whose fields get one
    column. A rehearsal tries a part beside all that was taken before, so each is as large as what
    is kept; the first of two that do not go together stays.

    Args:
        records: names of the records, in order.
        rehearse: tries to load just these; returns why they were refused, or None.
    """
    found: dict[Record, str] = {}
    kept: list[Record] = []
    waiting = [records] if records else []
    while waiting:
        some = waiting.pop()
        reason = rehearse([*kept, *some])
        if reason is None:
            kept += some
        elif len(some) == 1:
            found[some[0]] = reason
        else:
            middle = len(some) // 2
            waiting += [some[middle:], some[:middle]]
    return found
