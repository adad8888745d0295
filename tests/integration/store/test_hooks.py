"""Hooks and their deliveries in both kinds of stores."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text, update
from tests.integration.store.conftest import KEY
from tests.loads import load

from treadle.errors import OperatorError
from treadle.store.database import BOOKKEEPING
from treadle.store.deliveries import make_delivery_id
from treadle.store.errands import ErrandKind
from treadle.store.errors import HookLimitError, NotFoundError
from treadle.store.hooks import HOOKS_MAX, seal_hooks_anew
from treadle.store.model import HookBacklog, LoadReport, PostLoadHook, RecordedTry
from treadle.store.schema import hooks
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

OpenStore = Callable[[], Store]
URL = "https://hooks.example.com/catch/a-secret-path"
SECRET = "a secret of sixteen"


class World:
    """An account with a destination and a source."""

    def __init__(self, store: Store, name: str = "first") -> None:
        self.store = store
        account, _ = store.accounts.create_account(name)
        self.account = account.id
        self.destination = store.destinations.set_default_destination(
            account.id, "duckdb", f"duckdb:///{name}", name
        ).id
        self.source = store.sources.create_source(
            account.id, type="import_api", display_name=name, name=name, bootstrap_token=False
        ).id

    def hook(self) -> PostLoadHook:
        return self.store.hooks.create_hook(self.account, URL)

    def record(self, report: LoadReport) -> None:
        self.store.loads.record_load(report, [], destination_id=self.destination)

    def load(self, last: int, table: str = "orders", **changes: Any) -> LoadReport:
        report = load(self.source, table, last, 1_000_000, **changes)
        self.record(report)
        return report

    def states(self, hook: PostLoadHook) -> list[str]:
        """The states of its deliveries, oldest first."""
        return [one.state for one in self.store.deliveries.list_deliveries(hook.id)][::-1]


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def tried(world: World, number: int, hook: PostLoadHook, state: str, **changes: Any) -> RecordedTry:
    """A try of a delivery as it is now."""
    made = world.store.deliveries.list_deliveries(hook.id)
    [sent] = [one for one in made if one.number == number]
    values: dict[str, Any] = {
        "tries_before": sent.tries,
        "due_before": sent.due_at,
        "due_at": 5,
        "at": 6,
        "took_us": 7,
        "status": 500,
        "answer": "no\0",
        "error": "500",
    }
    return RecordedTry(number=number, hook_id=hook.id, state=state, **(values | changes))


# Hooks -------------------------------------------------------------------------------------------


def test_a_hook_comes_back_as_it_was_made(world: World) -> None:
    made = world.hook()
    assert (made.account_id, made.destination_id, made.url) == (
        world.account,
        world.destination,
        URL,
    )
    assert (made.type, made.version, made.secret, made.disabled_at) == ("post_load", 1, None, None)
    assert made.modified_at == made.created_at
    assert world.store.hooks.list_hooks() == [made]
    assert world.store.hooks.find_hook(world.account, made.id) == made
    assert world.store.hooks.find_hook(world.account + 1, made.id) is None
    assert URL not in repr(made)


def test_ten_hooks_are_the_most_disabled_ones_included(world: World) -> None:
    hooks = [world.hook() for _ in range(HOOKS_MAX)]
    world.store.hooks.update_hook(world.account, hooks[0].id, enabled=False)
    with pytest.raises(HookLimitError, match="maximum of 10 hooks"):
        world.hook()
    assert world.store.hooks.delete_hook(world.account, hooks[0].id)
    assert world.hook().id > hooks[-1].id  # the id of a deleted one is not given again


def test_a_hook_is_of_a_destination_of_its_account(world: World) -> None:
    other = World(world.store, "second")
    made = world.store.hooks.create_hook(world.account, URL, destination_id=world.destination)
    assert made.destination_id == world.destination
    for wrong in (other.destination, 99_999):
        with pytest.raises(NotFoundError):
            world.store.hooks.create_hook(world.account, URL, destination_id=wrong)
    assert other.hook().destination_id == other.destination


def test_an_account_without_a_destination_has_no_hooks(store: Store) -> None:
    account, _ = store.accounts.create_account("bare")
    with pytest.raises(NotFoundError, match="has no destination"):
        store.hooks.create_hook(account.id, URL)


def test_changes_of_a_hook(world: World) -> None:
    hook, change = world.hook(), world.store.hooks.update_hook
    off = change(world.account, hook.id, enabled=False)
    assert off is not None
    assert off.disabled_at == off.modified_at
    assert off.modified_at > hook.modified_at
    on = change(world.account, hook.id, enabled=True, paused=True, secret=SECRET, url=URL + "/2")
    assert on is not None
    assert (on.disabled_at, on.secret, on.url) == (None, SECRET, URL + "/2")
    assert on.paused_at == on.modified_at
    again = change(world.account, hook.id, paused=True, secret=None)
    assert again is not None
    assert (again.paused_at, again.secret, again.url) == (on.paused_at, None, URL + "/2")
    assert change(world.account + 1, hook.id, enabled=False) is None


def test_urls_and_secrets_are_encrypted_and_a_new_key_opens_them(
    world: World, open_store: OpenStore
) -> None:
    hook = world.hook()
    changed = world.store.hooks.update_hook(None, hook.id, secret=SECRET)
    with world.store._database.engine.connect() as connection:
        row = connection.execute(text("SELECT url, secret FROM hooks")).one()
    assert b"a-secret-path" not in bytes(row.url)
    assert SECRET.encode() not in bytes(row.secret)
    events = world.store.trail.list_events(limit=2)
    assert [event.action for event in events] == ["change_hook", "create_hook"]
    assert events[0].detail == {"changed": ["secret"]}
    assert "secret-path" not in repr(events)
    assert SECRET not in repr(events)
    world.store._database._cipher = SecretCipher(KEY, b"n" * 32)
    world.store.keys.rotate_key(SecretCipher(b"n" * 32).check_value)
    world.store._database._cipher = SecretCipher(b"n" * 32)
    assert world.store.hooks.list_hooks() == [changed]


# The outbox --------------------------------------------------------------------------------------


def test_a_load_makes_one_delivery_for_each_enabled_hook_of_its_destination(world: World) -> None:
    other = World(world.store, "second")
    hooks, foreign, off = [world.hook(), world.hook()], other.hook(), world.hook()
    world.store.hooks.update_hook(None, off.id, enabled=False)
    report = world.load(1)
    for hook in hooks:
        [made] = world.store.deliveries.list_deliveries(hook.id)
        assert made.id == make_delivery_id(hook.id, report.id)
        assert (made.load_id, made.source_id, made.table_name) == (
            report.id,
            world.source,
            "orders",
        )
        assert (made.state, made.tries, made.status, made.error) == ("waiting", 0, None, None)
        body = json.loads(made.body)
        assert (body["integration_name"], body["tables"][0]["num_rows"]) == ("first", 1)
    assert world.states(foreign) == world.states(off) == []


def test_a_load_that_is_recorded_again_makes_no_second_delivery(world: World) -> None:
    hook = world.hook()
    report = world.load(1)
    world.record(report)
    assert world.states(hook) == ["waiting"]


def test_a_load_that_failed_or_changed_nothing_is_not_told(world: World) -> None:
    hook = world.hook()
    world.store.loads.record_failure(load(world.source, "orders", 1, error="no"), stopped=False)
    world.load(2, rows_loaded=0, rows_discarded=1, tables={})
    assert world.states(hook) == []
    world.load(3, rows_loaded=0, rows_rejected=1, tables={})
    assert world.states(hook) == ["waiting"]


def test_a_delivery_is_there_if_and_only_if_its_load_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = world.hook()

    def fail(*_: object) -> None:
        raise OSError("the process died")

    monkeypatch.setattr("treadle.store.loads._insert_outcomes", fail)
    from treadle.store.model import EntryOutcome

    outcome = EntryOutcome(2, world.source, "orders", 1, ())
    with pytest.raises(OSError, match="died"):
        world.store.loads.record_loads(
            [(load(world.source, "orders", 1), []), (load(world.source, "orders", 2), [outcome])],
            destination_id=world.destination,
        )
    assert world.store.loads.list_loads() == []
    assert world.states(hook) == []


def test_names_that_databases_cannot_keep_are_in_the_body(world: World) -> None:
    hook = world.hook()
    world.load(1, table="a\0\ud800b")
    [made] = world.store.deliveries.list_deliveries(hook.id)
    assert json.loads(made.body)["source_root_table_name"] == "a\0\ud800b"


def test_a_hook_that_is_deleted_while_a_load_is_recorded_breaks_neither(
    world: World, open_store: OpenStore
) -> None:
    hook, second = world.hook(), open_store()
    deleting = threading.Thread(target=second.hooks.delete_hook, args=(None, hook.id))
    with world.store._database.write() as tx:
        from treadle.store.deliveries import list_enabled_hooks

        assert list(list_enabled_hooks(tx, world.destination)) == [hook.id]
        deleting.start()
        deleting.join(0.2)
    deleting.join(60)
    assert not deleting.is_alive()
    world.load(1)
    assert world.store.hooks.list_hooks() == []


# What is due -------------------------------------------------------------------------------------


def test_only_the_first_of_each_hook_and_table_is_due(world: World) -> None:
    hook = world.hook()
    for last, table in enumerate(("orders", "orders", "events", "orders"), 1):
        world.load(last, table)
    now = 10**15
    first = world.store.deliveries.list_due(now, 9)
    assert [(one.hook_id, one.url, one.tries) for one in first] == [(hook.id, URL, 0)] * 2
    orders, _, events, last_orders = [
        one.number for one in world.store.deliveries.list_deliveries(hook.id)[::-1]
    ]
    assert [one.number for one in first] == [orders, events]
    assert len(world.store.deliveries.list_due(now, 1)) == 1
    assert world.store.deliveries.list_due(0, 9) == []
    world.store.deliveries.record_tries(
        [
            tried(world, orders, hook, "waiting", due_at=now + 1),
            tried(world, events, hook, "delivered"),
        ]
    )
    assert world.store.deliveries.list_due(now, 9) == []  # nothing passes the one that failed
    world.store.deliveries.record_tries([tried(world, orders, hook, "failed")])
    [following] = world.store.deliveries.list_due(now, 9)
    assert orders < following.number < last_orders
    found = world.store.hooks.find_hook(None, hook.id)
    assert found is not None
    assert (found.tries, found.delivered, found.failed) == (3, 1, 1)


@pytest.mark.parametrize("column", ["url", "secret"])
def test_a_hook_that_does_not_open_keeps_no_other_one_waiting(
    world: World, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its row was changed from outside, or the key was restored in part."""
    store = world.store
    broken, sound = (world.hook() for _ in range(2))
    for one in (broken, sound):
        store.hooks.update_hook(world.account, one.id, secret=SECRET)
    world.load(1)
    world.load(2, "other")
    with store._database.write() as tx:
        change = update(hooks).where(hooks.c.id == broken.id)
        change = change.values({column: b"not what was sealed, and long enough"})
        tx.connection.execute(change.execution_options(**BOOKKEEPING))
    for _ in range(2):
        due = store.deliveries.list_due(10**15, 9)
        assert [(one.hook_id, one.url, one.secret) for one in due] == [(sound.id, URL, SECRET)] * 2
    assert caplog.text.count(f"hook {broken.id} gets no deliveries") == 1
    # Who looks at all of them sees the others, and it can be mended or deleted.
    shown = [(one.id, one.url, one.secret) for one in store.hooks.list_hooks()]
    assert shown == [(broken.id, "", None), (sound.id, URL, SECRET)]
    with pytest.raises(OperatorError, match="does not open"), store._database.change() as tx:
        seal_hooks_anew(tx)  # or what cannot be read now would be lost
    store.hooks.update_hook(world.account, broken.id, url=f"{URL}2", secret=None)
    due = store.deliveries.list_due(10**15, 9)
    assert {(one.url, one.secret) for one in due} == {(URL, SECRET), (f"{URL}2", None)}
    assert store.hooks.delete_hook(world.account, broken.id)


