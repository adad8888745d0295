import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treadle.log.protocol import LogEntry, NewEntry, TableBacklog, TrimPoint
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.log.sqlite.statistics import DELETE_ROWS_MAX


def append(path: Path, entries: Sequence[NewEntry]) -> int:
    async def run() -> int:
        appender = SqliteAppender(path)
        try:
            return await appender.append(entries)
        finally:
            await appender.aclose()

    return asyncio.run(run())


def entry(table: str = "orders", at: int = 1, records: int = 1, size: int = 3) -> NewEntry:
    return NewEntry(1, table, at, records, b"x" * size)


def positions(reader: SqliteReader, table: str, after: int, records: int, size: int) -> list[int]:
    return [one.position for one in reader.read(1, table, after, records, size)]


def test_the_backlog_grows_and_shrinks(log_path: Path, reader: SqliteReader) -> None:
    assert reader.list_backlogs() == []
    append(log_path, [entry("a", at=5, records=2, size=10), entry("b", at=9), entry("a", at=4)])
    assert reader.list_backlogs() == [
        TableBacklog(1, "a", last=3, entries=2, records=3, size=13, oldest=4, loaded=0),
        TableBacklog(1, "b", last=2, entries=1, records=1, size=3, oldest=9, loaded=0),
    ]
    reader.mark_loaded(1, "a", 1)
    reader.mark_loaded(1, "b", 2)
    assert reader.list_backlogs() == [
        TableBacklog(1, "a", last=3, entries=1, records=1, size=3, oldest=4, loaded=1)
    ]
    append(log_path, [entry("b", at=20)])
    assert reader.list_backlogs() == [
        TableBacklog(1, "a", last=3, entries=1, records=1, size=3, oldest=4, loaded=1),
        TableBacklog(1, "b", last=4, entries=1, records=1, size=3, oldest=20, loaded=2),
    ]


def test_an_append_is_sensed_without_a_look(log_path: Path, reader: SqliteReader) -> None:
    append(log_path, [entry()])
    assert reader.sense_append()
    assert not reader.sense_append(), "nothing came since"
    reader.list_backlogs()
    assert not reader.sense_append(), "a look writes nothing"
    append(log_path, [entry()])
    assert reader.sense_append()


def test_a_mark_moved_back_brings_entries_back(log_path: Path, reader: SqliteReader) -> None:
    append(log_path, [entry(at=n) for n in range(1, 6)])
    reader.mark_loaded(1, "orders", 5)
    assert reader.list_backlogs() == []
    reader.mark_loaded(1, "orders", 2)
    assert reader.list_backlogs() == [TableBacklog(1, "orders", 5, 3, 3, 9, 3, loaded=2)]
    reader.mark_loaded(1, "orders", 0)
    assert [backlog.entries for backlog in reader.list_backlogs()] == [5]


def test_a_reader_keeps_only_tables_of_which_something_waits(
    log_path: Path, reader: SqliteReader
) -> None:
    other = SqliteReader(log_path)
    append(log_path, [entry(f"t{n}") for n in range(50)])
    assert len(reader.list_backlogs()) == len(other.list_backlogs()) == 50
    for place in range(1, 51):
        reader.mark_loaded(1, f"t{place - 1}", place)
    for one in (reader, other):
        assert one.list_backlogs() == []
        assert not one._backlog._tables
    append(log_path, [entry("t7", at=9)])
    reader.mark_loaded(1, "t30", 0)
    for one in (reader, other):
        assert sorted(one.list_backlogs(), key=lambda backlog: backlog.last) == [
            TableBacklog(1, "t30", last=31, entries=1, records=1, size=3, oldest=1, loaded=0),
            TableBacklog(1, "t7", last=51, entries=1, records=1, size=3, oldest=9, loaded=8),
        ]
        assert len(one._backlog._tables) == 2
    other.close()


def test_trimming_goes_by_table_and_position(log_path: Path, reader: SqliteReader) -> None:
    append(log_path, [entry(table) for table in "abababab"])
    assert reader.trim([TrimPoint(1, "a", 5)]) == 3
    assert reader.trim([TrimPoint(1, "a", 5)]) == 0
    assert reader.trim([TrimPoint(1, "none", 5)]) == 0
    assert [e.position for e in reader.find_entries(1, 8)] == [2, 4, 6, 7, 8]
    assert positions(reader, "a", 0, 100, 100) == [7]
    assert [(b.table_name, b.entries) for b in reader.list_backlogs()] == [("a", 1), ("b", 4)]


def test_many_tables_are_trimmed_at_once(log_path: Path, reader: SqliteReader) -> None:
    append(log_path, [entry(table) for table in "abcabcabc"])
    points = [TrimPoint(1, "a", 4), TrimPoint(1, "none", 9), TrimPoint(1, "c", 9)]
    assert reader.trim(points) == 5
    assert reader.trim(points) == 0
    assert reader.trim([]) == 0
    assert [e.position for e in reader.find_entries(1, 9)] == [2, 5, 7, 8]
    assert [(b.table_name, b.entries) for b in reader.list_backlogs()] == [("a", 1), ("b", 3)]


