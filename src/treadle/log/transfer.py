"""A whole log as values: how it goes from one back-end to another, with its name and positions.

Destinations, receipts and idempotency keys name a log and positions in it. So a log that goes on
elsewhere keeps both, and nothing has to be told to those who remember it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class ExportedTable(NamedTuple):
    """A table that ever had an entry.

    Attributes:
        id: by which entries name it.
        source_id: who pushed.
        name: as sent.
        loaded: the position up to which it was loaded, as far as the log knows.
    """

    id: int
    source_id: int
    name: str
    loaded: int


class ExportedEntry(NamedTuple):
    """An entry as it is stored.

    Attributes:
        position: of the entry.
        table_id: of an `ExportedTable`.
        received_at: microseconds since 1970.
        records: how many.
        size: of the payload, uncompressed.
        anchor: see `LogReader.get_anchor`.
        is_sound: its checksum is right. The numbers of a damaged one mean nothing.
        stored: the payload as it is stored (`codec`).
    """

    position: int
    table_id: int
    received_at: int
    records: int
    size: int
    anchor: bytes | None
    is_sound: bool
    stored: bytes


class ExportedKey(NamedTuple):
    """The name of a request that is stored once, and where its entries begin.

    Attributes:
        name: 32 bytes.
        digest: of what was asked, 32 bytes.
        first: position of its first entry.
        at: when it was stored, microseconds since 1970.
        repeats: how often it came again.
    """

    name: bytes
    digest: bytes
    first: int
    at: int
    repeats: int


class LogExport(Protocol):
    """All that a log holds, while nobody writes it. For one thread."""

    @property
    def log_id(self) -> str:
        """The log's name."""

    @property
    def end_position(self) -> int:
        """The greatest position that was given."""

    def count_entries(self) -> int:
        """Return how many entries there are, counted without reading them."""

    def list_tables(self) -> list[ExportedTable]:
        """Return all tables, in the order in which they came."""

    def read_entries(self, after: int, upto: int) -> Iterator[ExportedEntry]:
        """Read the entries above a position and up to another one, in order."""

    def read_keys(self) -> Iterator[ExportedKey]:
        """Read the names of requests, in the order of their bytes."""


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far the transfer of a log is.

    Attributes:
        stored_bytes: of the payloads that were written.
        part: of the log's positions that are behind, from 0 to 1.
    """

    stored_bytes: int
    part: float


ReportProgress = Callable[[TransferProgress], None]


@dataclass(frozen=True, slots=True)
class TransferResult:
    """What arrived of a log, as it was read back and compared.

    Attributes:
        log_id: its name.
        end_position: the greatest position that was given.
        entries: how many.
        records: in the sound ones.
        stored_bytes: of their payloads, compressed.
        keys: names of requests that are stored once.
        damaged: entries that were damaged before, and are told of as such where they are now.
    """

    log_id: str
    end_position: int
    entries: int = 0
    records: int = 0
    stored_bytes: int = 0
    keys: int = 0
    damaged: int = 0
