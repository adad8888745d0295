"""What is wrong with a cluster, as `treadle cluster status` says it."""

from dataclasses import replace

import pytest

from treadle.log.database_look import StandbyLook
from treadle.maintenance.cluster_state import (
    ClusterState,
    DatabaseState,
    LogStatus,
    MemberState,
    UnitState,
    find_problems,
    summarize_uses,
    summarize_versions,
)


def member(name: str, *roles: str, live: bool = True, version: str = "1") -> MemberState:
    return MemberState(name, frozenset(roles), name, "a", version, 0, 0.5 if live else 40.0, live)


GATE = member("gate", "ingest")
LOADER = member("loader", "loader")
CONTROL = member("control", "control")
STANDBY = StandbyLook("b", "10.0.0.2", "streaming", "quorum", 0)
DATABASE = DatabaseState(
    "postgresql://db/treadle", ("store", "log 1"), "db:5432", "18.1", "ANY 1 (*)", (STANDBY,)
)
LOG = LogStatus(1, "open", DATABASE.place, True, 12, 3, 1, 1000)
WELL = ClusterState(
    (GATE, LOADER, CONTROL),
    (LOG,),
    (DATABASE,),
    (UnitState("log:1:0", "loader"), UnitState("log:1:1", "loader")),
)


def test_nothing_is_wrong_with_a_cluster_that_is_well() -> None:
    assert find_problems(WELL) == ()
    assert WELL.count_units(LOADER) == 2
    all_in_one = replace(WELL, members=(member("loader", "ingest", "loader", "control"),))
    assert find_problems(all_in_one) == ()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"members": (LOADER, CONTROL)}, ["No member with the role ingest runs"]),
        (
            {"members": (GATE, LOADER, CONTROL, member("gone", "ingest", live=False))},
            ["gone on a has not beaten for 40 s"],
        ),
        (
            {"units": (UnitState("log:1:0", "loader"), UnitState("log:1:1", "gone"))},
            ["1 unit has no live loader"],
        ),
        ({"units": (UnitState("log:1:0", None),)}, ["1 unit has no live loader"]),
        (
            {"members": (GATE, CONTROL)},
            ["No member with the role loader runs"],  # and not its units besides
        ),
        ({"logs": (replace(LOG, trouble="gone"),)}, ["cannot be read: gone"]),
        ({"logs": (replace(LOG, state="draining"),)}, ["No log takes new sources"]),
        (
            {"logs": (LOG, LogStatus(0, "open", "/data/log.sqlite", False))},
            ["Log 0 is a file of one machine"],
        ),
        ({"logs": (LOG, LogStatus(0, "closed", "/data/log.sqlite", False))}, []),
        ({"databases": (replace(DATABASE, trouble="away"),)}, ["cannot be asked: away"]),
        ({"databases": (replace(DATABASE, weaknesses=("fsync is off",)),)}, ["fsync is off"]),
        (
            {"databases": (replace(DATABASE, standbys=(STANDBY._replace(sync_state="async"),)),)},
            ["No synchronous standby"],
        ),
        ({"databases": (replace(DATABASE, standbys=(), shows_standbys=False),)}, []),
        ({"databases": (replace(DATABASE, standbys=(), standby_names=""),)}, []),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(changed: dict[str, object], told: list[str]) -> None:
    problems = find_problems(replace(WELL, **changed))  # type: ignore[arg-type]
    assert len(problems) == len(told)
    for problem, part in zip(problems, told, strict=True):
        assert part in problem
        assert problem.endswith(".")


def test_what_is_in_a_database_is_summed_up() -> None:
    assert summarize_uses(("store",)) == "store"
    assert summarize_uses(("store", "log 1", "log 2")) == "store, log 1, log 2"
    assert summarize_uses(("store", "log 1", "log 2", "log 3")) == "store and 3 logs"
    assert summarize_uses(tuple(f"log {n}" for n in range(8))) == "8 logs"


def test_releases_are_summed_up() -> None:
    assert summarize_versions([]) == ""
    assert summarize_versions([GATE, LOADER]) == "1"
    lost = member("lost", "ingest", live=False, version="0")
    new = member("new", "ingest", version="2")
    assert summarize_versions([GATE, LOADER, new, lost]) == "1 (2 members), 2 (1 member)"
