"""Where a table and what is known of its loads part. Pure: counts in, differences out.

Two things are known of what was loaded. The store has the report of every load, with the number of
rows it wrote and the `_sdc_batched_at` that these rows carry. The log has the records themselves,
for as long as they are kept, so that their keys can be looked up.

- Rows of a table without a key never replace each other, so each load's rows are all there.
- Of a table with a key a later load may have replaced any row, so of each load at most as many are
  there as it wrote; but each key of the log is there, with its sequence or a greater one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

DifferenceKind = Literal["missing", "outdated", "short", "surplus", "unknown", "doubled", "gone"]

EXAMPLES_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """A record of the log: where it is, and its key.

    Attributes:
        key: its key's values in the destination, by column.
    """

    position: int
    key: Mapping[str, object]


@dataclass(slots=True)
class TableEvidence:
    """What was found of one table.

    Attributes:
        names: under which clients send it.
        replaces: rows replace each other: by a key, a version, or a delete.
        there: the table exists.
        rows: how many it has; `duplicates`: of them beyond the first of their key.
        loads: `_sdc_batched_at` -> rows that the load's report counts.
        batches: `_sdc_batched_at` -> rows in the table, none older than the oldest of `loads`.
        compared: records of the log whose key was looked up.
        missing, outdated: of those, the ones without a row, and with a row of a lower sequence.
        skipped: why it cannot be compared; None when it was.
    """

    source: str
    source_id: int
    table: str
    names: tuple[str, ...] = ()
    replaces: bool = False
    exists: bool = True
    rows: int = 0
    duplicates: int = 0
    loads: dict[int, int] = field(default_factory=dict)
    batches: Mapping[int, int] = field(default_factory=dict)
    compared: int = 0
    missing: list[RecordPlace] = field(default_factory=list)
    outdated: list[RecordPlace] = field(default_factory=list)
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class TableDifference:
    """One way in which a table parts from what was loaded.

    Attributes:
        count: rows.
        text: a sentence for the operator.
    """

    kind: DifferenceKind
    count: int
    text: str


def find_differences(found: TableEvidence) -> list[TableDifference]:
    """How a table differs; empty when it does not, or cannot be compared."""
    if found.skipped is not None:
        return []
    if not found.exists:
        count = sum(found.loads.values())
        return [
            TableDifference("gone", count, f"the table is gone; its loads wrote {count} rows")
        ] * bool(count)
    return [*_compare_keys(found), *_compare_loads(found)]


def _compare_keys(found: TableEvidence) -> Iterator[TableDifference]:
    if found.missing:
        yield TableDifference(
            "missing",
            len(found.missing),
            f"{len(found.missing)} records of the log have no row: {_list_places(found.missing)}",
        )
    if found.outdated:
        yield TableDifference(
            "outdated",
            len(found.outdated),
            f"{len(found.outdated)} rows have a lower sequence than a record of the log: "
            f"{_list_places(found.outdated)}",
        )
    if found.duplicates:
        yield TableDifference(
            "doubled", found.duplicates, f"{found.duplicates} rows have the key of another row"
        )


def _compare_loads(found: TableEvidence) -> Iterator[TableDifference]:
    short = surplus = 0
    for at, wrote in found.loads.items():
        there = found.batches.get(at, 0)
        surplus += max(0, there - wrote)
        if not found.replaces:
            short += max(0, wrote - there)
    unknown = sum(count for at, count in found.batches.items() if at not in found.loads)
    if short:
        yield TableDifference("short", short, f"{short} rows fewer than its loads wrote")
    if surplus:
        yield TableDifference("surplus", surplus, f"{surplus} rows more than its loads wrote")
    if unknown:
        yield TableDifference("unknown", unknown, f"{unknown} rows are of no load")


def _list_places(places: Sequence[RecordPlace]) -> str:
    named = [
        f"{', '.join(f'{name} {value!r}' for name, value in place.key.items())} "
        f"(position {place.position})"
        for place in places[:EXAMPLES_MAX]
    ]
    return "; ".join(named) + (" ..." if len(places) > EXAMPLES_MAX else "")
