"""The bounds of silence, each shown on what keeps it and on what does not."""

from tests.faults.cluster.bounds import (
    LOADING,
    TAKING_SECONDS,
    ImpairedTimes,
    RevokedPush,
    TableSample,
    find_late_revocations,
    find_silences,
    find_stalls,
    list_impaired,
    measure_silences,
    name_way,
)
from tests.faults.cluster.schedule import ClusterTopology, FaultStep
from tests.faults.cluster.windows import (
    TimeWindow,
    intersect_windows,
    subtract_windows,
    unite_windows,
)

TOPOLOGY = ClusterTopology(
    gates=("gate-1", "gate-2"),
    loaders=("loader-1", "loader-2"),
    controls=("control-1",),
    logs=("log-1", "log-2", "log-3"),
    stores=("store-1", "store-2", "store-3"),
)
TOGETHER = ClusterTopology(
    TOPOLOGY.gates, TOPOLOGY.loaders, TOPOLOGY.controls, TOPOLOGY.logs, TOPOLOGY.logs
)
SPAN = TimeWindow(100.0, 130.0)
STEADY = [100.0 + 0.5 * number for number in range(61)]


def window(begin: float, end: float) -> TimeWindow:
    return TimeWindow(begin, end)


def test_windows_are_united_intersected_and_subtracted() -> None:
    assert unite_windows([window(5, 7), window(1, 2), window(2, 3)]) == [window(1, 3), window(5, 7)]
    common = intersect_windows([[window(0, 4), window(6, 9)], [window(3, 7)]])
    assert common == [window(3, 4), window(6, 7)]
    assert intersect_windows([[window(0, 1)], [window(2, 3)]]) == []
    assert intersect_windows([]) == []
    left = subtract_windows(window(0, 10), [window(2, 3), window(9, 12), window(-5, -1)])
    assert left == [window(0, 2), window(3, 9)]


def test_steady_acceptance_is_no_silence() -> None:
    assert find_silences(STEADY, SPAN, []) == []


def test_a_silence_is_found() -> None:
    moments = [one for one in STEADY if not 110.0 < one < 117.0]
    assert find_silences(moments, SPAN, []) == [
        "silence: nothing was accepted for 7.0 s, from 10.0 s on"
    ]


def test_a_silence_is_excused_while_nothing_could_be_accepted() -> None:
    moments = [one for one in STEADY if not 110.0 < one < 117.0]
    assert find_silences(moments, SPAN, [window(111.0, 116.0)]) == []
    # What is left after the excuse counts from its end.
    assert find_silences(moments, SPAN, [window(108.0, 111.5)]) == [
        "silence: nothing was accepted for 5.5 s, from 11.5 s on"
    ]


def test_a_run_without_any_acceptance_is_one_silence() -> None:
    assert [one.end - one.begin for one in measure_silences([], SPAN, [])] == [30.0]


def test_what_a_fault_takes_away() -> None:
    def impaired(kind: str, target: str, detail: str = "") -> tuple[str, ...]:
        return list_impaired(FaultStep(1.0, kind, target, 5.0, detail), TOPOLOGY)

    assert impaired("kill", "gate-1") == ("gate-1",)
    assert impaired("kill-everything", "everything") == TOPOLOGY.members
    assert impaired("fail-over", "log-primary") == ("log",)
    assert impaired("stop-server", "store-primary") == ("store",)
    assert impaired("kill-standby", "log-standby") == ()
    assert impaired("cut-gate", "gate-2", "log both") == ("gate-2", name_way("gate-2"))
    assert impaired("cut-member", "gate-2", "all to") == ("gate-2", name_way("gate-2"))
    # A loader that is cut from the store loses its units; one that is cut from the log keeps them.
    assert impaired("cut-loader", "loader-1", "store to") == ("loader-1",)
    assert impaired("cut-loader", "loader-1", "log to") == (LOADING, "loader-1")
    assert impaired("cut-loader", "loader-1", "warehouse both") == (LOADING, "loader-1")
    assert impaired("clock", "gate-1", "+3600 s") == ()
    cut = FaultStep(1.0, "cut-loader", "loader-1", 5.0, "log both")
    assert list_impaired(cut, TOGETHER) == ("loader-1",)


