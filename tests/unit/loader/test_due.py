from hypothesis import given
from hypothesis import strategies as st

from treadle.loader.due import Backoff, Failures, Trigger, by_destination, due, offers
from treadle.log.protocol import Backlog

SECOND = 1_000_000


def backlog(
    table: str = "t", *, source: int = 1, records: int = 1, size: int = 100, oldest: int = 0
) -> Backlog:
    return Backlog(source, table, last=1, entries=1, records=records, size=size, oldest=oldest)


def test_an_open_load_closes_by_age_by_records_or_by_size() -> None:
    trigger = Trigger(age_us=SECOND, records=10, size=1000)
    assert not trigger.closes(backlog(), now=SECOND - 1)
    assert trigger.closes(backlog(), now=SECOND)
    assert not trigger.closes(backlog(records=9), now=0)
    assert trigger.closes(backlog(records=10), now=0)
    assert not trigger.closes(backlog(size=999), now=0)
    assert trigger.closes(backlog(size=1000), now=0)


def test_the_table_that_waits_longest_comes_first() -> None:
    young, old = backlog("young", oldest=5), backlog("old", oldest=3)
    assert due([young, old], 2 * SECOND, Trigger(), Failures()) == [old, young]


def test_a_table_that_failed_waits_and_the_others_do_not() -> None:
    failures = Failures(Backoff(first_us=SECOND, most_us=60 * SECOND))
    now = 10 * SECOND
    assert failures.failed((1, "bad"), now) == SECOND
    both = [backlog("bad"), backlog("good")]
    assert due(both, now, Trigger(), failures) == [backlog("good")]
    assert due(both, now + SECOND, Trigger(), failures) == both
    assert failures.failed((1, "bad"), now + SECOND) == 2 * SECOND
    failures.succeeded((1, "bad"))
    assert failures.may_try((1, "bad"), now)


@given(st.integers(min_value=1, max_value=10_000))
def test_pauses_grow_up_to_a_bound_and_never_end(count: int) -> None:
    backoff = Backoff()
    assert backoff.first_us <= backoff.pause(count) <= backoff.most_us
    assert backoff.pause(count) <= backoff.pause(count + 1)


def test_backlogs_are_grouped_by_where_their_source_loads() -> None:
    one, two, homeless = backlog(source=1), backlog(source=2), backlog(source=3)
    assert by_destination([one, two, homeless], {1: 7, 2: 8}) == {7: [one], 8: [two]}


def test_what_another_may_still_commit_is_not_offered() -> None:
    both = [backlog("busy"), backlog("free")]
    assert offers(both, set(), {1}) == both
    assert offers(both, {(1, "busy")}, {1}) == both[1:]
    assert offers(both, {(2, "busy"), (7, "free")}, {1}) == both
    assert offers(both, {(9, "")}, {1}) is None
