"""The sums of recent loads."""

from typing import Any

from treadle.store.recent_loads import RecentLoads, sum_loads


def row(at: int, received: int, waited: int | None, **more: Any) -> dict[str, Any]:
    return {
        "finished_at": at,
        "error": None,
        "rows_received": received,
        "rows_loaded": received,
        "rows_discarded": 0,
        "rows_rejected": 0,
        "waited_max_us": waited,
        "waited_p50_us": waited,
        **more,
    }


def test_loads_are_summed_and_tries_are_counted() -> None:
    found = sum_loads(
        [
            row(9, 0, None, error="no"),
            row(8, 10, 5, rows_loaded=7, rows_discarded=2, rows_rejected=1, tables={"t": 7}),
            row(7, 100, 3, tables={"t": 90, "t__l": 5}),
            row(6, 4, None),
        ],
        since=2,
        loads_max=5,
    )
    assert found == RecentLoads(
        since=2,
        loads=3,
        failures=1,
        received=114,
        loaded=111,
        superseded=2,
        rejected=1,
        waited_max_us=5,
        waited_p50_us=3,
        rows={"t": 97, "t__l": 5},
    )


def test_sums_of_many_loads_reach_back_less_far() -> None:
    assert sum_loads([row(9, 1, 1), row(8, 1, 1)], since=2, loads_max=2).since == 8
    assert sum_loads([], since=2, loads_max=2) == RecentLoads(since=2)
