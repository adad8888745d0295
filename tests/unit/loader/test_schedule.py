from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.capabilities import Capabilities
from treadle.loader.schedule import (
    RECORDED_US_MAX,
    UNTOLD_US,
    FlushPolicy,
    LoadHistory,
    RetryBackoff,
    RetrySchedule,
    RoundProgress,
    exclude_claimed,
    find_untold,
    group_by_destination,
    select_backlogs,
    select_due,
)
from treadle.log.protocol import READ_BYTES_MAX, BacklogSight, ReadLimits, TableBacklog

SECOND = 1_000_000


def backlog(
    table: str = "t", *, source: int = 1, records: int = 1, size: int = 100, oldest: int = 0
) -> TableBacklog:
    return TableBacklog(source, table, last=1, entries=1, records=records, size=size, oldest=oldest)


def test_an_open_load_closes_by_age_by_records_or_by_size() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=10, size=1000)
    assert not trigger.closes_load(backlog(), SECOND - 1)
    assert trigger.closes_load(backlog(), SECOND)
    assert not trigger.closes_load(backlog(records=9), 0)
    assert trigger.closes_load(backlog(records=10), 0)
    assert not trigger.closes_load(backlog(size=999), 0)
    assert trigger.closes_load(backlog(size=1000), 0)


def test_the_age_is_that_of_the_first_sight() -> None:
    """Whatever the clock of the machine says that accepted the records."""
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    sights = (BacklogSight(4, 5 * SECOND), BacklogSight(9, 6 * SECOND))
    ahead = replace(backlog(oldest=10**15), last=9, sights=sights)
    behind = replace(ahead, table_name="behind", oldest=0)

    def select(monotonic: int, **progress: RoundProgress) -> list[str]:
        chosen = select_backlogs(
            [ahead, behind],
            100 * SECOND,
            trigger,
            RetrySchedule(),
            monotonic=monotonic,
            progress={(1, name): its for name, its in progress.items()},
        )
        return sorted(one.table_name for one in chosen)

    assert select(6 * SECOND - 1) == []
    assert select(6 * SECOND) == ["behind", "t"]
    taken = RoundProgress(last=4, received_at=1, chunks=[(4, 1, 1)])
    rest = taken.subtract_from(ahead)
    assert rest is not None
    assert rest.sights == sights[1:]
    assert rest.measure_age(0, 7 * SECOND) == SECOND
    found_at_start = replace(ahead, sights=(BacklogSight(9, 0),))
    assert found_at_start.measure_age(0, 100 * SECOND) >= trigger.age_us


def test_the_table_that_waits_longest_comes_first() -> None:
    young, old = backlog("young", oldest=5), backlog("old", oldest=3)
    assert select_backlogs([young, old], 2 * SECOND, FlushPolicy(), RetrySchedule()) == [old, young]


def test_much_is_loaded_early_when_the_table_had_no_load_for_an_age() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    much, large, little = backlog("a", records=10), backlog("b", size=1000), backlog("c", records=9)
    young = 10 * SECOND
    waiting = [replace(one, oldest=young) for one in (much, large, little)]
    assert select_backlogs(waiting, young, trigger, RetrySchedule()) == waiting[:2]
    ended = {(1, "a"): young - SECOND + 1, (1, "b"): young - SECOND}
    assert select_backlogs(waiting, young, trigger, RetrySchedule(), ended=ended) == waiting[1:2]


def test_a_table_that_somebody_wants_loaded_does_not_wait_for_its_age() -> None:
    young, other = backlog("young", oldest=5), backlog("other", oldest=5)
    hurried = {(1, "young")}
    chosen = select_backlogs([young, other], 6, FlushPolicy(), RetrySchedule(), hurried=hurried)
    assert chosen == [young]
    retries = RetrySchedule()
    retries.add_failure((1, "young"), 6)
    assert select_backlogs([young, other], 6, FlushPolicy(), retries, hurried=hurried) == []


