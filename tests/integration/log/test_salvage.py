"""A log that SQLite refuses: put aside, and what can be read goes on under the same name."""

import asyncio
import itertools
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.faults.damage import append, append_once, sample

from treadle.errors import OperatorError
from treadle.log.protocol import (
    AppendResult,
    DamagedEntry,
    IdempotencyKey,
    LogEntry,
    NewEntry,
    TrimPoint,
)
from treadle.log.salvage_report import KnownLog
from treadle.log.sqlite import statements
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.log.sqlite.recovery.pages import read_wal
from treadle.log.sqlite.recovery.salvage import POSITION_GAP, find_damage, repair_log


def read(path: Path, source_id: int, table: str, after: int = 0) -> list[LogEntry | DamagedEntry]:
    reader = SqliteReader(path)
    try:
        return reader.read(source_id, table, after, 10**6, 10**9)
    finally:
        reader.close()


def test_a_sound_log_is_left_alone(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    assert repair_log(log_path, KnownLog(given.log_id, given.loaded)) is None
    assert repair_log(log_path, KnownLog()) is None
    assert repair_log(log_path.with_name("missing"), KnownLog()) is None


def test_a_broken_header_costs_nothing(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    log_path.write_bytes(bytes(100) + given.data[100:])
    salvaged = repair_log(log_path, KnownLog(given.log_id, given.loaded))
    assert salvaged is not None
    assert salvaged.damaged_positions == {}
    assert salvaged.damaged_path.read_bytes()[100:] == given.data[100:]
    assert "0 are damaged" in salvaged.describe()
    reader = SqliteReader(log_path)
    assert reader.log_id == given.log_id
    assert {one.position: one for one in reader.find_entries(1, 100)} == given.entries
    # One of three tables of each source is loaded further than its first entry.
    assert {(b.source_id, b.table_name): b.loaded for b in reader.list_backlogs()} == {
        (source, name): given.loaded.get((source, name), 0)
        for source, name in {(e.source_id, e.table_name) for e in given.waiting.values()}
    }
    reader.close()
    assert append(log_path, [NewEntry(1, "orders", 1, 1, b"new")]) == 12 + POSITION_GAP + 1


@pytest.mark.parametrize("place", [18, 19])
@pytest.mark.parametrize("bit", range(8))
def test_a_header_that_forbids_writing_costs_nothing(log_path: Path, place: int, bit: int) -> None:
    given = sample(log_path, random.Random(1))
    data = bytearray(given.data)
    data[place] ^= 1 << bit
    log_path.write_bytes(data)
    repair_log(log_path, KnownLog(given.log_id, given.loaded))
    reader = SqliteReader(log_path)
    assert reader.log_id == given.log_id
    assert {one.position: one for one in reader.find_entries(1, 100)} == given.entries
    reader.close()
    assert append(log_path, [NewEntry(1, "orders", 1, 1, b"new")]) > 12


def test_an_entry_on_a_damaged_page_stays_in_its_place_as_damaged(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    place = given.data.find(given.entries[7].payload[4000:4040])
    assert place > 0
    data = bytearray(given.data)
    data[place] ^= 1
    data[0] ^= 1  # and SQLite knows the file no more
    log_path.write_bytes(bytes(data))
    entry = given.entries[7]
    salvaged = repair_log(log_path, KnownLog(given.log_id, given.loaded))
    assert salvaged is not None
    assert salvaged.damaged_positions == {(entry.source_id, entry.table_name): [7]}
    assert f"{entry.table_name!r} of source {entry.source_id}: 7" in salvaged.describe()
    found = read(log_path, entry.source_id, entry.table_name)
    assert [type(one) for one in found if one.position == 7] == [DamagedEntry]
    assert all(isinstance(one, LogEntry) for one in found if one.position != 7)


NAMES = [IdempotencyKey(bytes([n]) * 32, bytes([255 - n]) * 32) for n in range(200)]


def named(path: Path) -> bytes:
    """A log of 200 requests that came with a key; what its file holds."""

    async def run() -> None:
        appender = SqliteAppender(path)
        entries = [NewEntry(1, "orders", 1 + n, 1, b"%d" % n) for n in range(len(NAMES))]
        await asyncio.gather(
            *[appender.append_once([one], name) for one, name in zip(entries, NAMES, strict=True)]
        )
        await appender.aclose()

    asyncio.run(run())
    return path.read_bytes()


def known(path: Path) -> dict[int, int]:
    """Numbers of requests -> the positions that are known of them."""
    reader = SqliteReader(path)
    try:
        return {
            name[0]: first
            for name, first in reader.statistics.find_keys([n.name for n in NAMES]).items()
        }
    finally:
        reader.close()


def once_again(path: Path, number: int) -> AppendResult:
    async def run() -> AppendResult:
        appender = SqliteAppender(path)
        try:
            return await appender.append_once([NewEntry(1, "orders", 1, 1, b"x")], NAMES[number])
        finally:
            await appender.aclose()

    return asyncio.run(run())


def test_names_of_requests_are_carried_over(log_path: Path) -> None:
    data = named(log_path)
    log_path.write_bytes(bytes(100) + data[100:])
    assert repair_log(log_path, KnownLog()) is not None
    assert known(log_path) == {n: n + 1 for n in range(200)}
    assert once_again(log_path, 7) == AppendResult(8, NAMES[7].digest, duplicate=True)
    assert find_damage(log_path, KnownLog(), whole=True) is None
    # Those that are known there are so after another damage, and forgotten at the same time.
    data = log_path.read_bytes()
    log_path.write_bytes(bytes(100) + data[100:])
    assert repair_log(log_path, KnownLog()) is not None
    reader = SqliteReader(log_path)
    assert reader.statistics.forget_keys(101) == 100
    reader.close()
    assert known(log_path) == {n: n + 1 for n in range(100, 200)}


def test_a_damaged_page_loses_only_the_names_on_it(log_path: Path) -> None:
    data = bytearray(named(log_path))
    # Names are in order, so that neighbours share a page; the index by time has them in it too.
    pages = [
        page
        for page in range(len(data) // 4096)
        if all(n.name + n.digest in data[page * 4096 : (page + 1) * 4096] for n in NAMES[100:110])
    ]
    [page] = pages
    lost = {n.name[0] for n in NAMES if n.name + n.digest in data[page * 4096 : (page + 1) * 4096]}
    data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    log_path.write_bytes(bytes(data))
    salvaged = repair_log(log_path, KnownLog())
    assert salvaged is not None
    assert (salvaged.entries_kept, salvaged.damaged_positions) == (200, {})
    assert set(range(100, 110)) <= lost < set(range(200))
    assert known(log_path) == {n: n + 1 for n in range(200) if n not in lost}
    again = once_again(log_path, 105)
    assert not again.duplicate
    assert again.first > 200 + POSITION_GAP


def test_of_two_rows_of_a_name_the_later_one_is_kept(log_path: Path) -> None:
    """A page that is not in use any more may show a request that was forgotten since."""
    append(log_path, [NewEntry(1, "orders", 1, 1, b"x")])
    name = NAMES[3].name
    for firsts in itertools.permutations((5, 9, 7)):
        log_path.unlink()
        append(log_path, [NewEntry(1, "orders", 1, 1, b"x")])
        with closing(sqlite3.connect(log_path)) as connection:
            for first in firsts:
                values = (name, bytes([first]) * 32, first, first, 0)
                connection.execute(statements.ADD_OR_RAISE_REQUEST, values)
            connection.commit()
        assert once_again(log_path, 3) == AppendResult(9, bytes([9]) * 32, duplicate=True)


@pytest.mark.parametrize("damage", ["DROP INDEX requests_by_time", "DROP TABLE requests"])
def test_a_log_that_knows_no_requests_though_its_form_does_is_put_aside(
    log_path: Path, damage: str
) -> None:
    named(log_path)
    connection = sqlite3.connect(log_path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    assert find_damage(log_path, KnownLog()) == "its schema is damaged"
    salvaged = repair_log(log_path, KnownLog())
    assert salvaged is not None
    assert salvaged.entries_kept == 200
    assert once_again(log_path, 7).first > 0


def test_a_second_damage_is_put_aside_beside_the_first(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    for number in (1, 2):
        data = bytearray(log_path.read_bytes())
        data[3] ^= 1
        log_path.write_bytes(bytes(data))
        salvaged = repair_log(log_path, KnownLog(given.log_id, given.loaded))
        assert salvaged is not None
        assert salvaged.damaged_path.name == f"{log_path.name}.damaged-{number}"
        assert salvaged.entries_kept == len(given.entries)


def test_marks_that_say_more_than_was_noted_are_lowered(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    connection = sqlite3.connect(log_path)
    connection.execute("UPDATE tables SET loaded = 1000 WHERE table_name = 'events'")
    connection.commit()
    connection.close()
    assert repair_log(log_path, KnownLog(given.log_id, given.loaded)) is None
    reader = SqliteReader(log_path)
    waiting = sum(backlog.entries for backlog in reader.list_backlogs())
    reader.close()
    assert waiting == len(given.waiting)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE meta SET value = CAST(value AS BLOB) WHERE name = 'log_id'",
        "UPDATE meta SET value = CAST(value AS BLOB) WHERE name = 'failures'",
        "UPDATE tables SET loaded = x'05' WHERE table_name = 'events'",
        "UPDATE tables SET source_id = 1.5 WHERE id = 1",
        "UPDATE tables SET table_name = CAST(table_name AS BLOB) WHERE id = 1",
        "UPDATE requests SET digest = 5",
    ],
)
def test_a_value_of_another_type_is_damage(log_path: Path, change: str) -> None:
    given = sample(log_path, random.Random(1))
    connection = sqlite3.connect(log_path)
    assert connection.execute(change).rowcount > 0
    connection.commit()
    connection.close()
    salvaged = repair_log(log_path, KnownLog(given.log_id, given.loaded))
    assert salvaged is not None
    assert "damaged" in salvaged.reason
    assert read(log_path, 2, "events", after=2) != []
    reader = SqliteReader(log_path)
    assert reader.log_id == given.log_id
    reader.close()


def test_an_index_that_only_reading_shows_to_be_damaged_is_damage(log_path: Path) -> None:
    given = sample(log_path, random.Random(7))
    data = bytearray(given.data)
    # The length of a record's header: PRAGMA integrity_check finds nothing wrong with it.
    place = data.find(b"\x06\x04\x09\x01\x01\x07\x07") + 1
    assert data.count(b"\x06\x04\x09\x01\x01\x07\x07") == 1
    data[place] ^= 1
    log_path.write_bytes(data)
    salvaged = repair_log(log_path, KnownLog(given.log_id, given.loaded))
    assert salvaged is not None
    assert salvaged.damaged_positions == {}
    reader = SqliteReader(log_path)
    assert sum(backlog.entries for backlog in reader.list_backlogs()) == len(given.waiting)
    reader.close()


@pytest.mark.parametrize("length", [1, 99, 511])
def test_a_file_too_short_for_sqlite_is_damage(log_path: Path, length: int) -> None:
    given = sample(log_path, random.Random(1))
    log_path.write_bytes(given.data[:length])
    salvaged = repair_log(log_path, KnownLog(given.log_id, given.loaded))
    assert salvaged is not None
    reader = SqliteReader(log_path)
    assert reader.log_id == given.log_id
    reader.close()


def test_another_programs_file_is_left_alone(log_path: Path) -> None:
    connection = sqlite3.connect(log_path)
    connection.execute("CREATE TABLE mine (a)")
    connection.commit()
    connection.close()
    before = log_path.read_bytes()
    with pytest.raises(OperatorError, match="another program's database"):
        repair_log(log_path, KnownLog())
    assert log_path.read_bytes() == before


def test_a_damaged_header_of_the_write_ahead_log_costs_nothing(log_path: Path) -> None:
    append(log_path, [NewEntry(1, "orders", 1, 1, b"first")])
    reader = SqliteReader(log_path)  # keeps the write-ahead log from being taken in
    name = IdempotencyKey(b"n" * 32, b"d" * 32)
    append_once(log_path, NewEntry(1, "orders", 2, 1, b"second"), [name])
    wal = log_path.with_name(log_path.name + "-wal")
    data, frames, log_id = log_path.read_bytes(), bytearray(wal.read_bytes()), reader.log_id
    reader.close()
    frames[14] ^= 1  # of the number of its turn, which nothing but its checksum needs
    assert read_wal(bytes(frames)).torn
    log_path.write_bytes(data)
    wal.write_bytes(bytes(frames))
    log_path.with_name(log_path.name + "-shm").unlink(missing_ok=True)
    assert repair_log(log_path, KnownLog(log_id, {})) is not None
    assert [one.position for one in read(log_path, 1, "orders")] == [1, 2]
    [again] = append_once(log_path, NewEntry(1, "orders", 3, 1, b"second"), [name])
    assert (again.first, again.duplicate) == (2, True)


@pytest.mark.parametrize("megabytes", [0, 300])  # what is behind the frames is of earlier ones
def test_a_damaged_frame_of_the_write_ahead_log_hides_no_later_commit(
    log_path: Path, megabytes: int
) -> None:
    append(log_path, [NewEntry(1, "orders", 1, 1, b"a" * 50)])
    reader = SqliteReader(log_path)  # keeps the write-ahead log from being taken in
    held = sqlite3.connect(log_path)
    held.execute("PRAGMA wal_autocheckpoint = 0")
    for number in range(6):
        append(log_path, [NewEntry(1, "orders", 2 + number, 1, bytes([number]) * 3000)])
    wal = log_path.with_name(log_path.name + "-wal")
    data, frames, log_id = log_path.read_bytes(), bytearray(wal.read_bytes()), reader.log_id
    held.close()
    reader.close()
    assert not read_wal(bytes(frames)).torn
    frames[32 + 3 * (4096 + 24) + 24 + 100] ^= 4
    assert read_wal(bytes(frames)).torn
    log_path.write_bytes(data)
    wal.write_bytes(bytes(frames))
    if megabytes:
        os.truncate(wal, megabytes << 20)
    log_path.with_name(log_path.name + "-shm").unlink(missing_ok=True)
    salvaged = repair_log(log_path, KnownLog(log_id, {}))
    assert salvaged is not None
    found = read(log_path, 1, "orders")
    sound = [one.position for one in found if isinstance(one, LogEntry)]
    assert {one.position for one in found} == set(range(1, 8))
    assert len(sound) >= 6
    assert 7 in sound


def test_the_rest_of_an_undone_commit_replaces_nothing_that_was_accepted(log_path: Path) -> None:
    dice = random.Random(3)  # texts that repeat themselves would be compressed

    def draw(label: bytes, count: int) -> list[NewEntry]:
        return [NewEntry(1, "orders", 1, 1, label + dice.randbytes(900)) for _ in range(count)]

    append(log_path, draw(b"loaded", 400))
    reader = SqliteReader(log_path)  # keeps the write-ahead log from being taken in
    reader.mark_loaded(1, "orders", 395)
    reader.trim([TrimPoint(1, "orders", 395)])  # free pages, which commits take in any order
    append(log_path, draw(b"before", 1))
    wal = log_path.with_name(log_path.name + "-wal")
    data, frames, log_id = log_path.read_bytes(), wal.read_bytes(), reader.log_id
    reader.close()
    # Both begin where the log stood before. The first is what a process left that was killed in its
    # fsync, of which no other process knows: the others write over its first frames.
    written = []
    for name, groups in (
        ("refused", [draw(b"refused", 200)]),
        ("accepted", [draw(b"accepted", 1) for _ in range(10)]),
    ):
        copy = log_path.with_name(name)
        copy.write_bytes(data)
        copy.with_name(name + "-wal").write_bytes(frames)
        held = sqlite3.connect(copy)
        held.execute("SELECT count(*) FROM entries").fetchone()
        for entries in groups:
            append(copy, entries)
        written.append(copy.with_name(name + "-wal").read_bytes())
        held.close()
    longer, shorter = written
    assert longer[:32] == shorter[:32]
    log_path.write_bytes(data)
    wal.write_bytes(shorter + longer[len(shorter) :])
    log_path.with_name(log_path.name + "-shm").unlink(missing_ok=True)
    assert read_wal(wal.read_bytes()).torn
    assert repair_log(log_path, KnownLog(log_id, {(1, "orders"): 395})) is not None
    found = [one for one in read(log_path, 1, "orders") if one.position > 400]
    labels = [(e.position, e.payload[:-900]) for e in found if isinstance(e, LogEntry)]
    assert labels == [(401, b"before"), *((402 + n, b"accepted") for n in range(10))]
    assert len(found) == len(labels)
