"""Flipped bytes in the file: found, in their place, and nobody else's trouble."""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from treadle.log.protocol import DamagedEntry, LogEntry, NewEntry, TrimPoint
from treadle.log.sqlite.log import SqliteAppender, SqliteReader


def append(path: Path, entries: Sequence[NewEntry]) -> None:
    async def run() -> None:
        appender = SqliteAppender(path)
        await appender.append(entries)
        await appender.aclose()  # the last to close: everything is in the one file then

    asyncio.run(run())


def flip(data: bytearray, place: int, bit: int) -> bytes:
    copy = bytearray(data)
    copy[place] ^= 1 << bit
    return bytes(copy)


@pytest.mark.parametrize("size", [100, 3_000, 100_000])
def test_a_flipped_byte_in_a_payload_is_found_in_its_place(log_path: Path, size: int) -> None:
    payloads = [os.urandom(size) for _ in range(5)]
    append(log_path, [NewEntry(1, "orders", 7, 3, payload) for payload in payloads])
    data = bytearray(log_path.read_bytes())
    # Random bytes are stored as they are, so the third payload is found in the file.
    place = data.find(payloads[2][:50])
    assert place > 0
    for offset in (0, 25, 49):
        log_path.write_bytes(flip(data, place + offset, 3))
        reader = SqliteReader(log_path)
        for found in (reader.read(1, "orders", 0, 10**6, 10**9), reader.find_entries(1, 5)):
            assert [one.position for one in found] == [1, 2, 3, 4, 5]
            damaged = found.pop(2)
            assert isinstance(damaged, DamagedEntry)
            assert (damaged.source_id, damaged.table_name) == (1, "orders")
            assert (damaged.received_at, damaged.records) == (7, 3)
            assert "checksum" in damaged.why
            sound = [one.payload for one in found if isinstance(one, LogEntry)]
            assert sound == payloads[:2] + payloads[3:]
        assert [backlog.entries for backlog in reader.list_backlogs()] == [5]
        reader.mark_loaded(1, "orders", 5)
        assert reader.list_backlogs() == []
        assert reader.trim([TrimPoint(1, "orders", 5)]) == 5
        reader.close()


def test_no_flipped_bit_of_an_entry_passes_or_hides_a_neighbour(log_path: Path) -> None:
    payloads = [os.urandom(40) for _ in range(5)]
    tables = ("a", "b", "a", "b", "a")
    append(
        log_path,
        [
            NewEntry(1, table, 1_700_000_000_000_000 + n, 2 + n, payload)
            for n, (table, payload) in enumerate(zip(tables, payloads, strict=True))
        ],
    )
    reader = SqliteReader(log_path)
    whole = reader.find_entries(1, 5)
    reader.close()
    data = bytearray(log_path.read_bytes())
    # A page is filled from its end: the row of the third entry lies between the ends of the
    # payloads of the fourth and the third.
    begin = data.find(payloads[3]) + 40
    end = data.find(payloads[2]) + 40
    assert 40 < end - begin < 100
    for place in range(begin, end):
        for bit in range(8):
            log_path.write_bytes(flip(data, place, bit))
            reader = SqliteReader(log_path)
            # In the table that the index names, every position has its entry or its damage.
            found = reader.read(1, "a", 0, 10**6, 10**9)
            assert [one.position for one in found] == [1, 3, 5], (place - begin, bit)
            assert [found[0], found[2]] == [whole[0], whole[4]]
            # SQLite keeps small numbers in several ways, so a flipped bit may mean the same.
            assert isinstance(found[1], DamagedEntry) or found[1] == whole[2], (place - begin, bit)
            assert reader.read(1, "b", 0, 10**6, 10**9) == [whole[1], whole[3]]
            by_position = {one.position: one for one in reader.find_entries(1, 5)}
            third = by_position.pop(3, None)
            assert third is None or isinstance(third, DamagedEntry) or third == whole[2]
            assert by_position == {n: whole[n - 1] for n in (1, 2, 4, 5)}, (place - begin, bit)
            reader.list_backlogs()
            reader.mark_loaded(1, "a", 1)
            reader.mark_loaded(1, "b", 2)
            reader.list_backlogs()
            for table in ("a", "b"):
                reader.trim([TrimPoint(1, table, 5)])
            reader.close()


def test_a_damaged_table_name_damages_its_entries_alone(log_path: Path) -> None:
    append(log_path, [NewEntry(1, name, 1, 1, b"x") for name in ("orders", "items", "orders")])
    connection = sqlite3.connect(log_path)
    connection.execute("UPDATE tables SET table_name = 'orderz' WHERE table_name = 'orders'")
    connection.commit()
    connection.close()
    reader = SqliteReader(log_path)
    assert [type(one) for one in reader.find_entries(1, 3)] == [
        DamagedEntry,
        LogEntry,
        DamagedEntry,
    ]
    assert [type(one) for one in reader.read(1, "orderz", 0, 9, 9)] == [DamagedEntry, DamagedEntry]
    assert [type(one) for one in reader.read(1, "items", 0, 9, 9)] == [LogEntry]
    reader.close()


def test_numbers_that_make_no_sense_stop_nothing(log_path: Path) -> None:
    append(log_path, [NewEntry(1, "orders", 1, 1, b"x") for _ in range(4)])
    connection = sqlite3.connect(log_path)
    for position, column, value in [
        (1, "records", 2**63 - 1),
        (2, "size", "text"),
        (3, "received_at", b"\xff"),
    ]:
        connection.execute(f"UPDATE entries SET {column} = ? WHERE position = ?", (value, position))
    connection.commit()
    connection.close()
    reader = SqliteReader(log_path)
    (backlog,) = reader.list_backlogs()
    assert (backlog.last, backlog.entries) == (4, 4)
    found = []
    after = 0
    while items := reader.read(1, "orders", after, 1000, 1000):
        found += items
        after = items[-1].position
    assert [type(one) for one in found] == [DamagedEntry, DamagedEntry, DamagedEntry, LogEntry]
    reader.close()
