"""How long records waited."""

from treadle.traces.freshness import (
    FreshnessGauge,
    WaitedLoad,
    compute_quantile,
    measure_freshness,
)


def test_quantiles_are_weighted() -> None:
    assert compute_quantile([(1.0, 98), (5.0, 2)], 0.5) == 1
    assert compute_quantile([(5.0, 2), (1.0, 98)], 0.99) == 5
    assert compute_quantile([(5.0, 0)], 0.5) is None
    assert compute_quantile([], 0.5) is None


def test_freshness_of_loads() -> None:
    loads = [WaitedLoad(90, 1_000_000, 1_500_000), WaitedLoad(10, 3_000_000, 8_000_000)]
    assert measure_freshness(loads) == (1.0, 8.0)
    assert measure_freshness([]) == (None, None)


def test_the_gauge_is_empty_after_it_was_read() -> None:
    gauge = FreshnessGauge()
    gauge.add(1, WaitedLoad(1, 2, 3))
    gauge.add(1, WaitedLoad(4, 5, 6))
    assert gauge.take() == {1: [WaitedLoad(1, 2, 3), WaitedLoad(4, 5, 6)]}
    assert gauge.take() == {}
