"""The screen of `treadle status`."""

from typing import Any

from treadle.cli.status import format_status

RATE = {"accepted": 5.0, "loaded": 4.0, "superseded": 0.0, "rejected": 0.0}


def make_status(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "totals": {"accepted": 9, "loaded": 5, "superseded": 0, "rejected": 0, "waiting": 4},
        "rates": [{"seconds": 10, **RATE}, {"seconds": 60, **RATE}],
        "oldest_waiting_seconds": 1.5,
        "freshness": {"p50_seconds": None, "p99_seconds": None},
        "tables": {"known": 1, "failing": 0, "stopped": 0},
        "sampled_at": "2026-01-01T12:00:00Z",
        "destinations": [],
        "loaders": {"live": 1, "units": 64, "units_unheld": 0},
        "problems": {},
        "processes": {"worker 1": "running"},
        "server": {"process": 7, "address": "http://127.0.0.1:8484"},
        "machine": None,
        "logs_unread": {},
        "members": [],
    }
    return plain | changes


def test_a_single_machine_is_not_named() -> None:
    shown = format_status(make_status())
    assert "machine" not in shown
    assert "members" not in shown
    assert "server        http://127.0.0.1:8484, process 7\n" in shown


def test_in_a_cluster_what_is_of_this_machine_says_so() -> None:
    shown = format_status(make_status(machine="gate-1"))
    assert "server        http://127.0.0.1:8484, process 7, on this machine\n" in shown
    assert "processes     worker 1 running, on this machine" in shown
    assert "rates and freshness are kept" not in shown
    unsampled = format_status(make_status(machine="gate-1", sampled_at=None))
    assert "rates and freshness are kept by members with the role control" in unsampled
    assert "rates and freshness" not in format_status(make_status(sampled_at=None))


def test_a_log_that_cannot_be_read_is_named_beside_what_waits() -> None:
    shown = format_status(make_status(machine="a", logs_unread={2: "the database is away"}))
    assert "without log 2, which cannot be read: the database is away" in shown


def test_problems_that_nobody_can_look_for_are_not_none() -> None:
    shown = format_status(make_status(problems=None, problems_unknown="the database is away"))
    assert "problems      cannot be looked for now: the database is away" in shown
    assert "problems      none" in format_status(make_status())
    assert "problems      2 critical; see" in format_status(make_status(problems={"critical": 2}))
