"""Counts of several processes."""

from pathlib import Path

from treadle.shared_counters import SharedCounters, sum_counters

NAMES = ("one", "two")


def test_what_processes_count_adds_up_and_outlives_them(tmp_path: Path) -> None:
    folder = tmp_path / "counters"
    assert sum_counters(folder, NAMES) == {"one": 0, "two": 0}
    first, second = (
        SharedCounters(folder, "worker 1", NAMES),
        SharedCounters(folder, "worker 2", NAMES),
    )
    first.add("one")
    first.add("two", 5)
    second.add("one", 2)
    assert sum_counters(folder, NAMES) == {"one": 3, "two": 5}
    first.close()
    again = SharedCounters(folder, "worker 1", NAMES)
    again.add("one")
    assert sum_counters(folder, NAMES) == {"one": 4, "two": 5}
    again.close()
    second.close()


def test_other_names_are_other_counts(tmp_path: Path) -> None:
    old = SharedCounters(tmp_path, "worker 1", ("two", "one"))
    old.add("two", 7)
    old.close()
    assert sum_counters(tmp_path, NAMES) == {"one": 0, "two": 0}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def test_a_file_that_was_cut_is_left_out(tmp_path: Path) -> None:
    board = SharedCounters(tmp_path, "worker 1", NAMES)
    board.add("one")
    board.close()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:11])
    assert sum_counters(tmp_path, NAMES) == {"one": 0, "two": 0}


def test_room_on_the_disk_is_taken_before_it_is_written(tmp_path: Path) -> None:
    names = [f"counter {number}" for number in range(3000)]
    board = SharedCounters(tmp_path, "worker 1", names)
    [path] = tmp_path.iterdir()
    seen = path.stat()
    assert seen.st_blocks * 512 >= seen.st_size == 8 * 3000
    board.close()
