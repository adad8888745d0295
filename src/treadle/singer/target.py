"""A Singer target: takes what a tap prints, and says which states are durable.

Records are collected by stream and sent as batches with the schema of the stream, as target-stitch
sends them (import-api.md 9). A state is emitted when every record before it is durable, or loaded;
of several that are, only the last. So a tap that is started again with the last state that was
emitted loses no record, and those that it sends again replace themselves where they have a key.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

import httpx
import msgspec

from treadle.client.receipt_follower import AcknowledgedRequest, PushOutcome, ReceiptFollower
from treadle.client.request_batch import (
    BYTES_MAX,
    RECORD_BYTES_MAX,
    BatchTemplate,
    RequestBatch,
)
from treadle.client.request_retry import RequestRetry
from treadle.client.request_sender import RequestSender
from treadle.singer.messages import SingerInputError, SingerMessage, parse_message

CHUNK_BYTES: Final = 1024 * 1024
UNSENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of records that are kept at most: collected, or sent and not acknowledged."""

LOOK_SECONDS: Final = 0.25
"""How often the age of what is collected is looked at."""

FOLLOWERS: Final = 4
"""Receipts that are asked for at the same time."""


def read_lines(stream: IO[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield what a tap prints, as lists of lines with the number of the first one.

    Raises:
        SingerInputError: the last line has no end, as where a tap was killed; or a line is too
            long.
    """
    number, rest = 1, b""
    while chunk := stream.read(CHUNK_BYTES):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if lines:
            yield number, lines
            number += len(lines)
        if len(rest) > RECORD_BYTES_MAX:
            raise SingerInputError(
                f"Line {number} of the tap has more than {RECORD_BYTES_MAX:,} bytes, which is more "
                "than a request holds."
            )
    if not rest.strip():
        return
    try:
        parse_message(rest, number)
    except SingerInputError as error:
        raise SingerInputError(
            f"The output of the tap ends in the middle of line {number}; was it killed? What came "
            "before is kept: run it again with the last state."
        ) from error
    yield number, [rest]


@dataclass(slots=True)
class _Stream:
    """A stream, and the records of it that are not sent yet.

    Attributes:
        template: makes its requests; has the schema.
        sender: of its requests.
        count: of its records that were taken.
        line: of the first record that is collected.
        first: place of that record among all that the tap sent.
        since: when it came, in seconds of the clock.
        pending: requests that are not acknowledged.
        barrier: an activation that later requests have to wait for.
    """

    template: BatchTemplate
    sender: RequestSender
    count: int = 0
    line: int = 0
    first: int = 0
    since: float = 0.0
    raws: list[bytes] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    times: list[bytes] = field(default_factory=list)
    size: int = 0
    pending: set[asyncio.Task[None]] = field(default_factory=set)
    barrier: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """How a target works.

    Attributes:
        records_max: of a request.
        connections: requests at the same time.
        flush_seconds: a record waits no longer than this before it is sent.
        loaded: a state is emitted when the records before it are rows, not only durable.
    """

    records_max: int = 5_000
    connections: int = 2
    flush_seconds: float = 5.0
    loaded: bool = False


class SingerTarget:
    """Sends the records of one run of a tap.

    Attributes:
        records: how many were acknowledged.
        outcome: what became of those that were followed.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        retry: RequestRetry,
        options: TargetOptions,
        *,
        run_id: str,
        first_sequence: int,
        emit: Callable[[bytes], None],
        explain: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a target.

        Args:
            client: with the base URL and the token.
            retry: repeats requests.
            options: how it works.
            run_id: begins the idempotency keys.
            first_sequence: of the first record; later ones count up from it.
            emit: takes the JSON text of a state that is durable; what it raises ends the run.
            explain: returns why nothing is loaded, as `ReceiptFollower` asks it.
            clock: seconds that never go back.
        """
        self.records = 0
        self.outcome = PushOutcome()
        self._client = client
        self._retry = retry
        self._options = options
        self._run_id = run_id
        self._first_sequence = first_sequence
        self._emit = emit
        self._explain = explain
        self._clock = clock
        self._streams: dict[str, _Stream] = {}
        self._taken = 0
        self._unsent = 0
        self._open: dict[asyncio.Task[None], int] = {}
        self._states: deque[tuple[int, bytes]] = deque()
        self._changed = asyncio.Event()
        self._turns = asyncio.Semaphore(options.connections)
        self._followers = asyncio.Semaphore(FOLLOWERS)
        self._fault: BaseException | None = None
        self._closed = False

    @property
    def streams(self) -> int:
        """The number of streams that the tap has named."""
        return len(self._streams)

    async def run(self, found: AsyncIterator[tuple[int, list[bytes]]]) -> None:
        """Take all that a tap prints.

        What came before a line that cannot be used is sent first.

        Args:
            found: what `read_lines` yields.

        Raises:
            OperatorError: the input, or what the server says to it.
            RetriableError: the server was not there in the time given.
        """
        flusher = asyncio.create_task(self._flush_old())
        reader = asyncio.create_task(self._take_all(found))
        try:
            while not reader.done():
                changed = asyncio.create_task(self._wait_for_change())
                await asyncio.wait({reader, changed}, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                self._raise_fault()
            fault = reader.exception()
            if fault is not None and not isinstance(fault, SingerInputError):
                raise fault
            self._flush_all()
            while self._open:
                await self._wait_for_change()
                self._raise_fault()
            if fault is not None:
                raise fault
        finally:
            self._closed = True
            every = [flusher, reader, *self._open]
            for task in every:
                task.cancel()
            await asyncio.gather(*every, return_exceptions=True)

    async def _take_all(self, found: AsyncIterator[tuple[int, list[bytes]]]) -> None:
        async for number, lines in found:
            for line_number, line in enumerate(lines, number):
                if line.strip():
                    await self._take(parse_message(line, line_number), line_number)

    async def _take(self, message: SingerMessage, line: int) -> None:
        self._raise_fault()
        if message.type == "STATE":
            self._states.append((self._taken, bytes(message.value)))
            self._emit_durable()
        elif message.type == "SCHEMA":
            self._set_schema(message)
        else:
            stream = self._find_stream(message, line)
            if message.type == "ACTIVATE_VERSION":
                self._activate(message.stream, stream, message.version or 0)
            else:
                self._collect(stream, message, line)
            while self._unsent > UNSENT_BYTES_MAX:
                self._flush_all()
                await self._wait_for_change()
                self._raise_fault()

    def _set_schema(self, message: SingerMessage) -> None:
        schema = bytes(message.schema)
        found = self._streams.get(message.stream)
        template = BatchTemplate(
            message.stream,
            message.keys,
            None if found is None else found.template.version,
            message.bookmarks,
            schema,
        )
        if found is None:
            push_id = f"{self._run_id}-{len(self._streams)}"
            sender = RequestSender(self._client, self._retry, push_id)
            self._streams[message.stream] = _Stream(template, sender)
        elif found.template != template:
            self._flush(found)
            found.template = template

    def _find_stream(self, message: SingerMessage, line: int) -> _Stream:
        found = self._streams.get(message.stream)
        if found is None:
            raise SingerInputError(
                f"Line {line} of the tap: a {message.type} of the stream {message.stream!r} comes "
                "before its SCHEMA."
            )
        return found

    def _collect(self, stream: _Stream, message: SingerMessage, line: int) -> None:
        raw = bytes(message.record)
        if message.version != stream.template.version:
            self._flush(stream)
            stream.template = _with_version(stream.template, message.version)
        if stream.raws and stream.size + len(raw) > BYTES_MAX:
            self._flush(stream)
        if not stream.raws:
            stream.first, stream.line, stream.since = self._taken, line, self._clock()
        time_extracted = message.time_extracted
        stream.raws.append(raw)
        stream.sequences.append(self._first_sequence + self._taken)
        stream.lines.append(line)
        stream.times.append(b"" if time_extracted is None else msgspec.json.encode(time_extracted))
        stream.size += len(raw)
        stream.count += 1
        self._taken += 1
        self._unsent += len(raw)
        if len(stream.raws) >= self._options.records_max:
            self._flush(stream)

    def _flush(self, stream: _Stream) -> None:
        """Send what is collected of a stream."""
        if not stream.raws:
            return
        batch = RequestBatch(
            stream.raws,
            stream.sequences,
            stream.count,
            stream.count - len(stream.raws) + 1,
            stream.lines,
            f"stream {stream.template.table}",
            times=stream.times if any(stream.times) else None,
        )
        size = stream.size
        stream.raws, stream.sequences, stream.lines, stream.times = [], [], [], []
        stream.size = 0
        template, barrier = stream.template, stream.barrier

        async def send() -> None:
            if barrier is not None:
                await asyncio.wait([barrier])
            async with self._turns:
                has = await stream.sender.send(batch, template)
            self._unsent -= size
            self.records += len(batch)
            await self._follow(has)

        self._start(stream, send(), stream.first)

    def _activate(self, name: str, stream: _Stream, version: int) -> None:
        """Say that a version is the whole table, when all requests before are acknowledged."""
        self._flush(stream)
        template = _with_version(stream.template, version)
        body = template.encode_activation(self._first_sequence + self._taken)
        key = f"{stream.sender.push_id}-activate-{self._taken}"
        before = set(stream.pending)

        async def send() -> None:
            if before:
                await asyncio.wait(before)
            async with self._turns:
                has = await stream.sender.send_body(
                    template.path, body, key, f"the activation of {name}"
                )
            await self._follow(has)

        stream.barrier = self._start(stream, send(), self._taken)
        self._taken += 1

    def _start(
        self, stream: _Stream, work: Coroutine[Any, Any, None], first: int
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        stream.pending.add(task)
        self._open[task] = first

        def finish(done: asyncio.Task[None]) -> None:
            stream.pending.discard(done)
            self._open.pop(done)
            error = None if done.cancelled() else done.exception()
            if error is None:
                try:
                    self._emit_durable()
                except Exception as trouble:  # noqa: BLE001 - `run` raises it; nobody else would
                    error = trouble
            if self._fault is None:  # once there is one, no state is emitted
                self._fault = error
            self._changed.set()

        task.add_done_callback(finish)
        return task

    async def _follow(self, has: AcknowledgedRequest) -> None:
        if not self._options.loaded:
            return
        async with self._followers:
            report = self._retry.on_waiting
            follower = ReceiptFollower(self._client, self._retry, report, self._explain)
            self.outcome += await follower.wait_until_loaded([has])

    def _emit_durable(self) -> None:
        """Emit the last state before which nothing is open."""
        firsts = [*self._open.values()]
        firsts += [stream.first for stream in self._streams.values() if stream.raws]
        durable = min(firsts, default=self._taken)
        value: bytes | None = None
        while self._states and self._states[0][0] <= durable:
            value = self._states.popleft()[1]
        if value is not None and self._fault is None and not self._closed:
            self._emit(value)

    def _flush_all(self) -> None:
        for stream in self._streams.values():
            self._flush(stream)

    async def _flush_old(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            until = self._clock() - self._options.flush_seconds
            for stream in self._streams.values():
                if stream.raws and stream.since <= until:
                    self._flush(stream)

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault


def _with_version(template: BatchTemplate, version: int | None) -> BatchTemplate:
    return BatchTemplate(
        template.table, template.keys, version, template.bookmarks, template.schema
    )
