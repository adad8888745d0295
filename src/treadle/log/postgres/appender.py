"""The writing side of the log on PostgreSQL: an event loop in a thread, with a lane for the log.

The way of an entry: `append` gathers the requests of one turn of the event loop (`AppendIntake`)
and hands them to the thread. While one group is under way the others wait, and then as many of them
as fit make the next group. So one commit serves as many requests as arrived during the one before.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import islice
from typing import Final

from treadle import failpoint
from treadle.log.append_intake import (
    PENDING_BYTES_MAX,
    AppendIntake,
    AppendOutcome,
    PendingAppend,
    answer_waiters,
)
from treadle.log.codec import PayloadCodec
from treadle.log.postgres.connection import make_member, make_parameters
from treadle.log.postgres.grouping import GROUP_ENTRIES_MAX, choose_keyed, count_group
from treadle.log.postgres.lane import EncodedRequest, LogLane, encode_request
from treadle.log.protocol import AppendResult, AppendWaiter, IdempotencyKey, NewEntry
from treadle.log.quota import LogQuota, LogSpace

SILENCE_SECONDS_MAX: Final = 10.0
"""While the database has not answered for longer, new requests are turned away at once."""

RECOVER_SECONDS: Final = 1.0
"""Pause between two attempts to reach a database that did not answer."""

MEASURE_SECONDS: Final = 5.0
"""How often the log is measured; what this appender stores meanwhile is added."""


class PostgresAppender:
    """The writing side of the log (`protocol.LogAppender`).

    Opening blocks until the database is there. A request is answered within a minute, whatever
    happens to the database; see `lane` for what becomes of one that was sent.

    Args:
        url: of the database; see `connection.make_parameters`.
        number: the log's.
        member: who connects, as the database shows it; by default the machine and the process.
        log_id: the name that the log has to have; None for any.
        quota: bounds of the log; beyond them appends are turned away with `RetriableError`.
        pending_bytes_max: payload bytes that may wait; more is turned away with `RetriableError`.
            One request alone is always taken.
        report_failure: called for each group that the database did not take.
        get_tables_max: source id -> how many tables it may have, 0 for any; a request that would
            add more is turned away with `QuotaReachedError`.
        report_commit: called in the thread that writes with the microseconds of each append.

    Raises:
        OperatorError: there is no such log, or the database refuses.
        RetriableError: the database is not available now.
    """

    def __init__(
        self,
        url: str,
        number: int,
        *,
        member: str | None = None,
        log_id: str | None = None,
        quota: LogQuota | None = None,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        report_failure: Callable[[], None] = lambda: None,
        get_tables_max: Callable[[int], int] = lambda source_id: 0,
        report_commit: Callable[[int], None] = lambda microseconds: None,
    ) -> None:
        parameters = make_parameters(url, make_member() if member is None else member)
        self._lane = LogLane(
            parameters,
            number,
            get_tables_max=get_tables_max,
            report_failure=report_failure,
            report_commit=report_commit,
            log_id=log_id or "",
        )
        self._quota = quota
        self._used_bytes = 0  # of the log, but for what this lane has appended since
        self._measured_at = -math.inf
        self._waked = asyncio.Event()
        self._plain: deque[EncodedRequest] = deque()
        self._keyed: deque[EncodedRequest] = deque()
        self._closing = False
        self._keyed_was_last = False
        self._codec = PayloadCodec()
        self._loop = asyncio.new_event_loop()
        self._intake = AppendIntake(
            self._hand_over, self.find_refusal, "the log's database", pending_bytes_max
        )
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run_thread, args=(opened,), name="treadle-log", daemon=True
        )
        self._thread.start()
        try:
            opened.result()
        except BaseException:
            self._thread.join()
            self._intake.close()
            raise
        self.log_id = self._lane.log_id

    async def append(self, entries: Sequence[NewEntry]) -> int:
        """Make entries durable, all or none; see `protocol.LogAppender.append`.

        A caller that stops waiting does not know whether they are in the log, or will be.
        """
        return (await self._intake.submit(entries, None)).first

    async def append_once(self, entries: Sequence[NewEntry], once: IdempotencyKey) -> AppendResult:
        """Make entries durable unless their key is known; see `LogAppender.append_once`."""
        return await self._intake.submit(entries, once)

    def begin_append(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        """Begin an append without a task that waits; see `protocol.LogAppender.begin_append`."""
        self._intake.begin(entries, waiter)

    async def aclose(self) -> None:
        """Finish the appends that were begun, then close; a second time does nothing."""
        self._intake.begin_closing()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
        self._intake.close()

    @property
    def resolved(self) -> dict[str, int]:
        """How often it was found out what had become of a group that was not answered."""
        return dict(self._lane.resolved)

    def find_refusal(self) -> str | None:
        """Return why the log takes nothing now; None when it does."""
        silent = self._lane.silent_since
        if silent is not None and time.monotonic() - silent > SILENCE_SECONDS_MAX:
            seconds = time.monotonic() - silent
            return f"the log's database has not answered for {seconds:.0f} s"
        return self._find_shortage()

    def find_silence(self) -> float:
        """Return for how many seconds the database has not answered; it is asked now."""
        silent = self._lane.silent_since
        if silent is not None:
            return time.monotonic() - silent
        self._measured_at = -math.inf
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._waked.set)
        return 0.0

    def _find_shortage(self) -> str | None:
        """Return why the log is full, by what was measured and what was appended here since."""
        if self._quota is None:
            return None
        used = self._used_bytes + self._lane.stored_bytes
        return self._quota.find_shortage(LogSpace(used, None))

    def _hand_over(self, waiting: list[PendingAppend] | None) -> None:
        """Give requests to the thread, from any other one; None for the end."""
        with suppress(RuntimeError):  # its loop is closed: it was told the end before
            self._loop.call_soon_threadsafe(self._take, waiting)

    # --- in the thread ----------------------------------------------------------------------------

    def _run_thread(self, opened: "Future[None]") -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._lane.open())
            except BaseException as error:  # noqa: BLE001 - raised where it was opened
                opened.set_exception(error)
                return
            opened.set_result(None)
            try:
                runner.run(self._work())
            finally:
                runner.run(self._lane.close())

    def _take(self, waiting: list[PendingAppend] | None) -> None:
        if waiting is None:
            self._closing = True
        else:
            began = time.monotonic()
            for one in waiting:
                its = self._plain if one.key is None else self._keyed
                its.append(encode_request(self._codec, one, began))
        self._waked.set()

    async def _work(self) -> None:
        """Append what is handed over, until the end."""
        while True:
            await self._measure()
            group = self._choose_group()
            if group:
                answer_waiters(zip(*await self._append(group), strict=True))
            elif self._closing:
                return
            else:
                await self._wait()

    async def _wait(self) -> None:
        """Wait for requests; for a while only where none comes before something else is done."""
        self._waked.clear()
        if self._plain or self._keyed or self._closing:
            return
        if self._lane.silent_since is not None:
            await self._lane.recover()
        if self._lane.silent_since is None and self._find_shortage() is None:
            await self._waked.wait()
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._waked.wait(), RECOVER_SECONDS)

    async def _measure(self) -> None:
        """Measure the log where that is due; the keeper removes entries, other gates add some."""
        now = time.monotonic()
        if self._quota is None or now - self._measured_at < MEASURE_SECONDS:
            return
        self._measured_at = now
        used = await self._lane.measure()
        if used is not None:
            self._used_bytes = used - self._lane.stored_bytes

    def _choose_group(self) -> list[EncodedRequest]:
        """Take the requests that are appended next; none where none waits."""
        keyed = choose_keyed(
            len(self._plain), len(self._keyed), keyed_was_last=self._keyed_was_last
        )
        self._keyed_was_last = keyed
        waiting = self._keyed if keyed else self._plain
        count = count_group(list(islice(waiting, GROUP_ENTRIES_MAX + 1)))
        group = [waiting.popleft() for _ in range(count)]
        # Nobody waits for these; their senders may send them again.
        left = [one for one in group if not one.pending.waiter.cancelled()]
        self._intake.release(
            sum(one.pending.cost for one in group if one.pending.waiter.cancelled())
        )
        return left or (self._choose_group() if self._plain or self._keyed else [])

    async def _append(
        self, group: list[EncodedRequest]
    ) -> tuple[list[PendingAppend], list[AppendOutcome]]:
        outcomes = await self._lane.append(group)
        self._intake.release(sum(one.pending.cost for one in group))
        failpoint.reach("log.answer")
        return [one.pending for one in group], outcomes
