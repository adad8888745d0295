"""Locks of loads on the server of a store."""

import threading
from pathlib import Path

import psycopg
import pytest

from treadle.errors import RetriableError
from treadle.load_locks import FolderLocks, LockTakenError
from treadle.store.advisory_locks import AdvisoryLocks, choose_locks

END_HOLDERS = """
SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid IN
  (SELECT pid FROM pg_stat_activity WHERE datname = current_database())
"""


def test_the_locks_are_where_the_store_is(tmp_path: Path) -> None:
    found = choose_locks(f"sqlite:///{tmp_path}/store.db", tmp_path)
    assert found == FolderLocks(tmp_path)
    assert isinstance(choose_locks("postgresql://db/treadle", tmp_path), AdvisoryLocks)


def test_another_session_has_to_wait(postgres_database: str) -> None:
    locks = AdvisoryLocks(postgres_database)
    with locks.hold(["a", "b", "b"], 0) as are_ours:
        assert are_ours()
        with pytest.raises(LockTakenError, match="still running"), locks.hold(["b"], 0):
            pytest.fail("somebody else has it")
        with locks.hold(["c"], 0):
            pass
    with locks.hold(["b"], 0):
        pass


def test_a_holder_whose_session_ended_is_told(postgres_database: str) -> None:
    locks = AdvisoryLocks(postgres_database)
    with locks.hold(["a"], 0) as are_ours:
        with psycopg.connect(postgres_database, autocommit=True) as other:
            assert other.execute(END_HOLDERS).fetchall()
        with locks.hold(["a"], 10):
            assert not are_ours()


def test_a_holder_that_says_nothing_loses_its_locks(postgres_database: str) -> None:
    silent = AdvisoryLocks(postgres_database, silent_seconds=1, ping_seconds=3600)
    speaking = AdvisoryLocks(postgres_database, silent_seconds=1, ping_seconds=0.1)
    with speaking.hold(["b"], 0) as are_spoken_for:
        # Stopped as `SIGSTOP` would stop it; its thread does not come to speak.
        ended = threading.Event()

        def hold_in_silence() -> None:
            with silent.hold(["a"], 0) as are_ours:
                held.set()
                taken.wait(30)
                assert not are_ours()
            ended.set()

        held, taken = threading.Event(), threading.Event()
        thread = threading.Thread(target=hold_in_silence)
        thread.start()
        assert held.wait(30)
        with speaking.hold(["a"], 30):
            taken.set()
            thread.join(30)
        assert ended.is_set()
        assert are_spoken_for()


def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    locks = AdvisoryLocks(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(RetriableError, match="cannot be asked"), locks.hold(["a"], 0):
        pytest.fail("there is no server")
