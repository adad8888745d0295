"""`python -m tests.faults.hooks`: kill -9 at random times while loads are hooked.

Each load that is recorded has to reach the receiver at least once, with the same id and the same
body however often it comes, and in the order of loads of its table (connect-rest.md A.5, A10).
"""

import argparse
import random
import sys
import time
from pathlib import Path

from tests.faults.command import Tally, command, destinations, folder
from tests.faults.serve import MODULE
from tests.faults.traffic import SETTLE_SECONDS_MAX, Rig
from tests.faults.victims import VictimChoice
from tests.servers.receiver import Receiver, answer_with, receiving

from treadle.config import Config
from treadle.server.factories import open_store
from treadle.store.model import HookDelivery
from treadle.store.store import Store

TABLES = {"orders": True, "events": False}
VICTIMS = ("courier", "courier", "loader", "worker", "desk", "all", "supervisor")

SECRET = "the secret of the receiver"


class HookedRig(Rig):
    """A server with a hook, and its receiver, which now and then answers an error."""

    def __init__(self, path: Path, destination: str | None, receiver: Receiver, seed: int) -> None:
        super().__init__(
            path, destination, TABLES, seed=seed, settings={"hook_urls": "any"}, clocked=True
        )
        assert self.server.program == MODULE
        self.receiver = receiver

    def add_hook(self) -> None:
        """Create the hook, once."""
        store = self.open_store()
        made = store.hooks.create_hook(self.client_id, self.receiver.url)
        store.hooks.update_hook(None, made.id, secret=SECRET)
        store.close()

    def open_store(self) -> Store:
        return open_store(Config(data=self.server.data))

    def broken_hooks(self) -> list[str]:
        """What is wrong with the deliveries, with all senders idle and everything loaded."""
        store = self.open_store()
        try:
            [hook] = store.hooks.list_hooks()
            found = self._settle_deliveries(store, hook.id)
            made = store.deliveries.list_deliveries(hook.id, limit=100_000)[::-1]
            loads = [load for load in store.loads.list_loads(limit=100_000) if load.error is None]
            told = {one.load_id for one in made}
            found += [
                f"no delivery of load {load.id}"
                for load in loads
                if load.id not in told and (load.rows_loaded or load.rows_rejected)
            ]
            if len(told) != len(made):
                found.append(f"{len(made) - len(told)} loads have two deliveries")
            return found + self._compare(made)
        finally:
            store.close()

    def _settle_deliveries(self, store: Store, hook_id: int) -> list[str]:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        while time.monotonic() < deadline:
            waiting = store.deliveries.list_deliveries(hook_id, state="waiting")
            if not waiting:
                return []
            if all(one.tries for one in waiting):
                self.pass_by(15)  # the pause behind an error
            time.sleep(0.1)
        return [f"{len(waiting)} deliveries wait for ever"]

    def _compare(self, made: list[HookDelivery]) -> list[str]:
        """Compare what was received with what was made."""
        bodies: dict[str, bytes] = {}
        found = [
            f"delivery {seen.key} came with two bodies"
            for seen in list(self.receiver.seen)
            if bodies.setdefault(seen.key, seen.raw) != seen.raw
        ]
        known = {one.id for one in made}
        found += [f"delivery {key} is of no load" for key in bodies.keys() - known]
        found += [f"delivery {one.id} never came" for one in made if one.id not in bodies]
        firsts = list(bodies)  # in the order in which they came for the first time
        for table in TABLES:
            order = [one.id for one in made if one.table_name == table]
            came = [key for key in firsts if key in set(order)]
            if came != [key for key in order if key in bodies]:
                found.append(f"the deliveries of {table} came in another order than its loads")
        return found


def cycles(
    path: Path, destination: str | None, count: int, seed: int, tally: Tally, title: str
) -> None:
    """Some cycles with one server and one receiver."""
    dice = random.Random(seed)
    with receiving() as receiver:
        rig = HookedRig(path, destination, receiver, seed)
        choice = VictimChoice(dice, VICTIMS)
        with rig.running():
            rig.add_hook()
            for cycle in range(count):
                if dice.random() < 0.3:
                    receiver.answers.append(answer_with(dice.choice((500, 302, 404))))
                rig.gate.set()
                time.sleep(dice.uniform(0.05, 0.6))
                victim = choice.draw()
                if rig.kill(victim):
                    rig.restart()
                time.sleep(dice.uniform(0.0, 0.3))
                rig.pause()
                broken = rig.violations() + rig.broken_hooks()
                tally.note(f"{title}, cycle {cycle}, {victim} killed", broken)
                tally.add(**{f"kills of {victim}": 1})
        ids = [seen.key for seen in receiver.seen]
        tally.add(
            **{"deliveries": len(set(ids)), "deliveries that came again": len(ids) - len(set(ids))}
        )


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Half of the cycles into each destination."""
    kinds = arguments.destination
    with destinations(kinds) as fresh:
        for number, kind in enumerate(kinds):
            share = arguments.cycles // len(kinds) + (number < arguments.cycles % len(kinds))
            if share:
                with folder() as path:
                    cycles(path, fresh(kind), share, arguments.seed, tally, kind)


if __name__ == "__main__":
    sys.exit(command("hooks", str(__doc__), run, cycles=200))
