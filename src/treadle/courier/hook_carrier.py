"""Delivers post-load hooks: asks the store what is due, sends it, and records what became of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from treadle.courier.decisions import (
    AT_ONCE_MAX,
    AT_ONCE_OF_HOOK_MAX,
    TryResult,
    choose_deliveries,
    judge_try,
)
from treadle.store.deliveries import FAILED
from treadle.store.model import DueDelivery, RecordedTry
from treadle.store.store import Store

if TYPE_CHECKING:
    from treadle.courier.hook_sender import HookSender

logger = logging.getLogger("treadle.courier")

LOOK_SECONDS: Final = 1.0
"""The time between two looks while nothing is under way."""

ANSWER_WAIT_SECONDS: Final = 0.25
"""How long a look waits for an answer to something that is under way."""

REPORT_INTERVAL_US: Final = 60 * 1_000_000
"""The time between two log lines about one hook that does not take its deliveries."""

TIDY_INTERVAL_US: Final = 60 * 1_000_000
KEPT_US: Final = 30 * 86_400 * 1_000_000
DELIVERIES_MAX: Final = 100_000


@dataclass(slots=True)
class HookCarrier:
    """Delivers hooks, all in the thread that calls it.

    A delivery is in the store until its try is recorded, so a process that is killed sends it
    again.

    Attributes:
        store: holds the deliveries.
        make_sender: makes what sends them, at the first delivery: HTTP is a large import, and most
            servers have no hooks.
        dice: returns a random number from 0 to 1.
        clock: microseconds since 1970.
        note_tries: called with the tries that were recorded; None for nobody.
    """

    store: Store
    make_sender: "Callable[[], HookSender]"
    dice: Callable[[], float]
    clock: Callable[[], int]
    note_tries: Callable[[Sequence[tuple[DueDelivery, RecordedTry]]], None] | None = None
    _sender: "HookSender | None" = None
    _loop: asyncio.AbstractEventLoop | None = None
    _under_way: dict["asyncio.Task[TryResult]", DueDelivery] = field(default_factory=dict)
    _unrecorded: list[tuple[DueDelivery, RecordedTry]] = field(default_factory=list)
    """Tries that the store did not take yet. Their deliveries are not sent again meanwhile."""
    _reported_at: dict[tuple[int, str], int] = field(default_factory=dict)
    _tidied_at: int | None = None

    def run_once(self, now_us: int) -> float:
        """Record what was answered, and send what is due."""
        if self._under_way:
            self._await_answers(ANSWER_WAIT_SECONDS)
        self._record()
        self._tidy(now_us)
        if len(self._under_way) < AT_ONCE_MAX:
            due = self.store.deliveries.list_due(now_us, 2 * AT_ONCE_OF_HOOK_MAX)
            for delivery in choose_deliveries(due, list(self._under_way.values())):
                self._begin(delivery)
        return 0.0 if self._under_way else LOOK_SECONDS

    def finish(self, seconds: float) -> None:
        """Wait for answers for a while; what is not answered then is sent again later."""
        if self._loop is None:
            return
        until = self._loop.time() + seconds
        while self._under_way and self._loop.time() < until:
            self._await_answers(until - self._loop.time())
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            self._loop.run_until_complete(asyncio.wait(self._under_way))
            self._under_way.clear()
        self._loop.close()
        self._record()

    def _begin(self, delivery: DueDelivery) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        if self._sender is None:
            self._sender = self.make_sender()
        self._under_way[self._loop.create_task(self._sender.send(delivery))] = delivery

    def _await_answers(self, seconds: float) -> None:
        """Wait until a try ended, or until the time is over, and judge those that ended."""
        assert self._loop is not None  # noqa: S101 - it was made with the first task
        done, _ = self._loop.run_until_complete(
            asyncio.wait(self._under_way, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        )
        for task in done:
            delivery = self._under_way.pop(task)
            try:
                result = task.result()
            except Exception:
                logger.exception("delivery %s met an error that was not expected", delivery.id)
                result = TryResult(None, "", "treadle met an error that was not expected", 0)
            judged = judge_try(delivery, result, self.clock(), self.dice())
            self._unrecorded.append((delivery, judged))

    def _record(self) -> None:
        """Record the tries that ended; they stay where the store does not take them now."""
        if not self._unrecorded:
            return
        self.store.deliveries.record_tries([judged for _, judged in self._unrecorded])
        for delivery, judged in self._unrecorded:
            if judged.error is not None:
                self._report_failure(delivery, judged)
        recorded, self._unrecorded = self._unrecorded, []
        if self.note_tries is not None:
            self.note_tries(recorded)

    def _report_failure(self, delivery: DueDelivery, judged: RecordedTry) -> None:
        """Log a try that failed, for each hook and state once a minute; the store has them all."""
        about = delivery.hook_id, judged.state
        reported = self._reported_at.get(about)
        if reported is not None and 0 <= judged.at - reported < REPORT_INTERVAL_US:
            return
        self._reported_at[about] = judged.at
        if judged.state == FAILED:
            logger.error(
                "hook %d did not take delivery %s, which is given up: %s; "
                "`treadle hook send-again` sends it again",
                delivery.hook_id,
                delivery.id,
                judged.error,
            )
            return
        logger.warning(
            "hook %d did not take delivery %s, which is sent again in %.0f s: %s",
            delivery.hook_id,
            delivery.id,
            (judged.due_at - judged.at) / 1e6,
            judged.error,
        )

    def _tidy(self, now: int) -> None:
        """Delete deliveries that are too old or too many, once a minute."""
        if self._tidied_at is not None and 0 <= now - self._tidied_at < TIDY_INTERVAL_US:
            return
        gone, lost = self.store.deliveries.delete_deliveries_before(now - KEPT_US, DELIVERIES_MAX)
        self._tidied_at = now
        if gone:
            logger.info("removed %d old deliveries of hooks", gone)
        if lost:
            logger.error(
                "%d of them were never delivered: they had waited for 30 days, or more than %d "
                "deliveries are there",
                lost,
                DELIVERIES_MAX,
            )