def test_a_try_is_kept_as_it_was(world: World) -> None:
    hook = world.hook()
    assert world.store.errands.list_open_kinds() == set()
    world.load(1)
    [made] = world.store.deliveries.list_deliveries(hook.id)
    world.store.deliveries.record_tries([tried(world, made.number, hook, "waiting", due_at=77)])
    assert world.store.errands.list_open_kinds() == {ErrandKind.DELIVERY}
    kept = world.store.deliveries.find_delivery(hook.id, made.id)
    assert kept is not None
    assert (kept.tries, kept.due_at, kept.tried_at, kept.finished_at) == (1, 77, 6, None)
    assert (kept.took_us, kept.status, kept.answer, kept.error) == (7, 500, "no\0", "500")
    assert world.store.deliveries.find_delivery(hook.id + 1, made.id) is None
    world.store.deliveries.record_tries([tried(world, made.number, hook, "failed")])
    assert world.store.errands.list_open_kinds() == set()


def test_deliveries_are_sent_again_one_or_all_that_failed(world: World) -> None:
    hook = world.hook()
    for last in (1, 2, 3):
        world.load(last, f"t{last}")
    numbers = [one.number for one in world.store.deliveries.list_deliveries(hook.id)][::-1]
    world.store.deliveries.record_tries(
        [
            tried(world, n, hook, s)
            for n, s in zip(numbers, ("failed", "failed", "delivered"), strict=True)
        ]
    )
    again = world.store.deliveries.send_again
    assert again(world.account, hook.id) == 2
    assert world.states(hook) == ["waiting", "waiting", "delivered"]
    newest = world.store.deliveries.list_deliveries(hook.id)[0]
    assert again(world.account, hook.id, delivery_id=newest.id) == 1
    assert again(world.account, hook.id, delivery_id="none") == 0
    assert again(world.account, hook.id, delivery_id="\0") == 0
    assert world.states(hook) == ["waiting"] * 3
    [first, *_] = world.store.deliveries.list_deliveries(hook.id)
    assert (first.tries, first.finished_at) == (0, None)


