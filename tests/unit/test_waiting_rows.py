"""What waits, as the processes of a machine tell each other."""

from pathlib import Path

from treadle.log.protocol import TableBacklog
from treadle.waiting_rows import (
    WaitingRow,
    join_waiting,
    open_part_rows,
    open_whole_rows,
    read_waiting,
    remove_part_rows,
    remove_whole_rows,
    sum_by_source,
)


def test_what_several_loaders_tell_is_put_together() -> None:
    one = {7: (100, 1, 0, 1, 5_000), 8: (10, 2, 0, 1, 9_000)}
    two = {7: (50, 3, 1, 2, 4_000), 9: (0, 0, 0, 0, 0)}
    assert join_waiting([one, two]) == {
        7: WaitingRow(150, 4, 1, 3, 4_000),
        8: WaitingRow(10, 2, 0, 1, 9_000),
        9: WaitingRow(),
    }
    # A loader that has nothing of a source does not make its records the oldest ones.
    assert join_waiting([one, {7: (0, 0, 0, 0, 0)}])[7].oldest == 5_000
    assert join_waiting([]) == {}


def test_backlogs_are_summed_by_source() -> None:
    backlogs = [
        TableBacklog(7, "a", 9, 2, 30, 100, 5_000),
        TableBacklog(7, "b", 8, 1, 10, 50, 4_000),
        TableBacklog(8, "a", 7, 1, 1, 5, 9_000),
    ]
    assert sum_by_source(backlogs) == {
        7: WaitingRow(150, 40, 0, 3, 4_000),
        8: WaitingRow(5, 1, 0, 1, 9_000),
    }


def test_the_parts_of_the_loaders_of_a_machine_are_read(tmp_path: Path) -> None:
    for name, numbers in (("loader", (100, 1, 0, 1, 5_000)), ("loader 2", (50, 3, 0, 2, 4_000))):
        rows = open_part_rows(tmp_path, name)
        rows.replace({7: numbers})
        rows.close()
    assert read_waiting(tmp_path) == {7: WaitingRow(150, 4, 0, 3, 4_000)}
    remove_part_rows(tmp_path, "loader 2")
    assert read_waiting(tmp_path) == {7: WaitingRow(100, 1, 0, 1, 5_000)}
    assert read_waiting(tmp_path / "nothing") == {}


def test_who_tells_of_all_logs_counts_alone(tmp_path: Path) -> None:
    part = open_part_rows(tmp_path, "loader")
    part.replace({7: (100, 1, 0, 1, 5_000)})
    whole = open_whole_rows(tmp_path)
    assert read_waiting(tmp_path) == {}
    whole.replace({7: (300, 3, 0, 3, 4_000), 8: (20, 1, 0, 1, 6_000)})
    assert read_waiting(tmp_path) == {
        7: WaitingRow(300, 3, 0, 3, 4_000),
        8: WaitingRow(20, 1, 0, 1, 6_000),
    }
    whole.close()
    part.close()
    remove_whole_rows(tmp_path)
    remove_whole_rows(tmp_path)
    assert read_waiting(tmp_path) == {7: WaitingRow(100, 1, 0, 1, 5_000)}
