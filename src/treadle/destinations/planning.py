"""Computes a load plan with the destination's help: state, plan, answers to its questions, plan.

The loader, the command line and the dry run of a request all plan here, so that what is announced
is what a load does.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from treadle.destinations.poison import refused
from treadle.destinations.protocol import LoadResult, PlanOutdated, RowRefused, Session
from treadle.errors import Defect
from treadle.tables.lookup import Known, Lookup
from treadle.tables.model import LoadPlan, Mark, Relation, TableState
from treadle.tables.plan import plan
from treadle.tables.prepare import At, Prepared

PLANS_MAX: Final = 5
"""Plans computed for one load before giving up for now; each repetition follows a change of the
table by somebody else, or answers one question of the planner."""


class Holder(Protocol):
    """The part of a session that a plan needs."""

    def state(self, schema: str, table: str) -> TableState:
        """What is there for a canonical table name."""

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """The `_sdc_sequence` each key has in the table now."""


def planned(
    holder: Holder,
    prepared: Prepared,
    *,
    mark: Mark,
    now: int,
    log_id: str | None = None,
) -> LoadPlan:
    """Plan a load and do nothing.

    Args:
        holder: knows what is there.
        prepared: what came, made with the destination's profile and the table's options.
        mark: how far the table's entries are loaded before and after.
        now: microseconds since 1970.
        log_id: the log the entries are from, where that is not the mark's.

    Raises:
        TableStopped: the table cannot go on until somebody acts.
        Unavailable, Forbidden: the destination cannot be asked.
    """
    state = holder.state(prepared.schema, prepared.table_name)
    known = Known()
    for _ in range(PLANS_MAX):
        step = plan(
            prepared,
            state,
            profile=prepared.profile,
            options=prepared.options,
            mark=mark,
            now=now,
            log_id=mark.log_id if log_id is None else log_id,
            known=known,
        )
        if not isinstance(step, Lookup):
            return step
        found = holder.sequences(prepared.schema, step.relation, step.keys, step.private)
        known = known.having(step, found)
    raise Defect("the planner kept asking for sequences it was already given")


def carry_out(
    session: Session,
    prepared: Prepared,
    *,
    mark: Mark,
    now: int,
    rehearse: bool = False,
    remark: Callable[[LoadPlan], Mark] | None = None,
    log_id: str | None = None,
) -> tuple[LoadPlan, LoadResult]:
    """Plan a load and have the destination do it.

    Args:
        session: where.
        prepared: what.
        mark: how far the table's entries are loaded before and after.
        now: microseconds since 1970.
        rehearse: undo everything at the end, also what `Session.prepare` would make.
        remark: the mark with the report of the plan in it, once the plan is known.
        log_id: the log the entries are from, where that is not the mark's.

    Raises:
        RowRefused, Unavailable, CommitUnknown, Fenced, Forbidden, PlanOutdated: see the protocol.
        TableStopped: the table cannot go on until somebody acts.
    """
    outdated: PlanOutdated | None = None
    for _ in range(PLANS_MAX):
        if not rehearse:
            session.prepare(prepared.schema)
        step = planned(session, prepared, mark=mark, now=now, log_id=log_id)
        if remark is not None:
            step.mark = remark(step)
        try:
            return step, session.load(step, rehearse=rehearse)
        except PlanOutdated as error:
            outdated = error
    raise outdated or Defect("a load was planned without a result")


def refusals(session: Session, prepared: Prepared, *, mark: Mark, now: int) -> dict[At, str]:
    """Which records the engine refuses when they are loaded without the others, with the reasons.

    Args:
        session: where.
        prepared: what, of which the engine refuses something.
        mark: how far the table's entries are loaded before and after.
        now: microseconds since 1970.

    Raises:
        See `carry_out`, but RowRefused.
    """
    names = [
        At(entry, record)
        for entry, arrival in enumerate(prepared.arrivals)
        for record in range(len(arrival.batch))
    ]

    def rehearse(some: Sequence[At]) -> str | None:
        chosen = set(some)
        others = {name: "not in this rehearsal" for name in names if name not in chosen}
        try:
            carry_out(session, prepared.refusing(others), mark=mark, now=now, rehearse=True)
        except RowRefused as error:
            return error.reason
        return None

    return refused(names, rehearse)
