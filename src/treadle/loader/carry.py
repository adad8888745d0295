"""One load: from prepared records to a committed plan, asking the destination what it must know."""

from collections.abc import Callable

from treadle.destinations.protocol import LoadResult, PlanOutdated, Session
from treadle.errors import Defect
from treadle.tables.lookup import Known, Lookup
from treadle.tables.model import LoadPlan, Mark, Options
from treadle.tables.plan import plan
from treadle.tables.prepare import Prepared
from treadle.tables.profile import Profile

PLANS_MAX = 5
"""Plans computed for one load before giving up for now; each repetition follows a change of the
table by somebody else, or answers one question of the planner."""


def carry_out(
    session: Session,
    prepared: Prepared,
    *,
    schema: str,
    profile: Profile,
    options: Options,
    mark: Mark,
    now: int,
    rehearse: bool = False,
    remark: Callable[[LoadPlan], Mark] | None = None,
) -> tuple[LoadPlan, LoadResult]:
    """Plan a load and have the destination do it.

    Args:
        session: where.
        prepared: what.
        schema: the source's schema.
        profile: the destination's rules.
        options: the table's settings.
        mark: how far the table's entries are loaded before and after.
        now: microseconds since 1970.
        rehearse: roll back at the end.
        remark: the mark with the report of the plan in it, once the plan is known.

    Raises:
        RowRefused, Unavailable, CommitUnknown, Fenced, Forbidden, PlanOutdated: see the protocol.
        TableStopped: the table cannot go on until somebody acts.
    """
    outdated: PlanOutdated | None = None
    for _ in range(PLANS_MAX):
        step = _plan(session, prepared, schema, profile, options, mark, now)
        if remark is not None:
            step.mark = remark(step)
        try:
            return step, session.load(step, rehearse=rehearse)
        except PlanOutdated as error:
            outdated = error
    raise outdated or Defect("a load was planned without a result")


def _plan(
    session: Session,
    prepared: Prepared,
    schema: str,
    profile: Profile,
    options: Options,
    mark: Mark,
    now: int,
) -> LoadPlan:
    session.prepare(schema)
    state = session.state(schema, prepared.table_name)
    known = Known()
    for _ in range(PLANS_MAX):
        step = plan(
            prepared,
            state,
            profile=profile,
            options=options,
            mark=mark,
            now=now,
            log_id=mark.log_id,
            known=known,
        )
        if not isinstance(step, Lookup):
            return step
        found = session.sequences(schema, step.relation, step.keys, step.private)
        known = known.having(step, found)
    raise Defect("the planner kept asking for sequences it was already given")
