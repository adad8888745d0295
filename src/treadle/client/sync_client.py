"""The client for programs without asyncio: the same, on an event loop in a thread of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar

from treadle.client.async_client import AsyncTreadleClient
from treadle.client.receipt_follower import PushOutcome
from treadle.client.table_push import PushReceipt, Record, TablePush

_Result = TypeVar("_Result")


class TreadleClient:
    """Pushes records to the source of a token; several threads may use it at the same time."""

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
        """Make a client; the arguments are those of `AsyncTreadleClient`."""
        self._client = AsyncTreadleClient(
            url,
            token,
            connections=connections,
            batch_records=batch_records,
            retry_seconds=retry_seconds,
            authority=authority,
            socket=socket,
            on_waiting=on_waiting,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="treadle")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._loop.is_closed():
            return
        self.submit(self._client.aclose()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def push(
        self,
        table: str,
        records: Iterable[Record],
        *,
        key: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        sequence: str | None = None,
    ) -> PushReceipt:
        """Push records, and return when they are durable: see `AsyncTreadleClient.push`.

        The records are read in the thread of the caller.
        """
        with self._open_writer(table, key, schema, sequence, None) as writer:
            every = iter(records)
            while some := list(islice(every, self._client.batch_records)):
                writer.send(some)
        return writer.receipt

    def wait_until_loaded(self, pushed: PushReceipt) -> PushOutcome:
        """Wait until pushed records are loaded: see `AsyncTreadleClient.wait_until_loaded`."""
        return self.submit(self._client.wait_until_loaded(pushed)).result()

    def open_writer(
        self,
        table: str,
        *,
        key: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        sequence: str | None = None,
        flush_seconds: float = 1.0,
    ) -> "RecordWriter":
        """Return a writer that takes one record at a time: see `AsyncTreadleClient.open_writer`."""
        return self._open_writer(table, key, schema, sequence, flush_seconds)

    def _open_writer(
        self,
        table: str,
        key: Sequence[str],
        schema: Mapping[str, Any] | None,
        sequence: str | None,
        flush_seconds: float | None,
    ) -> "RecordWriter":
        begun = self._client.begin_push(table, key, schema, sequence)
        return RecordWriter(self, self._client, begun, flush_seconds)

    def submit(self, work: Coroutine[Any, Any, _Result]) -> "Future[_Result]":
        """Begin work on the event loop of the client."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


class RecordWriter:
    """Collects records, and sends them when they fill a request or have waited long enough.

    Attributes:
        receipt: of the records that are durable so far.
    """

    def __init__(
        self,
        owner: TreadleClient,
        client: AsyncTreadleClient,
        begun: TablePush,
        flush_seconds: float | None,
    ) -> None:
        self.receipt = PushReceipt()
        self._owner = owner
        self._client = client
        self._begun = begun
        self._flush_seconds = flush_seconds
        self._kept: list[Record] = []
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._under_way: deque[Future[PushReceipt]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self.flush()
            return
        with self._lock:
            self._stop_timer()
            for future in self._under_way:
                future.cancel()

    def add(self, record: Record) -> None:
        """Take a record; wait while all connections are busy.

        Raises:
            TreadleError: what `push` raises, of a request before.
        """
        with self._lock:
            self._kept.append(record)
            if len(self._kept) >= self._client.batch_records:
                self._finish(self._client.connections - 1)
                self._send_kept()
            elif self._timer is None and self._flush_seconds is not None:
                self._timer = threading.Timer(self._flush_seconds, self._send_kept)
                self._timer.daemon = True
                self._timer.start()
            self._finish(self._client.connections)

    def send(self, records: Sequence[Record]) -> None:
        """Send records at once; wait while all connections are busy."""
        with self._lock:
            self._finish(self._client.connections - 1)
            work = self._client.send_records(self._begun, records)
            self._under_way.append(self._owner.submit(work))

    def flush(self) -> None:
        """Return when every record so far is durable.

        Raises:
            TreadleError: what `push` raises.
        """
        with self._lock:
            self._send_kept()
            self._finish(0)

    def _send_kept(self) -> None:
        with self._lock:
            self._stop_timer()
            if self._kept:
                records, self._kept = self._kept, []
                work = self._client.send_records(self._begun, records)
                self._under_way.append(self._owner.submit(work))

    def _finish(self, most: int) -> None:
        """Wait until no more than so many requests are under way."""
        while self._under_way and (self._under_way[0].done() or len(self._under_way) > most):
            self.receipt += self._under_way.popleft().result()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
