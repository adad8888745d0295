"""Commits of the log, and its failed writes, as several workers leave them."""

from pathlib import Path

from treadle.traces.append_trace import (
    COMMIT_AGE_US,
    COMMITS_KEPT,
    FAILING_US,
    AppendTrace,
    find_append_failures,
    read_commit_times,
)

NOW = 1_800_000_000_000_000


def test_the_times_of_commits_of_all_workers(tmp_path: Path) -> None:
    assert read_commit_times(tmp_path / "missing", NOW).commits == 0
    first = AppendTrace(tmp_path, "worker 1", lambda: NOW)
    second = AppendTrace(tmp_path, "worker 2", lambda: NOW)
    for number in range(COMMITS_KEPT + 10):
        first.note_commit(1_000 if number >= 10 else 9_000_000)
    for _ in range(10):
        second.note_commit(20_000)
    times = read_commit_times(tmp_path, NOW + 1)
    assert (times.commits, times.p50_us, times.p99_us) == (COMMITS_KEPT + 10, 1_000, 20_000)
    assert read_commit_times(tmp_path, NOW + COMMIT_AGE_US).p50_us is None
    first.close()
    second.close()


def test_failed_writes_end_by_themselves(tmp_path: Path) -> None:
    clock = [NOW]
    trace = AppendTrace(tmp_path, "worker 1", lambda: clock[0])
    assert find_append_failures(tmp_path, NOW) is None
    trace.note_failure()
    clock[0] += 60_000_000
    trace.note_failure()
    assert find_append_failures(tmp_path, clock[0]) == (NOW, clock[0], 2)
    clock[0] += FAILING_US
    assert find_append_failures(tmp_path, clock[0]) is None
    trace.note_failure()
    assert find_append_failures(tmp_path, clock[0]) == (clock[0], clock[0], 1)
    trace.close()
