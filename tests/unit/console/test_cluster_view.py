"""What pages show of members, units and logs."""

from dataclasses import replace

import pytest
from tests.unit.console.test_view import NOW

from treadle.console.cluster_view import (
    LOADERS_SHOWN,
    LOGS_SHOWN,
    SERVERS_SHOWN,
    ClusterView,
    choose_gate_url,
    count_refused_elsewhere,
    describe_keeping,
    describe_reach,
    describe_seen,
    list_server_lines,
    make_cluster_view,
)
from treadle.log.protocol import LogState
from treadle.store.membership import HeldUnit, MemberPhase
from treadle.traces.log_server_note import LogServerSight
from treadle.tracking.log_list import BacklogTotal, ListedLog, LogMeasure, PlacedLog
from treadle.tracking.member_list import (
    ListedMember,
    MemberLook,
    UnitGroup,
    group_free_units,
    group_units,
)

SECOND = 1_000_000
READY, DRAINING, LOST = MemberPhase.READY, MemberPhase.DRAINING, MemberPhase.LOST


def member(
    name: str,
    process: str = "worker 1",
    role: str = "ingest",
    phase: MemberPhase = READY,
    beat_seconds: float = 0.4,
    since: int = NOW - 60 * SECOND,
    **more: object,
) -> ListedMember:
    units = 0 if role == "loader" else None
    made = ListedMember(
        f"/{name}", name, process, role, f"{name}.example.com", "", "1.0", "0030", 1, units, (),
        since, beat_seconds, phase,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]  # whatever a test changes


def log(number: int, measure: LogMeasure, server: LogServerSight | None = None) -> ListedLog:
    placed = PlacedLog(number, "postgres", LogState.OPEN, "postgresql://h1/d", is_remote=True)
    return ListedLog(placed, 3, measure, server)


WELL = LogMeasure(BacklogTotal(2, 4, 7, 200, NOW - SECOND), 50_000)


def test_an_empty_cluster_has_nothing() -> None:
    assert make_cluster_view(MemberLook(), []) == ClusterView()


def test_processes_of_a_server_are_one_line() -> None:
    address = "https://a.example.com:8484"
    [line] = list_server_lines(
        [
            member("a", "courier", "control", since=NOW - 50 * SECOND, beat_seconds=0.2),
            member("a", "loader", "loader", version="1.1"),
            member("a", "worker 1", "ingest,control", address=address, beat_seconds=0.9),
        ]
    )
    assert (line.name, line.state.word, line.state.tone) == ("a", "ready", "good")
    assert line.roles == "ingest, loader, control"
    assert (line.address, line.host) == (address, "a.example.com")
    assert line.versions == "1.0, 1.1"
    assert line.processes == "courier, loader, worker 1"
    assert (line.since, line.seen) == (NOW - 60 * SECOND, "just now")


def test_what_is_not_well_comes_first_and_says_which_process() -> None:
    lines = list_server_lines(
        [
            member("control", role="control"),
            member("gate-1"),
            member("gate-2", phase=DRAINING),
            member("gate-3", "worker 1"),
            member("gate-3", "worker 2", phase=LOST, beat_seconds=75),
            member("loader", "loader", "loader", LOST, 9.5),
        ]
    )
    assert [(one.name, one.state.word) for one in lines] == [
        ("loader", "lost"),
        ("gate-3", "partly lost"),
        ("gate-2", "draining"),
        ("gate-1", "ready"),
        ("control", "ready"),
    ]
    assert lines[0].seen == "9 s ago"
    assert lines[1].state.detail == "Lost: worker 2 (1 min ago)."
    view = make_cluster_view(MemberLook([member("a"), member("b"), member("c", phase=LOST)]), [])
    assert view.counts == "2 ready, 1 lost"


def test_a_lost_server_with_the_name_of_one_that_runs_is_a_line_of_its_own() -> None:
    lines = list_server_lines(
        [member("a", place="/a before", phase=LOST, beat_seconds=60), member("a")]
    )
    assert [(one.name, one.state.word) for one in lines] == [("a", "lost"), ("a", "ready")]


def test_when_a_member_was_seen_is_told_in_words() -> None:
    assert describe_seen(0.0) == "just now"
    assert describe_seen(2.9) == "just now"
    assert describe_seen(3.0) == "3 s ago"
    assert describe_seen(125.0) == "2 min ago"


def test_each_loader_has_its_units_and_since_when() -> None:
    units = [
        HeldUnit("log:1:0", "one", 5, NOW - 30),
        HeldUnit("log:1:1", "one", 6, NOW - 20),
        HeldUnit("log:1:2", "two", 7, NOW - 10),
        HeldUnit("log:1:3", None, 8, NOW - 5),
        HeldUnit("exclusive:4", "one", 9, NOW - 40),
        HeldUnit("couriers:0", "three", 10, NOW),
        HeldUnit("of a later release", "one", 11, NOW),
    ]
    groups = group_units(units)
    assert groups["one"] == (
        UnitGroup("log", 1, 2, 4, NOW - 30, NOW - 20),
        UnitGroup("exclusive", 4, 1, 1, NOW - 40, NOW - 40),
    )
    assert group_free_units(units, {"one", "two"}) == (UnitGroup("log", 1, 1, 4, NOW - 5, NOW - 5),)
    free = group_free_units(units, {"two"})
    assert [(one.kind, one.count) for one in free] == [("log", 3), ("exclusive", 1)]
    look = MemberLook(
        [
            member("a", "loader", "loader", units=3, groups=groups["one"]),
            member("b", "loader", "loader"),
            member("gate"),
        ],
        free,
    )
    view = make_cluster_view(look, [])
    first, second = view.loaders
    assert (first.name, first.units) == ("a loader", 3)
    assert first.held == (("2 of 4 of log 1", None), ("destination 4", 4))
    assert (first.since, first.last) == (NOW - 40, NOW - 20)
    assert (second.units, second.held, second.since) == (0, (), None)
    assert view.free[0].startswith("3 of 4 units of log 1 have no live loader, so what is accepted")
    assert view.free[1].startswith("Destination 4, which one process at a time can open, has no")


