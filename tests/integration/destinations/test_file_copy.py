"""Copies of a DuckDB file that is used meanwhile: whole, the same, and nobody waits for long."""

import os
import random
import subprocess
import sys
from pathlib import Path

import duckdb
import msgspec
import pytest
from tests.integration.destinations.test_file_check import reader

from treadle.destinations.duckdb.attach import open_attached
from treadle.destinations.duckdb.destination import CONFIG
from treadle.errors import OperatorError, RetriableError
from treadle.tasks import file_copy
from treadle.tasks.file_copy import HEADER_BYTES, CopyOrder, CopyReport, copy_file, replace_file
from treadle.tasks.task_channel import TaskRequest
from treadle.tasks.task_process import TaskProcess


def write(file: Path, statement: str) -> None:
    """Open the file as a round of loads does, and close it again."""
    connection = open_attached(str(file), CONFIG, read_only=False)
    try:
        connection.execute(statement)
        connection.execute("CHECKPOINT")
    finally:
        connection.close()


def ask(file: Path, statement: str) -> object:
    with duckdb.connect(str(file), read_only=True) as connection:
        row = connection.execute(statement).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    write(path, "CREATE TABLE t AS SELECT i AS id, 'text ' || i AS name FROM range(200_000) r(i)")
    return path


def order(file: Path, **changes: object) -> CopyOrder:
    values = {"source": str(file), "target": str(file.parent / "bi.duckdb"), **changes}
    return msgspec.convert(values, CopyOrder)


def test_a_copy_is_the_same_file_readable_for_the_group(file: Path) -> None:
    report = copy_file(order(file))
    copy = file.parent / "bi.duckdb"
    assert copy.read_bytes() == file.read_bytes()
    assert report.bytes == copy.stat().st_size
    assert copy.stat().st_mode & 0o777 == 0o640
    assert ask(copy, "SELECT count(*) FROM t") == 200_000
    assert not list(file.parent.glob(".*.copy"))


def test_a_block_that_was_written_again_has_another_checksum(tmp_path: Path) -> None:
    """What `BlockCopier` relies on, with the DuckDB that is installed."""
    path, numbers = tmp_path / "w.duckdb", random.Random(1)
    write(path, "CREATE TABLE t(id BIGINT, name TEXT, PRIMARY KEY (id))")
    before, compared = path.read_bytes(), 0
    for step in range(8):
        low = numbers.randrange(100_000)
        write(
            path,
            f"INSERT OR REPLACE INTO t SELECT i, 'n{step} ' || i FROM range({low}, {low + 9_000})"
            " r(i)",
        )
        after = path.read_bytes()
        size = int.from_bytes(after[4096 + 40 : 4096 + 48], "little")
        for begin in range(HEADER_BYTES, min(len(before), len(after)), size):
            if before[begin : begin + size] != after[begin : begin + size]:
                assert before[begin : begin + 8] != after[begin : begin + 8]
                compared += 1
        before = after
    assert compared > 20


def test_a_reader_of_the_copy_keeps_its_rows_and_sees_new_ones_at_its_next_open(
    file: Path,
) -> None:
    copy_file(order(file))
    copy = file.parent / "bi.duckdb"
    with reader(copy):
        with duckdb.connect(str(copy), read_only=True) as held:
            write(file, "INSERT INTO t VALUES (-1, 'new')")
            copy_file(order(file))
            assert held.execute("SELECT count(*) FROM t WHERE id < 0").fetchall() == [(0,)]
        assert ask(copy, "SELECT count(*) FROM t WHERE id < 0") == 1


WRITER = """
import sys, time, duckdb
from treadle.destinations.duckdb.attach import open_attached
from treadle.destinations.duckdb.destination import CONFIG
for step in range(int(sys.argv[2])):
    while True:
        try:
            connection = open_attached(sys.argv[1], CONFIG, read_only=False)
            break
        except duckdb.Error:
            time.sleep(0.01)
    connection.execute(f"UPDATE t SET name = 's{step} ' || id WHERE id % 7 = {step % 7}")
    first = 1_000_000 + step * 1000
    connection.execute(f"INSERT INTO t SELECT {first} + i, 'x' FROM range(1000) r(i)")
    connection.execute("INSERT INTO steps VALUES (?)", [step])
    connection.execute("CHECKPOINT")
    connection.close()
    time.sleep(0.02)
"""


