"""Every entry of a log read once, to know which are damaged."""

from collections.abc import Iterator
from dataclasses import dataclass

from treadle.log.protocol import Damaged, Entry, Reader

# Of one read: bounds what is held in memory.
RECORDS_MAX = 100_000
BYTES_MAX = 50_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reading a whole log found.

    Attributes:
        sound: how many entries are what was appended.
    """

    sound: int
    damaged: list[Damaged]


def every(
    reader: Reader, source_id: int, table_name: str, after: int = 0
) -> Iterator[Entry | Damaged]:
    """Entries of one table in order of position, starting after `after`, a part at a time."""
    while items := reader.read(source_id, table_name, after, RECORDS_MAX, BYTES_MAX):
        after = items[-1].position
        yield from items


def verify(reader: Reader) -> Verdict:
    """Read every entry of every table."""
    sound = 0
    damaged: list[Damaged] = []
    for source_id, table_name in sorted(reader.tables()):
        for one in every(reader, source_id, table_name):
            if isinstance(one, Damaged):
                damaged.append(one)
            else:
                sound += 1
    return Verdict(sound, damaged)
