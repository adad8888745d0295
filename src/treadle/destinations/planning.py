"""Plans a load with the destination's help: state, plan, answers to its questions, plan.

The loader, the command line and the dry run of a request all plan here, so a load does what was
announced.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from treadle.destinations.protocol import (
    ChangeRefusedError,
    LoadResult,
    LoadSession,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.destinations.record_bisection import find_refused, find_refused_together
from treadle.errors import InternalError, TableStoppedError
from treadle.tables.model import LoadPlan, OffsetCommit, Relation, TableState
from treadle.tables.plan.planner import plan_load
from treadle.tables.plan.sequence_lookup import KnownSequences, SequenceLookup
from treadle.tables.prepare.prepare import PreparedLoad, RecordRef
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

    Returns:
        The records with those that were refused as rejections, the plan and its result.

    Raises:
        All of `execute_load` but RowRefusedError. A refused schema change that no record is to
            blame for is raised as what it means without one (`ChangeRefusedError.fault`), and a
            load that is refused though no rehearsal is, as at COMMIT, as TableStoppedError.
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

    for find in (find_refused, find_refused_together):
        try:
            return execute(prepared)
        except RowRefusedError as refusal:
            note()
            prepared = _reject_refused(session, prepared, refusal, find, offset=offset, now=now)
    try:
        return execute(prepared)
    except ChangeRefusedError as refusal:  # by no rehearsal, so no record could be found
        raise refusal.fault from refusal
    except RowRefusedError as refusal:
        raise TableStoppedError(
            f"the database refuses the load, and takes each of its records: {refusal.reason}"
        ) from refusal


def _reject_refused(
    session: LoadSession,
    prepared: PreparedLoad,
    refusal: RowRefusedError,
    find: Callable[
        [Sequence[RecordRef], Callable[[Sequence[RecordRef]], str | None]], dict[RecordRef, str]
    ],
    *,
    offset: OffsetCommit,
    now: int,
) -> PreparedLoad:
    """Find the records that the database refuses by rehearsals, and return the load without them.

    Raises:
        All of `execute_load` but RowRefusedError.
    """
    names = [
        RecordRef(entry, record)
        for entry, arrival in enumerate(prepared.log_batches)
        for record in range(len(arrival.batch))
    ]

    def rehearse(some: Sequence[RecordRef]) -> str | None:
        chosen = set(some)
        others = {name: _LEFT_OUT for name in names if name not in chosen}
        try:
            execute_load(
                session, prepared.reject_records(others), offset=offset, now=now, rehearse=True
            )
        except RowRefusedError as error:
            return error.reason
        return None

    if isinstance(refusal, ChangeRefusedError) and rehearse(()) is not None:
        raise refusal.fault from refusal
    found = find(names, rehearse)
    return prepared.reject_records({ref: describe_refusal(text) for ref, text in found.items()})