def test_much_is_loaded_further_while_the_table_is_being_loaded() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    much, little = backlog("a", records=10), backlog("b", records=9)
    ended = {(1, "a"): 0, (1, "b"): 0}
    assert select_backlogs([much, little], 0, trigger, RetrySchedule(), ended=ended) == []
    going = {(1, "a"): RoundProgress(), (1, "b"): RoundProgress()}
    assert select_backlogs(
        [much, little], 0, trigger, RetrySchedule(), ended=ended, progress=going
    ) == [much]
    failures = RetrySchedule()
    failures.add_failure((1, "a"), 0)
    assert select_backlogs([much], 0, trigger, failures, ended=ended, progress=going) == []


def test_the_tail_of_a_burst_is_loaded_at_a_quarter_of_the_age() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    burst, trickle = RoundProgress(), RoundProgress()
    burst.add_chunk(1, 0, 79, 790)
    trickle.add_chunk(1, 0, 9, 90)
    tail = backlog("a", records=3)

    def select(now: int, *progress: RoundProgress) -> list[TableBacklog]:
        going = dict(zip([(1, "a")], progress, strict=False))
        return select_backlogs(
            [tail], now, trigger, RetrySchedule(), ended={(1, "a"): 0}, progress=going
        )

    assert select(SECOND // 4, burst) == [tail]
    assert select(SECOND // 4 - 1, burst) == []
    assert select(SECOND // 4, trickle) == []
    assert select(SECOND // 4) == [], "nothing of the table is being loaded"
    burst.add_chunk(2, 0, 3, 30)
    assert select(SECOND // 4, burst) == [], "what comes after the tail waits for its age"


def test_little_in_each_of_many_tables_is_much() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    many = [backlog(name, records=2) for name in "abcde"]
    assert select_backlogs(many[:4], 0, trigger, RetrySchedule()) == []
    assert select_backlogs(many, 0, trigger, RetrySchedule()) == many
    large = [backlog(name, size=200) for name in "abcde"]
    assert select_backlogs(large, 0, trigger, RetrySchedule()) == large


def test_a_table_that_had_a_load_does_not_follow_others_at_once() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    many = [backlog(name, records=5, oldest=SECOND) for name in "abc"]
    ended = {(1, "c"): 1}
    assert select_backlogs(many, SECOND, trigger, RetrySchedule(), ended=ended) == many[:2]
    assert select_backlogs(many[1:], SECOND, trigger, RetrySchedule(), ended=ended) == []
    failures = RetrySchedule()
    failures.add_failure((1, "a"), SECOND)
    assert select_backlogs(many, SECOND, trigger, failures, ended=ended) == []


def test_a_table_with_much_makes_nothing_of_others_due() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    much, little = backlog("a", records=79), backlog("b", records=9)
    assert select_backlogs([much, little], 0, trigger, RetrySchedule()) == [much]
    taken = RoundProgress()
    taken.add_chunk(1, 0, 79, 790)
    assert select_backlogs([little], 0, trigger, RetrySchedule(), progress={(1, "a"): taken}) == []


def test_what_comes_after_many_small_tables_is_loaded_with_them() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    taken = RoundProgress()
    taken.add_chunk(1, 0, 5, 50)
    going = {(1, "a"): taken, (1, "b"): taken}
    late = backlog("c", records=1)
    assert select_backlogs([late], 0, trigger, RetrySchedule(), progress=going) == [late]
    more = backlog("a", records=9)
    assert select_backlogs([more], 0, trigger, RetrySchedule(), progress=going) == []


def test_a_steady_stream_is_loaded_once_an_age() -> None:
    """50,000 records a second: an eighth of a full load is there long before the age is."""
    trigger = FlushPolicy()
    ended: dict[tuple[int, str], int] = {}
    loads = []
    loaded = 0
    for now in range(0, 10 * SECOND, 10_000):
        waits = now // 20 - loaded
        oldest = loaded * 20
        if waits and select_backlogs(
            [backlog(records=waits, oldest=oldest)], now, trigger, RetrySchedule(), ended=ended
        ):
            loads.append(waits)
            loaded += waits
            ended[1, "t"] = now + 100_000
    assert loads[0] == 12_500
    assert set(loads[1:]) == {50_000}


def test_what_was_taken_of_a_table_is_not_what_waits() -> None:
    seen = replace(backlog(records=100, size=1000, oldest=1), last=9, loaded=2)
    taken = RoundProgress()
    assert taken.subtract_from(seen) == seen
    taken.add_chunk(5, 50, 30, 300)
    taken.add_chunk(7, 70, 40, 400)
    assert taken.subtract_from(seen) == replace(seen, records=30, size=300, oldest=70)
    # The log was told of the first part, and counts it no more.
    told = replace(seen, records=70, size=700, oldest=6, loaded=5)
    assert taken.subtract_from(told) == replace(told, records=30, size=300, oldest=70)
    assert taken.subtract_from(replace(told, loaded=7, records=30)) == replace(
        told, loaded=7, records=30, oldest=70
    )
    taken.add_chunk(9, 90, 30, 300)
    assert taken.subtract_from(seen) is None


def test_a_table_that_failed_waits_and_the_others_do_not() -> None:
    failures = RetrySchedule(RetryBackoff(first_us=SECOND, max_us=60 * SECOND))
    now = 10 * SECOND
    assert failures.add_failure((1, "bad"), now) == SECOND
    both = [backlog("bad"), backlog("good")]
    assert select_backlogs(both, now, FlushPolicy(), failures) == [backlog("good")]
    assert select_backlogs(both, now + SECOND, FlushPolicy(), failures) == both
    assert failures.add_failure((1, "bad"), now + SECOND) == 2 * SECOND
    failures.clear_failures((1, "bad"))
    assert failures.may_retry((1, "bad"), now)


@given(st.integers(min_value=1, max_value=10_000))
def test_pauses_grow_up_to_a_bound_and_never_end(count: int) -> None:
    backoff = RetryBackoff()
    assert backoff.first_us <= backoff.pause(count) <= backoff.max_us
    assert backoff.pause(count) <= backoff.pause(count + 1)


def test_backlogs_are_grouped_by_where_their_source_loads() -> None:
    one, two, homeless = backlog(source=1), backlog(source=2), backlog(source=3)
    assert group_by_destination([one, two, homeless], {1: 7, 2: 8}) == {7: [one], 8: [two]}


def test_what_another_may_still_commit_is_not_offered() -> None:
    both = [backlog("busy"), backlog("free")]
    assert exclude_claimed(both, set(), {1}) == both
    assert exclude_claimed(both, {(1, "busy")}, {1}) == both[1:]
    assert exclude_claimed(both, {(2, "busy"), (7, "free")}, {1}) == both
    assert exclude_claimed(both, {(9, "")}, {1}) is None


def test_a_load_reads_what_made_it_begin_if_memory_allows_that() -> None:
    assert ReadLimits.within_memory(100_000, 50_000_000) == ReadLimits(100_000, READ_BYTES_MAX)
    assert ReadLimits.within_memory(7, 70) == ReadLimits(7, 70)


NOW = 10**12
KEY = 1, "t"


def test_what_was_loaded_counts_until_the_log_was_told_and_makes_no_little_load() -> None:
    counted = TableBacklog(
        *KEY, last=11, entries=11, records=110, size=1, oldest=NOW - 5000, loaded=0
    )
    one = TableBacklog(*KEY, last=11, entries=1, records=10, size=1, oldest=NOW - 5, loaded=10)
    other = TableBacklog(1, "other", last=12, entries=1, records=1, size=1, oldest=NOW - 5000)
    trigger = FlushPolicy(age_us=1000, records=100)
    # The destination holds what was loaded into table `t` up to 10, at `NOW`.
    history = LoadHistory({KEY: 10}, {KEY: NOW}, RetrySchedule())
    for now, waiting, found in (
        (NOW, counted, []),
        (NOW, one, []),
        (NOW + 1000, one, [one]),
        # What was told is not to be waited for for ever.
        (NOW + RECORDED_US_MAX, counted, [counted]),
    ):
        expected = sorted([*found, other], key=lambda each: each.oldest)
        both = [waiting, other]
        assert select_due(both, {1}, history, trigger, now) == expected
        # Also while others are being loaded, in a round that did not begin with it.
        taken = {(1, "another"): RoundProgress()}
        assert select_due(both, {1}, history, trigger, now, progress=taken) == expected


def test_only_what_loads_here_and_is_not_loaded_is_selected() -> None:
    here, done, elsewhere = backlog("here"), backlog("done"), backlog("elsewhere", source=2)
    history = LoadHistory({(1, "done"): 1}, {}, RetrySchedule())
    found = select_due([here, done, elsewhere], {1}, history, FlushPolicy(), 10 * SECOND)
    assert found == [here]


def test_what_the_log_does_not_know_for_long_it_is_told_again() -> None:
    now = 100 * SECOND
    waiting = [replace(backlog(table), last=9) for table in ("told", "late", "back", "new", "more")]
    waiting += [replace(backlog("late", source=2), last=9)]
    history = LoadHistory(
        {(1, "told"): 9, (1, "late"): 12, (1, "back"): 9, (1, "more"): 8, (2, "late"): 9},
        {
            (1, "told"): now - UNTOLD_US + 1,
            (1, "late"): now - UNTOLD_US,
            (1, "back"): now + 1,
        },
        RetrySchedule(),
    )
    found = find_untold(waiting, {1}, history, now)
    assert found == [((1, "late"), 12), ((1, "back"), 9)]
    found = find_untold(waiting, {2}, history, now)  # which nothing was loaded of since the start
    assert found == [((2, "late"), 9)]


def test_where_another_destination_loaded_a_table_to_is_told_and_not_due() -> None:
    now = 100 * SECOND
    waiting = [replace(backlog(table), last=9) for table in ("moved", "more", "new")]
    history = LoadHistory({}, {}, RetrySchedule(), {(1, "moved"): 9, (1, "more"): 8})
    assert find_untold(waiting, {1}, history, now) == [((1, "moved"), 9)]
    assert [one.table_name for one in select_due(waiting, {1}, history, FlushPolicy(), now)] == [
        "more",
        "new",
    ]
    assert history.copy().find_last((1, "more")) == 8


def test_a_round_goes_on_with_the_rest_of_what_it_took_and_leaves_what_is_skipped() -> None:
    trigger = FlushPolicy(age_us=SECOND, records=80, size=8000)
    taken = RoundProgress()
    taken.add_chunk(1, 0, 10, 100)
    rest = replace(backlog("a", records=25), last=2)
    others = [backlog("b", records=80), backlog("c", source=2, records=80)]
    history = LoadHistory({}, {(1, "b"): 0}, RetrySchedule())
    found = select_due(
        [rest, *others], {1}, history, trigger, 0, progress={(1, "a"): taken}, skipped=set()
    )
    assert found == [replace(rest, records=15, size=0), others[0]]
    found = select_due(
        [rest, *others], {1}, history, trigger, 0, progress={(1, "a"): taken}, skipped={(1, "a")}
    )
    assert found == [others[0]]


def test_a_destination_may_want_fewer_loads_if_nobody_says_how_many() -> None:
    lake = Capabilities(load_age_seconds=60)
    usual = FlushPolicy(age_us=1_000_000, is_age_given=False)
    assert usual.fit_to(Capabilities()) == usual
    fewer = usual.fit_to(lake)
    assert fewer.age_us == 60_000_000
    assert fewer.records == usual.records
    assert usual.allows_early_load(50_000, 0)
    assert not fewer.allows_early_load(99_999, 0)
    given = FlushPolicy(age_us=1_000_000, is_age_given=True)
    assert given.fit_to(lake) == given
