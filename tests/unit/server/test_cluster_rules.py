"""What a role asks for: settings, logs for all, and the processes that do the work."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from treadle.config import Config
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError
from treadle.server.cluster_rules import (
    find_company_risk,
    make_file_rule,
    require_cluster_settings,
    require_shared_logs,
)
from treadle.server.main_process import list_child_specs
from treadle.server.startup_work import ServerStartup

STORE = "postgresql://treadle@db/treadle"


@dataclass(frozen=True)
class Log:
    number: int
    url: str = ""
    state: str = "open"


def make(**settings: Any) -> Config:
    return Config(data=Path("/nowhere"), **settings)


@dataclass(frozen=True)
class Row:
    identity: str


def test_a_duckdb_file_is_loaded_by_the_machine_that_holds_it(tmp_path: Path) -> None:
    named, other = tmp_path / "rows.duckdb", tmp_path / "other.duckdb"
    rows = [Row(make_destination(f"duckdb://{path}").identity) for path in (named, other)]
    assert [*map(make_file_rule(make()), rows)] == [True, True]
    in_cluster = {"role": "loader,control", "store": STORE}
    assert [*map(make_file_rule(make(**in_cluster)), rows)] == [False, False]
    both = make(**in_cluster, holds=f"duckdb://{named}, duckdb:///elsewhere.duckdb")
    assert [*map(make_file_rule(both), rows)] == [True, False]
    with pytest.raises(OperatorError, match="holds"):
        make(**in_cluster, holds="postgresql://db/rows")


def test_a_file_that_cannot_be_held_is_refused_at_the_start() -> None:
    config = make(role="loader", store=STORE, holds="duckdb:///x.duckdb?nonsense=1")
    startup = ServerStartup(config, cast(Any, None), to_person=False)
    with pytest.raises(OperatorError, match=r"^holds names a file that cannot be used: .*nonsense"):
        startup.prepare()


def test_a_server_that_does_everything_may_have_all_that_is_its_own() -> None:
    require_cluster_settings(make(destination="duckdb:///a"))
    require_cluster_settings(make(role="loader", store=STORE))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "role is ingest,loader, so other members share the work, and the store is a file"),
        (
            {"store": STORE, "destination": "postgresql://w@db/w"},
            "destinations of a cluster are kept in its store",
        ),
        ({"store": STORE, "publish": Path("/p.duckdb")}, "publish is set"),
    ],
)
def test_what_is_one_machines_own_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OperatorError, match=said):
        require_cluster_settings(make(role=("loader", "ingest"), **settings))


def test_logs_are_for_all_members() -> None:
    require_shared_logs("loader", [Log(0, state="closed"), Log(1, "postgresql://db/l")])


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ([], "the store has no log"),
        ([Log(0, state="closed")], "the store has no log"),
        ([Log(1, "postgresql://db/l"), Log(2)], "log 2 of the store is a file of one machine"),
    ],
)
def test_a_log_of_one_machine_is_refused(logs: list[Log], said: str) -> None:
    with pytest.raises(OperatorError, match=f"role is loader, .*, and {said}: make logs"):
        require_shared_logs("loader", logs)


def test_a_server_that_does_everything_is_told_of_others() -> None:
    alone = make(store=STORE)
    assert find_company_risk(alone, []) is None
    found = find_company_risk(alone, ["gate-2", "gate-1", "gate-2"])
    assert found is not None
    assert found.found == "role is all, and other servers use the store: gate-1, gate-2."
    assert find_company_risk(make(store=STORE, role="ingest"), ["gate-1"]) is None


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("all", ["worker 1", "worker 2", "desk", "loader", "courier"]),
        ("ingest", ["worker 1", "worker 2"]),
        ("loader", ["worker 1", "loader"]),
        ("control", ["worker 1", "worker 2", "desk", "courier"]),
        ("ingest,loader", ["worker 1", "worker 2", "loader"]),
    ],
)
def test_a_member_starts_what_its_roles_need(role: str, names: list[str]) -> None:
    config = make(role=role, store=STORE, workers=2)
    specs = {spec.name: spec for spec in list_child_specs(config, 3, 4)}
    assert list(specs) == names
    assert [name for name, spec in specs.items() if spec.drains] == [
        name for name in names if name.startswith("worker")
    ]
    # In a cluster the courier looks for errands, which the loader does on one machine.
    assert "courier" not in specs or specs["courier"].rests is (role == "all")
