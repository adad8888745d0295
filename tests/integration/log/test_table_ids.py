import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.log.sqlite.log_file import open_log_file, open_sqlite
from treadle.log.sqlite.table_ids import TableIds, split_evenly


@pytest.fixture
def connection(log_path: Path) -> Iterator[sqlite3.Connection]:
    connection, lock, _ = open_log_file(log_path, open_sqlite, durable=True)
    yield connection
    connection.close()
    lock.close()


@pytest.mark.parametrize("count", [1, 2, 33, 1_200])
def test_many_tables_are_found_and_added_at_once(
    count: int, connection: sqlite3.Connection
) -> None:
    names = [f"t{n}" for n in range(count)] + ["a\0b", "\U0001f9f5", "a'b", "T0"]
    ids = TableIds(connection)
    kept = ids.find_or_add(1, names[0])
    assert ids.list_unkept([(1, name) for name in [*names, *names]]) == [
        (1, name) for name in names[1:]
    ]
    assert ids.find_unknown(1, names) == names[1:]
    ids.add_tables(1, names[1:])
    assert ids.list_unkept([(1, name) for name in names]) == []
    found = {name: ids.find(1, name) for name in names}
    assert found[names[0]] == kept
    assert len(set(found.values())) == len(names)

    other = TableIds(connection)
    assert other.find_unknown(2, names) == names
    assert other.find_unknown(1, [*names, "missing"]) == ["missing"]
    assert other.list_unkept([(1, name) for name in names]) == []
    assert {name: other.find(1, name) for name in names} == found


@given(st.lists(st.integers()), st.sampled_from([(4, 2, 1), (100, 1), (1,)]))
def test_parts_of_a_few_sizes_hold_everything(values: list[int], sizes: tuple[int, ...]) -> None:
    parts = [*split_evenly(values, sizes)]
    assert [one for part in parts for one in part] == values
    assert {len(part) for part in parts} <= set(sizes)