@pytest.mark.parametrize("tries", [0, 4])
@pytest.mark.parametrize("state", ["waiting", "failed", "delivered"])
def test_what_is_sent_again_while_it_is_tried_is_sent_once_more(
    world: World, tries: int, state: str
) -> None:
    hook = world.hook()
    world.load(1)
    [made] = world.store.deliveries.list_deliveries(hook.id)
    for _ in range(tries):
        world.store.deliveries.record_tries([tried(world, made.number, hook, "waiting")])
    under_way = tried(world, made.number, hook, state)
    assert world.store.deliveries.send_again(world.account, hook.id, delivery_id=made.id) == 1
    again = world.store.deliveries.find_delivery(hook.id, made.id)
    world.store.deliveries.record_tries([under_way])
    assert world.store.deliveries.find_delivery(hook.id, made.id) == again
    [due] = world.store.deliveries.list_due(10**15, 9)
    assert (due.id, due.tries) == (made.id, 0)


def test_tries_that_are_recorded_twice_count_once(world: World) -> None:
    """As after a commit of which nobody heard."""
    hook = world.hook()
    for last in (1, 2, 3):
        world.load(last, f"t{last}")
    numbers = [one.number for one in world.store.deliveries.list_deliveries(hook.id)]
    states = ("waiting", "failed", "delivered")
    made = [tried(world, n, hook, s) for n, s in zip(numbers, states, strict=True)]
    kept = []
    for _ in range(2):
        world.store.deliveries.record_tries(made)
        kept.append(world.store.deliveries.list_deliveries(hook.id))
    assert kept[0] == kept[1]
    assert [(one.state, one.tries) for one in kept[1]] == [(state, 1) for state in states]
    found = world.store.hooks.find_hook(None, hook.id)
    assert found is not None
    assert (found.tries, found.delivered, found.failed) == (3, 1, 1)


