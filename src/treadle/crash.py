"""Crash points: named places at which a process under test kills itself.

Nothing in treadle arms a point: no setting, flag or variable names one. A test starts the server
through a program of its own that calls `arm` in the supervisor; the order then travels to the
children with their other orders (`server.py`). Unarmed, `point` is an empty function.

A plan's file makes it happen once: the process that removes the file dies, so a restarted one goes
on, and several processes that pass the same place do not all die.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

POINTS: Final = (
    "log.append",  # a request was handed over, nothing is written
    "log.before-commit",  # the rows are written, COMMIT is not
    "log.after-commit",  # durable, not answered
    "log.answer",  # about to answer those who wait
    "log.before-marks",  # what was loaded is about to be noted in the log
    "log.after-marks",
    "log.trim",  # between two pieces of a trim
    "loader.before-load",  # planned and prepared, nothing sent
    "loader.after-load",  # committed in the destination, not noted in the store
    "loader.after-record",  # noted in the store, not yet in the log
    "loader.recover",  # a lost report was found in the destination, not yet noted
    "store.record-load",  # the report is written, not committed
    "destination.prepare",  # treadle's own tables are made, not committed
    "destination.after-lock",  # the transaction is open and the position checked
    "destination.after-changes",  # the schema is changed
    "destination.after-rows",  # the rows are written, the position is not
    "destination.before-commit",
    "destination.after-commit",
)
"""Every place there is, in the order in which a record passes them."""


class Plan(msgspec.Struct, frozen=True):
    """Where to die.

    Attributes:
        point: one of `POINTS`.
        file: removed by the process that dies; nobody dies when it is not there.
        passes: die at this pass of a process, counted from 1.
        whole: take the whole process group along.
    """

    point: str
    file: str
    passes: int = 1
    whole: bool = False


def _nothing(name: str) -> None:
    """What a point does in every server that people use."""


point: Callable[[str], None] = _nothing
"""Called as `crash.point("log.append")` at each place."""

_armed: Plan | None = None


def arm(plan: Plan | None) -> None:
    """Let this process die as planned; None lets it live.

    Raises:
        ValueError: there is no such point.
    """
    global _armed, point
    if plan is not None and plan.point not in POINTS:
        raise ValueError(f"there is no crash point {plan.point!r}")
    _armed = plan
    point = _nothing if plan is None else _watch(plan)


def armed() -> Plan | None:
    """The plan of this process, to be handed to its children."""
    return _armed


def _watch(plan: Plan) -> Callable[[str], None]:
    left = plan.passes

    def pass_by(name: str) -> None:
        nonlocal left
        if name != plan.point:
            return
        left -= 1
        if left == 0:
            _die(plan)

    return pass_by


def _die(plan: Plan) -> None:
    try:
        Path(plan.file).unlink()
    except FileNotFoundError:
        return
    if plan.whole:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
