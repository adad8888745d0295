"""Any order of pushes, loads and deaths leaves the tables that the rules say."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from tests.integration.model.machine import Machine
from tests.integration.model.world import World
from tests.kinds import some_at_release

BOUNDED = settings(
    max_examples=6,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# A load takes the last two longer than the others.
@pytest.fixture(
    params=[
        "duckdb",
        "postgres",
        "mariadb",
        *some_at_release("clickhouse", "iceberg", "redshift"),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = None
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_database"))
    elif request.param in ("clickhouse", "mariadb", "redshift"):
        url = str(request.getfixturevalue(f"{request.param}_url"))
    elif request.param == "iceberg":
        url = f"iceberg+sql://{tmp_path / 'lake.db'}"
    made = World(tmp_path, url)
    yield made
    made.close()


@pytest.mark.slow
def test_the_tables_equal_the_model(world: World) -> None:
    class Here(Machine):
        pass

    Here.world = world
    run_state_machine_as_test(Here, settings=BOUNDED)
