"""The carrier over a real store: order, tries, pauses, deaths. The clock is moved, not waited for.

A9 of connect-rest.md A.5.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text
from tests.loads import load

from treadle.courier.decisions import TryResult
from treadle.courier.hook_carrier import KEPT_US, HookCarrier
from treadle.courier.hook_sender import HookSender
from treadle.errors import RetriableError
from treadle.store.model import DueDelivery, HookDelivery, PostLoadHook
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

SECOND = 1_000_000
BEGIN = 1_700_000_000_000_000


class ScriptedSender:
    """Answers as it is told, in place of the network."""

    def __init__(self) -> None:
        self.answers: list[int | None] = []
        self.usual: int | None = 200
        self.sent: list[DueDelivery] = []
        self.held: set[int] = set()
        """Hooks that are not answered until they are released."""

    async def send(self, delivery: DueDelivery) -> TryResult:
        self.sent.append(delivery)
        while delivery.hook_id in self.held:  # noqa: ASYNC110 - it is a set of several
            await asyncio.sleep(0.001)
        status = self.answers.pop(0) if self.answers else self.usual
        error = "it did not answer within 30 s" if status is None else None
        return TryResult(status, "", error, 1)


class Stage:
    """A store with an account, two sources and a destination; loads; and a carrier."""

    def __init__(self, folder: Path) -> None:
        self.now = BEGIN
        self.store = Store.open(
            f"sqlite:///{folder}/store.db", SecretCipher(bytes(32)), clock=lambda: self.now
        )
        self.store.use_log("log")
        account, _ = self.store.accounts.create_account("first")
        self.account = account.id
        self.destination = self.store.destinations.set_default_destination(
            account.id, "duckdb", "duckdb:///x", "x"
        ).id
        self.source = self.store.sources.create_source(
            account.id, type="import_api", display_name="Shop", name="shop", bootstrap_token=False
        ).id
        self.positions = itertools.count(1)
        self.sender = ScriptedSender()
        self.carrier = self.make_carrier()

    def make_carrier(self) -> HookCarrier:
        return HookCarrier(
            self.store, lambda: cast(HookSender, self.sender), lambda: 0.0, lambda: self.now
        )

    def hook(self, path: str = "") -> PostLoadHook:
        return self.store.hooks.create_hook(self.account, f"https://example.com/{path}")

    def load(self, table: str = "orders", **changes: Any) -> None:
        self.store.loads.record_load(
            load(self.source, table, next(self.positions), self.now, **changes),
            [],
            destination_id=self.destination,
        )

    def run(self, *, until: Callable[[], bool] | None = None) -> None:
        """Run the carrier until it has nothing under way, or until something is so."""
        for _ in range(10_000):
            pause = self.carrier.run_once(self.now)
            if pause > 0 if until is None else until():
                return
        raise AssertionError("the carrier never came to rest")

    def deliveries(self, hook: PostLoadHook) -> list[HookDelivery]:
        """Of a hook, oldest first."""
        return self.store.deliveries.list_deliveries(hook.id)[::-1]

    def states(self, hook: PostLoadHook) -> list[tuple[str, int]]:
        return [(one.state, one.tries) for one in self.deliveries(hook)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.carrier.finish(0.0)
    made.store.close()


def test_a_load_is_delivered_once(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    stage.run()
    assert stage.states(hook) == [("delivered", 1)]
    [sent] = stage.sender.sent
    [kept] = stage.deliveries(hook)
    assert (sent.id, sent.url, sent.body) == (kept.id, "https://example.com/", kept.body)
    assert '"integration_name":"shop"' in kept.body
    assert (kept.status, kept.error, kept.finished_at) == (200, None, stage.now)
    stage.now += 7200 * SECOND
    stage.run()
    assert len(stage.sender.sent) == 1
    found = stage.store.hooks.find_hook(None, hook.id)
    assert found is not None
    assert (found.delivered, found.failed, found.tries) == (1, 0, 1)


def test_500_and_then_200(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    stage.sender.answers = [500]
    stage.run()
    assert stage.states(hook) == [("waiting", 1)]
    stage.now += 10 * SECOND - 1
    stage.run()
    assert len(stage.sender.sent) == 1
    stage.now += 1
    stage.run()
    assert stage.states(hook) == [("delivered", 2)]
    assert [one.id for one in stage.sender.sent] == [stage.deliveries(hook)[0].id] * 2


def test_a_receiver_that_never_answers_is_given_up_after_six_tries(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    stage.sender.usual = None
    times = []
    for pause in (0, 10, 30, 120, 600, 3600, 100_000):
        stage.now += pause * SECOND
        before = len(stage.sender.sent)
        stage.run()
        times.append(len(stage.sender.sent) - before)
    assert times == [1, 1, 1, 1, 1, 1, 0]
    [kept] = stage.deliveries(hook)
    assert (kept.state, kept.tries, kept.status) == ("failed", 6, None)
    assert kept.error == "it did not answer within 30 s"
    found = stage.store.hooks.find_hook(None, hook.id)
    assert found is not None
    assert (found.delivered, found.failed, found.tries) == (0, 1, 6)


def test_one_that_was_given_up_can_be_sent_again(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    stage.sender.answers = [500] * 6
    for pause in (0, 10, 30, 120, 600, 3600):
        stage.now += pause * SECOND
        stage.run()
    assert stage.states(hook) == [("failed", 6)]
    assert stage.store.deliveries.send_again(stage.account, hook.id) == 1
    stage.run()
    assert stage.states(hook) == [("delivered", 1)]
    assert len({one.id for one in stage.sender.sent}) == 1


def test_the_deliveries_of_a_table_go_in_the_order_of_its_loads(stage: Stage) -> None:
    hook = stage.hook()
    for _ in range(5):
        stage.load("orders")
    stage.load("events")
    stage.sender.answers = [500]  # of orders, which are due first
    stage.run()
    orders = [one.number for one in stage.deliveries(hook) if one.table_name == "orders"]
    sent = [one.number for one in stage.sender.sent]
    assert sent[0] == orders[0]
    assert set(sent) & set(orders[1:]) == set()  # they wait behind the one that failed
    assert [one.state for one in stage.deliveries(hook)][-1] == "delivered"
    stage.now += 10 * SECOND
    stage.run()
    assert [one.number for one in stage.sender.sent if one.number in orders] == [
        orders[0],
        *orders,
    ]


def test_each_hook_has_its_own_deliveries_and_a_slow_one_holds_up_itself_alone(
    stage: Stage,
) -> None:
    slow, quick = stage.hook("slow"), stage.hook("quick")
    for number in range(12):
        stage.load(f"t{number}")
    stage.sender.held = {slow.id}
    stage.run(until=lambda: stage.states(quick) == [("delivered", 1)] * 12)
    assert [one.hook_id for one in stage.sender.sent].count(slow.id) == 2
    stage.sender.held.clear()
    stage.run()
    assert stage.states(slow) == [("delivered", 1)] * 12


def test_a_disabled_hook_gets_nothing_and_a_paused_one_gets_it_later(stage: Stage) -> None:
    off, paused = stage.hook("off"), stage.hook("paused")
    stage.store.hooks.update_hook(None, off.id, enabled=False)
    stage.store.hooks.update_hook(None, paused.id, paused=True)
    stage.load()
    stage.run()
    assert stage.states(off) == []
    assert stage.states(paused) == [("waiting", 0)]
    stage.store.hooks.update_hook(None, paused.id, paused=False)
    stage.run()
    assert stage.states(paused) == [("delivered", 1)]


def test_a_carrier_that_dies_behind_the_answer_sends_again_with_the_same_id(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    dead = stage.carrier
    dead.run_once(stage.now)
    assert dead._loop is not None
    dead._loop.run_until_complete(asyncio.sleep(0.01))
    assert [task.done() for task in dead._under_way] == [True]  # answered, and not recorded
    dead._loop.close()
    stage.carrier = stage.make_carrier()
    stage.run()
    assert stage.states(hook) == [("delivered", 1)]
    assert len(stage.sender.sent) == 2
    assert len({one.id for one in stage.sender.sent}) == 1


def test_what_is_under_way_at_the_end_is_waited_for(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    stage.carrier.run_once(stage.now)
    stage.carrier.finish(60.0)
    assert stage.states(hook) == [("delivered", 1)]


def test_a_store_that_is_away_makes_no_second_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = stage.hook()
    stage.load()
    repository = type(stage.store.deliveries)
    record = repository.record_tries

    def fail(*_: object) -> None:
        raise RetriableError("the store is away")

    monkeypatch.setattr(repository, "record_tries", fail)
    stage.carrier.run_once(stage.now)
    for _ in range(3):
        with pytest.raises(RetriableError):
            stage.run()
    monkeypatch.setattr(repository, "record_tries", record)
    stage.run()
    assert stage.states(hook) == [("delivered", 1)]
    assert len(stage.sender.sent) == 1


def test_a_hook_that_is_deleted_meanwhile_is_forgotten(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    stage.carrier.run_once(stage.now)
    assert stage.store.hooks.delete_hook(None, hook.id)
    stage.run()
    assert stage.deliveries(hook) == []


def test_old_deliveries_go(stage: Stage) -> None:
    hook = stage.hook()
    stage.load()
    stage.run()
    stage.now += KEPT_US + 61 * SECOND
    stage.load()
    stage.run()
    assert stage.states(hook) == [("delivered", 1)]
    assert stage.deliveries(hook)[0].created_at == stage.now


def test_a_look_at_nothing_is_one_question(stage: Stage) -> None:
    stage.carrier.run_once(stage.now)
    with stage.store._database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM deliveries")).scalar_one() == 0
    assert stage.carrier.run_once(stage.now) == 1.0
    assert stage.carrier._sender is None  # HTTP is imported for the first delivery