def test_pages_of_deliveries(world: World) -> None:
    hook = world.hook()
    for last in range(1, 6):
        world.load(last)
    every = world.store.deliveries.list_deliveries(hook.id)
    assert [one.number for one in every] == sorted((one.number for one in every), reverse=True)
    page = world.store.deliveries.list_deliveries(hook.id, limit=2, before=every[1].id)
    assert page == every[2:4]
    assert world.store.deliveries.list_deliveries(hook.id, before="none") == []
    assert world.store.deliveries.list_deliveries(hook.id, before="\0") == []
    assert world.store.deliveries.find_delivery(hook.id, "\0") is None
    world.store.deliveries.record_tries([tried(world, every[0].number, hook, "failed")])
    [failed] = world.store.deliveries.list_deliveries(hook.id, state="failed")
    assert failed.id == every[0].id


def test_what_waits_is_told_by_hook(world: World) -> None:
    hook, idle = world.hook(), world.hook()
    world.store.hooks.update_hook(None, idle.id, enabled=False)
    world.load(1)
    world.load(2)
    oldest = world.store.deliveries.list_deliveries(hook.id)[-1].created_at
    assert world.store.hooks.list_backlogs() == {hook.id: HookBacklog(2, oldest)}


def test_deliveries_that_are_old_or_too_many_go(world: World) -> None:
    hook = world.hook()
    for last in range(1, 7):
        world.load(last)
    numbers = [one.number for one in world.store.deliveries.list_deliveries(hook.id)][::-1]
    world.store.deliveries.record_tries([tried(world, n, hook, "delivered") for n in numbers[3:5]])
    delete = world.store.deliveries.delete_deliveries_before
    assert delete(0, 100) == (0, 0)
    assert delete(0, 5) == (1, 0)  # a finished one, although others are older
    assert delete(0, 3) == (2, 1)
    assert [one.number for one in world.store.deliveries.list_deliveries(hook.id)] == [
        numbers[5],
        numbers[2],
        numbers[1],
    ]
    assert delete(10**15, 100) == (3, 3)


def test_a_deleted_hook_takes_its_deliveries_along(world: World) -> None:
    hook, other = world.hook(), world.hook()
    world.load(1)
    assert world.store.hooks.delete_hook(world.account + 1, hook.id) is False
    assert world.store.hooks.delete_hook(world.account, hook.id) is True
    assert world.store.hooks.delete_hook(world.account, hook.id) is False
    assert world.store.hooks.list_hooks() == [other]
    assert world.states(other) == ["waiting"]
