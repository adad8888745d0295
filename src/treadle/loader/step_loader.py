"""Loads prepared steps under a claim, and keeps what became of each table."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from treadle.destinations.protocol import (
    CommitUnknownError,
    FencedError,
    PlanOutdatedError,
    SearchUnfinishedError,
    Session,
    TableHeldError,
)
from treadle.errors import OperatorError, RetriableError
from treadle.loader.answer_wait import AnswerWait
from treadle.loader.chunk import EntryChunk
from treadle.loader.commit_recovery import CommitRecovery
from treadle.loader.destination_share import DestinationShare
from treadle.loader.execution import LoadExecutor
from treadle.loader.load_report import build_failure_report
from treadle.loader.pipeline import PreparedStep, StepGroup
from treadle.loader.reporting import LoadReporting, PendingReport
from treadle.loader.schedule import LoadHistory, RetrySchedule, TableKey
from treadle.loader.table_claims import TableClaims
from treadle.store.model import LoadReport

logger = logging.getLogger("treadle.loader")


@dataclass(slots=True)
class StepLoader:
    """Loads prepared steps of one destination, and records each.

    While a step is loaded and recorded its tables are claimed.

    Attributes:
        executor: loads.
        claims: the tables that are being loaded.
        wait: for the destination.
        recovery: is told what is committed, and of which load that is not known.
        reporting: records loads and failures.
        share: is told of a fence that was overtaken.
        clock: microseconds since 1970.
        new_id: returns a fresh load id.
        note_load: called with the entries and the report of each load that was recorded; None for
            nobody.
    """

    executor: LoadExecutor
    claims: TableClaims
    wait: AnswerWait
    recovery: CommitRecovery
    reporting: LoadReporting
    share: DestinationShare
    clock: Callable[[], int]
    new_id: Callable[[], str]
    note_load: Callable[[EntryChunk, LoadReport], None] | None = None
    _retries: RetrySchedule = field(default_factory=RetrySchedule)
    """When tables that failed may be tried again."""
    _ended: dict[TableKey, int] = field(default_factory=dict)
    """The time when each table's last load here ended."""

    @property
    def history(self) -> LoadHistory:
        """Return the earlier loads of the tables; it changes with the next load."""
        recovery = self.recovery
        return LoadHistory(
            recovery.offsets or {}, self._ended, self._retries, recovery.starts, recovery.lost
        )

    def forget_failures(self, keys: Iterable[TableKey]) -> None:
        """Let tables be tried again at once."""
        for key in keys:
            self._retries.clear_failures(key)

    def load_group(self, session: Session, group: StepGroup) -> bool:
        """Load small steps in one transaction and record them; return whether that was possible.

        If it was not, the steps are to be loaded alone, which says of each what is wrong with it.
        That is safe whatever came up here, because the destination refuses a plan whose offset it
        holds already.

        Raises:
            RetriableError: the destination or the store cannot be used.
        """
        if not all(self.recovery.may_load(step.chunk.key) for step in group):
            return False
        if not self.claims.claim(step.chunk.key for step in group):
            return False
        self.wait.begin()
        try:
            reports = self._try_group(session, group)
            if reports is None:
                return False
            # Before the reports: whatever becomes of them, the loads are committed.
            for chunk, _, _ in group:
                self.recovery.advance_offset(chunk.key, chunk.last)
            self.reporting.record(reports)
        finally:
            self.wait.end()
            self.claims.release()
        ended_at = self.clock()
        if self.note_load is not None:
            for (chunk, _, _), report in zip(group, reports, strict=True):
                self.note_load(chunk, report.load)
        for chunk, _, _ in group:
            self._retries.clear_failures(chunk.key)
            self._ended[chunk.key] = ended_at
        return True

    def _try_group(self, session: Session, group: StepGroup) -> Sequence[PendingReport] | None:
        """Load steps in one transaction; None when they have to be loaded alone."""
        try:
            return self.executor.load_group(session, group)
        except CommitUnknownError:
            for chunk, _, _ in group:
                self.recovery.add_uncertain(chunk.key, chunk.last)
            raise
        except (PlanOutdatedError, FencedError, TableHeldError):
            return None
        except RetriableError:
            self._defer_tables(group)
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it comes again with the table it is of
            return None

    def load(self, session: Session, step: PreparedStep) -> bool:
        """Load a step and record it; return whether its table can be loaded further.

        Raises:
            RetriableError: the destination cannot be used.
            Exception: a fault of ours.
        """
        chunk = step.chunk
        if not self.claims.claim((chunk.key,)):
            return False
        self.wait.begin()
        try:
            self.recovery.refuse_unsafe(chunk.key)
            report = self.executor.load(session, step)
            # Before the report: whatever becomes of that, the load is committed.
            self.recovery.advance_offset(chunk.key, chunk.last)
            self.reporting.record([report])
        except FencedError as error:
            # Nothing is wrong with the table: another loader has it now, or will say otherwise.
            logger.info("%s: %s", self.reporting.describe(chunk.key), error)
            self.share.report_overtaken(chunk.key, error.held)
            self.recovery.forget_offsets()
            self._retries.add_failure(chunk.key, self.clock())
            return False
        except SearchUnfinishedError:
            # It came further in its turn, so the next one comes as soon as others had theirs.
            self.forget_failures((chunk.key,))
            self._defer_tables((step,))
            return False
        except (OperatorError, PlanOutdatedError, TableHeldError) as error:
            # The load may have been committed before this came up.
            self.recovery.forget_offsets()
            self._record_failure(chunk, error)
            return False
        except CommitUnknownError:
            self.recovery.add_uncertain(chunk.key, chunk.last)
            raise
        except RetriableError:
            self._defer_tables((step,))
            raise
        except Exception as error:
            # Whatever it is, it came with this table: the others go on without it.
            if error is not step.prepared:
                self.recovery.add_uncertain(chunk.key, chunk.last)
            self._record_failure(chunk, error)
            raise
        finally:
            self.wait.end()
            self.claims.release()
        if self.note_load is not None:
            self.note_load(chunk, report.load)
        self._retries.clear_failures(chunk.key)
        self._ended[chunk.key] = self.clock()
        return True

    def _defer_tables(self, group: Iterable[PreparedStep]) -> None:
        """Let the next round begin with other tables: what came up may be of these alone.

        Their pauses are longer than those of the destination.
        """
        now = self.clock()
        for chunk, _, _ in group:
            self._retries.add_failure(chunk.key, now)

    def _record_failure(self, chunk: EntryChunk, error: Exception) -> None:
        """Record that a table cannot be loaded for now; the others go on."""
        now = self.clock()
        pause_us = self._retries.add_failure(chunk.key, now)
        load = build_failure_report(chunk, str(error), self.new_id(), now, now)
        self.reporting.record_failure(load, error, pause_us)
