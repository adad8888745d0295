"""The ledger over a real log and store, against the rows that are there."""

import asyncio
from pathlib import Path

from tests.integration.loader.test_units import Stage

from treadle.log.sqlite.log import SqliteReader
from treadle.tracking.ledger import compute_ledger, sum_lines


def test_the_ledger_agrees_with_the_rows(tmp_path: Path) -> None:
    stage = Stage(tmp_path, f"duckdb://{tmp_path / 'warehouse.duckdb'}")
    loader = stage.loader("a")
    for number in (1, 2):
        asyncio.run(stage.append(number))
    loader.load_once()
    asyncio.run(stage.append(3))
    reader = SqliteReader(tmp_path / "log.sqlite")
    [line] = compute_ledger(stage.store, reader)
    assert (line.accepted, line.loaded, line.waiting) == (15, 10, 5)
    assert len(stage.entries()) == line.loaded
    loader.load_once()
    sums = sum_lines(compute_ledger(stage.store, reader))
    assert (sums.accepted, sums.loaded, sums.waiting) == (15, 15, 0)
    assert len(stage.entries()) == 15
    reader.close()
    loader.close()
    stage.store.close()
