"""The desk's second task: it carries out the resends of rejected records that people asked for.

A resend goes on in steps. Each step is noted in one transaction with the records that it sent
again, and the log stores a record once however often it is sent. So a desk that is killed is
followed by one that goes on with the next step, and nothing is doubled.
"""

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from treadle.errors import OperatorError, RetriableError
from treadle.log.protocol import LogAppender, LogReader
from treadle.store.logs import FIRST_LOG
from treadle.store.operations import ResendProgress, ServerOperation
from treadle.store.rejects import ResentRecord
from treadle.store.store import Store
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.rejects import (
    RejectedRecord,
    RejectFilter,
    RejectPlace,
    RejectResender,
    ResendResult,
    find_rejects,
    get_reject,
)
from treadle.tracking.resend_orders import ResendOrder, decode_order

logger = logging.getLogger("treadle.desk")

POLL_SECONDS: Final = 1.0
"""How often the store is asked for resends when nobody says that there is one."""

RECORDS_PER_STEP: Final = 200
TOGETHER: Final = 64
"""Records that are given to the log at once: it stores them with one commit."""

CLAIM_US: Final = 90_000_000
"""How long an operation is claimed, longer than a step takes."""

REST_SECONDS_MAX: Final = 1.0
"""After a step there is a pause as long as it was, and no longer than this: half of the time the
log and the store belong to others."""

RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class ResendDesk:
    """Carries out the resends that the store has, one at a time.

    Attributes:
        store: has them, and the rejected records.
        open_log: opens the log for writing; called when there is something to do.
        open_reader: opens it for reading.
        place: where it runs, see `ClusterMember.place`.
        clock: microseconds since 1970.
        retry_seconds: pauses between tries while the log or the store takes nothing; the last one
            is repeated.
    """

    store: Store
    open_log: Callable[[], LogAppender]
    open_reader: Callable[[], LogReader]
    place: str
    clock: Callable[[], int]
    retry_seconds: Sequence[float] = RETRY_SECONDS
    _holder: str = field(default_factory=lambda: str(uuid.uuid4()))
    _wake: threading.Event = field(default_factory=threading.Event)
    _is_stopped: bool = False
    _is_waiting: bool = False

    def run(self) -> None:
        """Carry out resends until `stop`; the one that is under way then goes on later."""
        while not self._is_stopped:
            self._wake.clear()
            if not self.run_once() and not self._is_stopped:
                self._wake.wait(POLL_SECONDS)

    def wake(self) -> None:
        """Look at once whether there is a resend; may be called from any thread."""
        self._wake.set()

    def stop(self) -> None:
        """Let `run` end after its step; may be called from a signal handler."""
        self._is_stopped = True
        self._wake.set()

    def run_once(self) -> bool:
        """Carry out the resend that waits longest, if there is one; return whether there was."""
        try:
            operation = self.store.operations.claim_operation(self.place, self._holder, CLAIM_US)
        except RetriableError as error:
            if not self._is_waiting:
                logger.warning("the desk waits: %s", error)
            self._is_waiting = True
            return False
        self._is_waiting = False
        if operation is None:
            return False
        try:
            asyncio.run(self._carry_out(operation))
        except (OperatorError, RetriableError) as error:
            # The claim ends by itself, and then the operation goes on.
            logger.warning("resend %d is interrupted: %s", operation.id, error)
            return False
        except Exception:
            logger.exception("resend %d failed by a fault of treadle", operation.id)
            self._give_up(operation)
        return True

    def _give_up(self, operation: ServerOperation) -> None:
        try:
            self.store.operations.finish_operation(
                operation.id, self._holder, "a fault of the server; its log has more"
            )
        except (OperatorError, RetriableError) as error:
            logger.warning("resend %d could not be recorded: %s", operation.id, error)

    async def _carry_out(self, operation: ServerOperation) -> None:
        order = decode_order(operation.detail)
        log = self.open_log()
        progress = LoadProgress(self.store, self.open_reader)
        resender = RejectResender(log, progress, self.clock)
        at: Mapping[str, Any] = operation.progress
        try:
            while not self._is_stopped:
                began = time.monotonic()
                chosen, missing, after = await progress.run_in_thread(
                    partial(self._choose_step, order, at)
                )
                made = await self._send_step(operation, resender, order, chosen)
                if made is None:
                    return
                step = ResendProgress(made.resent, [*missing, *made.failed], after)
                goes_on = await progress.run_in_thread(partial(self._note_step, operation, step))
                if not goes_on:
                    return
                if after.get("finished"):
                    await progress.run_in_thread(
                        lambda: self.store.operations.finish_operation(operation.id, self._holder)
                    )
                    logger.info("resend %d is done", operation.id)
                    return
                at = after
                rest = min(time.monotonic() - began, REST_SECONDS_MAX)
                await asyncio.to_thread(self._pause, rest)
        finally:
            await progress.aclose()
            await log.aclose()

    def _choose_step(
        self, order: ResendOrder, at: Mapping[str, Any]
    ) -> tuple[list[RejectedRecord], list[tuple[str, str]], dict[str, Any]]:
        """Return the records of the next step, ids that are none any more, and the place after it.

        Those of paused and deleted sources are among the ids, too.
        """
        missing: list[tuple[str, str]] = []
        if order.query is None:
            begin = int(at.get("ids", 0))
            some = order.ids[begin : begin + RECORDS_PER_STEP]
            found = []
            for name in some:
                try:
                    found.append(get_reject(self.store, name))
                except OperatorError as error:
                    missing.append((name, str(error)))
            place = begin + len(some)
            after: dict[str, Any] = {"ids": place, "finished": place >= len(order.ids)}
            found = [reject for reject in found if reject.resent is None]
        else:
            query = replace(order.query, newest=order.newest)
            before = _decode_place(at.get("before"))
            page = find_rejects(self.store, RejectFilter(query), before, RECORDS_PER_STEP)
            found = list(page.rejects)
            after = {"before": page.next, "finished": page.next is None}
        closed = self._find_closed_sources({reject.source_id for reject in found})
        missing += [(one.id, closed[one.source_id]) for one in found if one.source_id in closed]
        return [one for one in found if one.source_id not in closed], missing, after

    def _find_closed_sources(self, source_ids: set[int]) -> dict[int, str]:
        """Return why sources take no records: those that are paused or deleted."""
        closed: dict[int, str] = {}
        for source_id in source_ids:
            source = self.store.sources.get_source(None, source_id)
            if source is None or source.deleted_at is not None:
                closed[source_id] = f"the source {source_id} was deleted; it takes no records"
            elif not source.active:
                closed[source_id] = f"the source {source.name} is paused; unpause it first"
        return closed

    async def _send_step(
        self,
        operation: ServerOperation,
        resender: RejectResender,
        order: ResendOrder,
        chosen: Sequence[RejectedRecord],
    ) -> ResendProgress | None:
        """Send the records of a step again; None if the operation is not to go on.

        While the log takes nothing, the same is tried again.
        """
        resent: list[ResentRecord] = []
        failed: list[tuple[str, str]] = []
        left = list(chosen)
        tries = 0
        while left:
            results = await resender.resend_together(left, order.edit, TOGETHER)
            waiting = _sort_results(results, resent, failed)
            left = [reject for reject in left if reject.id in waiting]
            if not left:
                break
            note = f"it is tried again: {next(iter(waiting.values()))}"
            goes_on = await asyncio.to_thread(
                self.store.operations.record_waiting, operation.id, self._holder, CLAIM_US, note
            )
            if not goes_on or self._is_stopped:
                return None
            seconds = self.retry_seconds[min(tries, len(self.retry_seconds) - 1)]
            await asyncio.to_thread(self._pause, seconds)
            tries += 1
        return ResendProgress(resent, failed, {})

    def _note_step(self, operation: ServerOperation, step: ResendProgress) -> bool:
        """Note a step; while the store takes nothing, try again.

        Raises:
            RetriableError: the store took nothing for as long as the claim lasts.
        """
        tries = 0
        while True:
            try:
                return self.store.operations.record_progress(
                    operation.id, self._holder, CLAIM_US, step
                )
            except RetriableError:
                if self._is_stopped or tries >= len(self.retry_seconds):
                    raise
                self._pause(self.retry_seconds[tries])
                tries += 1

    def _pause(self, seconds: float) -> None:
        """Wait until the time is over, or somebody wakes or stops the desk."""
        self._wake.clear()
        if not self._is_stopped:
            self._wake.wait(seconds)


def _decode_place(before: Sequence[int] | None) -> RejectPlace | None:
    """Return the place that a step begins behind; one of an earlier release is in the first log."""
    if before is None:
        return None
    return RejectPlace(*((FIRST_LOG, *before) if len(before) == 2 else before))


def _sort_results(
    results: Mapping[RejectedRecord, ResendResult],
    resent: list[ResentRecord],
    failed: list[tuple[str, str]],
) -> dict[str, str]:
    """Add results to what was sent and what failed; return id -> why, of those to try again."""
    waiting: dict[str, str] = {}
    for reject, result in results.items():
        if isinstance(result, RetriableError):
            waiting[reject.id] = str(result)
        elif isinstance(result, OperatorError):
            failed.append((reject.id, str(result)))
        else:
            resent.append(ResentRecord(reject.position, reject.index, result[0].first, reject.log))
    return waiting
