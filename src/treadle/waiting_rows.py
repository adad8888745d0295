"""What waits of each source, as the processes of a machine tell each other in shared memory.

A loader tells of the tables that it loads. Where others load some, too, that is a part of what
waits, and the parts of all loaders of the machine are put together. Where loaders run on other
machines, a process that reads all logs tells of the whole, which counts then.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from treadle.log.protocol import TableBacklog
from treadle.quotas import WAITING_COLUMNS
from treadle.shared_rows import SharedRows, read_rows, remove_rows

WHOLE_COLUMNS: Final = tuple(f"whole {name}" for name in WAITING_COLUMNS)
"""Names of the numbers of whoever tells of all logs; the same as `WAITING_COLUMNS`."""

WHOLE_TELLER: Final = "courier"
"""The process that tells of all logs, on a member with the role `control`."""


class WaitingRow(NamedTuple):
    """What waits of a source: the numbers of `WAITING_COLUMNS`.

    Attributes:
        size: bytes of the payloads, not compressed.
        records: how many.
        is_above: 1 where it is above its part of the log.
        entries: requests that they came with.
        oldest: when the oldest was accepted, microseconds since 1970; 0 for none.
    """

    size: int = 0
    records: int = 0
    is_above: int = 0
    entries: int = 0
    oldest: int = 0


def open_part_rows(folder: Path, process: str) -> SharedRows:
    """Return the rows of a loader, which tells of its own tables.

    Args:
        folder: of the counters.
        process: its name.
    """
    return SharedRows(folder, process, WAITING_COLUMNS)


def open_whole_rows(folder: Path) -> SharedRows:
    """Return the rows of the process of this machine that tells of all logs."""
    return SharedRows(folder, WHOLE_TELLER, WHOLE_COLUMNS)


def remove_part_rows(folder: Path, process: str) -> None:
    """Remove what a loader told that does not run any more."""
    remove_rows(folder, process, WAITING_COLUMNS)


def remove_whole_rows(folder: Path) -> None:
    """Remove what was told of all logs; for a machine where nobody does so any more."""
    remove_rows(folder, WHOLE_TELLER, WHOLE_COLUMNS)


def read_waiting(folder: Path) -> dict[int, WaitingRow]:
    """Return source id -> what waits, as the processes of this machine know it."""
    for _, rows in read_rows(folder, WHOLE_COLUMNS):
        return join_waiting([rows])
    return join_waiting([rows for _, rows in read_rows(folder, WAITING_COLUMNS)])


def sum_by_source(backlogs: Iterable[TableBacklog]) -> dict[int, WaitingRow]:
    """Return what waits of each source, by the backlogs of its tables. Pure."""
    return join_waiting(
        {one.source_id: WaitingRow(one.size, one.records, 0, one.entries, one.oldest)}
        for one in backlogs
    )


def join_waiting(parts: Iterable[Mapping[int, Sequence[int]]]) -> dict[int, WaitingRow]:
    """Return what waits in all parts together. Pure.

    Args:
        parts: source id -> the numbers of `WAITING_COLUMNS`, of each process.
    """
    joined: dict[int, WaitingRow] = {}
    for rows in parts:
        for source_id, numbers in rows.items():
            more = WaitingRow(*numbers)
            have = joined.get(source_id)
            joined[source_id] = more if have is None else _join_rows(have, more)
    return joined


def _join_rows(one: WaitingRow, other: WaitingRow) -> WaitingRow:
    return WaitingRow(
        one.size + other.size,
        one.records + other.records,
        max(one.is_above, other.is_above),
        one.entries + other.entries,
        min((at for at in (one.oldest, other.oldest) if at), default=0),
    )
