"""What one load takes from the log, and what is told of it afterwards."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from treadle.destinations.protocol import LoadResult
from treadle.loader.due import Key
from treadle.log.protocol import Damaged, Entry
from treadle.store.model import Load, Outcome
from treadle.tables.model import AddColumn, LoadPlan, RenameColumn


@dataclass(frozen=True, slots=True)
class Chunk:
    """Entries of one table that are loaded together.

    Attributes:
        after: position before the first, as the destination holds it: -1 when it holds none.
        entries: sound entries, in order of position.
        damaged: entries that failed their checksum, in order of position.
    """

    key: Key
    after: int
    entries: tuple[Entry, ...]
    damaged: tuple[Damaged, ...]

    @property
    def items(self) -> list[Entry | Damaged]:
        """Sound and damaged entries together."""
        return [*self.entries, *self.damaged]

    @property
    def first(self) -> int:
        """Smallest position."""
        return min(item.position for item in self.items)

    @property
    def last(self) -> int:
        """Greatest position: where the destination stands once this is loaded."""
        return max(item.position for item in self.items)

    @property
    def records(self) -> int:
        """Records accepted with these entries."""
        return sum(item.records for item in self.items)


def chunk_of(key: Key, after: int, items: Sequence[Entry | Damaged]) -> Chunk | None:
    """The chunk of what was read; None when nothing was."""
    if not items:
        return None
    return Chunk(
        key,
        after,
        tuple(item for item in items if isinstance(item, Entry)),
        tuple(item for item in items if isinstance(item, Damaged)),
    )


def outcomes(chunk: Chunk, plan: LoadPlan, superseded: dict[int, int]) -> list[Outcome]:
    """What became of the records that did not plainly load, per entry.

    Args:
        chunk: what was loaded.
        plan: how.
        superseded: entry index -> records that lost against a row already in the table.
    """
    source_id, table_name = chunk.key
    lost: dict[int, int] = defaultdict(int)
    for counts in (superseded, plan.duplicates, plan.ignored):
        for index, count in counts.items():
            lost[index] += count
    rejected: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for rejection in plan.rejections:
        if rejection.entry >= 0:
            rejected[rejection.entry].append((rejection.index, rejection.reason))
    found = [
        Outcome(
            chunk.entries[index].position,
            source_id,
            table_name,
            lost.get(index, 0),
            tuple(rejected.get(index, ())),
        )
        for index in sorted(lost.keys() | rejected.keys())
    ]
    found += [
        Outcome(
            item.position,
            source_id,
            table_name,
            0,
            tuple((index, item.why) for index in range(item.records)),
        )
        for item in chunk.damaged
    ]
    return found


def report(
    chunk: Chunk,
    plan: LoadPlan,
    result: LoadResult,
    load_id: str,
    started_at: int,
    finished_at: int,
) -> tuple[Load, list[Outcome]]:
    """The load report (loading.md 11.2) of a committed load, and its outcomes per entry."""
    found = outcomes(chunk, plan, dict(result.superseded))
    discarded = sum(outcome.superseded for outcome in found)
    rejected = sum(len(outcome.rejected) for outcome in found)
    load = Load(
        id=load_id,
        source_id=chunk.key[0],
        table_name=chunk.key[1],
        first=chunk.first,
        last=chunk.last,
        started_at=started_at,
        finished_at=finished_at,
        rows_received=chunk.records,
        rows_loaded=chunk.records - discarded - rejected,
        rows_discarded=discarded,
        rows_rejected=rejected,
        tables=dict(result.rows),
        details=details(plan),
        error=None,
    )
    return load, found


def details(plan: LoadPlan) -> dict[str, object]:
    """The parts of a load report that only the plan knows."""
    return {
        "fields_left_out": list(plan.left_out),
        "columns_added": [
            [change.relation, change.column.name]
            for change in plan.changes
            if isinstance(change, AddColumn) and not change.private
        ],
        "columns_renamed": [
            [change.relation, change.old, change.new]
            for change in plan.changes
            if isinstance(change, RenameColumn) and not change.private
        ],
        "nul_characters_removed": plan.nul_removed,
        "table_version": plan.after.version if plan.after else 0,
        "new_version": plan.new_version,
        "batched_at": plan.batched_at,
        "extracted_max": plan.extracted_max,
        "bookmarks": [list(bookmark) for bookmark in plan.bookmarks],
    }


def failure(chunk: Chunk, error: str, load_id: str, started_at: int, finished_at: int) -> Load:
    """The load report of a try that changed nothing."""
    return Load(
        id=load_id,
        source_id=chunk.key[0],
        table_name=chunk.key[1],
        first=chunk.first,
        last=chunk.last,
        started_at=started_at,
        finished_at=finished_at,
        rows_received=chunk.records,
        rows_loaded=0,
        rows_discarded=0,
        rows_rejected=0,
        tables={},
        details={},
        error=error,
    )
