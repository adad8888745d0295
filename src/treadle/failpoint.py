"""Failpoints: named places at which a process under test kills itself.

Nothing in treadle arms a failpoint: no setting, flag or variable names one. A test starts the
server through a program of its own that calls `arm` in the supervisor. The children get the order
with their settings (`treadle.server.child_channel`). Unarmed, `reach` is an empty function.

The plan is a file. The process that removes it dies, so it happens once: a restarted process goes
on, and of several processes that reach the same failpoint only one dies.
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
"""The failpoints that records pass, in their order."""

MOVE_FAILPOINTS: Final = (
    "move.before-copy",  # the destination was opened, nothing is copied
    "move.after-copy",  # entries were copied, and more may follow
    "move.before-switch",  # all that was there is copied, the source loads into its former place
    "move.after-switch",  # it loads into the new one, nothing is told to the operator
    "loader.before-settle",  # both destinations have answered, the move is open
    "loader.after-settle",
)
"""The failpoints of a source that gets another destination, in their order."""


POSTGRES_LOG_FAILPOINTS: Final = (
    "log.pg.before-append",  # a group is made, nothing is sent
    "log.pg.after-append",  # the database answered, nobody is told
    "log.pg.resolve",  # an answer did not come, and is about to be found out
    "keeper.switch",  # the log goes on in another segment, not committed
    "keeper.drop",  # a segment is dropped, not committed
)
"""The failpoints of a log on PostgreSQL, beside those that records pass in every log."""

STEP_FAILPOINTS: Final = (
    "destination.pending",  # what is to come is noted, nothing is changed
    "destination.changed",  # a schema change is made, and committed for itself
    "destination.swap",  # the rows are committed, a table is about to take another one's place
)
"""The failpoints of a load into a destination that cannot undo schema changes. The last one is
passed only where a table gets another key."""

STAGE_FAILPOINTS: Final = (
    "destination.staged",  # rows are in a table of their own, the load's table is as it was
    "destination.after-offset",  # the position is written, not read back
)
"""The failpoints of a load into ClickHouse, beside those of `STEP_FAILPOINTS`."""

PART_FAILPOINTS: Final = (
    "destination.part",  # one table of several is committed, the one that says so is not
)
"""The failpoints of a load into a destination where each table commits for itself."""

SHOW_FAILPOINTS: Final = (
    "destination.shown",  # the load is committed, and readers see one of its files
)
"""The failpoints of a load into files, beside those where each table commits for itself."""

UNIT_FAILPOINTS: Final = (
    "share.taken",  # units were taken, nothing is loaded
    "share.before-evict",  # the sessions of a lost loader are about to be ended
)
"""The failpoints of loaders that share units."""


class FailpointPlan(msgspec.Struct, frozen=True):
    """The failpoint at which a process dies.

    Attributes:
        point: one of `FAILPOINTS`, `MOVE_FAILPOINTS`, `POSTGRES_LOG_FAILPOINTS`,
            `STEP_FAILPOINTS`, `STAGE_FAILPOINTS`, `PART_FAILPOINTS`, `SHOW_FAILPOINTS` or
            `UNIT_FAILPOINTS`.
        passes: die when a process reaches it for this time, counted from 1.
        whole: kill the whole process group.
    """

    point: str
    passes: int = 1
    whole: bool = False


def _do_nothing(name: str) -> None:
    """Do nothing, as in every server outside tests."""


reach: Callable[[str], None] = _do_nothing
"""Called as `failpoint.reach("log.append")` at each place."""

_armed_file: str | None = None


def arm(file: str | None) -> None:
    """Let this process die as the plan in a file says, as long as the file exists.

    Args:
        file: path of a `FailpointPlan` as JSON. None disarms.
    """
    global _armed_file, reach
    _armed_file = file
    reach = _do_nothing if file is None else _watch_plan(Path(file))


def get_armed_file() -> str | None:
    """Return the plan's file, for the children of this process."""
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