def test_an_anchor_tells_entries_at_one_position_apart(tmp_path: Path) -> None:
    """As when a log is brought back from a copy, and goes on with the same positions."""
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    append(first, [entry(at=1), entry(at=2)])
    append(second, [entry(at=1), entry(at=3)])
    with closing(SqliteReader(first)) as one, closing(SqliteReader(second)) as other:
        anchor = one.get_anchor(2)
        assert anchor is not None
        assert len(anchor) == 4
        assert one.get_anchor(1) == other.get_anchor(1) != anchor
        assert other.get_anchor(2) != anchor
        assert one.get_anchor(3) is None
        one.trim([TrimPoint(1, "orders", 1)])
        assert one.get_anchor(1) is None
        assert one.get_anchor(2) == anchor


def test_a_log_that_is_read_here_alone_shares_no_tables(
    log_path: Path, reader: SqliteReader
) -> None:
    append(log_path, [entry("a"), entry("b")])
    reader.share_tables(frozenset(), {(1, "a"): 1})
    assert [one.table_name for one in reader.list_backlogs()] == ["a", "b"]


def test_trimming_of_much_goes_in_steps(log_path: Path, reader: SqliteReader) -> None:
    count = DELETE_ROWS_MAX * 2 + 500
    append(log_path, [entry() for _ in range(count)])
    reader.mark_loaded(1, "orders", count)
    assert reader.trim([TrimPoint(1, "orders", count - 1)]) == count - 1
    assert [e.position for e in reader.find_entries(1, count)] == [count]


Operation = Callable[["Model"], None]

TABLES = ("a", "b", "c")


class Model:
    """The log as a list, driven with a reader of the real one and compared with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[int, NewEntry] = {}
        self.loaded = dict.fromkeys(TABLES, 0)
        self.end = 0
        self.reader = SqliteReader(path)

    def append(self, entries: list[NewEntry]) -> None:
        assert append(self.path, entries) == self.end + 1
        for one in entries:
            self.end += 1
            self.kept[self.end] = one

    def mark(self, table: str, share: float) -> None:
        position = round(self.end * share)
        self.reader.mark_loaded(1, table, position)
        self.loaded[table] = position

    def trim(self, table: str, share: float) -> None:
        position = round(self.end * share)
        gone = [p for p, e in self.kept.items() if e.table_name == table and p <= position]
        assert self.reader.trim([TrimPoint(1, table, position)]) == len(gone)
        for one in gone:
            del self.kept[one]

    def restart(self) -> None:
        self.reader.close()
        self.reader = SqliteReader(self.path)

    def mark_elsewhere(self, table: str, share: float) -> None:
        self.reader.list_backlogs()  # its own marks are written first
        other = SqliteReader(self.path)
        position = round(self.end * share)
        other.mark_loaded(1, table, position)
        other.close()
        self.loaded[table] = position

    def check(self) -> None:
        found = {
            b.table_name: (b.last, b.entries, b.records, b.size, b.oldest)
            for b in self.reader.list_backlogs()
        }
        expected = {}
        for table in TABLES:
            rows = [
                (p, e)
                for p, e in self.kept.items()
                if e.table_name == table and p > self.loaded[table]
            ]
            if rows:
                expected[table] = (
                    max(p for p, _ in rows),
                    len(rows),
                    sum(e.records for _, e in rows),
                    sum(len(e.payload) for _, e in rows),
                    min(e.received_at for _, e in rows),
                )
            read = self.reader.read(1, table, self.loaded[table], 10**9, 10**9)
            assert [(e.position, e.payload) for e in read if isinstance(e, LogEntry)] == [
                (p, e.payload) for p, e in rows
            ]
        assert found == expected


ENTRIES = st.lists(
    st.builds(
        entry, st.sampled_from(TABLES), st.integers(0, 99), st.integers(0, 9), st.integers(0, 50)
    ),
    min_size=1,
    max_size=12,
)
SHARE = st.floats(0, 1)
OPERATIONS = st.one_of(
    st.tuples(st.just("append"), ENTRIES),
    st.tuples(st.just("mark"), st.sampled_from(TABLES), SHARE),
    st.tuples(st.just("trim"), st.sampled_from(TABLES), SHARE),
    st.tuples(st.just("mark_elsewhere"), st.sampled_from(TABLES), SHARE),
    st.tuples(st.just("check")),
    st.tuples(st.just("restart")),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(OPERATIONS, min_size=1, max_size=25))
def test_the_backlog_is_what_a_plain_list_says(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[object, ...]]
) -> None:
    model = Model(tmp_path_factory.mktemp("model") / "log.db")
    for name, *values in operations:
        getattr(model, str(name))(*values)
    model.check()
    model.restart()
    model.check()
    model.reader.close()


def test_a_long_backlog_is_what_a_plain_list_says(tmp_path: Path) -> None:
    """Long enough for several segments of a table, which the examples above never make."""
    dice = random.Random(7)
    model = Model(tmp_path / "log.db")
    for _ in range(15):
        model.append([entry(dice.choice("aab"), dice.randrange(99), 2, 5) for _ in range(1500)])
        if dice.random() < 0.5:
            model.check()
        model.mark(dice.choice("abc"), dice.random())
        if dice.random() < 0.2:
            model.restart()
        model.check()
    model.reader.close()
