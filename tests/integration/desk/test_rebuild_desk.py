"""The desk and rebuilds of tables: claimed, carried out by a process, stopped, and recorded."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.servers.treadle import eventually

from treadle.desk.rebuild_desk import RebuildDesk
from treadle.store.operations import RebuildOrder, ServerOperation
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.store.trail_event import TrailAction

PLACE = "tests.integration.desk"


def answer(payload: bytes) -> bytes:
    """Do as a rebuild that finds no difference."""
    order = msgspec.json.decode(payload)["order"]
    return msgspec.json.encode({"dry_run": order["dry_run"], "swapped": False, "records": 5})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}", SecretCipher(bytes(32)))
    opened.accounts.create_account("ours")
    yield opened
    opened.close()


def ask(store: Store, table: str = "orders") -> ServerOperation:
    return store.operations.start_rebuild(RebuildOrder(1, 2, table, dry_run=True), 5)


def make_desk(store: Store, function: str, place: str = "here") -> RebuildDesk:
    return RebuildDesk(store, "{}", place, f"{PLACE}.{function}")


def find(store: Store, operation: ServerOperation) -> ServerOperation:
    found = store.operations.find_operation(1, operation.id)
    assert found is not None
    return found


def test_a_rebuild_is_carried_out_and_recorded(store: Store) -> None:
    asked = ask(store)
    store.operations.start_resend(1, 3, {}, [])
    desk = make_desk(store, "test_rebuild_desk:answer")
    assert desk.run_once()
    assert not desk.run_once()  # resends are for another desk
    found = find(store, asked)
    assert (found.state, found.done, found.note) == ("done", 5, None)
    assert found.progress == {"dry_run": True, "swapped": False, "records": 5}
    events = [one for one in store.trail.list_events() if one.action == TrailAction.REPLAY_TABLE]
    assert [one.outcome for one in events] == ["done", "begun"]
    assert (events[0].target.name, events[0].target.id) == ("orders", "2")


def test_a_process_that_ends_badly_fails_its_rebuild_alone(store: Store) -> None:
    asked = ask(store)
    assert make_desk(store, "slow_task:die").run_once()
    found = find(store, asked)
    assert found.state == "failed"
    assert found.note


def test_a_rebuild_that_is_stopped_ends_its_process(store: Store) -> None:
    asked = ask(store)
    desk = make_desk(store, "slow_task:sleep")
    running = threading.Thread(target=desk.run_once)
    running.start()
    eventually(lambda: find(store, asked).state == "running")
    store.operations.cancel_operation(1, asked.id)
    running.join(30)
    assert not running.is_alive()
    assert find(store, asked).state == "cancelled"


def test_another_desk_goes_on_with_the_rebuild_of_one_that_ended(store: Store) -> None:
    asked = ask(store)
    first = make_desk(store, "slow_task:sleep")
    running = threading.Thread(target=first.run)
    running.start()
    eventually(lambda: find(store, asked).state == "running")
    first.stop()
    running.join(30)
    assert not running.is_alive()
    assert find(store, asked).state == "running"
    assert make_desk(store, "test_rebuild_desk:answer").run_once()
    assert find(store, asked).state == "done"
