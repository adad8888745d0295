"""Reports what became of loads: to the store, then to the log, and to the operator.

The order matters: the log may drop the entries of a load that it was told of, so it is told after
the store has the report. A report that the store does not take now is kept and recorded before
anything else is loaded. The destination keeps it too (`CommitRecovery`), but only the last one of
each table.
"""

import logging
import threading
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from treadle import failpoint
from treadle.destinations.protocol import AccessDeniedError
from treadle.errors import TableStoppedError
from treadle.loader.load_lines import LoadLine, LoadLines
from treadle.loader.load_texts import (
    describe_failure,
    describe_load,
    describe_source,
    describe_table,
    number_load,
    sum_failures,
    sum_loads,
)
from treadle.loader.schedule import LoadHistory, TableKey, find_untold
from treadle.log.protocol import TableBacklog
from treadle.store.model import EntryOutcome, LoadReport
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")


SILENCE_US_MAX = 120_000_000
TROUBLE_LINE_US = 60_000_000
"""The operator is told of a destination that does not answer for longer. A load seldom takes a
second."""


class PendingReport(NamedTuple):
    """A committed load that the store does not know of yet: its table, last position and report."""

    key: TableKey
    position: int
    load: LoadReport
    outcomes: Sequence[EntryOutcome]


@dataclass(slots=True)
class LoadReporting:
    """The reports of one destination.

    The destination's thread calls everything but `report_silence` and `retire`.

    Attributes:
        destination_id: of the destination.
        store: keeps reports, outcomes, and what is wrong with the destination.
        report_position: tells the log how far a table is loaded.
        identity: names the destination to the operator.
        note_load: called with each load that was recorded.
        name_source: returns the name of a source for the operator.
        find_place: returns the identity of the database, by which the store knows it; empty where
            it is not open.
    """

    destination_id: int
    store: Store
    report_position: Callable[[TableKey, int], None]
    identity: Callable[[], str]
    note_load: Callable[[LoadReport], None] = lambda load: None
    name_source: Callable[[int], str] = describe_source
    find_place: Callable[[], str] = lambda: ""
    _pending: Sequence[PendingReport] = ()
    _in_trouble: bool | None = None
    """True while the store says that the destination cannot be used. None at first, because an
    earlier loader may have noted trouble that is over."""
    _is_retired: bool = False
    _compared: Sequence[TableBacklog] = ()
    """The backlogs that were last compared with what is loaded."""
    _told: tuple[str, int] | None = None
    """The reason that the last line about trouble gave, and when."""
    _loaded_lines: LoadLines = field(init=False)
    _failed_lines: LoadLines = field(init=False)
    _trouble_lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while trouble is noted or cleared, so that none is noted after `retire`: the row of the
    destination then belongs to another loader."""

    def __post_init__(self) -> None:
        """Begin without lines."""
        self._loaded_lines = LoadLines(lambda its: sum_loads(its, self.name_source(its.source_id)))
        self._failed_lines = LoadLines(
            lambda its: sum_failures(its, self.name_source(its.source_id))
        )

    @property
    def pending_tables(self) -> tuple[TableKey, ...]:
        """The tables with a load that is committed and not recorded; any thread may ask."""
        return tuple(report.key for report in self._pending)

    def record(self, reports: Sequence[PendingReport]) -> None:
        """Record committed loads; they stay pending if that fails.

        Raises:
            ValueError: earlier reports are pending. `flush` comes before the next load.
            RetriableError, OperatorError: of the store.
        """
        if self._pending:
            raise ValueError(f"{self._pending[0].key} was loaded and its load is not recorded yet")
        self._pending = reports
        self.flush()
        for report in reports:
            load = report.load
            line = self._loaded_lines.add(
                report.key,
                describe_load(load, self.describe(report.key), self.name_source(load.source_id)),
                load.finished_at,
                number_load(load),
            )
            if line is not None:
                _write_loaded(line)

    def describe(self, key: TableKey) -> str:
        """Name a table to the operator."""
        return describe_table(key, self.name_source)

    def write_lines(self, now: int | None = None) -> None:
        """Write the lines that wait for their second to be over.

        Args:
            now: microseconds since 1970; None at the end, when all are written.
        """
        for line in self._loaded_lines.flush(now):
            _write_loaded(line)
        for line in self._failed_lines.flush(now):
            _write_line(logging.ERROR, line)

    def flush(self) -> None:
        """Record the pending reports, if there are any.

        Raises:
            RetriableError, OperatorError: of the store.
        """
        if not self._pending:
            return
        self.store.loads.record_loads(
            [(pending.load, pending.outcomes) for pending in self._pending],
            destination_id=self.destination_id,
            place=self.find_place(),
        )
        failpoint.reach("loader.after-record")
        for pending in self._pending:
            self.report_position(pending.key, pending.position)
            self.note_load(pending.load)
        self._pending = ()

    def flush_if_possible(self) -> None:
        """Record pending reports before the thread ends; the next loader finds them otherwise."""
        self.write_lines()
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001 - the thread ends all the same
            logger.warning("loads into %s cannot be noted now: %s", self.identity(), error)

    def retell(
        self,
        backlogs: Sequence[TableBacklog],
        sources: Container[int],
        history: LoadHistory,
        now: int,
    ) -> None:
        """Tell the log again where tables stand, if it has lost that; see `find_untold`.

        Args:
            backlogs: all that waits; the same list is looked at once.
            sources: those that load into this destination.
            history: of its loads.
            now: microseconds since 1970.
        """
        # What is loaded and not recorded is recorded first, or a receipt would be lost with us.
        if backlogs is self._compared or self._pending:
            return
        self._compared = backlogs
        for key, position in find_untold(backlogs, sources, history, now):
            self.report_position(key, position)

    def record_recovered(self, load: LoadReport, outcomes: Sequence[EntryOutcome]) -> None:
        """Record a load that an earlier loader, or this one, committed and could not record."""
        self.store.loads.record_load(
            load, outcomes, destination_id=self.destination_id, place=self.find_place()
        )
        key = load.source_id, load.table_name
        logger.info(
            "noted the load of %s that was cut short",
            self.describe(key),
            extra={
                "fields": {"source": self.name_source(key[0]), "table": key[1], "load": load.id}
            },
        )

    def record_failure(self, load: LoadReport, error: Exception, pause_us: int) -> None:
        """Record a load that changed nothing.

        Args:
            load: its report.
            error: why.
            pause_us: until the next try, microseconds.
        """
        self.store.loads.record_failure(
            load,
            stopped=isinstance(error, TableStoppedError),
            denied=isinstance(error, AccessDeniedError),
        )
        key = load.source_id, load.table_name
        line = self._failed_lines.add(
            key,
            describe_failure(
                load, self.describe(key), self.name_source(load.source_id), error, pause_us
            ),
            load.finished_at,
        )
        if line is not None:
            _write_line(logging.ERROR, line)

    def retire(self) -> None:
        """Say nothing of the destination any more: another loader does."""
        with self._trouble_lock:
            self._is_retired = True

    def report_trouble(self, why: str, pause_us: int, now: int, *, denied: bool = False) -> None:
        """Tell the operator that the destination cannot be used, until the next try.

        The same reason is told once a minute. Further tries are in the log at debug.

        Args:
            why: it cannot.
            pause_us: until the next try, microseconds.
            now: microseconds since 1970.
            denied: somebody has to act: a right is missing, or the URL is wrong.
        """
        with self._trouble_lock:
            self._note_trouble(why, denied=denied)
            told = self._told
            # Not below 0: a clock that was set back must not hold a line up.
            is_new = told is None or told[0] != why or not 0 <= now - told[1] < TROUBLE_LINE_US
            if is_new:
                self._told = why, now
        logger.log(
            logging.WARNING if is_new else logging.DEBUG,
            "%s cannot be used, records wait: %s; retrying in %.1f s",
            self.identity(),
            why,
            pause_us / 1e6,
            extra={
                "fields": {
                    "destination": self.identity(),
                    "destination_id": self.destination_id,
                    "reason": why,
                    "retry_seconds": pause_us / 1e6,
                }
            },
        )

    def report_silence(self, measure: Callable[[], int | None]) -> None:
        """Tell the operator once when the destination does not answer.

        Args:
            measure: returns for how long it has not, microseconds, or None while it is not asked
                anything. It is called under the lock, so that no trouble is noted after an answer.
        """
        with self._trouble_lock:
            silent_us = measure()
            if silent_us is None or silent_us <= SILENCE_US_MAX or self._in_trouble:
                return
            why = f"it has not answered for {silent_us / 1e6:.0f} s"
            self._note_trouble(why)
        logger.error("%s, records wait: %s", self.identity(), why)

    def clear_trouble(self) -> None:
        """Note that the destination can be used."""
        with self._trouble_lock:
            was, self._told = self._in_trouble, None
            if was is not False and not self._is_retired:
                self.store.destinations.set_trouble(self.destination_id, None)
                self._in_trouble = False
        if was:
            logger.info("%s is back", self.identity())

    def _note_trouble(self, why: str, *, denied: bool = False) -> None:
        if self._is_retired:
            return
        self._in_trouble = True
        try:
            self.store.destinations.set_trouble(self.destination_id, why, denied=denied)
        except Exception as error:  # noqa: BLE001 - a full disk may hold both; loading has to go on
            logger.warning("the store cannot note it now: %s", error)


def _write_loaded(line: LoadLine) -> None:
    _write_line(logging.WARNING if line.is_warning else logging.INFO, line)


def _write_line(level: int, line: LoadLine) -> None:
    logger.log(level, "%s", line.text, extra={"fields": line.fields})
