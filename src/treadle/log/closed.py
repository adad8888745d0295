"""The reader of a log that was closed: nothing of it is kept, and its database may be gone."""

from collections.abc import Mapping, Sequence

from treadle.log.protocol import (
    DamagedEntry,
    EntryNote,
    HourlyRecords,
    LogEntry,
    LogStatistics,
    TableBacklog,
    TrimPoint,
)
from treadle.log.quota import LogSpace


class ClosedReader:
    """Reads a closed log (`protocol.LogReader`): it has no entry.

    Args:
        log_id: the log's name, which receipts are signed with.
    """

    def __init__(self, log_id: str) -> None:
        self.log_id = log_id
        self.statistics: LogStatistics = ClosedStatistics()

    def share_tables(self, slots: frozenset[int], loaded: Mapping[tuple[int, str], int]) -> None:
        """Do nothing."""

    def list_backlogs(self) -> list[TableBacklog]:
        """Return nothing: a log is closed when nothing waits in it."""
        return []

    def sense_append(self) -> bool:
        """Return False: it takes nothing."""
        return False

    def read(
        self, source_id: int, table_name: str, after: int, records_max: int, bytes_max: int
    ) -> list[LogEntry | DamagedEntry]:
        """Return nothing."""
        return []

    def find_entries(self, first: int, count: int) -> list[LogEntry | DamagedEntry]:
        """Return nothing: no entry is kept."""
        return []

    def get_anchor(self, position: int) -> bytes | None:
        """Return None: no entry is kept."""
        return None

    def mark_loaded(self, source_id: int, table_name: str, position: int) -> None:
        """Do nothing."""

    def trim(self, points: Sequence[TrimPoint]) -> int:
        """Remove nothing."""
        return 0

    def close(self) -> None:
        """Do nothing."""


class ClosedStatistics:
    """The statistics of a closed log (`protocol.LogStatistics`)."""

    def list_tables(self) -> list[tuple[int, str]]:
        """Return nothing."""
        return []

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        """Return 0."""
        return 0

    def count_by_hour(self, source_id: int, table_name: str, loaded: int) -> list[HourlyRecords]:
        """Return nothing."""
        return []

    def get_received_times(self, positions: Sequence[int]) -> dict[int, int]:
        """Return nothing."""
        return {}

    def list_entries_below(
        self, position: int | None, limit: int, table: tuple[int, str] | None = None
    ) -> list[EntryNote]:
        """Return nothing."""
        return []

    def find_keys(self, names: Sequence[bytes]) -> dict[bytes, int]:
        """Return nothing."""
        return {}

    def forget_keys(self, before: int) -> int:
        """Forget nothing."""
        return 0

    def measure_space(self) -> LogSpace:
        """Return that nothing is used."""
        return LogSpace(0, None)
