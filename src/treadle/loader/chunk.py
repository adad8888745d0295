"""What one load takes from the log."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from treadle.loader.schedule import TableKey
from treadle.log.protocol import DamagedEntry, LogEntry


@dataclass(frozen=True, slots=True)
class EntryChunk:
    """Entries of one table that are loaded together.

    Attributes:
        after: position before the first, as the destination holds it: -1 when it holds none.
        entries: sound entries, in order of position.
        damaged: entries that failed their checksum, in order of position.
    """

    key: TableKey
    after: int
    entries: tuple[LogEntry, ...]
    damaged: tuple[DamagedEntry, ...]

    def without_payloads(self) -> "EntryChunk":
        """The same, its entries without what they carry."""
        return replace(self, entries=tuple(replace(entry, payload=b"") for entry in self.entries))

    @property
    def items(self) -> list[LogEntry | DamagedEntry]:
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


def build_chunk(
    key: TableKey, after: int, items: Sequence[LogEntry | DamagedEntry]
) -> EntryChunk | None:
    """The chunk of what was read; None when nothing was."""
    if not items:
        return None
    return EntryChunk(
        key,
        after,
        tuple(item for item in items if isinstance(item, LogEntry)),
        tuple(item for item in items if isinstance(item, DamagedEntry)),
    )
