"""What waits of each table, as the log says, for lists of tables."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from treadle.log.protocol import LogReader, TableBacklog
from treadle.tracking.log_list import LogMeasure, PlacedLog, measure_logs

FRESH_SECONDS: Final = 0.5
"""What was read of the log serves this long, however many ask."""

MEASURED_SECONDS: Final = 2.0
"""The same for sums by log and their space, which each log is asked for."""

_NOTHING: Final[Mapping[str, TableBacklog]] = MappingProxyType({})


class WaitingView:
    """Reads the backlogs of the log for several threads, in one of them at a time.

    The log is opened by the first question, and only what was appended since the last one is read.

    Args:
        open_reader: opens the log; None where there is none, and nothing waits.
        monotonic: seconds since any moment.
    """

    def __init__(
        self,
        open_reader: Callable[[], LogReader] | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_reader = open_reader
        self._monotonic = monotonic
        self._reader: LogReader | None = None
        self._lock = threading.Lock()
        self._read_at = -FRESH_SECONDS
        self._found: dict[int, dict[str, TableBacklog]] = {}
        self._measures: Mapping[int, LogMeasure] | None = None
        self._measured_at = 0.0

    def list_backlogs(self, source_id: int) -> Mapping[str, TableBacklog]:
        """Return the backlogs of a source's tables, by name.

        Raises:
            RetriableError: the log cannot be read now.
        """
        with self._lock:
            now = self._monotonic()
            if now - self._read_at >= FRESH_SECONDS:
                found: dict[int, dict[str, TableBacklog]] = {}
                for backlog in self._list_all():
                    found.setdefault(backlog.source_id, {})[backlog.table_name] = backlog
                self._found, self._read_at = found, now
            return self._found.get(source_id, _NOTHING)

    def count_records_above(self, source_id: int, table_name: str, position: int) -> int:
        """Count the records of a table's entries above a position."""
        with self._lock:
            reader = self._open_once()
            if reader is None:
                return 0
            return reader.statistics.count_records_above(source_id, table_name, position)

    def measure_logs(self, logs: Iterable[PlacedLog]) -> Mapping[int, LogMeasure]:
        """Return log number -> what the log holds; one that cannot be asked says why.

        Raises:
            RetriableError, OperatorError: no log can be opened now.
        """
        with self._lock:
            now = self._monotonic()
            if self._measures is None or now - self._measured_at >= MEASURED_SECONDS:
                reader = self._open_once()
                self._measures = {} if reader is None else measure_logs(reader, logs)
                self._measured_at = now
            return self._measures

    def close(self) -> None:
        """Close the log, if it was opened."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    def _list_all(self) -> list[TableBacklog]:
        reader = self._open_once()
        return [] if reader is None else reader.list_backlogs()

    def _open_once(self) -> LogReader | None:
        if self._reader is None and self._open_reader is not None:
            self._reader = self._open_reader()
        return self._reader
