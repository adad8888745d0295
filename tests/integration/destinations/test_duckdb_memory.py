"""What DuckDB gathers in memory while a file is open, and what its checkpoints may use."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import duckdb
import pytest

from treadle.destinations.conformance.builders import LOG, ORDERS, TableLoads, table, upsert
from treadle.destinations.duckdb import transactions as module
from treadle.destinations.duckdb.destination import DuckDBDestination
from treadle.destinations.duckdb.memory import (
    LIMIT_BYTES,
    LIMIT_BYTES_MAX,
    LITTLE_BYTES_MAX,
    LITTLE_MAX,
    MemoryWatch,
    checkpoint,
    measure_log,
    raise_limit,
    release_memory,
)
from treadle.destinations.duckdb.transactions import LITTLE_ROWS_MAX
from treadle.destinations.protocol import Session
from treadle.errors import RetriableError
from treadle.tables.model import CreateRelation

HELD = "SELECT CAST(sum(memory_usage_bytes) AS BIGINT) FROM duckdb_memory()"


class Counting(DuckDBDestination):
    """Counts how often it opens its file, and fails to where it is told to."""

    opened = 0
    fails = False

    def _opened(self, path: str, read_only: bool) -> duckdb.DuckDBPyConnection:
        if self.fails:
            raise RetriableError("somebody else has it")
        self.opened += 1
        return super()._opened(path, read_only)


def _rows(first: int) -> list[tuple[int, int, str]]:
    return [(n, 1, f"{n:08}" * 20) for n in range(first, first + 5000)]


def _begun(session: Session) -> TableLoads:
    session.prepare("web")
    loads = TableLoads(session)
    loads.create(ORDERS)
    return loads


def test_what_was_gathered_is_let_go_of(tmp_path: Path) -> None:
    """So that a small table loaded after a large one does not find memory full."""
    with DuckDBDestination(tmp_path / "data.duckdb").open() as session:
        loads = _begun(session)
        loads.load(table(ORDERS), upsert([(n, 1, f"{n:08}" * 400) for n in range(30_000)]))
        loads.read("SELECT sum(length(a)) FROM web.orders")
        for sequence in (2, 3, 4):
            loads.load(table(ORDERS), upsert([(1, sequence, "x")]))
        [(held,)] = loads.read(HELD)
        assert loads.read("SELECT count(*) FROM web.orders") == [(30_000,)]
    assert held < 40_000_000


def _does_not_let_go(_: duckdb.DuckDBPyConnection, __: int) -> bool:
    return False


def test_a_file_is_opened_anew_when_it_does_not_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "release_memory", _does_not_let_go)
    destination = Counting(tmp_path / "data.duckdb", gathered_max=1_000_000)
    with destination.open() as session:
        loads = _begun(session)
        for turn in range(12):
            loads.load(table(ORDERS), upsert(_rows(5000 * turn)))
        found = loads.read("SELECT count(*), count(DISTINCT id), sum(length(a)) FROM web.orders")
        assert found == [(60_000, 60_000, 60_000 * 160)]
        assert session.committed(LOG)[7, "orders"].position == loads.position
    assert 2 <= destination.opened <= 12


def test_what_every_load_needs_is_not_read_anew_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "release_memory", _does_not_let_go)
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


def test_a_file_that_cannot_be_opened_anew_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "release_memory", _does_not_let_go)
    destination = Counting(tmp_path / "data.duckdb", gathered_max=1)
    loaded = 0
    with destination.open() as session:
        loads = _begun(session)
        destination.fails = True
        try:
            while loaded < 40:
                loads.load(table(ORDERS), upsert(_rows(5000 * loaded)))
                loaded += 1
        except RetriableError:
            pass
    assert 0 < loaded < 40
    destination.fails = False
    with destination.open() as session:
        loads.session = session
        assert loads.read("SELECT count(*) FROM web.orders") == [(5000 * loaded,)]
        assert session.committed(LOG)[7, "orders"].position == loads.position
        loads.load(table(ORDERS), upsert([(-1, 1, "x")]))


def test_new_tables_do_not_fill_memory(tmp_path: Path) -> None:
    """Each brings some 100 KB, most of it its index's, which DuckDB lets go of at a checkpoint."""
    bound = 4_000_000

    def held(gathered_max: int, name: str) -> int:
        destination = DuckDBDestination(tmp_path / name, gathered_max)
        most = 0
        with destination.open() as session:
            session.prepare("web")
            for number in range(60):
                made = replace(ORDERS, name=f"t{number}")
                loads = TableLoads(session, table_name=made.name, source_id=number)
                loads.create(made)
                loads.load(table(made), upsert([(1, 1, "x")], of=made))
                [(now,)] = loads.read(HELD)
                most = max(most, now)
        return most

    assert held(bound, "bounded") < 1.5 * bound < held(1 << 40, "unbounded")


