"""Schedules are made from a seed alone, and never break more than a cluster is made for."""

from itertools import pairwise

import pytest
from tests.faults.cluster.schedule import (
    EVERYTHING,
    FAULT_SECONDS,
    FAULTS,
    PAUSE_SECONDS,
    ClusterTopology,
    FaultSchedule,
    FaultStep,
    make_schedule,
)

TOPOLOGY = ClusterTopology(
    gates=("gate-1", "gate-2", "gate-3"),
    loaders=("loader-1", "loader-2", "loader-3"),
    controls=("control-1",),
    logs=("log-1", "log-2", "log-3"),
    stores=("store-1", "store-2", "store-3"),
    points={"gate-1": ("log.pg.resolve",), "loader-1": ("loader.after-load",)},
    destinations=2,
)


def make_many(count: int = 300) -> list[FaultSchedule]:
    return [make_schedule(7, number, TOPOLOGY) for number in range(count)]


def test_a_seed_and_a_number_give_one_schedule() -> None:
    assert make_schedule(7, 12, TOPOLOGY) == make_schedule(7, 12, TOPOLOGY)
    assert make_schedule(7, 12, TOPOLOGY) != make_schedule(7, 13, TOPOLOGY)
    assert make_schedule(7, 12, TOPOLOGY) != make_schedule(8, 12, TOPOLOGY)


def test_the_journal_names_the_seed_and_each_step() -> None:
    steps = (FaultStep(1.5, "cut-gate", "gate-2", 8.0, "log both"), FaultStep(3.0, "roll", "gates"))
    assert FaultSchedule(7, 12, steps).describe() == (
        "seed 7, schedule 12: 1.5 cut-gate gate-2 log both for 8.0 s; 3.0 roll gates"
    )


def test_every_fault_is_met_within_some_hundred_schedules() -> None:
    met = {step.kind for schedule in make_many() for step in schedule.steps}
    assert met == set(FAULTS)


def test_faults_begin_every_two_to_ten_seconds_and_last_one_to_twenty() -> None:
    for schedule in make_many(50):
        moments = sorted({step.at for step in schedule.steps})
        assert moments
        assert all(moment < schedule.seconds for moment in moments)
        for before, after in pairwise(moments):
            # A moment at which everything was broken already has no step.
            assert after - before >= PAUSE_SECONDS[0] - 0.01
        for step in schedule.steps:
            assert step.seconds == 0 or FAULT_SECONDS[0] <= step.seconds <= FAULT_SECONDS[1]


def group_of(step: FaultStep) -> str:
    group, _, part = step.target.partition("-")
    return group if part in ("primary", "standby") else step.target


def test_nothing_is_hit_twice_at_once_and_one_server_of_a_database_at_most() -> None:
    for schedule in make_many():
        lasting = [step for step in schedule.steps if step.kind != "clock" and step.seconds]
        for step in lasting:
            others = [one for one in lasting if one is not step and one.at <= step.at < one.until]
            assert group_of(step) not in [group_of(one) for one in others], schedule.describe()
            assert step.target != EVERYTHING or not others, schedule.describe()
            assert EVERYTHING not in [one.target for one in others], schedule.describe()


def test_some_faults_come_two_at_once() -> None:
    assert any(
        len({step.at for step in schedule.steps}) < len(schedule.steps) for schedule in make_many()
    )


def test_only_the_kinds_that_are_asked_for_are_drawn() -> None:
    kinds = ("kill", "stop")
    found = {
        step.kind
        for number in range(50)
        for step in make_schedule(7, number, TOPOLOGY, kinds=kinds).steps
    }
    assert found == set(kinds)


def test_servers_that_do_everything_are_hit_as_members_once() -> None:
    everything = ("gate-1", "gate-2")
    topology = ClusterTopology(everything, everything, everything, logs=("log-1", "log-2"))
    assert topology.members == everything
    assert topology.databases == ("log",)
    targets = {
        step.target
        for number in range(100)
        for step in make_schedule(7, number, topology, kinds=("kill",)).steps
    }
    assert targets == {"gate-1", "gate-2"}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_store_in_the_database_of_the_log_is_no_group_of_its_own(kind: str) -> None:
    together = ClusterTopology(
        TOPOLOGY.gates, TOPOLOGY.loaders, TOPOLOGY.controls, TOPOLOGY.logs, TOPOLOGY.logs
    )
    for number in range(10):
        for step in make_schedule(7, number, together, kinds=(kind,)).steps:
            assert "store" not in f"{step.target} {step.detail}"
