"""Executes one prepared load: plans it, loads it, finds the records that the engine refuses."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from treadle import failpoint
from treadle.destinations.planning import RefusalSearch, execute_accepted, plan_with_session
from treadle.destinations.protocol import LoadResult, Session
from treadle.errors import RetriableError
from treadle.loader.chunk import EntryChunk
from treadle.loader.destination_share import DestinationShare
from treadle.loader.kept_columns import ColumnWatch
from treadle.loader.load_report import (
    PlannedReport,
    complete_report,
    measure_received,
    plan_report,
)
from treadle.loader.load_texts import describe_table
from treadle.loader.pipeline import PreparedStep, StepGroup
from treadle.loader.reporting import PendingReport
from treadle.loader.schedule import TableKey
from treadle.tables.model import LoadPlan, OffsetCommit

SEARCH_US: Final = 2_000_000
"""The turn of a search for refused records, after which other tables are loaded."""

logger = logging.getLogger("treadle.loader")


@dataclass(frozen=True, slots=True)
class LoadExecutor:
    """Loads prepared steps into one destination.

    Attributes:
        find_log_id: source id -> the id of the log that its steps are from.
        share: has the fences of the units.
        clock: microseconds since 1970.
        new_id: returns a fresh load id.
        describe: names a table to the operator.
    """

    find_log_id: Callable[[int], str]
    share: DestinationShare
    clock: Callable[[], int]
    new_id: Callable[[], str]
    describe: Callable[[TableKey], str] = describe_table
    _columns: ColumnWatch = field(default_factory=ColumnWatch)
    """Which reports need the columns of their table."""
    _searches: dict[TableKey, RefusalSearch] = field(default_factory=dict)
    """The searches for refused records that are not done."""

    def load_group(self, session: Session, group: StepGroup) -> list[PendingReport]:
        """Load small steps of different tables in one transaction.

        Returns:
            The reports of the committed loads, in order; none is recorded yet.

        Raises:
            CommitUnknownError: all loads may have been committed, or none.
            Exception: nothing was committed. Each step can be loaded alone, by `load`.
        """
        begun: list[tuple[EntryChunk, LoadPlan, PlannedReport]] = []
        for chunk, prepared, _ in group:
            if isinstance(prepared, Exception):
                raise prepared
            started_at, load_id = self.clock(), self.new_id()
            failpoint.reach("loader.before-load")
            session.prepare(prepared.schema, prepared.owner)
            offset = self._make_offset(chunk)
            plan = plan_with_session(session, prepared, offset=offset, now=started_at)
            received = measure_received(chunk.entries)
            planned = self._plan_report(chunk, plan, load_id, started_at, received)
            plan.offset = _add_report(offset, planned)
            begun.append((chunk, plan, planned))
        results = session.load_group([plan for _, plan, _ in begun])
        failpoint.reach("loader.after-load")
        return [
            self._complete(chunk, plan, planned, result)
            for (chunk, plan, planned), result in zip(begun, results, strict=True)
        ]

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
                self.describe(chunk.key),
                damaged.records,
                damaged.why,
            )
        offset = self._make_offset(chunk)
        received = measure_received(chunk.entries)
        search = self._searches.pop(chunk.key, None) or RefusalSearch()
        search.is_over = lambda: not 0 <= self.clock() - started_at < SEARCH_US
        try:
            _, plan, result = execute_accepted(
                session,
                prepared,
                offset=offset,
                now=started_at,
                with_report=lambda plan: _add_report(
                    offset, self._plan_report(chunk, plan, load_id, started_at, received)
                ),
                note=lambda: logger.warning(
                    "%s: the database refuses a record; looking for it", self.describe(chunk.key)
                ),
                search=search,
            )
        except RetriableError:
            if search.is_begun:
                self._searches[chunk.key] = search
            raise
        failpoint.reach("loader.after-load")
        planned = self._plan_report(chunk, plan, load_id, started_at, received)
        return self._complete(chunk, plan, planned, result)

    def _complete(
        self, chunk: EntryChunk, plan: LoadPlan, planned: PlannedReport, result: LoadResult
    ) -> PendingReport:
        load, outcomes = complete_report(
            planned,
            result,
            self.clock(),
            lambda: [entry.position for entry in chunk.entries],
        )
        if planned.columns is not None:
            self._columns.note_kept(chunk.key, plan.table_after, plan.left_out)
        return PendingReport(chunk.key, chunk.last, load, outcomes)

    def _make_offset(self, chunk: EntryChunk) -> OffsetCommit:
        log_id = self.find_log_id(chunk.key[0])
        fence = self.share.get_fence(chunk.key)
        return OffsetCommit(log_id, *chunk.key, chunk.after, chunk.last, fence)

    def _plan_report(
        self,
        chunk: EntryChunk,
        plan: LoadPlan,
        load_id: str,
        started_at: int,
        received: tuple[int, int] | None,
    ) -> PlannedReport:
        columns = self._columns.find_change(chunk.key, plan.table_after, plan.left_out)
        return plan_report(chunk, plan, load_id, started_at, columns, received)


def _add_report(offset: OffsetCommit, planned: PlannedReport) -> OffsetCommit:
    """Return the offset with the report of the plan, which is committed with it."""
    return replace(offset, report=planned.encode())
