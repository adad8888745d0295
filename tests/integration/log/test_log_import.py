"""A log in a file goes on as a log on PostgreSQL: the same name, positions, keys and marks."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from tests.faults.damage import append, append_once
from tests.integration.log.kinds import flip

from treadle.errors import OperatorError
from treadle.log.postgres.appender import PostgresAppender
from treadle.log.postgres.installation import make_log
from treadle.log.postgres.keeper import KeeperConnection, LogKeeper
from treadle.log.postgres.log_import import PostgresLogImport, open_logs
from treadle.log.postgres.reader import PostgresReader
from treadle.log.protocol import IdempotencyKey, LogReader, NewEntry, TrimPoint
from treadle.log.sqlite.export import open_log_export
from treadle.log.sqlite.log import SqliteReader
from treadle.log.transfer import ExportedEntry, LogExport, TransferResult

AT = 1_700_000_000_000_000
KEYS = [IdempotencyKey(bytes([n]) * 32, b"d" * 32) for n in (200, 3, 77)]
TABLES = ["orders", "Orders", "a\0b", "ü" * 3000, "loaded"]
SEGMENT_BYTES = 20_000


class ImportBrokenError(Exception):
    """The import is cut here."""


class BrokenExport:
    """A log that cannot be read any more behind so many entries."""

    def __init__(self, inner: LogExport, entries: int) -> None:
        self._inner = inner
        self._left = entries

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def read_entries(self, after: int, upto: int) -> Iterator[ExportedEntry]:
        for entry in self._inner.read_entries(after, upto):
            if not self._left:
                raise ImportBrokenError
            self._left -= 1
            yield entry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with entries of all kinds, of which some are loaded and some removed."""
    path, dice = tmp_path / "log.sqlite", random.Random(7)
    made = [
        NewEntry(1 + n % 2, TABLES[n % 5], AT + n, n, dice.randbytes(dice.choice([9, 700, 9000])))
        for n in range(60)
    ]
    append(path, made)
    for key in KEYS:
        append_once(path, NewEntry(1, "orders", AT + 90, 1, b"[1]"), [key, key])
    with closing(SqliteReader(path)) as reader:
        for source in (1, 2):
            reader.mark_loaded(source, "loaded", 60)
        reader.mark_loaded(1, "orders", 21)
        reader.trim([TrimPoint(1, "orders", 11), TrimPoint(2, "loaded", 60)])
    return path


def run_import(
    url: str, path: Path, *, entries: int | None = None, accepts_open: bool = False
) -> TransferResult | None:
    with open_log_export(path) as source:
        read: LogExport = source if entries is None else BrokenExport(source, entries)  # type: ignore[assignment]
        return PostgresLogImport(
            url, 0, read, "i", clock=lambda: AT + 1000, segment_bytes=SEGMENT_BYTES
        ).run(accepts_open=accepts_open)


def look(reader: LogReader) -> dict[str, object]:
    """All that a reader says of a log."""
    tables = sorted(reader.statistics.list_tables())
    return {
        "log": reader.log_id,
        "entries": reader.find_entries(1, 1000),
        "tables": tables,
        "backlogs": sorted(
            (one.source_id, one.table_name, one.last, one.entries, one.records, one.size)
            for one in reader.list_backlogs()
        ),
        "read": [reader.read(*table, 0, 10**6, 10**9) for table in tables],
        "hours": [reader.statistics.count_by_hour(*table, 30) for table in tables],
        "anchors": [reader.get_anchor(position) for position in range(1, 70)],
        "keys": reader.statistics.find_keys([key.name for key in KEYS]),
    }


def look_at_file(path: Path) -> dict[str, object]:
    with closing(SqliteReader(path)) as reader:
        return look(reader)


def look_at_database(url: str) -> dict[str, object]:
    with closing(PostgresReader(url, 0, mark_seconds=0)) as reader:
        return look(reader)


