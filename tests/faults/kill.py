"""`python -m tests.faults.kill`: kill -9 at random times under load, restart, compare."""

import argparse
import random
import sys
import time
from pathlib import Path

from tests.faults.command import Tally, command, destinations, folder
from tests.faults.traffic import Rig
from tests.faults.victims import VictimChoice

TABLES = {"orders": True, "events": False}
VICTIMS = ("loader", "loader", "worker", "all", "supervisor")


def cycles(
    path: Path, destination: str | None, count: int, seed: int, tally: Tally, title: str
) -> None:
    """Some cycles with one server."""
    dice = random.Random(seed)
    rig = Rig(path, destination, TABLES, seed=seed)
    choice = VictimChoice(dice, VICTIMS)
    with rig.running():
        for cycle in range(count):
            before = rig.witness.acknowledged
            rig.gate.set()
            time.sleep(dice.uniform(0.05, 0.6))
            victim = choice.draw()
            if rig.kill(victim):
                rig.restart()
            time.sleep(dice.uniform(0.0, 0.3))
            rig.pause()
            tally.note(f"{title}, cycle {cycle}, {victim} killed", rig.violations())
            tally.add(**{f"kills of {victim}": 1})
            tally.add(**{"requests acknowledged": rig.witness.acknowledged - before})
        tally.add(**{"requests without an answer": rig.witness.unanswered})


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
    sys.exit(command("kill", str(__doc__), run, cycles=50))
