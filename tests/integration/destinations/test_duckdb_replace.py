"""What the operator added to a table survives that its rows are replaced (loading.md 5.1)."""

from pathlib import Path

import duckdb
import pytest

from treadle.destinations.conformance.builders import ORDERS, TableLoads, table, upsert
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.duckdb"
    _load(path, [(1, 10, "old"), (2, 10, "old")], create=True)
    return path


def _load(path: Path, values: list[tuple[int, int, str]], *, create: bool = False) -> TableLoads:
    with make_destination(f"duckdb://{path}").open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        if create:
            loads.load(table(ORDERS), upsert(values), changes=[CreateRelation(ORDERS)])
        else:
            # What the first load left.
            loads.position, loads.revision = 0, 1
            loads.batched_at += 1_000_000
            loads.load(table(ORDERS), upsert(values))
    return loads


def _do(path: Path, *statements: str) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            found = connection.execute(statement).fetchall()
    return found


def test_rows_that_other_tables_refer_to_are_replaced(path: Path) -> None:
    _do(
        path,
        "CREATE TABLE web.notes (order_id BIGINT REFERENCES web.orders (id), note VARCHAR)",
        "INSERT INTO web.notes VALUES (1, 'mine')",
    )
    _load(path, [(1, 11, "new"), (2, 9, "late"), (3, 1, "new")])
    assert _do(path, "SELECT id, a FROM web.orders ORDER BY id") == [
        (1, "new"),
        (2, "old"),
        (3, "new"),
    ]
    assert _do(path, "FROM web.notes") == [(1, "mine")]


def test_columns_of_the_operator_keep_their_values(path: Path) -> None:
    _do(path, "ALTER TABLE web.orders ADD COLUMN note VARCHAR", "UPDATE web.orders SET note = 'my'")
    _load(path, [(1, 11, "new"), (3, 1, "new")])
    assert _do(path, "SELECT id, a, note FROM web.orders ORDER BY id") == [
        (1, "new", "my"),
        (2, "old", "my"),
        (3, "new", None),
    ]
