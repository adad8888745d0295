"""Which process is killed next."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

WHOLE = ("all", "supervisor")
"""Victims after which everything is started anew."""

CHILDREN_MAX = 3
"""Children killed before everything is started anew: each death makes the next pause longer."""


@dataclass(slots=True)
class VictimChoice:
    """Draws victims, so that a child is not killed too often in a row.

    Attributes:
        dice: decides.
        victims: names of processes, and `WHOLE`; a name that stands twice is drawn twice as often.
        children: how many children were drawn since everything was started anew.
    """

    dice: random.Random
    victims: Sequence[str]
    children: int = 0

    def draw(self) -> str:
        """Return the next victim: "all", "supervisor", or the name of a child process."""
        victim = self.dice.choice(self.victims)
        if victim not in WHOLE:
            self.children += 1
            if self.children > CHILDREN_MAX:
                victim = "all"
        if victim in WHOLE:
            self.children = 0
        return victim
