"""How a DuckDB file is opened: small groups of rows, other files shut out, let go of at the end."""

import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from treadle.destinations.duckdb import attach
from treadle.destinations.duckdb import transactions as module
from treadle.destinations.duckdb.attach import GROUP_ROWS
from treadle.destinations.duckdb.destination import DuckDBDestination
from treadle.destinations.protocol import AccessDeniedError, DestinationUnavailableError, Session
from treadle.errors import OperatorError


def groups(session: Session, table: str) -> list[int]:
    """The rows of each group."""
    found = session.query(
        f"SELECT sum(count) FROM pragma_storage_info('{table}')"
        " WHERE column_id = 0 AND segment_type <> 'VALIDITY' GROUP BY row_group_id ORDER BY 1 DESC"
    )
    return [int(rows) for (rows,) in found.rows]


def test_rows_come_in_small_groups_that_any_program_reads(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    with DuckDBDestination(path).open() as session:
        session.query(f"CREATE TABLE t AS SELECT range AS i FROM range({2 * GROUP_ROWS + 5})")
        session.query("CHECKPOINT")
        assert groups(session, "t") == [GROUP_ROWS, GROUP_ROWS, 5]
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT count(DISTINCT i) FROM t").fetchall() == [
            (2 * GROUP_ROWS + 5,)
        ]


