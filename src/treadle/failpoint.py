"""Crash points: named places at which a process under test kills itself.

Nothing in treadle arms a point: no setting, flag or variable names one. A test starts the server
through a program of its own that calls `arm` in the supervisor; the order then travels to the
children with their other orders (`treadle.server`). Unarmed, `reach` is an empty function.

The plan is a file. The process that removes it dies, so it happens once: a restarted process goes
on, and several that pass the same place do not all die.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

FAILPOINTS: Final = (
    "log.append",  # a request was handed over, nothing is written
    "log.before-commit",  # the rows are written, COMMIT is not
    "log.after-commit",  # durable, not answered
    "log.answer",  # about to answer those who wait
    "log.before-marks",  # what was loaded is about to be noted in the log
    "log.after-marks",
    "log.trim",  # entries are removed, not committed
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


class FailpointPlan(msgspec.Struct, frozen=True):
    """Where to die.

    Attributes:
        point: one of `FAILPOINTS`.
        passes: die at this pass of a process, counted from 1.
        whole: take the whole process group along.
    """

    point: str
    passes: int = 1
    whole: bool = False


def _do_nothing(name: str) -> None:
    """What a point does in every server that people use."""


reach: Callable[[str], None] = _do_nothing
"""Called as `crash.point("log.append")` at each place."""

_armed_file: str | None = None


def arm(file: str | None) -> None:
    """Let this process die as the plan in a file says, while there is that file.

    Args:
        file: path; it holds a `FailpointPlan` as JSON. None lets the process live.
    """
    global _armed_file, reach
    _armed_file = file
    reach = _do_nothing if file is None else _watch_plan(Path(file))


def get_armed_file() -> str | None:
    """The file of this process, to be handed to its children."""
    return _armed_file


def _watch_plan(file: Path) -> Callable[[str], None]:
    passed = 0

    def pass_by(name: str) -> None:
        nonlocal passed
        try:
            plan = msgspec.json.decode(file.read_bytes(), type=FailpointPlan)
        except FileNotFoundError:
            passed = 0
            return
        if name == plan.point:
            passed += 1
            if passed >= plan.passes:
                _kill_process(file, plan)

    return pass_by


def _kill_process(file: Path, plan: FailpointPlan) -> None:
    try:
        file.unlink()
    except FileNotFoundError:  # another process was faster
        return
    if plan.whole:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
