"""The short forms of `python -m tests.faults.units`."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.units import EVENTS, cycles, unit_scene
from tests.servers.postgres import PostgresServer


@pytest.mark.slow
def test_the_tables_of_a_lost_loader_go_on_with_another(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    tally = Tally("units")
    with unit_scene(tmp_path, postgres_server, 1, loaders=2) as scene:
        cycles(scene, ["lost"], 1, tally)
    assert tally.violations == []
    assert tally.counts["tables taken over"] > 0


@pytest.mark.slow
@pytest.mark.release
def test_tables_go_on_whatever_happens_to_a_loader(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    tally = Tally("units")
    with unit_scene(tmp_path, postgres_server, 2, store_there=True) as scene:
        cycles(scene, EVENTS, 2 * len(EVENTS), tally)
    assert tally.violations == []
    assert tally.passed == 2 * len(EVENTS)