def test_a_log_goes_on_as_it_was(postgres_database: str, path: Path) -> None:
    result = run_import(postgres_database, path)
    assert result is not None
    assert (result.end_position, result.keys, result.damaged) == (63, 3, 0)
    with pytest.raises(OperatorError, match="not imported to its end"):
        PostgresReader(postgres_database, 0)
    with pytest.raises(OperatorError, match="not imported to its end"):
        make_log(postgres_database, 0, "i")
    assert open_logs(postgres_database, {0: result.log_id}) == 1
    assert open_logs(postgres_database, {0: result.log_id}) == 0
    assert look_at_database(postgres_database) == look_at_file(path)

    async def go_on() -> list[object]:
        appender = PostgresAppender(postgres_database, 0)
        new = NewEntry(1, "orders", AT, 1, b"[2]")
        try:
            first = await appender.append_once([new], KEYS[0])
            return [appender.log_id, first, await appender.append([new])]
        finally:
            await appender.aclose()

    log_id, stored, position = asyncio.run(go_on())
    assert (log_id, stored, position) == (result.log_id, (61, b"d" * 32, True), 64)
    # What is loaded goes with its segments; what is not stays.
    LogKeeper(KeeperConnection(postgres_database), 0, 10**18, clock=lambda: AT + 2000).keep()
    with closing(PostgresReader(postgres_database, 0, mark_seconds=0)) as reader:
        every = [TrimPoint(*table, 63) for table in reader.statistics.list_tables()]
        for point in every:
            reader.mark_loaded(*point)
        assert reader.trim(every) == result.entries
        assert [one.position for one in reader.find_entries(1, 100)] == [64]


@pytest.mark.parametrize("cut", [0, 25, 45])
def test_an_import_that_was_cut_goes_on(postgres_database: str, path: Path, cut: int) -> None:
    with pytest.raises(ImportBrokenError):
        run_import(postgres_database, path, entries=cut)
    with pytest.raises(OperatorError, match="not imported to its end"):
        PostgresReader(postgres_database, 0)
    whole = count_whole_segments(postgres_database)
    assert bool(whole) == (cut > 20)
    # The folder was used meanwhile, since nothing was moved.
    append(path, [NewEntry(3, "new", AT + 95, 1, b"[3]")])
    with closing(SqliteReader(path)) as reader:
        reader.mark_loaded(1, "orders", 31)
        if cut == 45:
            reader.trim([TrimPoint(1, "orders", 31)])
    first = run_import(postgres_database, path)
    assert first == run_import(postgres_database, path)
    assert first is not None
    open_logs(postgres_database, {0: first.log_id})
    assert look_at_database(postgres_database) == look_at_file(path)
    assert run_import(postgres_database, path, accepts_open=True) is None
    with pytest.raises(OperatorError, match="takes entries"):
        run_import(postgres_database, path)


def count_whole_segments(url: str) -> int:
    with psycopg.connect(url) as connection:
        [count] = connection.execute(
            "SELECT count(*) FROM treadle_log.segments WHERE sealed_at IS NOT NULL"
        ).fetchone() or (0,)
    return int(count)


def test_what_arrived_and_was_changed_is_copied_anew(postgres_database: str, path: Path) -> None:
    run_import(postgres_database, path)
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("UPDATE treadle_log.e_0_2 SET records = records + 1")
    result = run_import(postgres_database, path)
    assert result is not None
    open_logs(postgres_database, {0: result.log_id})
    assert look_at_database(postgres_database) == look_at_file(path)


def test_a_damaged_entry_keeps_its_place(postgres_database: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        [payload] = connection.execute("SELECT payload FROM entries WHERE position = 33").fetchone()
        connection.execute("UPDATE entries SET payload = ? WHERE position = 33", (flip(payload),))
        connection.execute("UPDATE entries SET records = 'x', crc = 'y' WHERE position = 34")
        connection.commit()
    result = run_import(postgres_database, path)
    assert result is not None
    assert result.damaged == 2
    open_logs(postgres_database, {0: result.log_id})
    here, there = look_at_database(postgres_database), look_at_file(path)
    for name in ("tables", "keys", "anchors"):
        assert here[name] == there[name]
    sound = [type(one) for one in here["entries"]]  # type: ignore[attr-defined]
    assert sound == [type(one) for one in there["entries"]]  # type: ignore[attr-defined]


def test_a_database_with_a_log_of_others_is_refused(postgres_database: str, path: Path) -> None:
    make_log(postgres_database, 4)
    with pytest.raises(OperatorError, match="a log 4 of another installation"):
        run_import(postgres_database, path)


def test_an_empty_log_is_imported_too(postgres_database: str, tmp_path: Path) -> None:
    result = run_import(postgres_database, tmp_path / "log.sqlite")
    assert result is not None
    assert (result.entries, result.end_position) == (0, 0)
    open_logs(postgres_database, {0: result.log_id})
    assert look_at_database(postgres_database) == look_at_file(tmp_path / "log.sqlite")
