"""The requests that wait to be appended, between the event loops that serve and a log's writer.

Requests of one turn of an event loop are gathered and handed over together. Their payloads are
encoded where that costs others least, and no more may wait than fits into memory.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from treadle import failpoint
from treadle.errors import InternalError, RetriableError, TreadleError
from treadle.log.codec import PLAIN_BYTES_MAX, PayloadCodec, StoredPayload, encode_payload
from treadle.log.protocol import (
    AppendResult,
    AppendWaiter,
    IdempotencyKey,
    IntakeFullError,
    NewEntry,
)

# Payload bytes that may wait for the writer before appends are turned away. A disk that takes
# 10 MB/s of compressed entries works this off in about half a second.
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024

# Requests of one turn of the event loop are handed over together, up to so many bytes. Otherwise
# the writer would be woken for each, and would begin a group with the first alone.
GATHERED_BYTES_MAX: Final = 64 * 1024

# Requests of so many bytes are compressed on the event loop, for about half a millisecond. The
# writer's thread would give the interpreter's lock away to compress, and would get it back only
# when the event loop has decoded the next body, which takes longer than the compression.
ENCODED_EARLY_BYTES_MIN: Final = PLAIN_BYTES_MAX + 1
ENCODED_EARLY_BYTES_MAX: Final = 256 * 1024

# Larger requests, and those of many entries, are compressed in a thread of their own: 20 MB take
# 20 ms and 20,000 entries 45 ms, and everything that waits for the writer would wait for that too.
ENCODED_EARLY_ENTRIES_MAX: Final = 256

# What an entry costs in memory besides its payload, so that many empty ones are bounded too.
ENTRY_OVERHEAD_BYTES: Final = 512


@dataclass(slots=True)
class AppendRequest:
    """The entries of one request, which are stored together.

    Attributes:
        entries: at least one.
        key: given where they are only stored if its name is new.
        payloads: theirs in order, where they were encoded beforehand.
    """

    entries: Sequence[NewEntry]
    key: IdempotencyKey | None
    payloads: Sequence[StoredPayload] | None


@dataclass(slots=True)  # not frozen: that takes a microsecond more of each request
class PendingAppend(AppendRequest):
    """A request that waits, and who waits for it.

    Attributes:
        cost: bytes that it is counted with; see `AppendIntake.release`.
        loop: where `waiter` is called.
        waiter: gets the result.
    """

    cost: int
    loop: asyncio.AbstractEventLoop
    waiter: AppendWaiter


AppendOutcome = AppendResult | TreadleError
"""Where the entries of a request are, or why they are not there."""


class AppendIntake:
    """Takes requests from event loops, and gives them to the thread that writes.

    Args:
        hand_over: called with requests in the order in which they came, on an event loop or in a
            thread that closes, and at the end with None. It must not block.
        find_refusal: returns why the log takes nothing now; None when it does.
        place: what the requests wait for, in the words of an error: "the log's disk".
        pending_bytes_max: payload bytes that may wait; more is turned away with `RetriableError`.
            One request alone is always taken.
    """

    def __init__(
        self,
        hand_over: Callable[[list[PendingAppend] | None], None],
        find_refusal: Callable[[], str | None],
        place: str,
        pending_bytes_max: int = PENDING_BYTES_MAX,
    ) -> None:
        self._give = hand_over
        self._find_refusal = find_refusal
        self._place = place
        self._pending_bytes_max = pending_bytes_max
        self._pending_bytes = 0
        self._codec = PayloadCodec()
        self._codec_lock = threading.Lock()  # of `_codec`
        self._encoded_apart = 0  # requests in `_encoder`; counted under `_state_lock`
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="treadle-encoder")
        self._state_lock = threading.Lock()  # of what waits and is gathered, and `_closing`
        self._closing = False
        self._gathered: list[PendingAppend] = []
        self._gathered_bytes = 0

    def begin(self, entries: Sequence[NewEntry], waiter: AppendWaiter) -> None:
        """Begin an append without a task that waits; see `protocol.LogAppender.begin_append`."""
        size = self._reserve(entries)
        loop = asyncio.get_running_loop()
        payloads = self._encode_early(entries, size)
        self._gather(
            PendingAppend(entries, None, payloads, compute_cost(entries, size), loop, waiter)
        )

    async def submit(
        self, entries: Sequence[NewEntry], once: IdempotencyKey | None
    ) -> AppendResult:
        """Hand a request to the thread that writes, and wait for its result."""
        size = self._reserve(entries)
        cost = compute_cost(entries, size)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[AppendResult] = loop.create_future()
        if size <= ENCODED_EARLY_BYTES_MAX and len(entries) <= ENCODED_EARLY_ENTRIES_MAX:
            payloads = self._encode_early(entries, size)
            self._gather(PendingAppend(entries, once, payloads, cost, loop, done))
            return await done
        with self._state_lock:
            self._encoded_apart += 1
        try:
            payloads = await loop.run_in_executor(self._encoder, _encode_apart, entries)
            self._gather(PendingAppend(entries, once, payloads, cost, loop, done))
        except BaseException:
            self.release(cost)
            raise
        finally:
            with self._state_lock:
                self._encoded_apart -= 1
                self._end_if_closing()
        return await done

    def release(self, cost: int) -> None:
        """Count the bytes of a request no more."""
        with self._state_lock:
            self._pending_bytes -= cost

    def begin_closing(self) -> None:
        """Take nothing more, and hand None over after what was begun; again does nothing."""
        with self._state_lock:
            if not self._closing:
                self._closing = True
                self._end_if_closing()

    def close(self) -> None:
        """Let the encoder's thread end."""
        self._encoder.shutdown(wait=False)

    def _reserve(self, entries: Sequence[NewEntry]) -> int:
        """Count the bytes of a request as waiting; return the size of its payloads.

        Raises:
            RetriableError: the log takes nothing now, or not so much.
        """
        size = 0
        for entry in entries:
            size += len(entry.payload)
            if not entry.table_name.isascii():
                _check_table_name(entry.table_name)
        cost = compute_cost(entries, size)
        if not cost:
            raise InternalError("an append holds at least one entry, found none")
        failpoint.reach("log.append")
        refusal = self._find_refusal()
        if refusal is not None:
            raise RetriableError(refusal)
        with self._state_lock:
            if self._closing:
                raise RetriableError("the log is being closed")
            if self._pending_bytes and self._pending_bytes + cost > self._pending_bytes_max:
                raise IntakeFullError(
                    f"{self._pending_bytes} bytes wait for {self._place} already, more than fits"
                )
            self._pending_bytes += cost
        return size

    def _gather(self, waiting: PendingAppend) -> None:
        """Give a request to the thread that writes, with others of this turn of the loop."""
        with self._state_lock:
            self._gathered.append(waiting)
            self._gathered_bytes += waiting.cost
            if self._gathered_bytes >= GATHERED_BYTES_MAX:
                self._hand_over()
            elif len(self._gathered) == 1 or self._gathered[0].loop is not waiting.loop:
                waiting.loop.call_soon(self._hand_over_locked)

    def _encode_early(self, entries: Sequence[NewEntry], size: int) -> list[StoredPayload] | None:
        """Encode the payloads; return None where the thread that writes is to do it."""
        if not ENCODED_EARLY_BYTES_MIN <= size <= ENCODED_EARLY_BYTES_MAX:
            return None
        if not self._codec_lock.acquire(blocking=False):  # the loop of another thread is at it
            return None
        try:
            return [encode_payload(self._codec, entry.payload) for entry in entries]
        finally:
            self._codec_lock.release()

    def _hand_over_locked(self) -> None:
        with self._state_lock:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the thread that writes what was gathered; the caller holds `_state_lock`."""
        if self._gathered:
            self._give(self._gathered)
            self._gathered, self._gathered_bytes = [], 0

    def _end_if_closing(self) -> None:
        """Let the thread that writes end after what was begun; the caller holds `_state_lock`."""
        if self._closing and not self._encoded_apart:
            self._hand_over()
            self._give(None)


def answer_waiters(answers: Iterable[tuple[PendingAppend, AppendOutcome]]) -> None:
    """Tell those who wait what became of their requests, each on its event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[PendingAppend, AppendOutcome]]] = {}
    for waiting, outcome in answers:
        loops.setdefault(waiting.loop, []).append((waiting, outcome))
    for loop, its in loops.items():
        try:
            loop.call_soon_threadsafe(_answer_here, its)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def compute_cost(entries: Sequence[NewEntry], size: int) -> int:
    """Return what entries cost in memory, in bytes; `size` is that of their payloads."""
    return size + len(entries) * ENTRY_OVERHEAD_BYTES


def _answer_here(answers: list[tuple[PendingAppend, AppendOutcome]]) -> None:
    for waiting, outcome in answers:
        if waiting.waiter.done():
            continue  # whoever waited was cancelled
        if isinstance(outcome, TreadleError):
            waiting.waiter.set_exception(outcome)
        else:
            waiting.waiter.set_result(outcome)


def _encode_apart(entries: Sequence[NewEntry]) -> list[StoredPayload]:
    """Encode payloads; nothing is shared with other threads."""
    codec = PayloadCodec()
    return [encode_payload(codec, entry.payload) for entry in entries]


def _check_table_name(table_name: str) -> None:
    try:
        table_name.encode()
    except UnicodeEncodeError as error:
        raise InternalError(
            f"a table name holds no unpaired surrogates, found {table_name!r}"
        ) from error