def test_logs_that_cannot_be_read_come_first() -> None:
    away = LogMeasure(trouble="the database is not available now")
    closed = replace(
        log(4, LogMeasure(BacklogTotal(), 0)),
        log=PlacedLog(4, "postgres", LogState.CLOSED, "postgresql://h1/d", is_remote=True),
    )
    file = replace(
        log(0, WELL),
        log=PlacedLog(0, "sqlite", LogState.DRAINING, "/d/log.sqlite", is_remote=False),
    )
    view = make_cluster_view(MemberLook(), [file, log(1, WELL), log(2, away), closed])
    assert view.unread == 1
    cards = view.logs
    assert [card.listed.log.number for card in cards] == [2, 0, 1, 4]
    assert (cards[0].state.word, cards[0].state.detail) == (
        "cannot be read",
        "the database is not available now",
    )
    assert [card.kind for card in cards] == ["PostgreSQL", "file", "PostgreSQL", "PostgreSQL"]
    assert [card.state.word for card in cards[1:]] == ["draining", "open", "closed"]
    assert [card.keeps.word for card in cards] == ["not known", "one machine", "not known", "-"]


@pytest.mark.parametrize(
    ("durability", "waits_for", "standbys", "word", "tone", "said"),
    [
        ("replicated", "ANY 1 (b, c)", 2, "replicated", "good", "(b, c); 2 standbys connected"),
        ("replicated", "ANY 1 (b, c)", 1, "replicated", "good", "1 standby connected"),
        ("replicated", "ANY 1 (b, c)", 0, "no standby", "bad", "none is connected: appends wait"),
        ("replicated", "ANY 1 (b)", None, "replicated", "warn", "standbys are not shown"),
        ("replicated", "", 0, "one server", "bad", "wait for no standby"),
        ("single", "", 0, "one server", "plain", "a lost disk takes records"),
        ("storage", "", 0, "one server", "plain", "provider keeps copies"),
        ("none", "", 0, "may be lost", "warn", "log_durability is none"),
    ],
)
def test_how_a_server_keeps_what_it_takes_is_told(
    durability: str, waits_for: str, standbys: int | None, word: str, tone: str, said: str
) -> None:
    found = describe_keeping(LogServerSight("postgresql://h1/d", durability, waits_for, standbys))
    assert (found.word, found.tone) == (word, tone)
    assert said in found.detail


def test_a_page_is_bounded_whatever_the_cluster_has() -> None:
    members = [member(f"gate-{number:03}") for number in range(SERVERS_SHOWN + 7)]
    loaders = [
        member(f"gate-{number:03}", "loader", "loader") for number in range(LOADERS_SHOWN + 5)
    ]
    logs = [log(number, WELL) for number in range(LOGS_SHOWN + 3)]
    view = make_cluster_view(MemberLook([*members, *loaders]), logs)
    assert (len(view.servers), view.servers_left) == (SERVERS_SHOWN, LOADERS_SHOWN + 5 - 50)
    assert (len(view.loaders), view.loaders_left) == (LOADERS_SHOWN, 5)
    assert (len(view.logs), view.logs_left) == (LOGS_SHOWN, 3)


def test_which_machine_keeps_which_refusals_is_told() -> None:
    members = [
        member("control-1", role="control", answers=(1, 2, 3, 4)),
        member("gate-2", answers=(900, 0, 5, 2)),
        member("gate-1", role="ingest,loader"),
        member("gate-1", "worker 2", role="ingest", answers=(9, 9, 0, 1)),
        member("gate-3", phase=LOST, answers=(0, 0, 70, 0)),
    ]
    assert count_refused_elsewhere(members, "control-1") == {"gate-1": 1, "gate-2": 7}
    assert count_refused_elsewhere(members, "gate-1") == {"gate-2": 7}
    alone = describe_reach("control-1", {})
    assert alone.endswith("these are of control-1 alone.")
    one = describe_reach("c", {"gate-1": 1_234})
    assert "alone. gate-1 (1,234 refused) has its own: `treadle requests --refused` there," in one
    many = describe_reach("c", {f"gate-{number}": number for number in range(7)})
    assert (
        "gate-6 (6 refused), gate-5 (5 refused), gate-4 (4 refused), gate-3 (3 refused) and 3 more "
        "have their own"
    ) in many


def test_records_are_sent_to_a_gate_that_is_ready() -> None:
    members = [
        member("gate-3", address="https://gate-3:8484"),
        member("gate-2", address="https://gate-2:8484", phase=DRAINING),
        member("gate-1", address="unix:/run/treadle"),
        member("control", role="control", address="https://control:8484"),
    ]
    assert choose_gate_url(members) == "https://gate-3:8484"
    assert choose_gate_url(members[1:]) is None
