"""Decides which problems recipients are told of, and which are over. Nothing here asks anything.

One mail is sent for a problem when it begins to matter, and one when it is over. A problem that
ends within the delay of its kind is never told, and never noted either.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.store.model import OpenNotice
from treadle.tracking.problem_kinds import PROBLEM_KINDS, FoundProblem, ProblemIdentity

CALM_US: Final = 600_000_000
"""How long a problem is not seen before it is over. One that comes and goes is one problem."""


@dataclass(frozen=True, slots=True)
class NoticeDecision:
    """What is to be noted and told now.

    Attributes:
        begun: problems of which recipients are told now.
        gone: notice id -> since when its problem is not seen; None where it is seen again.
        ended: notices whose problems are over, of which recipients are told now.
    """

    begun: Sequence[FoundProblem]
    gone: Mapping[int, int | None]
    ended: Sequence[OpenNotice]

    def is_empty(self) -> bool:
        """Return whether there is nothing to note."""
        return not (self.begun or self.gone or self.ended)


def decide_notices(
    problems: Iterable[FoundProblem],
    notices: Sequence[OpenNotice],
    now: int,
    heard_by: Container[int],
    snoozed: Container[ProblemIdentity] = (),
) -> NoticeDecision:
    """Decide which problems are told now, and which of those that were told are over.

    Args:
        problems: those that there are now.
        notices: the problems that recipients were told of, and that are not over.
        now: microseconds since 1970.
        heard_by: ids of accounts that have a recipient. A problem of another account is told once
            it has one.
        snoozed: problems that are not told now; one that still is there later is told then.
    """
    present: dict[ProblemIdentity, FoundProblem] = {}
    for problem in problems:
        known = present.get(problem.identity)
        if known is None or problem.since < known.since:
            present[problem.identity] = problem
    told = {ProblemIdentity(one.account_id, one.kind, one.key) for one in notices}
    begun = [
        problem
        for identity, problem in present.items()
        if identity not in told
        and identity not in snoozed
        and problem.account_id in heard_by
        and now - problem.since >= PROBLEM_KINDS[problem.kind].delay_us
    ]
    gone: dict[int, int | None] = {}
    ended = []
    for notice in notices:
        if ProblemIdentity(notice.account_id, notice.kind, notice.key) in present:
            if notice.gone_at is not None:
                gone[notice.id] = None
        elif notice.gone_at is None or notice.gone_at > now:  # the clock was set back
            gone[notice.id] = now
        elif now - notice.gone_at >= CALM_US:
            ended.append(notice)
    return NoticeDecision(begun, gone, ended)
