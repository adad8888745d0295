"""Loads that end at a failpoint, as those of a process that dies, and the process after it.

Also loads that stop there while another process works.
"""

from collections.abc import Callable
from typing import Any

import pytest

from treadle import failpoint
from treadle.destinations.conformance.builders import TableLoads
from treadle.destinations.protocol import Session
from treadle.destinations.registry import make_destination
from treadle.tables.model import LoadPlan


class Death(BaseException):
    """A process that ends at a failpoint."""


def die_at(monkeypatch: pytest.MonkeyPatch, point: str, passes: int = 1) -> None:
    """Raise at a failpoint, when it is reached for this time."""
    left = [passes]

    def reach(name: str) -> None:
        if name == point:
            left[0] -= 1
            if not left[0]:
                raise Death(name)

    monkeypatch.setattr(failpoint, "reach", reach)


def die(monkeypatch: pytest.MonkeyPatch, session: Session, plan: LoadPlan, point: str) -> None:
    """Load a plan, and end at a failpoint."""
    with monkeypatch.context() as patch:
        die_at(patch, point)
        with pytest.raises(Death):
            session.load(plan)


def pause_at(monkeypatch: pytest.MonkeyPatch, point: str, meanwhile: Callable[[], Any]) -> None:
    """Call something when a failpoint is reached for the first time, as what others do then."""

    def reach(name: str) -> None:
        if name == point:
            monkeypatch.undo()
            meanwhile()

    monkeypatch.setattr(failpoint, "reach", reach)


def carry_on(url: str, session: Session, plan: LoadPlan) -> TableLoads:
    """A session of another process, that knows what the one before was going to load."""
    session.close()
    other = make_destination(url).open()
    loads = TableLoads(other, position=plan.offset.previous_position, revision=plan.revision)
    loads.batched_at = plan.batched_at
    return loads
