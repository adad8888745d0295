"""Loads into DuckDB that need more memory than DuckDB may take at first."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.integration.destinations.builders import LOG, ORDERS, Loads, table, upsert

from treadle.destinations.duckdb.destination import DuckDBDestination
from treadle.destinations.duckdb.memory import Memory
from treadle.errors import TryLater
from treadle.tables.model import CreateRelation, LoadPlan

LIMIT = "SELECT current_setting('memory_limit')"


@dataclass
class Loader:
    """Loads as treadle does: after a fault it opens anew and asks what is held."""

    destination: DuckDBDestination
    loads: Loads = field(init=False)
    faults: int = 0

    def __post_init__(self) -> None:
        with self.destination.open() as session:
            session.prepare("web")
            self.loads = Loads(session)
            self.loads.create(ORDERS)

    def load(self, rows: list[tuple[int, int, str]]) -> None:
        plan = self.loads.plan(table(ORDERS), upsert(rows))
        for _ in range(12):
            try:
                self._try(plan)
            except TryLater:
                self.faults += 1
            else:
                return
        pytest.fail("it cannot be loaded")

    def _try(self, plan: LoadPlan) -> None:
        with self.destination.open() as session:
            self.loads.session = session
            session.prepare("web")
            held = session.held(LOG)[7, "orders"]
            if held.position < plan.mark.position:
                session.load(plan)
        self.loads.position = plan.mark.position
        self.loads.revision += 1
        self.loads.batched_at = plan.batched_at

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        with self.destination.open(read_only=True) as session:
            return session.query(sql).rows


def test_a_load_that_does_not_fit_gets_more(tmp_path: Path) -> None:
    memory = Memory(bytes_max=1_000_000)
    loader = Loader(DuckDBDestination(tmp_path / "data.duckdb", memory))
    for first in (0, 2500):
        loader.load([(n, first, f"{n:08}" * 40) for n in range(first, first + 5000)])
    found = loader.read("SELECT count(*), count(DISTINCT id), sum(_sdc_sequence) FROM web.orders")
    assert found == [(7500, 7500, 5000 * 2500)]
    assert memory.bytes_max is None or memory.bytes_max > 1_000_000


def test_a_file_that_cannot_be_written_for_want_of_memory_is_opened_with_more(
    tmp_path: Path,
) -> None:
    memory = Memory(bytes_max=8_000_000)
    loader = Loader(DuckDBDestination(tmp_path / "data.duckdb", memory))
    for number in range(4):
        loader.load([(number, 1, "x" * 6_000_000)])
    found = loader.read("SELECT count(*), count(DISTINCT id), sum(length(a)) FROM web.orders")
    assert found == [(4, 4, 4 * 6_000_000)]
    assert memory.bytes_max is None or memory.bytes_max > 8_000_000


def test_the_bound_ends_where_duckdb_has_its_own() -> None:
    memory = Memory(bytes_max=1 << 60)
    with duckdb.connect() as connection:
        before = connection.execute(LIMIT).fetchone()
        assert memory.grow(connection)
        assert memory.bytes_max is None
        assert connection.execute(LIMIT).fetchone() == before
        assert not memory.grow(connection)


def test_a_query_of_the_operator_is_not_held_to_it(tmp_path: Path) -> None:
    destination = DuckDBDestination(tmp_path / "data.duckdb", Memory(bytes_max=50_000_000))
    with destination.open() as session, duckdb.connect() as other:
        session.prepare("web")
        loads = Loads(session)
        loads.load(
            table(ORDERS),
            upsert([(1, 1, "x")]),
            changes=[CreateRelation(made) for made in [ORDERS]],
        )
        assert loads.read(LIMIT) == other.execute(LIMIT).fetchall()
