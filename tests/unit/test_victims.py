"""Whom the fault runs kill."""

import random

from tests.faults.victims import CHILDREN_MAX, WHOLE, VictimChoice

VICTIMS = ("loader", "worker", "all", "supervisor")


def test_after_some_children_everything_is_killed() -> None:
    choice = VictimChoice(random.Random(1), ("loader",))
    drawn = [choice.draw() for _ in range(2 * (CHILDREN_MAX + 1))]
    assert drawn == [*["loader"] * CHILDREN_MAX, "all"] * 2


def test_what_starts_everything_anew_is_counted_from() -> None:
    choice = VictimChoice(random.Random(1), VICTIMS)
    in_a_row = 0
    for _ in range(500):
        victim = choice.draw()
        assert victim in VICTIMS
        in_a_row = 0 if victim in WHOLE else in_a_row + 1
        assert in_a_row <= CHILDREN_MAX


def test_the_same_dice_draw_the_same() -> None:
    one, other = (VictimChoice(random.Random(7), VICTIMS) for _ in range(2))
    assert [one.draw() for _ in range(50)] == [other.draw() for _ in range(50)]
