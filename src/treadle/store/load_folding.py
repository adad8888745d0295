"""Folds the reports of committed loads: those of one table in one hour become one.

A table that gets a record each second has a report each second, of half a kilobyte. After a day
nobody looks at a single one of them. What is needed of each is kept in short: how far it came and
how many records it took, for a history that is copied, and the time and the number of its rows, by
which an audit compares them with the table.

A report that says more stays as it is: of a failed try, of rejected records, of changed columns,
of fields that were left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from treadle.store.model import LoadReport

HOUR_US: Final = 3_600_000_000

TELLING_DETAILS: Final = (
    "schema_changes",
    "columns_added",
    "columns_renamed",
    "fields_left_out",
    "left_out",
    "rounded",
    "nul_characters_removed",
    "trouble",
    "damaged_entries",
    "new_version",
)
"""Details of a report that is worth being kept whole, where it has one of them."""

SAME_DETAILS: Final = ("relations", "table_version", "mode")
"""Details that are the same in all reports that are folded into one."""

PARTS: Final = "parts"
"""The detail of a folded report that has its parts."""


class LoadPart(NamedTuple):
    """What is kept of one load in a folded report.

    Attributes:
        last: position of the last log entry that it took.
        rows_received: records that it took.
        batched_at: `_sdc_batched_at` of its rows, microseconds since 1970; None for no rows.
        rows: that it wrote into the root relation.
    """

    last: int
    rows_received: int
    batched_at: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class LoadFold:
    """A report that takes the place of several.

    Attributes:
        number: of the last of them, whose row it takes.
        removed: the numbers of the others.
        report: with the id of the last one.
    """

    number: int
    removed: tuple[int, ...]
    report: LoadReport


def is_telling(load: LoadReport) -> bool:
    """Return whether a report says more than that records became rows."""
    return (
        load.error is not None
        or load.rows_rejected > 0
        or any(load.details.get(name) for name in TELLING_DETAILS)
    )


def choose_folds(loads: Sequence[tuple[int, LoadReport]]) -> Iterator[LoadFold]:
    """Yield what becomes of the reports of one table and one log.

    Only reports that follow each other without another one between them are folded, so that the
    positions of a folded report are covered by no other.

    Args:
        loads: (number, report) in order of number.
    """
    group: list[tuple[int, LoadReport]] = []
    for number, load in loads:
        if is_telling(load):
            yield from _fold_group(group)
            group = []
            continue
        if group and not _follows(group[-1][1], load):
            yield from _fold_group(group)
            group = []
        group.append((number, load))
    yield from _fold_group(group)


def _follows(before: LoadReport, load: LoadReport) -> bool:
    return (
        load.first > before.last
        and load.finished_at // HOUR_US == before.finished_at // HOUR_US
        and all(load.details.get(name) == before.details.get(name) for name in SAME_DETAILS)
    )


def _fold_group(group: Sequence[tuple[int, LoadReport]]) -> Iterator[LoadFold]:
    if len(group) > 1:
        *others, (number, _) = group
        yield LoadFold(number, tuple(n for n, _ in others), _sum_loads([one for _, one in group]))


def _sum_loads(loads: Sequence[LoadReport]) -> LoadReport:
    first, last = loads[0], loads[-1]
    tables: dict[str, int] = {}
    for load in loads:
        for name, rows in load.tables.items():
            tables[name] = tables.get(name, 0) + rows
    waited = [one.waited_max_us for one in loads if one.waited_max_us is not None]
    parts = [part for load in loads for part in list_parts(load)]
    return replace(
        last,
        first=first.first,
        started_at=first.started_at,
        rows_received=sum(one.rows_received for one in loads),
        rows_loaded=sum(one.rows_loaded for one in loads),
        rows_discarded=sum(one.rows_discarded for one in loads),
        tables=tables,
        waited_max_us=max(waited, default=None),
        waited_p50_us=_average_wait(loads),
        details=last.details | {PARTS: _pack_parts(first.first, parts)},
    )


def _average_wait(loads: Sequence[LoadReport]) -> int | None:
    """Return the medians, averaged by the records that each load took."""
    known = [
        (one.waited_p50_us, one.rows_received) for one in loads if one.waited_p50_us is not None
    ]
    records = sum(count for _, count in known)
    return sum(wait * count for wait, count in known) // records if records else None


def _pack_parts(first: int, parts: Sequence[LoadPart]) -> list[list[Any]]:
    """Return parts as short as JSON has them: numbers that grow are kept as differences."""
    packed: list[list[Any]] = []
    last, at = first, 0
    for part in parts:
        passed = None if part.batched_at is None else part.batched_at - at
        packed.append([part.last - last, part.rows_received, passed, part.rows])
        last, at = part.last, at if part.batched_at is None else part.batched_at
    return packed


def list_parts(load: LoadReport) -> list[LoadPart]:
    """Return the loads that a report is about: one, or those that were folded into it."""
    packed = load.details.get(PARTS)
    if packed is None:
        return [_describe_load(load)]
    parts: list[LoadPart] = []
    last, at = load.first, 0
    for further, received, passed, rows in packed:
        last += further
        at = at if passed is None else at + passed
        parts.append(LoadPart(last, received, None if passed is None else at, rows))
    return parts


def count_parts(load: LoadReport) -> int:
    """Return how many loads a report is about."""
    return len(load.details.get(PARTS, (None,)))


def _describe_load(load: LoadReport) -> LoadPart:
    relations = load.details.get("relations") or []
    root = relations[0][1] if relations else load.table_name
    rows = load.tables.get(root, 0) if load.tables else load.rows_loaded
    at = load.details.get("batched_at") if relations else None
    return LoadPart(load.last, load.rows_received, at, rows)
