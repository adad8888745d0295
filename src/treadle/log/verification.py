"""Reads every entry of a log once, to know which are damaged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from treadle.log.protocol import DamagedEntry, LogEntry, LogReader

# Of one read, so that a long log does not fill the memory.
PART_RECORDS_MAX: Final = 100_000
PART_BYTES_MAX: Final = 50_000_000

REPORTED_ENTRIES: Final = 10_000
"""Entries after which it is told how many were read."""


@dataclass(frozen=True, slots=True)
class LogVerification:
    """The result of reading a whole log.

    Attributes:
        sound_entries: how many entries are what was appended.
    """

    sound_entries: int
    damaged_entries: list[DamagedEntry]


def read_all_entries(
    reader: LogReader, source_id: int, table_name: str, after: int = 0
) -> Iterator[LogEntry | DamagedEntry]:
    """Read the entries of one table above `after` in order of position, a part at a time."""
    while items := reader.read(source_id, table_name, after, PART_RECORDS_MAX, PART_BYTES_MAX):
        after = items[-1].position
        yield from items


def verify_log(
    reader: LogReader, report: Callable[[int], None] = lambda entries: None
) -> LogVerification:
    """Read every entry of every table, and say which are damaged.

    Args:
        reader: of the log.
        report: called now and then with the number of entries that were read.
    """
    sound = 0
    damaged: list[DamagedEntry] = []
    for source_id, table_name in sorted(reader.statistics.list_tables()):
        for one in read_all_entries(reader, source_id, table_name):
            if isinstance(one, DamagedEntry):
                damaged.append(one)
            else:
                sound += 1
            if not (sound + len(damaged)) % REPORTED_ENTRIES:
                report(sound + len(damaged))
    return LogVerification(sound, damaged)
