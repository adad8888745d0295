"""Compares a table with what is known of its loads. Pure: counts in, differences out.

The store has the report of every load, with the number of rows that it wrote and their
`_sdc_batched_at`. The log has the records themselves, as long as they are kept, so that their keys
can be looked up.

- In a table without a key, rows never replace each other. All rows of each load must be there.
- In a table with a key, a later load may have replaced any row. Of each load, at most as many rows
  are there as it wrote. But each key in the log must be there, with its sequence or a greater one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from treadle.counting import count_noun, count_subject

DifferenceKind = Literal["missing", "outdated", "short", "surplus", "unknown", "doubled", "gone"]

EXAMPLES_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """The position and the key of a record in the log.

    Attributes:
        key: column in the destination -> value.
    """

    position: int
    key: Mapping[str, object]


@dataclass(slots=True)
class TableEvidence:
    """The counts and keys that were gathered for one table.

    Attributes:
        names: under which clients send the table.
        replaces: rows replace each other, by a key, a table version or a delete.
        exists: the table exists in the destination.
        rows: in the table. `duplicates`: rows with the key of another row, without the first.
        loads: `_sdc_batched_at` -> rows that the load's report counts.
        batches: `_sdc_batched_at` -> rows in the table, none older than the oldest of `loads`.
        compared: number of records of the log whose key was looked up.
        missing: of these, the records without a row.
        outdated: of these, the records whose row has a lower sequence.
        skipped: why the table could not be compared; None if it was.
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
    """One way in which a table differs from what was loaded.

    Attributes:
        count: of rows or records.
        text: for the operator, the rest of a sentence.
    """

    kind: DifferenceKind
    count: int
    text: str


def find_differences(found: TableEvidence) -> list[TableDifference]:
    """Return how a table differs from its loads; nothing if it could not be compared."""
    if found.skipped is not None:
        return []
    if not found.exists:
        count = sum(found.loads.values())
        return [
            TableDifference(
                "gone", count, f"the table is gone; its loads wrote {count_noun(count, 'row')}"
            )
        ] * bool(count)
    return [*_compare_keys(found), *_compare_loads(found)]


def _compare_keys(found: TableEvidence) -> Iterator[TableDifference]:
    if found.missing:
        yield TableDifference(
            "missing",
            len(found.missing),
            f"{count_noun(len(found.missing), 'record')} of the log "
            f"{'has' if len(found.missing) == 1 else 'have'} no row: "
            f"{_list_places(found.missing)}",
        )
    if found.outdated:
        yield TableDifference(
            "outdated",
            len(found.outdated),
            f"{count_subject(len(found.outdated), 'row', 'has', 'have')} a lower sequence than a "
            "record of the log: "
            f"{_list_places(found.outdated)}",
        )
    if found.duplicates:
        yield TableDifference(
            "doubled",
            found.duplicates,
            f"{count_subject(found.duplicates, 'row', 'has', 'have')} the key of another row",
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
        yield TableDifference(
            "short", short, f"{count_noun(short, 'row')} fewer than its loads wrote"
        )
    if surplus:
        yield TableDifference(
            "surplus", surplus, f"{count_noun(surplus, 'row')} more than its loads wrote"
        )
    if unknown:
        yield TableDifference(
            "unknown",
            unknown,
            f"{count_subject(unknown, 'row', 'is', 'are')} of no load",
        )


def _list_places(places: Sequence[RecordPlace]) -> str:
    named = [
        f"{', '.join(f'{name} {value!r}' for name, value in place.key.items())} "
        f"(position {place.position})"
        for place in places[:EXAMPLES_MAX]
    ]
    return "; ".join(named) + (" ..." if len(places) > EXAMPLES_MAX else "")
