"""The short form of `python -m tests.faults.kill_pg`."""

import os

import pytest
from tests.faults.command import Tally
from tests.faults.kill_pg import faults
from tests.servers.database_server import NoServerError
from tests.servers.postgres_cluster import PostgresCluster


@pytest.mark.release
def test_a_log_on_postgresql_loses_and_doubles_nothing() -> None:
    try:
        cluster = PostgresCluster()
    except NoServerError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    tally = Tally("kill_pg")
    with cluster as running:
        faults(running, 12, 3, tally)
    assert tally.violations == []
    assert tally.counts["failover"] == 2
    assert tally.counts["requests answered"] > 200
