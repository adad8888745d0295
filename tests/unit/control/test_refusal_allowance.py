from hypothesis import given
from hypothesis import strategies as st

from treadle.control.refusal_allowance import WINDOW_SECONDS, RefusalAllowance


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    st.lists(st.tuples(st.integers(1, 2), st.floats(0, 40)), max_size=200),
    st.integers(1, 5),
)
def test_each_refusal_is_recorded_or_counted(refusals: list[tuple[int, float]], limit: int) -> None:
    clock = Clock()
    allowance = RefusalAllowance(limit, clock)
    recorded = dict.fromkeys((1, 2), 0)
    told = dict.fromkeys((1, 2), 0)
    left_out = dict.fromkeys((1, 2), 0)
    times: dict[int, list[float]] = {1: [], 2: []}
    for account, seconds in refusals:
        clock.now += seconds
        found = allowance.take(account)
        if found is None:
            left_out[account] += 1
            continue
        recorded[account] += 1
        told[account] += found
        times[account].append(clock.now)
    for account in (1, 2):
        sent = sum(1 for one, _ in refusals if one == account)
        assert recorded[account] + left_out[account] == sent
        assert told[account] <= left_out[account]
        # Two windows may follow each other at once, so twice the limit comes in one at most.
        for begin in times[account]:
            inside = [at for at in times[account] if begin <= at < begin + WINDOW_SECONDS]
            assert len(inside) <= 2 * limit


def test_one_account_takes_nothing_of_another() -> None:
    clock = Clock()
    allowance = RefusalAllowance(2, clock)
    assert [allowance.take(1) for _ in range(5)] == [0, 0, None, None, None]
    assert allowance.take(2) == 0
    clock.now = WINDOW_SECONDS
    assert allowance.take(1) == 3
