import errno
import os
from pathlib import Path

import pytest

from treadle.shared_rows import SharedRows, read_rows, sum_rows

COLUMNS = ("a", "b")


def test_rows_of_several_processes_are_summed(tmp_path: Path) -> None:
    one, two = (SharedRows(tmp_path, f"worker {n}", COLUMNS) for n in (1, 2))
    one.add(7, (1, 2))
    one.add(7, (10, 0))
    two.add(7, (100, 200))
    two.add(9, (0, 5))
    assert sum_rows(tmp_path, COLUMNS) == {7: (111, 202), 9: (0, 5)}
    one.close()
    two.close()


def test_a_process_goes_on_where_it_was_before_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        rows = SharedRows(tmp_path, "worker 1", COLUMNS)
        rows.add(7, (1, 1))
        rows.add(8, (2, 2))
        rows.close()
    assert sum_rows(tmp_path, COLUMNS) == {7: (2, 2), 8: (4, 4)}


def test_the_file_grows_and_every_row_stays(tmp_path: Path) -> None:
    rows = SharedRows(tmp_path, "worker 1", COLUMNS)
    for row in range(1, 2001):
        rows.add(row, (row, 0))
    expected = {row: (row, 0) for row in range(1, 2001)}
    assert sum_rows(tmp_path, COLUMNS) == expected
    rows.close()
    again = SharedRows(tmp_path, "worker 1", COLUMNS)
    again.add(2000, (1, 1))
    assert sum_rows(tmp_path, COLUMNS) == expected | {2000: (2001, 1)}
    again.close()


def test_replaced_rows_set_all_others_to_zero(tmp_path: Path) -> None:
    rows = SharedRows(tmp_path, "loader", COLUMNS)
    rows.replace({1: (5, 1), 2: (6, 0)})
    rows.replace({2: (7, 1), 3: (8, 0)})
    assert sum_rows(tmp_path, COLUMNS) == {1: (0, 0), 2: (7, 1), 3: (8, 0)}
    rows.close()


def test_a_process_leaves_its_own_rows_out_and_other_columns_are_other_files(
    tmp_path: Path,
) -> None:
    one, two = (SharedRows(tmp_path, f"worker {n}", COLUMNS) for n in (1, 2))
    other = SharedRows(tmp_path, "worker 3", ("c",))
    for rows in (one, two, other):
        rows.add(1, (1,))
    [(name, found)] = read_rows(tmp_path, COLUMNS, without="worker 1")
    assert name == "worker-2"
    assert found == {1: (1, 0)}
    assert sum_rows(tmp_path, ("nobody wrote these",)) == {}
    for rows in (one, two, other):
        rows.close()


def test_a_file_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    rows = SharedRows(tmp_path, "worker 1", COLUMNS)
    rows.add(1, (1, 1))
    rows.close()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:30])
    assert sum_rows(tmp_path, COLUMNS) == {1: (1, 1)}
    path.write_bytes(b"")
    assert sum_rows(tmp_path, COLUMNS) == {}


def test_room_on_the_disk_is_taken_before_it_is_written(tmp_path: Path) -> None:
    rows = SharedRows(tmp_path, "worker 1", COLUMNS)
    [path] = tmp_path.iterdir()
    for row in range(1, 400):  # more than at first, so the file grew
        rows.add(row, (1, 1))
        seen = path.stat()
        assert seen.st_blocks * 512 >= seen.st_size
    rows.close()


def test_rows_without_room_on_the_disk_are_this_process_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    rows = SharedRows(tmp_path, "worker 1", COLUMNS)
    rows.add(1, (1, 1))
    monkeypatch.setattr(os, "posix_fallocate", fail)
    late = SharedRows(tmp_path, "worker 2", COLUMNS)
    for row in range(1, 400):
        rows.add(row, (1, 2))
        late.add(row, (1, 2))
    before_the_disk_was_full = {1: (2, 3)} | dict.fromkeys(range(2, 257), (1, 2))
    assert sum_rows(tmp_path, COLUMNS) == before_the_disk_was_full
    rows.close()
    late.close()
