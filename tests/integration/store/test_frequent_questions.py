"""Questions that every process asks several times a second, over a connection that stays open."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from treadle.errors import OperatorError
from treadle.store.destinations import DestinationPlace
from treadle.store.errands import ErrandKind
from treadle.store.model import DestinationSetter
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

OpenStore = Callable[[], Store]


def test_what_another_process_changed_is_seen_at_the_next_question(open_store: OpenStore) -> None:
    here, elsewhere = open_store(), open_store()
    account, _ = elsewhere.accounts.create_account("a")
    for number in range(3):
        before = here.get_revision()
        elsewhere.destinations.create_destination(
            account.id,
            DestinationPlace("duckdb", f"duckdb:{number}", f"{number}", DestinationSetter.ACCOUNT),
        )
        assert here.get_revision() > before
        assert here.errands.list_open_kinds() == {ErrandKind.CHECK}


def test_threads_may_ask_at_once_and_do_not_use_the_connections_of_others(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.db", SecretCipher(bytes(32)))
    statements: list[object] = []
    event.listen(store._database.engine, "before_execute", lambda *one: statements.append(one))
    found: list[int] = []

    def ask() -> None:
        found.extend(store.get_revision() for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [found[0]] * 1600
    assert statements == []
    store.close()


def test_a_question_holds_nothing_that_keeps_the_write_ahead_log_from_being_emptied(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{path}", SecretCipher(bytes(32)))
    store.get_revision()
    store.accounts.create_account("a")
    other = sqlite3.connect(path)
    busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy
    other.close()
    store.close()


def test_a_connection_that_broke_is_replaced(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/store.db", SecretCipher(bytes(32)))
    revision = store.get_revision()
    kept = store._database._kept
    assert kept is not None
    assert kept._connection is not None
    kept._connection.close()
    assert store.get_revision() == revision  # asked as any other question
    assert store.get_revision() == revision
    assert kept._connection is not None
    store.close()


def test_what_is_wrong_is_told_as_for_any_other_question(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store.open(f"sqlite:///{path}", SecretCipher(bytes(32)))
    store.get_revision()
    store.close()
    for found in tmp_path.glob("store.db*"):
        found.unlink()
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(OperatorError, match="the store cannot be used"):
        store.get_revision()
    store.close()
