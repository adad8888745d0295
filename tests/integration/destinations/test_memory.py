"""What DuckDB gathers in memory while a file is open, and when the file is opened anew for it."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from tests.integration.destinations.builders import LOG, ORDERS, Loads, table, upsert

from treadle.destinations.duckdb import memory
from treadle.destinations.duckdb.destination import DuckDBDestination
from treadle.destinations.duckdb.memory import SMALL_ROWS_MAX, Gathered
from treadle.destinations.protocol import Session
from treadle.errors import TryLater

HELD = "SELECT CAST(sum(memory_usage_bytes) AS BIGINT) FROM duckdb_memory()"


class Counting(DuckDBDestination):
    """Counts how often it opens its file, and fails to where it is told to."""

    opened = 0
    fails = False

    def _opened(self, path: str, read_only: bool) -> duckdb.DuckDBPyConnection:
        if self.fails:
            raise TryLater("somebody else has it")
        self.opened += 1
        return super()._opened(path, read_only)


def _rows(first: int) -> list[tuple[int, int, str]]:
    return [(n, 1, f"{n:08}" * 20) for n in range(first, first + 5000)]


def _begun(session: Session) -> Loads:
    session.prepare("web")
    loads = Loads(session)
    loads.create(ORDERS)
    return loads


def test_a_file_is_opened_anew_when_much_was_gathered(tmp_path: Path) -> None:
    destination = Counting(tmp_path / "data.duckdb", gathered_max=3_000_000)
    with destination.open() as session:
        loads = _begun(session)
        for turn in range(12):
            loads.load(table(ORDERS), upsert(_rows(5000 * turn)))
        found = loads.read("SELECT count(*), count(DISTINCT id), sum(length(a)) FROM web.orders")
        assert found == [(60_000, 60_000, 60_000 * 160)]
        assert session.held(LOG)[7, "orders"].position == loads.position
    assert 2 <= destination.opened <= 12


def test_what_every_load_needs_is_not_read_anew_each_time(tmp_path: Path) -> None:
    destination = Counting(tmp_path / "data.duckdb", gathered_max=1)
    with destination.open() as session:
        loads = _begun(session)
        loads.load(table(ORDERS), upsert(_rows(0)))
    with destination.open() as session:
        loads.session = session
        before = destination.opened
        for turn in range(9):
            loads.load(table(ORDERS), upsert([(n, 2 + turn, "x") for n in range(5)]))
        assert loads.read("SELECT count(*), sum(_sdc_sequence) FROM web.orders") == [(5000, 5045)]
    assert destination.opened - before <= 4


def test_a_file_that_cannot_be_opened_anew_keeps_what_it_has(tmp_path: Path) -> None:
    destination = Counting(tmp_path / "data.duckdb", gathered_max=1)
    loaded = 0
    with destination.open() as session:
        loads = _begun(session)
        destination.fails = True
        try:
            while loaded < 40:
                loads.load(table(ORDERS), upsert(_rows(5000 * loaded)))
                loaded += 1
        except TryLater:
            pass
    assert 0 < loaded < 40
    destination.fails = False
    with destination.open() as session:
        loads.session = session
        assert loads.read("SELECT count(*) FROM web.orders") == [(5000 * loaded,)]
        assert session.held(LOG)[7, "orders"].position == loads.position
        loads.load(table(ORDERS), upsert([(-1, 1, "x")]))


def test_new_tables_do_not_fill_memory(tmp_path: Path) -> None:
    """Each has an index of 256 KB at least, which DuckDB lets go of only with the file."""

    def held(gathered_max: int, name: str) -> int:
        destination = DuckDBDestination(tmp_path / name, gathered_max)
        most = 0
        with destination.open() as session:
            session.prepare("web")
            for number in range(60):
                made = replace(ORDERS, name=f"t{number}")
                loads = Loads(session, table_name=made.name, source_id=number)
                loads.create(made)
                loads.load(table(made), upsert([(1, 1, "x")], of=made))
                [(now,)] = loads.read(HELD)
                most = max(most, now)
        return most

    assert held(4_000_000, "bounded") < 8_000_000 < held(1 << 40, "unbounded")


def test_a_preview_is_never_closed() -> None:
    gathered = Gathered(None)
    with duckdb.connect() as connection:
        assert not any(gathered.is_much(connection) for _ in range(3))


LIMIT = "SELECT current_setting('memory_limit')"


def test_only_loads_into_small_tables_are_limited() -> None:
    gathered = Gathered()
    with duckdb.connect() as connection:

        def limit() -> str:
            return str(connection.execute(LIMIT).fetchall()[0][0])

        own = limit()
        gathered.limit(connection, SMALL_ROWS_MAX)
        assert limit() == "190.7 MiB" != own
        gathered.limit(connection, SMALL_ROWS_MAX + 1)
        assert limit() == own
        gathered.limit(connection, 0)
        gathered.lift(connection)
        assert limit() == own
        gathered.limit(connection, 0)
        assert limit() != own
        none = Gathered(limits=False)
        none.lift(connection)
        none.limit(connection, 0)


def test_a_query_of_the_operator_is_not_held_to_it(tmp_path: Path) -> None:
    with DuckDBDestination(tmp_path / "data.duckdb").open() as session, duckdb.connect() as other:
        loads = _begun(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        assert loads.read(LIMIT) == other.execute(LIMIT).fetchall()


def test_a_load_that_meets_the_limit_is_done_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LIMIT_BYTES", 8_000_000)
    destination = DuckDBDestination(tmp_path / "data.duckdb")
    with destination.open() as session:
        loads = _begun(session)
    met = 0
    for number in range(6):
        plan = loads.plan(table(ORDERS), upsert([(number, 1, "x" * 6_000_000)]))
        for _ in range(3):
            try:
                with destination.open() as session:
                    loads.session = session
                    if session.held(LOG)[7, "orders"].position < plan.mark.position:
                        session.load(plan)
                break
            except TryLater:
                met += 1
        loads.position = plan.mark.position
        loads.revision += 1
        loads.batched_at = plan.batched_at
    assert met == 1
    with destination.open() as session:
        found = session.query("SELECT count(*), count(DISTINCT id), sum(length(a)) FROM web.orders")
    assert found.rows == [(6, 6, 36_000_000)]
