import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.log.quota import LogQuota, LogSpace
from treadle.quotas import (
    BURST_SECONDS,
    LOG_PART,
    PART_FACTOR,
    REFUSALS,
    SOURCE_QUOTAS,
    AccountQuota,
    QuotaOverrides,
    QuotaReachedError,
    QuotaTable,
    RateBuckets,
    RateUsage,
    SourceQuota,
    compute_wait,
    estimate_stored,
    find_sources_above_part,
    settle_level,
)

rates = st.integers(1, 10**9)
steps = st.lists(st.tuples(st.floats(0, 10), st.integers(0, 10**10)), min_size=1, max_size=50)


@given(rates, steps)
def test_no_more_is_spent_than_rate_and_burst_allow_beyond_the_last_step(
    rate: int, given_steps: list[tuple[float, int]]
) -> None:
    """Somebody who spends only while the bucket lends spends at most the rate, in the long run."""
    level = float(rate * BURST_SECONDS)
    spent = time = last = 0.0
    for seconds, wanted in given_steps:
        time += seconds
        level = settle_level(level, 0, rate, seconds)
        if level > 0:
            spent, last = spent + wanted, wanted
            level = settle_level(level, wanted, rate, 0)
    assert spent - last <= rate * (BURST_SECONDS + time) * (1 + 1e-9)


@given(rates, st.floats(-1e12, 1e9))
def test_after_the_wait_a_bucket_lends_again_and_not_a_second_before(
    rate: int, level: float
) -> None:
    wait = compute_wait(level, rate)
    if level > 0:
        assert wait == 0
        return
    assert settle_level(level, 0, rate, wait + 1e-6 + abs(level) * 1e-12) > -1
    assert wait == 1 or settle_level(level, 0, rate, wait - 1) <= max(1e-3, abs(level) * 1e-9)


def test_a_body_larger_than_the_bucket_passes_and_is_paid_off() -> None:
    level = settle_level(1000.0, 50_000, 100, 0)
    assert level == -49_000
    assert compute_wait(level, 100) == 490
    assert settle_level(level, 0, 100, 491) == 100


def test_time_that_goes_back_adds_nothing() -> None:
    assert settle_level(5.0, 0, 100, -3) == 5.0


quota = SourceQuota(requests=10, bytes=0, records=1000)


def settle(buckets: RateBuckets, seconds: float, **spent: int) -> None:
    usage = {1: RateUsage(**spent)} if spent else {}
    buckets.settle(usage, lambda _: quota, seconds)


def test_the_bucket_that_is_empty_for_longest_says_why_and_for_how_long() -> None:
    buckets = RateBuckets()
    assert buckets.find_empty(1, quota) is None
    settle(buckets, 0, requests=101, bytes=10**15, records=50_000)
    assert buckets.find_empty(1, quota) == ("records", 40)
    settle(buckets, 39.5)
    assert buckets.find_empty(1, quota) == ("records", 1)
    settle(buckets, 1)
    assert buckets.find_empty(1, quota) is None


def test_a_rate_without_a_bound_is_never_used_up() -> None:
    buckets = RateBuckets()
    buckets.settle({1: RateUsage(10**9, 10**18, 10**12)}, lambda _: SourceQuota(), 0)
    assert buckets.find_empty(1, SourceQuota()) is None


def test_one_source_pays_for_itself() -> None:
    buckets = RateBuckets()
    settle(buckets, 0, requests=1000)
    assert buckets.find_empty(1, quota) is not None
    assert buckets.find_empty(2, quota) is None


def test_a_full_bucket_is_forgotten() -> None:
    buckets = RateBuckets()
    settle(buckets, 0, requests=50)
    assert buckets._levels
    settle(buckets, 5)
    assert not buckets._levels


def test_a_quota_that_is_raised_opens_the_bucket_sooner() -> None:
    buckets = RateBuckets()
    settle(buckets, 0, requests=1100)
    assert buckets.find_empty(1, quota) == ("requests", 100)
    assert buckets.find_empty(1, SourceQuota(requests=1000)) == ("requests", 1)
    assert buckets.find_empty(1, SourceQuota()) is None


