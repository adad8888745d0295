"""The common end of every write: batches into the log, then the answer."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeVar

from starlette.responses import Response

from treadle.errors import Refused, TryLater
from treadle.ingest import repeat
from treadle.ingest.endpoint import TIMEOUT
from treadle.ingest.health import Health
from treadle.ingest.prefer import Preference, preference
from treadle.ingest.progress import Progress
from treadle.ingest.receipt import HEADER, Receipt, Receipts
from treadle.log.protocol import Appender, NewEntry, Waiter
from treadle.records.message import Batch, pack
from treadle.store.model import Pusher
from treadle.web import Deadline, Json, compact

ACCEPTED = compact({"status": "OK", "message": "Batch Accepted!"})
ACCEPTED_HEADERS = [
    (b"content-length", b"%d" % len(ACCEPTED)),
    (b"content-type", Json.media_type.encode()),
]
REPLAYED = "Idempotency-Replayed"
APPEND_SECONDS_MAX = 60.0
"""How long a request waits for a disk that does not answer; a sound one takes milliseconds."""
RECEIPT_HEADER = HEADER.lower().encode()

T = TypeVar("T")


class Accepted(Response):
    """The answer to an accepted request. The most frequent answer of all, so it is ready made."""

    def __init__(self, status: int, receipt: str | None) -> None:
        self.status_code = status
        self.body = ACCEPTED
        self.background = None
        self.raw_headers = [*ACCEPTED_HEADERS]
        if receipt is not None:
            self.raw_headers.append((RECEIPT_HEADER, receipt.encode()))


@dataclass(frozen=True, slots=True)
class Sent:
    """A request whose body was read and checked.

    Attributes:
        headers: names in lower case.
        digest: of the whole request, where it has an `Idempotency-Key`.
    """

    headers: Mapping[str, str]
    digest: bytes | None

    @classmethod
    def of(cls, target: str, headers: Mapping[str, str], body: bytes) -> Self:
        """What is kept of a request.

        Args:
            target: path and whatever else decides what the body means.
            headers: names in lower case.
            body: decompressed.
        """
        keyed = repeat.HEADER in headers
        return cls(headers, repeat.digest_of(target, body) if keyed else None)


class Packed(NamedTuple):
    """A batch as the log keeps it.

    All that is in memory while a request waits for the log's disk: its body and its batches are as
    large again, each of them.
    """

    table_name: str
    records: int
    payload: bytes


def packed(batches: Iterable[Batch]) -> list[Packed]:
    """Batches as the log keeps them."""
    return [Packed(batch.table_name, len(batch), pack(batch)) for batch in batches]


def entries_of(source_id: int, batches: Iterable[Packed], received_at: int) -> list[NewEntry]:
    """What the log is given of batches."""
    return [
        NewEntry(source_id, batch.table_name, received_at, batch.records, batch.payload)
        for batch in batches
    ]


class Acceptor:
    """Makes batches durable and says so."""

    def __init__(
        self,
        log: Appender,
        health: Health,
        clock: Callable[[], int],
        receipts: Receipts,
        progress: Progress | None,
    ) -> None:
        """Nothing is opened.

        Args:
            log: where batches go.
            health: told whether the log takes data.
            clock: microseconds since 1970, UTC.
            receipts: writes receipts.
            progress: knows loads; None where nobody can wait for them.
        """
        self._log = log
        self._health = health
        self._clock = clock
        self._receipts = receipts
        self._progress = progress

    async def accept(
        self, sent: Sent, pusher: Pusher, batches: Sequence[Packed], *, status: int = 201
    ) -> Response:
        """Answer once the batches are durable, all or none.

        With `Prefer: ack=loaded` the answer also waits until they are loaded, for a while.

        Raises:
            TryLater: nothing of the batches is in the log.
            Refused: 504, nobody knows whether they are; 422 for another request with the key of an
                earlier one, 400 for a key that is none.
        """
        if not batches:
            return Accepted(status, None)

        entries = entries_of(pusher.source_id, batches, self._clock())
        replayed = False
        if sent.digest is None:
            first = await self._in_time(self._told(self._log.append(entries)))
        else:
            once = repeat.asked(pusher.source_id, sent.headers[repeat.HEADER], sent.digest)
            stored = await self._in_time(self._told(self._log.append_once(entries, once)))
            if stored.digest != once.digest:
                raise Refused(422, repeat.OTHER_REQUEST)
            first, replayed = stored.first, stored.before
        receipt = Receipt(pusher.source_id, first, len(batches))
        response = Accepted(status, self._receipts.write(receipt))
        if replayed:
            response.headers[REPLAYED] = "true"
        if "prefer" in sent.headers and self._progress is not None:
            wanted = preference(sent.headers["prefer"])
            if wanted.loaded:
                names = [batch.table_name for batch in batches]
                await self._wait(self._progress, wanted, receipt, names, response)
        return response

    def begin(self, source_id: int, batches: Iterable[Packed], waiter: Waiter) -> None:
        """Give batches to the log, which tells the waiter; then `accepted` or `failed` is next.

        Raises:
            TryLater: nothing of the batches is in the log, and the waiter is not told.
        """
        self._log.begin(entries_of(source_id, batches, self._clock()), waiter)

    def accepted(self, receipt: Receipt) -> Response:
        """The answer to what the log took."""
        self._health.took()
        return Accepted(201, self._receipts.write(receipt))

    def failed(self, error: BaseException) -> None:
        """The log did not take something."""
        if isinstance(error, TryLater):
            self._health.failed(error)

    def silent(self) -> Refused:
        """The refusal of what the log has not answered for so long."""
        self._health.failed(TryLater("the log's disk does not answer"))
        # Not 503, which says that nothing of the request is in the log: it may come there yet.
        return Refused(504, TIMEOUT)

    async def _told(self, appending: Awaitable[T]) -> T:
        """The end of an append, told to whoever watches the log."""
        try:
            found = await appending
        except TryLater as later:
            self.failed(later)
            raise
        self._health.took()
        return found

    async def _in_time(self, appended: Awaitable[T]) -> T:
        try:
            async with Deadline(APPEND_SECONDS_MAX):
                return await appended
        except TimeoutError as late:
            raise self.silent() from late

    async def _wait(
        self,
        progress: Progress,
        wanted: Preference,
        receipt: Receipt,
        table_names: Sequence[str],
        response: Response,
    ) -> None:
        """Wait for the load; say so when it came. The data is accepted in any case."""
        places = [(name, position) for position, name in enumerate(table_names, receipt.first)]
        if await progress.wait(receipt.source_id, places, wanted.seconds):
            response.headers["Preference-Applied"] = "ack=loaded"
