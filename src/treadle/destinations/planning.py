"""Plans a load with the destination's help: state, plan, answers to its questions, plan.

The loader, the command line and the dry run of a request all plan here, so a load does what was
announced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from treadle.destinations.protocol import (
    ChangeRefusedError,
    LoadResult,
    LoadSession,
    PlanOutdatedError,
    RowRefusedError,
    SearchUnfinishedError,
)
from treadle.destinations.record_bisection import RecordBisection
from treadle.errors import InternalError, TableStoppedError
from treadle.tables.model import LoadPlan, OffsetCommit, Relation, TableState
from treadle.tables.plan.planner import plan_load
from treadle.tables.plan.sequence_lookup import KnownSequences, SequenceLookup
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, RecordRef
from treadle.tables.rejection_reason import RejectionCode, RejectionReason, describe_refusal

_LEFT_OUT: Final = RejectionReason("not in this rehearsal", RejectionCode.UNKNOWN)

PLANS_MAX: Final = 5
"""Most plans for one load. Each repetition follows a change of the table by somebody else, or
answers one question of the planner."""


class PlanningSession(Protocol):
    """The part of a session that a plan needs."""

    def state(self, schema: str, table: str) -> TableState:
        """Return the state of a table; see `LoadSession.state`."""

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """Return the sequences that keys have now; see `LoadSession.sequences`."""


@dataclass(slots=True)
class RefusalSearch:
    """What is known of the records of a load that the database refuses, from try to try.

    Where all of many records are refused, each is rehearsed twice. That may take hours, in which
    nothing else would be loaded. So it takes turns.

    Attributes:
        is_over: returns whether a turn is over.
        finished: how many of the two searches are done.
        bisection: the one that is under way.
        found: refused record -> why, of those that are done.
    """

    is_over: Callable[[], bool] = lambda: False
    finished: int = 0
    bisection: RecordBisection[RecordRef] | None = None
    found: dict[RecordRef, str] = field(default_factory=dict)
    _positions: Sequence[int] = ()

    @property
    def is_begun(self) -> bool:
        """Return whether a further try has something to go on with."""
        return self.bisection is not None or bool(self.found)

    def take(self, prepared: PreparedLoad) -> None:
        """Take the entries of a try, which may be more than before; forget all of others.

        More of them are searched with the others where a search is under way. Where both are done,
        both begin again, without the records that were found.
        """
        positions = [arrival.position for arrival in prepared.log_batches]
        count = len(self._positions)
        if positions[:count] != self._positions:
            self.finished, self.bisection, self.found = 0, None, {}
        elif self.bisection is not None and len(positions) > count:
            self.bisection.add_records(_list_records(prepared.log_batches, count))
        elif len(positions) > count:
            self.finished = 0
        self._positions = positions

    def begin(self, prepared: PreparedLoad, *, together: bool) -> None:
        """Begin a search."""
        self.bisection = RecordBisection([_list_records(prepared.log_batches)], together)

    def go_on(self, rehearse: Callable[[Sequence[RecordRef]], str | None]) -> bool:
        """Go on with the search that is under way; return whether it is done."""
        if self.bisection is None:
            return True
        if not self.bisection.search(rehearse, self.is_over):
            return False
        self.found |= self.bisection.found
        self.finished, self.bisection = self.finished + 1, None
        return True

    def reject(self, prepared: PreparedLoad) -> PreparedLoad:
        """Return a load without the records that were found."""
        if not self.found:
            return prepared
        found = {name: describe_refusal(text) for name, text in self.found.items()}
        return prepared.reject_records(found)


def plan_with_session(
    holder: PlanningSession,
    prepared: PreparedLoad,
    *,
    offset: OffsetCommit,
    now: int,
    log_id: str | None = None,
) -> LoadPlan:
    """Plan a load and do nothing.

    Args:
        holder: a session on the destination.
        prepared: the records, made with the destination's profile and the table's options.
        offset: how far the table's entries are loaded before and after.
        now: microseconds since 1970.
        log_id: the log of the entries, where that is not the offset's.

    Raises:
        TableStoppedError: the table cannot go on until somebody acts.
        DestinationUnavailableError, AccessDeniedError: the destination cannot be asked.
    """
    state = holder.state(prepared.schema, prepared.table_name)
    known = KnownSequences()
    for _ in range(PLANS_MAX):
        step = plan_load(
            prepared,
            state,
            profile=prepared.profile,
            options=prepared.options,
            mark=offset,
            now=now,
            log_id=offset.log_id if log_id is None else log_id,
            known=known,
        )
        if not isinstance(step, SequenceLookup):
            return step
        found = holder.sequences(prepared.schema, step.relation, step.keys, step.private)
        known = known.with_answer(step, found)
    raise InternalError("the planner kept asking for sequences it was already given")


def execute_load(
    session: LoadSession,
    prepared: PreparedLoad,
    *,
    offset: OffsetCommit,
    now: int,
    rehearse: bool = False,
    with_report: Callable[[LoadPlan], OffsetCommit] | None = None,
    log_id: str | None = None,
) -> tuple[LoadPlan, LoadResult]:
    """Plan a load and have the destination do it.

    Args:
        session: on the destination.
        prepared: the records.
        offset: how far the table's entries are loaded before and after.
        now: microseconds since 1970.
        rehearse: undo everything at the end, also what `Session.prepare` would make.
        with_report: gives the offset with the report in it, once the plan is known.
        log_id: the log of the entries, where that is not the offset's.

    Raises:
        RowRefusedError, DestinationUnavailableError, CommitUnknownError, FencedError,
            AccessDeniedError, PlanOutdatedError, ChangeRefusedError: see the protocol.
        TableStoppedError: the table cannot go on until somebody acts.
    """
    outdated: PlanOutdatedError | None = None
    for _ in range(PLANS_MAX):
        if rehearse:
            session.check_owner(prepared.schema, prepared.owner)
        else:
            session.prepare(prepared.schema, prepared.owner)
        step = plan_with_session(session, prepared, offset=offset, now=now, log_id=log_id)
        if with_report is not None:
            step.offset = with_report(step)
        try:
            return step, session.load(step, rehearse=rehearse)
        except PlanOutdatedError as error:
            outdated = error
    raise outdated or InternalError("a load was planned without a result")


def execute_accepted(
    session: LoadSession,
    prepared: PreparedLoad,
    *,
    offset: OffsetCommit,
    now: int,
    rehearse: bool = False,
    with_report: Callable[[LoadPlan], OffsetCommit] | None = None,
    log_id: str | None = None,
    note: Callable[[], None] = lambda: None,
    search: "RefusalSearch | None" = None,
) -> tuple[PreparedLoad, LoadPlan, LoadResult]:
    """Plan a load and have the destination do it, without the records that it refuses.

    It may refuse a value, or a schema change that a record needs, as for a name that it does not
    take.

    Args:
        session: see `execute_load`, as for all up to `log_id`.
        prepared: see there.
        offset: see there.
        now: see there.
        rehearse: see there.
        with_report: see there.
        log_id: see there.
        note: called when a record is refused and is looked for.
        search: of an earlier try of the same entries, which goes on; None to search to the end.

    Returns:
        The records with those that were refused as rejections, the plan and its result.

    Raises:
        All of `execute_load` but RowRefusedError. A refused schema change that no record is to
            blame for is raised as what it means without one (`ChangeRefusedError.fault`), and a
            load that is refused though no rehearsal is, as at COMMIT, as TableStoppedError.
        SearchUnfinishedError: the turn of the search is over.
    """

    def execute(part: PreparedLoad) -> tuple[PreparedLoad, LoadPlan, LoadResult]:
        plan, result = execute_load(
            session,
            part,
            offset=offset,
            now=now,
            rehearse=rehearse,
            with_report=with_report,
            log_id=log_id,
        )
        return part, plan, result

    def try_records(part: PreparedLoad, some: Sequence[RecordRef]) -> str | None:
        chosen = set(some)
        names = _list_records(part.log_batches)
        others = {name: _LEFT_OUT for name in names if name not in chosen}
        try:
            execute_load(
                session, part.reject_records(others), offset=offset, now=now, rehearse=True
            )
        except RowRefusedError as error:
            return error.reason
        return None

    search = search or RefusalSearch()
    search.take(prepared)
    part = search.reject(prepared)
    for together in (False, True)[search.finished :]:
        if search.bisection is None:
            try:
                return execute(part)
            except RowRefusedError as refusal:
                note()
                search.begin(part, together=together)
                if isinstance(refusal, ChangeRefusedError) and try_records(part, ()) is not None:
                    raise refusal.fault from refusal
        if not search.go_on(partial(try_records, part)):
            raise SearchUnfinishedError("records that the database refuses are looked for")
        part = search.reject(prepared)
    try:
        return execute(part)
    except ChangeRefusedError as refusal:  # by no rehearsal, so no record could be found
        raise refusal.fault from refusal
    except RowRefusedError as refusal:
        raise TableStoppedError(
            f"the database refuses the load, and takes each of its records: {refusal.reason}"
        ) from refusal


def _list_records(log_batches: Sequence[LogBatch], first: int = 0) -> list[RecordRef]:
    """Return the names of the records of entries from one on."""
    return [
        RecordRef(first + place, record)
        for place, arrival in enumerate(log_batches[first:])
        for record in range(len(arrival.batch))
    ]