def block_bytes(path: Path) -> list[tuple[Any, ...]]:
    """What DuckDB says, opened by another program."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()


def test_a_new_file_has_small_blocks_and_one_that_is_there_keeps_its_own(tmp_path: Path) -> None:
    new, old = tmp_path / "new.duckdb", tmp_path / "old.duckdb"
    duckdb.connect(str(old)).close()
    before = block_bytes(old)
    for path in (new, old, new):
        with DuckDBDestination(path).open() as session:
            session.query("CREATE OR REPLACE TABLE t AS SELECT range AS i FROM range(100)")
    with DuckDBDestination(new).open(read_only=True) as session:
        assert session.query("SELECT count(*) FROM t").rows == [(100,)]
    assert (block_bytes(new), block_bytes(old)) == ([(65_536,)], before)
    assert before == [(262_144,)]


@pytest.mark.parametrize("seed", range(3))
def test_a_file_is_written_in_turns_with_a_program_that_knows_nothing_of_it(
    tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "data.duckdb"
    chance = random.Random(seed)
    rows: dict[int, int] = {}
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t (i BIGINT PRIMARY KEY, v BIGINT)")
    for version in range(1, 9):
        first, many = chance.randrange(200_000), chance.choice((10, 40_000, 130_000))
        step = chance.choice((1, 2, 7))
        some = range(first, first + many, step)
        statements = [
            f"DELETE FROM t WHERE i IN (SELECT range FROM range({first}, {first + many}, {step}))",
            f"INSERT INTO t SELECT range, {version} FROM range({first}, {first + many}, {step})",
        ]
        if chance.random() < 0.3:
            statements.pop()
            for i in some:
                rows.pop(i, None)
        else:
            rows.update(dict.fromkeys(some, version))
        if version % 2:
            with DuckDBDestination(path).open() as session:
                for statement in statements:
                    session.query(statement)
        else:
            with duckdb.connect(str(path)) as connection:
                for statement in statements:
                    connection.execute(statement)
    with DuckDBDestination(path).open(read_only=True) as session:
        assert dict(session.query("SELECT i, v FROM t").rows) == rows
        sample = [i for i in range(0, 330_000, 9_973) if i in rows]
        for i in sample:
            assert session.query(f"SELECT v FROM t WHERE i = {i}").rows == [(rows[i],)]


def test_sessions_of_a_process_share_a_file_until_the_last_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    destination = DuckDBDestination(path)
    with destination.open() as first:
        first.query("CREATE TABLE t AS SELECT 1 AS i")
        with destination.open() as second, destination.open(read_only=True) as third:
            assert second.query("SELECT i FROM t").rows == [(1,)]
            assert third.query("SELECT i FROM t").rows == [(1,)]
            with pytest.raises(AccessDeniedError, match="file system operations are disabled"):
                third.query(f"SELECT * FROM read_csv('{tmp_path / 'other.csv'}')")
    with duckdb.connect(str(path)) as connection:  # refused while anybody has it
        assert connection.execute("SELECT i FROM t").fetchall() == [(1,)]
    with (
        destination.open(read_only=True),
        pytest.raises(DestinationUnavailableError, match="open for reading"),
    ):
        destination.open()


def test_what_does_not_fit_into_memory_goes_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data.duckdb"
    with DuckDBDestination(path).open() as session:
        found = session.query("SELECT current_setting('temp_directory')").rows
    assert found == [(f"{path}.tmp",)]


@pytest.mark.parametrize(
    ("called", "catalog"),
    [
        ("memory.duckdb", "memory"),
        ("system.duckdb", "system_db"),
        ("Temp.db", "Temp_db"),
        ("main", "main_db"),
        ("a.b-c.duckdb", "a"),
        ('it\'s "odd".db', 'it\'s "odd"'),
        (".hidden.duckdb", "hidden"),
        # Also the names of schemas, which USE prefers.
        ("information_schema.duckdb", "information_schema"),
        ("PG_catalog.db", "PG_catalog"),
    ],
)
def test_a_file_may_have_any_name_and_is_called_as_duckdb_calls_it(
    tmp_path: Path, called: str, catalog: str
) -> None:
    path = tmp_path / called
    with DuckDBDestination(path).preview() as session:
        [(imagined,)] = session.query("SELECT current_database()").rows
    with DuckDBDestination(path).open() as session:
        session.query("CREATE TABLE t AS SELECT 1 AS i")
        session.prepare("web")
        [(found,)] = session.query("SELECT current_database()").rows
    with closing(duckdb.connect(str(path))) as connection:
        assert connection.execute("SELECT current_database()").fetchall() == [(found,)]
        assert connection.execute("SELECT i FROM t").fetchall() == [(1,)]
    with DuckDBDestination(path).open(read_only=True) as session:
        assert session.query("SELECT count(*) FROM web._sdc_rejected").rows == [(0,)]
    assert (found, imagined.lower()) == (catalog, catalog.lower())


def _of_sqlite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (i)")
        connection.commit()


def _of_parquet(path: Path) -> None:
    path.write_bytes(b"PAR1" + bytes(5000) + b"PAR1")


@pytest.mark.parametrize(
    ("called", "make"), [("data.db", _of_sqlite), ("data.parquet", _of_parquet)]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_the_file_of_another_program_is_left_alone(
    tmp_path: Path, called: str, make: Callable[[Path], None], read_only: bool
) -> None:
    """DuckDB would take it for what it is, and hold in memory what is loaded into it."""
    path = tmp_path / called
    make(path)
    before = path.read_bytes()
    with pytest.raises(OperatorError, match="is not a DuckDB database; name another file"):
        DuckDBDestination(path).open(read_only=read_only)
    assert path.read_bytes() == before


def test_a_file_that_does_not_answer_keeps_nobody_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, released = threading.Event(), threading.Event()
    silent = tmp_path / "silent.duckdb"
    inner = attach._attach

    def hangs(connection: Any, path: str, called: str, *, read_only: bool) -> None:
        if path == str(silent.resolve()):
            reached.set()
            assert released.wait(300)
        inner(connection, path, called, read_only=read_only)

    monkeypatch.setattr(attach, "_attach", hangs)
    hung = threading.Thread(target=lambda: DuckDBDestination(silent).open().close())
    hung.start()
    opened = threading.Event()

    def other() -> None:
        DuckDBDestination(tmp_path / "other.duckdb").open().close()
        opened.set()

    another = threading.Thread(target=other)
    try:
        assert reached.wait(300)
        another.start()
        assert opened.wait(60)
    finally:
        released.set()
        hung.join(300)
        another.join(300)


def test_a_file_is_let_go_of_also_when_nobody_can_look_at_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> int:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "data.duckdb"
    session = DuckDBDestination(path).open()
    session.query("CREATE TABLE t AS SELECT 1 AS i")
    monkeypatch.setattr(module, "measure_log", fails)
    session.close()
    with closing(duckdb.connect(str(path))) as connection:  # refused while anybody has it
        assert connection.execute("SELECT i FROM t").fetchall() == [(1,)]
