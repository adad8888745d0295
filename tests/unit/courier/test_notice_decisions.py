"""A problem is told once when it matters and once when it is over, whatever happens between."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from treadle.courier.notice_decisions import CALM_US, decide_notices
from treadle.store.model import OpenNotice
from treadle.tracking.problem_kinds import HOUR_US, PROBLEM_KINDS, FoundProblem, ProblemKind

MINUTE_US = 60_000_000
START = 1_700_000_000_000_000


def make_problem(
    kind: str = "destination_unavailable", since: int = START, key: str = "destination 7"
) -> FoundProblem:
    return FoundProblem(1, kind, key, f"{key} (duckdb)", since, "it is down")


@dataclass
class Told:
    """Decides again and again, as the mail carrier does, and keeps what was told.

    Attributes:
        mails: (begin or over, identity) in order.
    """

    open: list[OpenNotice] = field(default_factory=list)
    mails: list[tuple[str, tuple[int, str, str]]] = field(default_factory=list)
    _count: int = 0

    def look(
        self, problems: list[FoundProblem], now: int, heard_by: set[int] | None = None
    ) -> None:
        decision = decide_notices(problems, self.open, now, {1} if heard_by is None else heard_by)
        ended = {one.id for one in decision.ended}
        assert not ended & decision.gone.keys()
        self.open = [
            replace(one, gone_at=decision.gone.get(one.id, one.gone_at))
            for one in self.open
            if one.id not in ended
        ]
        for problem in decision.begun:
            self._count += 1
            self.open.append(
                OpenNotice(self._count, *problem.identity, problem.named, problem.since, None)
            )
        self.mails += [("begin", one.identity) for one in decision.begun]
        self.mails += [("over", (one.account_id, one.kind, one.key)) for one in decision.ended]


@pytest.mark.parametrize("kind", PROBLEM_KINDS.values(), ids=lambda kind: kind.name)
def test_a_problem_is_told_when_it_lasted_as_long_as_its_delay(kind: ProblemKind) -> None:
    name, delay = kind.name, kind.delay_us
    told = Told()
    problem = make_problem(name)
    if delay:
        told.look([problem], START)
        told.look([problem], START + delay - 1)
        assert told.mails == []
        assert told.open == []
    for minute in range(5):
        told.look([problem], START + delay + minute * MINUTE_US)
    assert told.mails == [("begin", (1, name, "destination 7"))]


def test_a_problem_that_ends_within_its_delay_is_never_told() -> None:
    told = Told()
    for minute in range(119):
        told.look([make_problem()], START + minute * MINUTE_US)
    for minute in range(119, 1_000):
        told.look([], START + minute * MINUTE_US)
    assert told.mails == []


def test_a_problem_is_over_once_it_was_not_seen_for_a_while() -> None:
    told = Told()
    at = START + 2 * HOUR_US
    told.look([make_problem()], at)
    told.look([], at + MINUTE_US)
    told.look([], at + MINUTE_US + CALM_US - 1)
    assert [state for state, _ in told.mails] == ["begin"]
    told.look([], at + MINUTE_US + CALM_US)
    told.look([], at + MINUTE_US + 2 * CALM_US)
    assert [state for state, _ in told.mails] == ["begin", "over"]
    assert told.open == []


def test_a_problem_that_comes_and_goes_is_one_problem() -> None:
    told = Told()
    at = START + 2 * HOUR_US
    for minute in range(0, 200, 2):
        told.look([make_problem()], at + minute * MINUTE_US)
        told.look([], at + (minute + 1) * MINUTE_US)
    assert [state for state, _ in told.mails] == ["begin"]


def test_a_problem_after_the_end_is_another_one() -> None:
    told = Told()
    problem = make_problem("destination_denied")
    for hour in range(3):
        at = START + hour * HOUR_US
        told.look([problem], at)
        told.look([], at + MINUTE_US)
        told.look([], at + MINUTE_US + CALM_US)
    assert [state for state, _ in told.mails] == ["begin", "over"] * 3


def test_an_account_without_recipients_is_told_when_it_has_one() -> None:
    told = Told()
    at = START + 2 * HOUR_US
    told.look([make_problem()], at, set())
    told.look([make_problem()], at + MINUTE_US, {2})
    assert (told.mails, told.open) == ([], [])
    told.look([make_problem()], at + 2 * MINUTE_US, {1})
    assert [state for state, _ in told.mails] == ["begin"]


def test_a_problem_ends_also_for_an_account_whose_recipients_are_gone() -> None:
    told = Told()
    told.look([make_problem()], START + 2 * HOUR_US)
    told.look([], START + 3 * HOUR_US, set())
    told.look([], START + 4 * HOUR_US, set())
    assert told.open == []


def test_a_clock_that_was_set_back_tells_nothing_twice_and_nothing_early() -> None:
    told = Told()
    told.look([make_problem()], START + 2 * HOUR_US)
    told.look([], START + 3 * HOUR_US)
    told.look([], START - HOUR_US)
    told.look([make_problem("destination_unavailable", START, "destination 8")], START - HOUR_US)
    assert [state for state, _ in told.mails] == ["begin"]
    told.look([], START - HOUR_US + CALM_US)
    assert [state for state, _ in told.mails] == ["begin", "over"]


def test_of_two_findings_of_one_problem_the_earlier_one_counts() -> None:
    late, early = make_problem(since=START + HOUR_US), make_problem()
    for found in ([late, early], [early, late]):
        decision = decide_notices(found, [], START + 2 * HOUR_US, {1})
        assert decision.begun == [early]


identities = st.tuples(
    st.sampled_from(sorted(PROBLEM_KINDS)), st.sampled_from(["destination 7", "table 1", "log"])
)
steps = st.lists(
    st.tuples(
        st.integers(0, 90),  # minutes until the look
        st.lists(identities, max_size=5),  # what is found
        st.booleans(),  # there is a recipient
    ),
    max_size=40,
)


def play(looks: list[tuple[int, list[tuple[str, str]], bool]]) -> Iterator[Told]:
    """Play looks; a problem that was not there at the last look begins anew."""
    told, now = Told(), START
    began: dict[tuple[str, str], int] = {}
    for minutes, found, is_heard in looks:
        now += minutes * MINUTE_US
        began = {one: began.get(one, now) for one in found}
        problems = [make_problem(kind, since, key) for (kind, key), since in began.items()]
        told.look(problems, now, {1} if is_heard else set())
        yield told


@given(steps)
@settings(max_examples=examples(300), deadline=None)
def test_no_problem_is_told_twice_in_one_state(
    looks: list[tuple[int, list[tuple[str, str]], bool]],
) -> None:
    last: dict[tuple[int, str, str], str] = {}
    seen = 0
    for told in play(looks):
        for state, identity in told.mails[seen:]:
            # It begins first, and then the two states take turns.
            assert state == ("begin" if last.get(identity, "over") == "over" else "over")
            last[identity] = state
        seen = len(told.mails)
        still = {identity for identity, state in last.items() if state == "begin"}
        assert {(one.account_id, one.kind, one.key) for one in told.open} == still


@given(steps)
@settings(max_examples=examples(200), deadline=None)
def test_every_problem_that_was_told_is_over_at_last(
    looks: list[tuple[int, list[tuple[str, str]], bool]],
) -> None:
    told = [Told(), *play(looks)][-1]
    end = START + 100 * 24 * HOUR_US
    told.look([], end)
    told.look([], end + CALM_US)
    assert told.open == []
    states = [state for state, _ in told.mails]
    assert states.count("begin") == states.count("over")
