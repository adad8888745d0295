"""Checks between the steps of long work: whether anybody waits for it, and whether it may go on.

Code that does the work knows where its steps end. Code that starts it knows when it is to stop.
"""

from collections.abc import Callable

StepCheck = Callable[[], None]
"""Called between the steps of long work, often enough for some steps in a tenth of a second; raises
where the work is not to go on."""


def pass_step() -> None:
    """Let work go on, whatever it takes: for short work."""
