"""Phases of a rehearsed load: their times, which one failed, and what is said of them."""

from collections.abc import Iterator

import pytest
from psycopg import pq

from treadle.destinations.libpq.probe import judge_state, list_host_names
from treadle.destinations.protocol import AccessDeniedError, DestinationUnavailableError
from treadle.destinations.rehearsal import judge_phase
from treadle.destinations.rehearsal_result import (
    CheckPhase,
    PhaseResult,
    PhaseTimer,
    RehearsalResult,
    describe_rehearsal,
)
from treadle.errors import OperatorError, TreadleError


def count(*moments: float) -> PhaseTimer:
    """A timer whose clock tells these moments."""
    told: Iterator[float] = iter(moments)
    return PhaseTimer(lambda: next(told))


def test_phases_are_measured_from_one_to_the_next() -> None:
    timer = count(0.0, 0.001, 0.001, 0.004, 9.0, 9.5)
    timer.begin(CheckPhase.NAME)
    timer.begin(CheckPhase.CONNECT)
    timer.end()
    timer.begin(CheckPhase.LOAD)  # what was between is not counted
    assert timer.list_results() == (
        PhaseResult(CheckPhase.NAME, 1.0),
        PhaseResult(CheckPhase.CONNECT, 3.0),
        PhaseResult(CheckPhase.LOAD, 500.0),
    )


def test_a_phase_that_is_begun_again_goes_on_and_one_that_was_none_is_dropped() -> None:
    timer = count(0.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 4.5)
    for phase in (CheckPhase.CONNECT, CheckPhase.TLS, CheckPhase.CONNECT, CheckPhase.LOG_IN):
        timer.begin(phase)
    timer.drop(CheckPhase.TLS)
    assert timer.list_results(CheckPhase.LOG_IN) == (
        PhaseResult(CheckPhase.CONNECT, 3000.0),
        PhaseResult(CheckPhase.LOG_IN, 500.0, failed=True),
    )


def test_nothing_is_told_behind_the_phase_that_failed() -> None:
    timer = count(0.0, 1.0, 1.0, 2.0)
    timer.begin(CheckPhase.RIGHTS)
    timer.begin(CheckPhase.LOAD)
    failed = judge_phase(timer.phase, AccessDeniedError("no"))
    assert [each.phase for each in timer.list_results(failed)] == [CheckPhase.RIGHTS]


@pytest.mark.parametrize(
    ("phase", "error", "expected"),
    [
        (CheckPhase.LOAD, OperatorError("a type"), CheckPhase.LOAD),
        (CheckPhase.LOAD, AccessDeniedError("a right"), CheckPhase.RIGHTS),
        (CheckPhase.LOG_IN, AccessDeniedError("a password"), CheckPhase.LOG_IN),
        (CheckPhase.TLS, DestinationUnavailableError("no"), CheckPhase.TLS),
        (None, DestinationUnavailableError("no"), CheckPhase.CONNECT),
    ],
)
def test_which_phase_failed(
    phase: CheckPhase | None, error: TreadleError, expected: CheckPhase
) -> None:
    assert judge_phase(phase, error) == expected


def test_what_is_said_to_a_person() -> None:
    well = (
        PhaseResult(CheckPhase.NAME, 0.4),
        PhaseResult(CheckPhase.LOG_IN, 8.0),
        PhaseResult(CheckPhase.LOAD, 30.0),
    )
    assert describe_rehearsal(RehearsalResult("postgresql://h/d", ("web", "app"), well)) == (
        "postgresql://h/d answers in 8 ms, and a load was rehearsed in web, app. "
        "Phases: name 0 ms, log in 8 ms, load 30 ms."
    )
    badly = (well[0], PhaseResult(CheckPhase.LOG_IN, 8.0, failed=True))
    assert describe_rehearsal(RehearsalResult("d", (), badly, "the password is wrong")) == (
        "d refuses a load: the password is wrong. Phases: name 0 ms, log in failed after 8 ms."
    )
    assert describe_rehearsal(RehearsalResult("d", (), (), "Is it up?", may_pass=True)) == (
        "d cannot be used now: Is it up?"
    )
    assert describe_rehearsal(RehearsalResult("d", (), missing=True)) == (
        "d is made by the first load."
    )


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"host": "db.example, other"}, ["db.example", "other"]),
        ({"host": "/run/postgresql"}, []),
        ({"host": "@abstract,db"}, []),
        ({"host": "db", "hostaddr": "192.0.2.1"}, []),
        ({"host": "127.0.0.1,db"}, []),
        ({"host": "::1"}, []),
        ({}, []),
    ],
)
def test_which_hosts_are_looked_up(parameters: dict[str, str], names: list[str]) -> None:
    assert list_host_names(parameters) == names


def test_the_state_of_a_connection_says_its_phase() -> None:
    status, phase = pq.ConnStatus, CheckPhase.CONNECT
    said = []
    for state in (status.STARTED, status.MADE, status.SSL_STARTUP, status.MADE,
                  status.AWAITING_RESPONSE, status.AUTH_OK, status.BAD):  # fmt: skip
        found = judge_state(state, phase)
        assert found is not None
        phase = found
        said.append(phase)
    connect, tls, log_in = CheckPhase.CONNECT, CheckPhase.TLS, CheckPhase.LOG_IN
    assert said == [connect, connect, tls, tls, log_in, log_in, log_in]