def test_what_the_operator_set_for_one_takes_the_place_of_the_setting() -> None:
    table = QuotaTable(
        SourceQuota(requests=5, tables=7),
        AccountQuota(sources=3),
        QuotaOverrides({1: {"tables": 0, "weight": 4, "gone": 1}}, {9: {"sources": 8}}),
    )
    assert table.get_source_quota(1) == SourceQuota(requests=5, tables=0, weight=4)
    assert table.get_source_quota(2) == SourceQuota(requests=5, tables=7)
    assert table.get_account_quota(9).sources == 8
    assert table.get_account_quota(1).sources == 3


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal_says_what_the_source_may_have(name: str) -> None:
    error = QuotaReachedError(3, name, 1234, 9)
    assert (error.source_id, error.quota, error.retry_seconds) == (3, name, 9)
    assert name == LOG_PART or "1234" in str(error)
    assert name == LOG_PART or name in SOURCE_QUOTAS


sizes = st.dictionaries(st.integers(1, 30), st.integers(0, 10**12), max_size=12)


@given(sizes, st.integers(0, 10**12))
def test_what_is_stored_is_no_more_than_the_log_holds_and_than_waits(
    waiting: dict[int, int], used: int
) -> None:
    stored = estimate_stored(waiting, used)
    assert sum(stored.values()) <= max(used, 0)
    assert all(stored[source] <= size for source, size in waiting.items())


@given(sizes, st.integers(0, 10**12), st.integers(0, 10**12), st.integers(2, 30))
def test_something_is_left_for_others_however_many_take_their_part(
    waiting: dict[int, int], used: int, more: int, sources: int
) -> None:
    room = used + more
    above = find_sources_above_part(waiting, used, room, sources)
    stored = estimate_stored(waiting, used)
    free = room - sum(stored.values())
    # Whoever is not above its part would find room left after it had filled it.
    for source in waiting.keys() - above:
        assert stored[source] <= PART_FACTOR * free
    # Of those that wait, one with the least is refused only where nothing is free for anybody.
    if waiting and min(stored, key=lambda one: stored[one]) in above:
        assert free * PART_FACTOR < max(stored.values())


def test_one_source_may_take_four_fifths_and_two_four_ninths_each() -> None:
    def fill(count: int) -> list[int]:
        held = dict.fromkeys(range(count), 0)
        for _ in range(2000):
            used = sum(held.values())
            above = find_sources_above_part(held, used, 9000, 5)
            for source in held.keys() - above:
                held[source] += 5
        return list(held.values())

    assert fill(1)[0] == pytest.approx(9000 * 4 / 5, abs=20)
    assert fill(2) == pytest.approx([4000, 4000], abs=40)
    assert sum(fill(4)) < 9000


def test_a_source_that_is_alone_may_fill_the_log() -> None:
    assert find_sources_above_part({1: 10**9}, 10**9, 10**9, 1) == frozenset()
    assert find_sources_above_part({1: 10**9}, 10**9, 10**9, 2) == {1}


@pytest.mark.parametrize("bytes_max", [0, 1000])
def test_a_log_of_unknown_room_has_the_bound_of_the_operator_alone(bytes_max: int) -> None:
    quota, space = LogQuota(bytes_max, 10**9), LogSpace(999, None)
    assert quota.compute_room(space) == (bytes_max or None)
    assert quota.find_shortage(space) is None
    above = find_sources_above_part({1: 999}, 999, quota.compute_room(space), 2)
    assert above == ({1} if bytes_max else frozenset())


@given(sizes, st.integers(0, 10**9))
def test_sources_with_nothing_that_waits_are_never_above_their_part(
    waiting: dict[int, int], room: int
) -> None:
    waiting[99] = 0
    assert 99 not in find_sources_above_part(waiting, room, room, 5)


def test_usage_is_added_and_subtracted_and_never_negative() -> None:
    one, two = RateUsage(1, 2, 3), RateUsage(5, 1, 3)
    assert one + two == RateUsage(6, 3, 6)
    assert two - one == RateUsage(4, 0, 0)
