"""Executes one prepared load: plans it, loads it, finds the records that the engine refuses."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from treadle import failpoint
from treadle.destinations.planning import execute_accepted
from treadle.destinations.protocol import Session
from treadle.loader.chunk import EntryChunk
from treadle.loader.lease import DestinationLease
from treadle.loader.load_report import complete_report, plan_report
from treadle.loader.pipeline import PreparedStep
from treadle.loader.reporting import PendingReport, describe_table
from treadle.tables.model import OffsetCommit

logger = logging.getLogger("treadle.loader")


@dataclass(frozen=True, slots=True)
class LoadExecutor:
    """Loads prepared steps of one log into one destination.

    Attributes:
        log_id: of the log that the steps are from.
        lease: of the destination.
        clock: microseconds since 1970.
        new_id: returns a fresh load id.
    """

    log_id: str
    lease: DestinationLease
    clock: Callable[[], int]
    new_id: Callable[[], str]

    def load(self, session: Session, step: PreparedStep) -> PendingReport:
        """Load a step, without the records that the database itself refuses.

        Returns:
            The report of the committed load, which is not recorded yet.

        Raises:
            Exception: `step.prepared`, when the step could not be prepared.
            TableStoppedError, RetriableError, OperatorError: see `execute_accepted`.
        """
        chunk, prepared = step.chunk, step.prepared
        if isinstance(prepared, Exception):
            raise prepared
        started_at = self.clock()
        load_id = self.new_id()
        failpoint.reach("loader.before-load")
        for damaged in chunk.damaged:
            logger.error(
                "entry %d of %s is damaged and left out, %d records: %s",
                damaged.position,
                describe_table(chunk.key),
                damaged.records,
                damaged.why,
            )
        offset = self._make_offset(chunk)
        _, plan, result = execute_accepted(
            session,
            prepared,
            offset=offset,
            now=started_at,
            with_report=lambda plan: replace(
                offset, report=plan_report(chunk, plan, load_id, started_at).encode()
            ),
            note=lambda: logger.warning(
                "%s: the database refuses a record; looking for it", describe_table(chunk.key)
            ),
        )
        failpoint.reach("loader.after-load")
        load, outcomes = complete_report(
            plan_report(chunk, plan, load_id, started_at),
            result,
            self.clock(),
            lambda: [entry.position for entry in chunk.entries],
        )
        return PendingReport(chunk.key, chunk.last, load, outcomes)

    def _make_offset(self, chunk: EntryChunk) -> OffsetCommit:
        return OffsetCommit(self.log_id, *chunk.key, chunk.after, chunk.last, self.lease.fence())