def test_first_loads_alone_do_not_fill_memory(tmp_path: Path) -> None:
    """It is not asked before each of them how much is held."""
    most = 0
    with DuckDBDestination(tmp_path / "data.duckdb", 4_000_000).open() as session:
        session.prepare("web")
        for number in range(60):
            made = replace(ORDERS, name=f"t{number}")
            loads = TableLoads(session, table_name=made.name, source_id=number)
            write = upsert([(1, 1, "x")], of=made)
            loads.load(table(made), write, changes=[CreateRelation(made)])
            [(now,)] = loads.read(HELD)
            most = max(most, now)
        assert loads.read("SELECT count(*) FROM web.t59") == [(1,)]
    assert 1_000_000 < most < 16_000_000


def test_it_is_asked_after_some_loads_that_add_little(tmp_path: Path) -> None:
    class Asked(MemoryWatch):
        asked = 0

        def measure_held(self, connection: duckdb.DuckDBPyConnection) -> int:
            self.asked += 1
            return super().measure_held(connection)

    gathered = Asked(1 << 40)

    def numbers(loads: int, logged: int = 0, *, adds_little: bool = True) -> list[int]:
        found = []
        for _ in range(loads):
            before = gathered.asked
            gathered.note_load(connection, logged, adds_little=adds_little)
            found.append(gathered.asked - before)
        return found

    with duckdb.connect() as connection:
        assert numbers(2) == [0, 1]  # what the first load needs is always asked
        rest = [0] * (LITTLE_MAX - 1)
        assert numbers(LITTLE_MAX) == [*rest, 1]
        assert numbers(2, LITTLE_BYTES_MAX - 1) == [0, 0]
        assert numbers(2, LITTLE_BYTES_MAX) == [1, 0]
        assert numbers(1, 10) == [1]  # a checkpoint was made, so what was logged is not known
        assert numbers(3, 10, adds_little=False) == [0, 1, 1]
        assert numbers(2, 10) == [1, 0]


def test_a_small_first_load_is_done_by_one_thread(tmp_path: Path) -> None:
    def threads(of: Session) -> object:
        return of.query("SELECT current_setting('threads')").rows

    destination = DuckDBDestination(tmp_path / "data.duckdb")
    with destination.open() as other, duckdb.connect() as elsewhere:
        everything = elsewhere.execute("SELECT current_setting('threads')").fetchall()
        with destination.open() as session:
            session.prepare("web")
            loads = TableLoads(session)
            first = upsert([(1, 1, "x")])
            loads.load(table(ORDERS), first, changes=[CreateRelation(ORDERS)])
            assert threads(session) == [(1,)]
            loads.load(table(ORDERS), upsert([(1, 2, "y")]))
            assert threads(session) == everything
            large = replace(ORDERS, name="large")
            loads = TableLoads(session, table_name="large")
            write = upsert([(n, 1, "x") for n in range(LITTLE_ROWS_MAX + 1)], of=large)
            loads.load(table(large), write, changes=[CreateRelation(large)])
            assert threads(session) == everything
            small = replace(ORDERS, name="small")
            TableLoads(session, table_name="small").create(small)
            assert threads(session) == [(1,)]
        assert threads(other) == everything


def test_a_preview_is_never_closed() -> None:
    gathered = MemoryWatch(None)
    with duckdb.connect() as connection:
        assert not any(gathered.note_load(connection) for _ in range(3))


LIMIT = "SELECT current_setting('memory_limit')"


def test_a_query_of_the_operator_is_not_limited(tmp_path: Path) -> None:
    with DuckDBDestination(tmp_path / "data.duckdb").open() as session, duckdb.connect() as other:
        loads = _begun(session)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        assert loads.read(LIMIT) == other.execute(LIMIT).fetchall()


