"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

from treadle.client.connection import PushAddress, open_http
from treadle.client.receipt_follower import AcknowledgedRequest, PushOutcome, ReceiptFollower
from treadle.client.request_batch import RECORDS_MAX, RequestBatch
from treadle.client.request_retry import RequestRetry
from treadle.client.request_sender import RequestSender
from treadle.client.table_push import PushReceipt, Record, RecordSequence, TablePush
from treadle.config import mask_password


class AsyncTreadleClient:
    """Pushes records to the source of a token.

    Every request carries an idempotency key, and is repeated while the server is busy or away, so
    that a record is stored once. An object can be used by several tasks at the same time.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        connections: int = 2,
        batch_records: int = 5_000,
        retry_seconds: float = 600.0,
        authority: Path | None = None,
        socket: Path | None = None,
        on_waiting: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: of the server, without a path of the API.
            token: an import token of a source.
            connections: requests of one push at the same time.
            batch_records: the most records of one request, at most 20,000.
            retry_seconds: how long one request is repeated.
            authority: file with the certificates of authorities to trust, in PEM.
            socket: UNIX socket of the server, in place of the host of the URL.
            on_waiting: told why a request has to wait, and None when it goes on.

        Raises:
            OperatorError: the URL or the file cannot be used.
        """
        if not 0 < batch_records <= RECORDS_MAX:
            raise ValueError(f"batch_records is to be from 1 to {RECORDS_MAX}")
        self.connections = connections
        self.batch_records = batch_records
        self._http = open_http(PushAddress(url, token, socket, authority), connections * 2)
        self._retry = RequestRetry(mask_password(url), retry_seconds, on_waiting)
        self._counter = RecordSequence()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def push(
        self,
        table: str,
        records: Iterable[Record] | AsyncIterable[Record],
        *,
        key: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        sequence: str | None = None,
    ) -> PushReceipt:
        """Push records, and return when they are durable.

        Times and decimals keep their types. Memory holds some requests, however many records come.

        Args:
            table: its name.
            records: mappings of field names to values.
            key: key fields; without, every record is a new row.
            schema: JSON schema that every record fits, in place of the types of the values.
            sequence: field with the sequence, a whole number; without, later records win.

        Raises:
            RecordValueError: a record cannot be sent.
            PushRefusedError: the server refuses a record, or the token.
            RetriableError: the server was not there in the time given. What it has acknowledged
                before is durable.
        """
        begun = self.begin_push(table, key, schema, sequence)
        requests: list[AcknowledgedRequest] = []

        async def make_batches() -> AsyncIterator[RequestBatch]:
            async for some in _cut(records, self.batch_records):
                for batch in begun.make_batches(some, self.batch_records):
                    yield batch

        await RequestSender(self._http, self._retry, begun.push_id).send_all(
            make_batches(),
            lambda _: begun.template,
            self.connections,
            lambda _, has: requests.append(has),
        )
        return PushReceipt(tuple(requests))

    def begin_push(
        self,
        table: str,
        key: Sequence[str],
        schema: Mapping[str, Any] | None,
        sequence: str | None,
    ) -> TablePush:
        """Begin a push of which `send_records` sends parts."""
        return TablePush(table, key, schema, sequence, self._counter)

    async def send_records(self, begun: TablePush, records: Sequence[Record]) -> PushReceipt:
        """Send some records of a push, one request after the other."""
        sender = RequestSender(self._http, self._retry, begun.push_id)
        batches = begun.make_batches(records, self.batch_records)
        return PushReceipt(tuple([await sender.send(one, begun.template) for one in batches]))

    async def wait_until_loaded(self, pushed: PushReceipt) -> PushOutcome:
        """Wait until pushed records are loaded, and return what became of them.

        Raises:
            TableStoppedError: the table is stopped until somebody acts; its records wait.
            RetriableError: the server was not there in the time given.
        """
        follower = ReceiptFollower(self._http, self._retry, self._retry.on_waiting)
        return await follower.wait_until_loaded(pushed.requests)

    def open_writer(
        self,
        table: str,
        *,
        key: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        sequence: str | None = None,
        flush_seconds: float = 1.0,
    ) -> "AsyncRecordWriter":
        """Return a writer that takes one record at a time: `async with client.open_writer(...)`.

        Args:
            table: as for `push`, like `key`, `schema` and `sequence`.
            key: see above.
            schema: see above.
            sequence: see above.
            flush_seconds: no record waits longer for others of its request.
        """
        return AsyncRecordWriter(self, self.begin_push(table, key, schema, sequence), flush_seconds)


class AsyncRecordWriter:
    """Collects records, and sends them when they fill a request or have waited long enough.

    An object can be used by several tasks at the same time. Who is cancelled while it waits takes
    no record back: requests go on, and a later `flush` waits for them.

    Attributes:
        receipt: of the records that are durable so far.
    """

    def __init__(self, client: AsyncTreadleClient, begun: TablePush, flush_seconds: float) -> None:
        self.receipt = PushReceipt()
        self._client = client
        self._begun = begun
        self._flush_seconds = flush_seconds
        self._kept: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: deque[asyncio.Task[PushReceipt]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            await self.flush()
            return
        if self._timer is not None:
            self._timer.cancel()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def add(self, record: Record) -> None:
        """Take a record; wait while all connections are busy.

        Raises:
            TreadleError: what `push` raises, of a request before.
        """
        self._kept.append(record)
        if self._timer is None:  # also for a full request, since who waits below may be cancelled
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._flush_seconds, self._send)
        if len(self._kept) >= self._client.batch_records:
            await self._finish(self._client.connections - 1)
            self._send()
        await self._finish(self._client.connections)

    async def flush(self) -> None:
        """Return when every record so far is durable.

        Raises:
            TreadleError: what `push` raises.
        """
        self._send()
        for task in tuple(self._under_way):
            await self._take_result(task)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._kept:
            records, self._kept = self._kept, []
            work = self._client.send_records(self._begun, records)
            self._under_way.append(asyncio.create_task(work))

    async def _finish(self, most: int) -> None:
        """Wait until no more than so many requests are under way."""
        while self._under_way and (self._under_way[0].done() or len(self._under_way) > most):
            await self._take_result(self._under_way[0])

    async def _take_result(self, task: asyncio.Task[PushReceipt]) -> None:
        """Wait for a request, and count what it has acknowledged once, whoever waits for it."""
        if not task.done():
            await asyncio.wait([task])  # which, if it is cancelled, does not cancel the request
        if task in self._under_way:
            self._under_way.remove(task)
            self.receipt += task.result()
        else:
            task.result()  # raises for everybody who waited for it


async def _cut(
    records: Iterable[Record] | AsyncIterable[Record], size: int
) -> AsyncIterator[list[Record]]:
    """Yield lists of records."""
    if isinstance(records, AsyncIterable):
        some: list[Record] = []
        async for record in records:
            some.append(record)
            if len(some) == size:
                yield some
                some = []
        if some:
            yield some
        return
    every = iter(records)
    while found := list(islice(every, size)):
        yield found