def test_acceptance_needs_one_gate_and_the_log() -> None:
    times = ImpairedTimes(TOPOLOGY)
    times.add("gate-1", window(0, 10))
    assert times.when_nothing_is_accepted() == []
    times.add("gate-2", window(8, 12))
    times.add("log", window(20, 22))
    times.add("store", window(30, 40))
    assert times.when_nothing_is_accepted() == [window(8, 10), window(20, 22)]


def test_loading_needs_one_loader_and_everything_else() -> None:
    times = ImpairedTimes(TOPOLOGY)
    times.add("loader-1", window(0, 10))
    times.add("loader-2", window(9, 12))
    times.add("store", window(20, 22))
    times.add("warehouse", window(40, 41))
    assert times.when_nothing_is_loaded() == [
        window(9, 10),
        window(20, 22 + TAKING_SECONDS),
        window(40, 41),
    ]


def test_a_store_in_the_logs_database_is_away_with_it() -> None:
    times = ImpairedTimes(TOGETHER)
    times.add("log", window(0, 3))
    assert times.when_nothing_is_loaded() == [window(0, 3 + TAKING_SECONDS)]


def make_samples(
    loaded_until: float, again_from: float, *, waiting: bool = True
) -> list[TableSample]:
    """A table that is loaded all the time but between two moments."""
    samples: list[TableSample] = []
    position = 0
    for at in STEADY:
        if not loaded_until < at < again_from:
            position += 1
        samples.append(TableSample(at, position, waiting=waiting))
    return samples


def test_a_table_that_is_loaded_does_not_stall() -> None:
    assert find_stalls({"orders": make_samples(130.0, 130.0)}, []) == []


def test_a_stall_is_found() -> None:
    assert find_stalls({"orders": make_samples(105.0, 118.0)}, []) == [
        "stall: orders was not loaded for 13.0 s, from 5.0 s on"
    ]


def test_a_table_with_nothing_waiting_does_not_stall() -> None:
    assert find_stalls({"orders": make_samples(105.0, 118.0, waiting=False)}, []) == []


def test_a_stall_at_the_end_is_found() -> None:
    assert find_stalls({"orders": make_samples(105.0, 999.0)}, []) == [
        "stall: orders was not loaded for 25.0 s, from 5.0 s on"
    ]


def test_a_stall_is_excused_and_counts_anew_with_each_loader_that_goes() -> None:
    tables = {"orders": make_samples(105.0, 118.0)}
    assert find_stalls(tables, [window(106.0, 112.0)]) == []
    assert find_stalls(tables, [], [110.0]) == []
    # A loader that went before the table was loaded last says nothing.
    assert len(find_stalls(tables, [], [104.0])) == 1


def test_a_token_that_is_taken_too_late_is_found() -> None:
    times = ImpairedTimes(TOPOLOGY)
    pushes = [
        RevokedPush("gate-1", 10.0, 11.2, 401),
        RevokedPush("gate-1", 10.0, 10.9, 201),
        RevokedPush("gate-2", 10.0, 11.2, 201),
        RevokedPush("gate-2", 10.0, 11.2, 0),
    ]
    assert find_late_revocations(pushes, times) == [
        "revocation: gate-2 took a token 1.20 s after it was revoked"
    ]


def test_a_gate_that_could_not_know_of_a_revocation_is_excused() -> None:
    push = [RevokedPush("gate-2", 10.0, 11.2, 201)]
    for name in ("gate-2", "store"):
        times = ImpairedTimes(TOPOLOGY)
        times.add(name, window(9.0, 12.0))
        assert find_late_revocations(push, times) == []
    times = ImpairedTimes(TOPOLOGY)
    times.add("gate-1", window(9.0, 12.0))
    assert len(find_late_revocations(push, times)) == 1
    # Its way was cut, and it has not reached the store again.
    late = [RevokedPush("gate-2", 13.0, 14.2, 201)]
    times.add("gate-2", window(9.0, 12.0))
    assert len(find_late_revocations(late, times)) == 1
    times.add(name_way("gate-2"), window(9.0, 12.0))
    assert find_late_revocations(late, times) == []