def test_what_was_logged_goes_into_the_file_between_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A COMMIT makes no checkpoint, however much it logs; the next load finds one due."""
    path = tmp_path / "data.duckdb"
    assert measure_log(path) == 0
    with DuckDBDestination(path).open() as session:
        loads = _begun(session)
        sizes = [measure_log(path)]
        monkeypatch.setattr(module, "LOGGED_BYTES_MAX", 3_000_000)
        for turn in range(9):
            loads.load(table(ORDERS), upsert(_rows(5000 * turn)))
            sizes.append(measure_log(path))
        assert 1 <= sum(late < early for early, late in pairwise(sizes)) < 8
        assert 0 < max(sizes) < 6_000_000
        assert sizes[-1] > 0
    assert measure_log(path) == 0
    with DuckDBDestination(path).open() as session:
        loads.session = session
        assert loads.read("SELECT count(*), count(DISTINCT id) FROM web.orders") == [(45000, 45000)]


class Said:
    """A connection that keeps what it is told, and refuses some of it."""

    def __init__(self, refused: str = "") -> None:
        self.refused = refused
        self.statements: list[str] = []

    def execute(self, statement: str) -> None:
        self.statements.append(statement)
        if self.refused and statement.startswith(self.refused):
            raise duckdb.OutOfMemoryException("could not free up enough memory for the new limit")


def _said(said: Said) -> duckdb.DuckDBPyConnection:
    return cast("duckdb.DuckDBPyConnection", said)


def test_a_limit_lasts_as_long_as_its_checkpoint() -> None:
    said = Said()
    checkpoint(_said(said), 7_000)
    checkpoint(_said(said), None)
    set_, reset = "SET memory_limit = '7000B'", "RESET memory_limit"
    assert said.statements == [set_, "CHECKPOINT", reset, "CHECKPOINT"]
    said = Said("CHECKPOINT")
    with pytest.raises(duckdb.OutOfMemoryException):
        checkpoint(_said(said), 7_000)
    assert said.statements == [set_, "CHECKPOINT", reset]


def test_who_holds_more_than_a_limit_has_none() -> None:
    said = Said("SET")
    checkpoint(_said(said), 7_000)
    assert said.statements == ["SET memory_limit = '7000B'", "CHECKPOINT"]
    assert not release_memory(_said(said), 5)
    assert said.statements[2:] == [
        "SET memory_limit = '5B'",
        "RESET memory_limit",
    ]
    assert release_memory(_said(Said()), 5)


def test_a_limit_that_was_met_is_doubled_and_at_last_given_up() -> None:
    limits: list[int | None] = [LIMIT_BYTES]
    while (last := limits[-1]) is not None:
        limits.append(raise_limit(last))
    assert limits == [*(LIMIT_BYTES * 2**n for n in range(5)), None]
    assert limits[-2] is not None
    assert limits[-2] >= LIMIT_BYTES_MAX


def test_a_checkpoint_that_meets_its_limit_is_made_with_a_higher_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB calls it fatal and takes nothing more; the file is opened anew, with all its rows."""
    limits: list[int | None] = []

    def meets(connection: duckdb.DuckDBPyConnection, limit: int | None) -> None:
        limits.append(limit)
        if limit is not None and limit < 4 * LIMIT_BYTES:
            raise duckdb.FatalException(
                "FATAL Error: Failed to create checkpoint because of error: Out of Memory Error"
            )
        checkpoint(connection, limit)

    monkeypatch.setattr(module, "checkpoint", meets)
    monkeypatch.setattr(module, "LOGGED_BYTES_MAX", 1)
    destination = Counting(tmp_path / "data.duckdb")
    with destination.open() as session:
        loads = _begun(session)
        for turn in range(3):
            loads.load(table(ORDERS), upsert(_rows(5000 * turn)))
        assert limits[:3] == [LIMIT_BYTES, 2 * LIMIT_BYTES, 4 * LIMIT_BYTES]
        assert set(limits[3:]) <= {4 * LIMIT_BYTES}
        found = loads.read("SELECT count(*), count(DISTINCT id) FROM web.orders")
        assert found == [(15_000, 15_000)]
        assert session.committed(LOG)[7, "orders"].position == loads.position
    assert destination.opened == 3


def test_a_checkpoint_that_fails_otherwise_keeps_what_was_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(connection: duckdb.DuckDBPyConnection, limit: int | None) -> None:
        raise duckdb.FatalException("FATAL Error: No space left on device")

    path = tmp_path / "data.duckdb"
    with monkeypatch.context() as patch:
        patch.setattr(module, "checkpoint", full)
        with DuckDBDestination(path).open() as session:
            loads = _begun(session)
            loads.load(table(ORDERS), upsert(_rows(0)))
            patch.setattr(module, "LOGGED_BYTES_MAX", 1)
            plan = loads.plan(table(ORDERS), upsert(_rows(5000)))
            with pytest.raises(RetriableError, match="No space left"):
                session.load(plan)
    with DuckDBDestination(path).open() as session:
        loads.session = session
        assert session.committed(LOG)[7, "orders"].position == loads.position < plan.offset.position
        assert loads.read("SELECT count(*) FROM web.orders") == [(5000,)]
        session.load(plan)
        assert loads.read("SELECT count(*) FROM web.orders") == [(10_000,)]
    assert measure_log(path) == 0
