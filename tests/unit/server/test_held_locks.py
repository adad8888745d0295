"""Who keeps a database of SQLite locked, read out of what the system says."""

import os
from pathlib import Path

import pytest

from treadle.load_locks import FolderLocks
from treadle.server.held_locks import (
    LOCKS_FILE,
    is_stopped,
    list_holders,
    list_load_holders,
    list_stopped_holders,
    parse_holders,
    parse_state,
)

LOCKS = """\
1: POSIX  ADVISORY  WRITE 4711 fd:01:140 120 120
2: POSIX  ADVISORY  READ  4711 fd:01:140 123 123
3: POSIX  ADVISORY  READ  4712 fd:01:140 124 124
3: -> POSIX  ADVISORY  WRITE 4713 fd:01:140 120 120
4: FLOCK  ADVISORY  WRITE 4714 fd:01:140 0 EOF
5: OFDLCK ADVISORY  WRITE -1 fd:01:140 0 0
6: POSIX  ADVISORY  WRITE 4715 00:2f:1140 120 120
"""


@pytest.mark.parametrize(
    ("inodes", "holders"),
    [([140], {4711}), ([1140], {4715}), ([140, 1140], {4711, 4715}), ([14], set()), ([], set())],
)
def test_a_holder_has_a_lock_for_writing(inodes: list[int], holders: set[int]) -> None:
    assert parse_holders(LOCKS, inodes) == holders


def test_the_file_of_the_locks_is_beside_the_database(tmp_path: Path) -> None:
    database, missing = tmp_path / "store.sqlite", tmp_path / "log.sqlite"
    shared = tmp_path / "store.sqlite-shm"
    shared.touch()
    locks = tmp_path / "locks"
    locks.write_text(f"1: POSIX  ADVISORY  WRITE 12 00:01:{shared.stat().st_ino} 120 120\n")
    assert list_holders([database, missing], locks) == {12}
    assert list_holders([missing], locks) == set()
    assert list_holders([database], tmp_path / "nothing") == set()


def test_a_load_lock_is_that_of_a_whole_file(tmp_path: Path) -> None:
    with FolderLocks(tmp_path).hold(["a"], 0):
        [file] = tmp_path.iterdir()
        assert file.name.startswith("load.")
        locks = tmp_path / "locks"
        locks.write_text(LOCKS.replace(":140 ", f":{file.stat().st_ino} "))
        assert list_load_holders(tmp_path, locks) == {4714}
        if LOCKS_FILE.exists():
            assert list_load_holders(tmp_path) == {os.getpid()}
            # It is not stopped, whatever it keeps.
            assert list_stopped_holders([], tmp_path, [os.getpid()]) == set()
    assert list_load_holders(tmp_path / "nothing", locks) == set()


@pytest.mark.parametrize(
    ("text", "state"), [("12 (loader) T 1 2", "T"), ("12 (a) b (c)) S 1 2", "S")]
)
def test_a_state_stands_behind_the_name(text: str, state: str) -> None:
    assert parse_state(text) == state


def test_who_runs_or_is_gone_is_not_stopped() -> None:
    assert not is_stopped(os.getpid())
    assert not is_stopped(1 << 30)