def test_copies_are_whole_while_the_file_is_written_to(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each copy is the file as some round left it: rows of each step or of none."""
    monkeypatch.setattr(file_copy, "_share_blocks", lambda source, target: False)
    write(file, "CREATE TABLE steps(step INTEGER)")
    steps = 8
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(steps)])
    copy, copies = file.parent / "bi.duckdb", 0
    try:
        while writer.poll() is None:
            report = copy_file(order(file, hold_seconds=0.5))
            assert report.held_seconds < 60  # half a second, and what the machine stood still
            done = ask(copy, "SELECT count(*) FROM steps")
            added = ask(copy, "SELECT count(*) FROM t WHERE id >= 1_000_000")
            assert added == 1000 * int(str(done))
            copies += 1
    finally:
        assert writer.wait(120) == 0
    assert copies >= 1
    copy_file(order(file))
    assert copy.read_bytes() == file.read_bytes()


def test_what_takes_longer_than_it_may_is_done_in_several_moments(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_copy, "_share_blocks", lambda source, target: False)
    monkeypatch.setattr(file_copy, "RUN_BYTES_MAX", 65_536)
    now, ahead = [0.0], file_copy.BlockCopier.copy_ahead
    passes = 0

    def clock() -> float:
        now[0] += 0.001
        return now[0]

    def copy_and_change(copier: file_copy.BlockCopier) -> None:
        nonlocal passes
        ahead(copier)
        passes += 1
        if passes < 3:
            write(file, "UPDATE t SET name = name || '!'")

    monkeypatch.setattr(file_copy.BlockCopier, "copy_ahead", copy_and_change)
    report = copy_file(order(file, hold_seconds=0.005), clock)
    assert passes >= 3
    assert report.held_seconds < 1
    assert (file.parent / "bi.duckdb").read_bytes() == file.read_bytes()


def test_a_file_that_somebody_writes_to_is_waited_for_and_then_left(file: Path) -> None:
    connection = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with connection:
        assert connection.stdin is not None
        assert connection.stdout is not None
        assert connection.stdout.readline() == b"open\n"
        with pytest.raises(RetriableError, match="written to for too long"):
            copy_file(order(file, wait_seconds=0.05))
        with pytest.raises(RetriableError, match="written to for too long"):
            replace_file(order(file))
        connection.stdin.close()
    assert not list(file.parent.glob(".*.copy"))


HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_that_is_none_of_duckdb_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    other.write_bytes(os.urandom(100_000))
    with pytest.raises(OperatorError, match="no DuckDB file"):
        copy_file(order(other))
    with pytest.raises(RetriableError, match="is not there"):
        copy_file(order(tmp_path / "missing.duckdb"))


def test_a_copy_takes_the_place_of_no_other_file(tmp_path: Path) -> None:
    source, target = tmp_path / "small.duckdb", tmp_path / "bi.duckdb"
    write(source, "CREATE TABLE t AS SELECT 1 AS id")
    for content in (b"SQLite format 3\0" * 300, b"token\n"):
        target.write_bytes(content)
        with pytest.raises(OperatorError, match="is there and no DuckDB file"):
            copy_file(order(source))
        assert target.read_bytes() == content
    target.write_bytes(b"")
    for _ in range(2):
        copy_file(order(source))
        assert target.read_bytes() == source.read_bytes()


def test_a_disk_without_room_is_said_before_anything_is_written(file: Path) -> None:
    with pytest.raises(RetriableError, match="and a copy takes"):
        copy_file(order(file, reserve_bytes=2**62))


def test_a_file_that_a_reader_holds_is_given_another_inode(file: Path) -> None:
    before = file.stat()
    with reader(file):
        with pytest.raises(duckdb.IOException):
            duckdb.connect(str(file)).close()
        replace_file(order(file))
        after = file.stat()
        assert after.st_ino != before.st_ino
        assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
        write(file, "INSERT INTO t VALUES (-1, 'new')")  # the reader is in nobody's way any more
    assert ask(file, "SELECT count(*) FROM t") == 200_001


def test_a_task_process_copies(file: Path) -> None:
    process = TaskProcess()
    try:
        done = process.run(
            TaskRequest(
                "treadle.tasks.file_copy:publish_file", 60, msgspec.json.encode(order(file))
            )
        )
    finally:
        process.close()
    assert msgspec.json.decode(done, type=CopyReport).bytes == file.stat().st_size
