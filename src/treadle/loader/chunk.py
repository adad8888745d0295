"""The entries that one load takes from the log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from treadle.loader.schedule import TableKey
from treadle.log.protocol import DamagedEntry, LogEntry


@dataclass(frozen=True, slots=True)
class EntryChunk:
    """Entries of one table that are loaded together.

    Attributes:
        key: the table.
        after: the offset that the destination has committed before; -1 when there is none.
        entries: sound entries, in order of position.
        damaged: entries that failed their checksum, in order of position.
        anchor: of the last entry (`LogReader.get_anchor`); None where the log has none.
    """

    key: TableKey
    after: int
    entries: tuple[LogEntry, ...]
    damaged: tuple[DamagedEntry, ...]
    anchor: bytes | None = None

    def without_payloads(self) -> "EntryChunk":
        """Return the chunk without the payloads of its entries."""
        return replace(self, entries=tuple(replace(entry, payload=b"") for entry in self.entries))

    @property
    def items(self) -> list[LogEntry | DamagedEntry]:
        """Return sound and damaged entries together."""
        return [*self.entries, *self.damaged]

    @property
    def first(self) -> int:
        """Return the smallest position."""
        return min(item.position for item in self.items)

    @property
    def last(self) -> int:
        """Return the greatest position: the offset that this load commits."""
        return max(item.position for item in self.items)

    @property
    def records(self) -> int:
        """Return how many records were accepted with these entries."""
        return sum(item.records for item in self.items)


def build_chunk(
    key: TableKey,
    after: int,
    items: Sequence[LogEntry | DamagedEntry],
    get_anchor: Callable[[int], bytes | None] = lambda position: None,
) -> EntryChunk | None:
    """Build the chunk of what was read from the log; None when nothing was.

    Args:
        key: the table.
        after: the offset that the destination has committed before; -1 when there is none.
        items: in order of position.
        get_anchor: of the log that they are from.
    """
    if not items:
        return None
    return EntryChunk(
        key,
        after,
        tuple(item for item in items if isinstance(item, LogEntry)),
        tuple(item for item in items if isinstance(item, DamagedEntry)),
        get_anchor(items[-1].position),
    )
