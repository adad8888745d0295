"""What holds after a schedule, with everything healed and the senders idle: functions of values.

Each returns what is wrong in words, and nothing where nothing is (cluster.md 15.4).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.faults.witness import Row

SHOWN_MAX: Final = 5


def merge_places(places: Sequence[Sequence[Row]], *, keyed: bool) -> tuple[list[Row], list[str]]:
    """Put the rows of a table in several destinations together; says what is doubled in one.

    A source that is moved leaves its rows where they are, and a place that it comes back to gets
    what went elsewhere meanwhile: so a row may be in each place once, and counts once.

    Args:
        places: the rows of each.
        keyed: the table has a key; of each id the row with the highest sequence counts.
    """
    found: list[str] = []
    merged: dict[tuple[int, ...], Row] = {}
    extra: list[Row] = []
    for rows in places:
        seen: set[tuple[int, ...]] = set()
        for row in rows:
            name = (row.id,) if keyed else (row.request, row.id)
            if name in seen:
                if keyed:
                    found.append(f"doubled: id {row.id} in one destination")
                else:
                    extra.append(row)
                continue
            seen.add(name)
            before = merged.get(name)
            if before is None or row.sequence > before.sequence:
                merged[name] = row
    return [*merged.values(), *extra], found


def find_crossed_rows(table: str, places: Sequence[Sequence[Row]]) -> list[str]:
    """Say which rows of a table without a key are in several destinations.

    It holds for a source that was moved once: each record is in one of its places.
    """
    counts = Counter((row.request, row.id) for rows in map(set, places) for row in rows)
    twice = sorted(name for name, count in counts.items() if count > 1)
    return [
        f"moved: {table} has {len(twice)} rows in both destinations, the first is id {row} of "
        f"request {request}"
        for request, row in twice[:1]
    ]


@dataclass(frozen=True, slots=True)
class TableAccount:
    """What became of the records of a table.

    Attributes:
        reported: records that the reports of its loads say they received.
    """

    table: str
    accepted: int
    loaded: int
    superseded: int
    rejected: int
    waiting: int
    reported: int


def find_unbalanced(accounts: Iterable[TableAccount]) -> list[str]:
    """Say which tables do not add up (15.4, 3)."""
    found: list[str] = []
    for one in accounts:
        told = one.loaded + one.superseded + one.rejected + one.waiting
        if one.accepted != told:
            found.append(f"ledger: {one.table} accepted {one.accepted}, and {told} are told of")
        if one.waiting == 0 and one.reported != one.accepted:
            found.append(
                f"ledger: {one.table} accepted {one.accepted}, and loads say {one.reported}"
            )
    return found


def find_unloaded(receipts: Mapping[str, Sequence[str]]) -> list[str]:
    """Say which receipts are of something that is not loaded (15.4, 4).

    Args:
        receipts: receipt -> the state of each table in it; none where nobody knows it.
    """
    bad = {
        receipt: states
        for receipt, states in receipts.items()
        if not states or any(state != "loaded" for state in states)
    }
    shown = [
        f"receipt: {receipt} is {', '.join(states) or 'not known'}"
        for receipt, states in list(bad.items())[:SHOWN_MAX]
    ]
    return shown if len(bad) <= SHOWN_MAX else [*shown, f"receipt: {len(bad)} are not loaded"]


def find_double_keys(answers: Mapping[str, Iterable[str]]) -> list[str]:
    """Say which idempotency keys were stored more than once (15.4, 5).

    Args:
        answers: key -> the receipts of all answers to it: they name one place.
    """
    return [
        f"key: {key} was answered with {len(set(receipts))} receipts"
        for key, receipts in answers.items()
        if len(set(receipts)) > 1
    ]


@dataclass(frozen=True, slots=True)
class AcknowledgedPlace:
    """The entries that an answer named.

    Attributes:
        log: number of the log.
        first: position of the first.
    """

    log: int
    first: int
    entries: int


def find_missing_positions(
    acknowledged: Iterable[AcknowledgedPlace], stored: Mapping[int, Sequence[tuple[int, str]]]
) -> list[str]:
    """Say what the logs lack of what was acknowledged, and what they hold twice (15.4, 6).

    Args:
        acknowledged: of every answer.
        stored: log -> position and uid of each entry.
    """
    found: list[str] = []
    there = {log: {position for position, _ in entries} for log, entries in stored.items()}
    for place in acknowledged:
        wanted = range(place.first, place.first + place.entries)
        missing = [position for position in wanted if position not in there.get(place.log, ())]
        if missing:
            found.append(f"position: log {place.log} lacks {missing[0]}, which was acknowledged")
    for log, entries in stored.items():
        for uid, count in Counter(uid for _, uid in entries).items():
            if count > 1:
                found.append(f"position: log {log} holds the entry {uid} {count} times")
        for position, count in Counter(position for position, _ in entries).items():
            if count > 1:
                found.append(f"position: log {log} holds position {position} {count} times")
    return found


@dataclass(frozen=True, slots=True)
class FenceSample:
    """Who held what with which number, as seen at a moment."""

    at: float
    unit: str
    holder: str | None
    fence: int


def find_lower_fences(samples: Iterable[FenceSample]) -> list[str]:
    """Say where a fence went back, or was kept by another holder (15.4, 7)."""
    found: list[str] = []
    by_unit: dict[str, list[FenceSample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda one: one.at):
        by_unit[sample.unit].append(sample)
    for unit, its in by_unit.items():
        for before, after in pairwise(its):
            if after.fence < before.fence:
                found.append(f"fence: {unit} went from {before.fence} back to {after.fence}")
            elif (
                after.fence == before.fence
                and None not in (before.holder, after.holder)
                and before.holder != after.holder
            ):
                found.append(
                    f"fence: {unit} went from {before.holder} to {after.holder} with the number "
                    f"{after.fence}"
                )
    return found


@dataclass(frozen=True, slots=True)
class CommittedLoad:
    """A load that was committed, as its report says.

    Attributes:
        table: with its source.
        first, last: positions of its entries.
        load_id: of its report.
    """

    table: str
    first: int
    last: int
    load_id: str = ""


def find_crossed_loads(loads: Iterable[CommittedLoad]) -> list[str]:
    """Say where two loads of a table cover one position: two members loaded it (15.4, 7)."""
    found: list[str] = []
    by_table: dict[str, list[CommittedLoad]] = defaultdict(list)
    for load in loads:
        by_table[load.table].append(load)
    for table, its in by_table.items():
        its.sort(key=lambda one: (one.last, one.first))
        found += [
            f"load: {table} was loaded up to {before.last} by {before.load_id}, and from "
            f"{after.first} on by {after.load_id}"
            for before, after in pairwise(its)
            if after.first <= before.last
        ]
    return found


def find_unmet(counts: Mapping[str, int], expected: Iterable[str]) -> list[str]:
    """Say what a run did not meet although it is there to test it (15.4, 9)."""
    return [f"not met: {name}" for name in expected if not counts.get(name)]
