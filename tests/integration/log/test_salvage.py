"""A log that SQLite refuses: put aside, and what can be read goes on under the same name."""

import random
import sqlite3
from pathlib import Path

import pytest
from tests.faults.damage import append, sample

from treadle.errors import OperatorFault
from treadle.log.local import LocalReader
from treadle.log.pages import ahead
from treadle.log.protocol import Damaged, Entry, NewEntry
from treadle.log.salvage import GAP, Known, mend


def read(path: Path, source_id: int, table: str, after: int = 0) -> list[Entry | Damaged]:
    reader = LocalReader(path)
    try:
        return reader.read(source_id, table, after, 10**6, 10**9)
    finally:
        reader.close()


def test_a_sound_log_is_left_alone(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    assert mend(log_path, Known(given.log_id, given.loaded)) is None
    assert mend(log_path, Known()) is None
    assert mend(log_path.with_name("missing"), Known()) is None


def test_a_broken_header_costs_nothing(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    log_path.write_bytes(bytes(100) + given.data[100:])
    salvaged = mend(log_path, Known(given.log_id, given.loaded))
    assert salvaged is not None
    assert salvaged.lost == {}
    assert salvaged.aside.read_bytes()[100:] == given.data[100:]
    assert "0 are damaged" in salvaged.sentence()
    reader = LocalReader(log_path)
    assert reader.log_id == given.log_id
    assert {one.position: one for one in reader.find(1, 100)} == given.entries
    # One of three tables of each source is loaded further than its first entry.
    assert {(b.source_id, b.table_name): b.loaded for b in reader.backlog()} == {
        (source, name): given.loaded.get((source, name), 0)
        for source, name in {(e.source_id, e.table_name) for e in given.waiting.values()}
    }
    reader.close()
    assert append(log_path, [NewEntry(1, "orders", 1, 1, b"new")]) == 12 + GAP + 1


def test_an_entry_on_a_damaged_page_stays_in_its_place_as_damaged(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    place = given.data.find(given.entries[7].payload[4000:4040])
    assert place > 0
    data = bytearray(given.data)
    data[place] ^= 1
    data[0] ^= 1  # and SQLite knows the file no more
    log_path.write_bytes(bytes(data))
    entry = given.entries[7]
    salvaged = mend(log_path, Known(given.log_id, given.loaded))
    assert salvaged is not None
    assert salvaged.lost == {(entry.source_id, entry.table_name): [7]}
    assert f"{entry.table_name!r} of source {entry.source_id}: 7" in salvaged.sentence()
    found = read(log_path, entry.source_id, entry.table_name)
    assert [type(one) for one in found if one.position == 7] == [Damaged]
    assert all(isinstance(one, Entry) for one in found if one.position != 7)


def test_a_second_damage_is_put_aside_beside_the_first(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    for number in (1, 2):
        data = bytearray(log_path.read_bytes())
        data[3] ^= 1
        log_path.write_bytes(bytes(data))
        salvaged = mend(log_path, Known(given.log_id, given.loaded))
        assert salvaged is not None
        assert salvaged.aside.name == f"{log_path.name}.damaged-{number}"
        assert salvaged.entries == len(given.entries)


def test_marks_that_say_more_than_was_noted_are_lowered(log_path: Path) -> None:
    given = sample(log_path, random.Random(1))
    connection = sqlite3.connect(log_path)
    connection.execute("UPDATE tables SET loaded = 1000 WHERE table_name = 'events'")
    connection.commit()
    connection.close()
    assert mend(log_path, Known(given.log_id, given.loaded)) is None
    reader = LocalReader(log_path)
    waiting = sum(backlog.entries for backlog in reader.backlog())
    reader.close()
    assert waiting == len(given.waiting)


def test_another_programs_file_is_left_alone(log_path: Path) -> None:
    connection = sqlite3.connect(log_path)
    connection.execute("CREATE TABLE mine (a)")
    connection.commit()
    connection.close()
    before = log_path.read_bytes()
    with pytest.raises(OperatorFault, match="another program's database"):
        mend(log_path, Known())
    assert log_path.read_bytes() == before


def test_a_damaged_frame_of_the_write_ahead_log_hides_no_later_commit(log_path: Path) -> None:
    append(log_path, [NewEntry(1, "orders", 1, 1, b"a" * 50)])
    reader = LocalReader(log_path)  # keeps the write-ahead log from being taken in
    held = sqlite3.connect(log_path)
    held.execute("PRAGMA wal_autocheckpoint = 0")
    for number in range(6):
        append(log_path, [NewEntry(1, "orders", 2 + number, 1, bytes([number]) * 3000)])
    wal = log_path.with_name(log_path.name + "-wal")
    data, frames, log_id = log_path.read_bytes(), bytearray(wal.read_bytes()), reader.log_id
    held.close()
    reader.close()
    assert not ahead(bytes(frames)).torn
    frames[32 + 3 * (4096 + 24) + 24 + 100] ^= 4
    assert ahead(bytes(frames)).torn
    log_path.write_bytes(data)
    wal.write_bytes(bytes(frames))
    log_path.with_name(log_path.name + "-shm").unlink(missing_ok=True)
    salvaged = mend(log_path, Known(log_id, {}))
    assert salvaged is not None
    found = read(log_path, 1, "orders")
    sound = [one.position for one in found if isinstance(one, Entry)]
    assert {one.position for one in found} == set(range(1, 8))
    assert len(sound) >= 6
    assert 7 in sound
