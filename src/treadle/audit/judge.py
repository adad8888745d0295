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

Kind = Literal["missing", "outdated", "short", "surplus", "unknown", "doubled", "gone"]

EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A record of the log: where it is, and its key.

    Attributes:
        key: its key's values in the destination, by column.
    """

    position: int
    key: Mapping[str, object]


@dataclass(slots=True)
class Evidence:
    """What was found of one table.

    Attributes:
        names: under which clients send it.
        replaces: rows replace each other: by a key, a version, or a delete.
        there: the table exists.
        rows: how many it has; `doubled`: of them beyond the first of their key.
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
    there: bool = True
    rows: int = 0
    doubled: int = 0
    loads: dict[int, int] = field(default_factory=dict)
    batches: Mapping[int, int] = field(default_factory=dict)
    compared: int = 0
    missing: list[Place] = field(default_factory=list)
    outdated: list[Place] = field(default_factory=list)
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a table parts from what was loaded.

    Attributes:
        count: rows.
        text: a sentence for the operator.
    """

    kind: Kind
    count: int
    text: str


def differences(found: Evidence) -> list[Difference]:
    """How a table differs; empty when it does not, or cannot be compared."""
    if found.skipped is not None:
        return []
    if not found.there:
        count = sum(found.loads.values())
        return [
            Difference("gone", count, f"the table is gone; its loads wrote {count} rows")
        ] * bool(count)
    return [*_by_key(found), *_by_load(found)]


def _by_key(found: Evidence) -> Iterator[Difference]:
    if found.missing:
        yield Difference(
            "missing",
            len(found.missing),
            f"{len(found.missing)} records of the log have no row: {_named(found.missing)}",
        )
    if found.outdated:
        yield Difference(
            "outdated",
            len(found.outdated),
            f"{len(found.outdated)} rows have a lower sequence than a record of the log: "
            f"{_named(found.outdated)}",
        )
    if found.doubled:
        yield Difference(
            "doubled", found.doubled, f"{found.doubled} rows have the key of another row"
        )


def _by_load(found: Evidence) -> Iterator[Difference]:
    short = surplus = 0
    for at, wrote in found.loads.items():
        there = found.batches.get(at, 0)
        surplus += max(0, there - wrote)
        if not found.replaces:
            short += max(0, wrote - there)
    unknown = sum(count for at, count in found.batches.items() if at not in found.loads)
    if short:
        yield Difference("short", short, f"{short} rows fewer than its loads wrote")
    if surplus:
        yield Difference("surplus", surplus, f"{surplus} rows more than its loads wrote")
    if unknown:
        yield Difference("unknown", unknown, f"{unknown} rows are of no load")


def _named(places: Sequence[Place]) -> str:
    named = [
        f"{', '.join(f'{name} {value!r}' for name, value in place.key.items())} "
        f"(position {place.position})"
        for place in places[:EXAMPLES]
    ]
    return "; ".join(named) + (" ..." if len(places) > EXAMPLES else "")
