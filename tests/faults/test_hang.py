"""The short form of `python -m tests.faults.hang`."""

import asyncio
from pathlib import Path

import pytest
from tests.faults.calls import LOADS
from tests.faults.hang import ENDINGS, Scene, disk, stall


@pytest.mark.parametrize("name", ["BEGIN", "INSERT", "COMMIT"])
def test_a_statement_of_the_disk_hangs(tmp_path: Path, name: str) -> None:
    held = stall(2, only=(name,))
    assert asyncio.run(disk(tmp_path, held)) == []
    assert held.called == name


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", ["duckdb", "postgres"])
def test_a_load_hangs(
    tmp_path: Path, kind: str, ending: str, request: pytest.FixtureRequest
) -> None:
    held = stall(1, ending, only=LOADS)
    url = f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    if kind == "postgres":
        url = request.getfixturevalue("postgres_database")
    assert Scene(tmp_path, url, held).run() == []
    assert held.called in LOADS
