from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from treadle.loader.due import Backoff, Failures, Taken, Trigger, by_destination, due, offers
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


def test_much_is_loaded_early_when_the_table_had_no_load_for_an_age() -> None:
    trigger = Trigger(age_us=SECOND, records=80, size=8000)
    much, large, little = backlog("a", records=10), backlog("b", size=1000), backlog("c", records=9)
    young = 10 * SECOND
    waiting = [replace(one, oldest=young) for one in (much, large, little)]
    assert due(waiting, young, trigger, Failures()) == waiting[:2]
    ended = {(1, "a"): young - SECOND + 1, (1, "b"): young - SECOND}
    assert due(waiting, young, trigger, Failures(), ended=ended) == waiting[1:2]


def test_much_is_loaded_further_while_the_table_is_being_loaded() -> None:
    trigger = Trigger(age_us=SECOND, records=80, size=8000)
    much, little = backlog("a", records=10), backlog("b", records=9)
    ended = {(1, "a"): 0, (1, "b"): 0}
    assert due([much, little], 0, trigger, Failures(), ended=ended) == []
    going = {(1, "a"): Taken(), (1, "b"): Taken()}
    assert due([much, little], 0, trigger, Failures(), ended=ended, going=going) == [much]
    failures = Failures()
    failures.failed((1, "a"), 0)
    assert due([much], 0, trigger, failures, ended=ended, going=going) == []


def test_little_in_each_of_many_tables_is_much() -> None:
    trigger = Trigger(age_us=SECOND, records=80, size=8000)
    many = [backlog(name, records=2) for name in "abcde"]
    assert due(many[:4], 0, trigger, Failures()) == []
    assert due(many, 0, trigger, Failures()) == many
    large = [backlog(name, size=200) for name in "abcde"]
    assert due(large, 0, trigger, Failures()) == large


def test_a_table_that_had_a_load_does_not_follow_others_at_once() -> None:
    trigger = Trigger(age_us=SECOND, records=80, size=8000)
    many = [backlog(name, records=5, oldest=SECOND) for name in "abc"]
    ended = {(1, "c"): 1}
    assert due(many, SECOND, trigger, Failures(), ended=ended) == many[:2]
    assert due(many[1:], SECOND, trigger, Failures(), ended=ended) == []
    failures = Failures()
    failures.failed((1, "a"), SECOND)
    assert due(many, SECOND, trigger, failures, ended=ended) == []


def test_a_table_with_much_makes_nothing_of_others_due() -> None:
    trigger = Trigger(age_us=SECOND, records=80, size=8000)
    much, little = backlog("a", records=79), backlog("b", records=9)
    assert due([much, little], 0, trigger, Failures()) == [much]
    taken = Taken()
    taken.take(1, 0, 79, 790)
    assert due([little], 0, trigger, Failures(), going={(1, "a"): taken}) == []


def test_what_comes_after_many_small_tables_is_loaded_with_them() -> None:
    trigger = Trigger(age_us=SECOND, records=80, size=8000)
    taken = Taken()
    taken.take(1, 0, 5, 50)
    going = {(1, "a"): taken, (1, "b"): taken}
    late = backlog("c", records=1)
    assert due([late], 0, trigger, Failures(), going=going) == [late]
    more = backlog("a", records=9)
    assert due([more], 0, trigger, Failures(), going=going) == []


def test_a_steady_stream_is_loaded_once_an_age() -> None:
    """50,000 records a second: an eighth of a full load is there long before the age is."""
    trigger = Trigger()
    ended: dict[tuple[int, str], int] = {}
    loads = []
    loaded = 0
    for now in range(0, 10 * SECOND, 10_000):
        waits = now // 20 - loaded
        oldest = loaded * 20
        if waits and due(
            [backlog(records=waits, oldest=oldest)], now, trigger, Failures(), ended=ended
        ):
            loads.append(waits)
            loaded += waits
            ended[1, "t"] = now + 100_000
    assert loads[0] == 12_500
    assert set(loads[1:]) == {50_000}


def test_what_was_taken_of_a_table_is_not_what_waits() -> None:
    seen = replace(backlog(records=100, size=1000, oldest=1), last=9, loaded=2)
    taken = Taken()
    assert taken.rest(seen) == seen
    taken.take(5, 50, 30, 300)
    taken.take(7, 70, 40, 400)
    assert taken.rest(seen) == replace(seen, records=30, size=300, oldest=70)
    # The log was told of the first part, and counts it no more.
    told = replace(seen, records=70, size=700, oldest=6, loaded=5)
    assert taken.rest(told) == replace(told, records=30, size=300, oldest=70)
    assert taken.rest(replace(told, loaded=7, records=30)) == replace(
        told, loaded=7, records=30, oldest=70
    )
    taken.take(9, 90, 30, 300)
    assert taken.rest(seen) is None


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
