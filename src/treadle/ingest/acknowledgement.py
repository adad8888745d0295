"""The common end of every write: batches into the log, then the answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Self, TypeVar

from starlette.responses import Response

from treadle.errors import RequestRefusedError, RetriableError, TreadleError
from treadle.http.deadline import RequestDeadline
from treadle.http.responses import JsonResponse, encode_json
from treadle.ingest import idempotency
from treadle.ingest.endpoint import TIMEOUT
from treadle.ingest.health_endpoint import SILENT, IngestHealth
from treadle.ingest.prefer_header import LoadPreference, parse_prefer
from treadle.ingest.quotas import SourceQuotas
from treadle.log.protocol import (
    AppendUnknownError,
    AppendWaiter,
    IntakeFullError,
    LogAppender,
    NewEntry,
)
from treadle.quotas import QuotaReachedError
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.model import TokenOwner
from treadle.tracking.idempotency import digest_request
from treadle.tracking.load_progress import LoadProgress
from treadle.tracking.receipts import RECEIPT_HEADER, Receipt, ReceiptCodec

ACCEPTED_BODY = encode_json({"status": "OK", "message": "Batch Accepted!"})
ACCEPTED_HEADERS = [
    (b"content-length", b"%d" % len(ACCEPTED_BODY)),
    (b"content-type", JsonResponse.media_type.encode()),
]
REPLAYED_HEADER = "Idempotency-Replayed"
APPEND_SECONDS_MAX = 60.0
"""Time that a request waits for a disk that does not answer; a sound one takes milliseconds."""
LAST_LOOK_SECONDS = 0.5
"""Time for a question that goes on when the time is over that a request wants to wait."""
RECEIPT_HEADER_BYTES = RECEIPT_HEADER.lower().encode()

logger = logging.getLogger(__name__)

T = TypeVar("T")


class AcceptedResponse(Response):
    """The answer to an accepted request, ready made because it is the most frequent of all."""

    def __init__(self, status: int, receipt: str | None) -> None:
        self.status_code = status
        self.body = ACCEPTED_BODY
        self.background = None
        self.raw_headers = [*ACCEPTED_HEADERS]
        if receipt is not None:
            self.raw_headers.append((RECEIPT_HEADER_BYTES, receipt.encode()))


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request whose body was read and checked.

    Attributes:
        headers: names in lower case.
        digest: of the whole request, where it has an `Idempotency-Key`.
    """

    headers: Mapping[str, str]
    digest: bytes | None

    @classmethod
    def from_body(cls, target: str, headers: Mapping[str, str], body: bytes) -> Self:
        """Return a request with the parts that are needed after its body was decoded.

        Args:
            target: the path, and anything else that decides what the body means.
            headers: names in lower case.
            body: decompressed.
        """
        keyed = idempotency.KEY_HEADER in headers
        return cls(headers, digest_request(target, body) if keyed else None)


class EncodedBatch(NamedTuple):
    """A batch as the log keeps it.

    Only this is kept in memory while a request waits for the log's disk: the body and the decoded
    records are as large again, each of them.
    """

    table_name: str
    records: int
    payload: bytes


def encode_batches(batches: Iterable[MessageBatch]) -> list[EncodedBatch]:
    """Encode batches as the log keeps them."""
    return [EncodedBatch(batch.table_name, len(batch), encode_batch(batch)) for batch in batches]


def count_bytes(batches: Iterable[EncodedBatch]) -> int:
    """Return the size of encoded batches, in bytes."""
    return sum(len(batch.payload) for batch in batches)


def build_entries(
    source_id: int, batches: Iterable[EncodedBatch], received_at: int
) -> list[NewEntry]:
    """Return the log entries of encoded batches."""
    return [
        NewEntry(source_id, batch.table_name, received_at, batch.records, batch.payload)
        for batch in batches
    ]


@dataclass(frozen=True, slots=True)
class BatchAcceptor:
    """Makes batches durable, then answers 201.

    Attributes:
        health: gets to know whether the log takes data.
        clock: microseconds since 1970, UTC.
        progress: knows loads; None where nobody can wait for them.
        quotas: counts what is given to the log, and what it refuses a source.
        note_push: called with source, first position, number of entries and seconds of each request
            that was accepted; None for nobody.
    """

    log: LogAppender
    health: IngestHealth
    clock: Callable[[], int]
    receipts: ReceiptCodec
    progress: LoadProgress | None
    quotas: SourceQuotas
    note_push: Callable[[int, int, int, float], None] | None = None

    async def accept(
        self,
        request: ReceivedRequest,
        owner: TokenOwner,
        batches: Sequence[EncodedBatch],
        *,
        status: int = 201,
    ) -> Response:
        """Answer once the batches are durable, all or none.

        With `Prefer: ack=loaded` the answer also waits until they are loaded, for a while.

        Raises:
            RetriableError: nothing of the batches is in the log.
            QuotaReachedError: nor is it, because of the source that sent them.
            AppendUnknownError: nobody knows whether they are in the log.
            RequestRefusedError: 504, the same, for want of an answer; 422 for another request with
                the key of an earlier one, 400 for a key that is none.
        """
        if not batches:
            return AcceptedResponse(status, None)

        # Before anything is in the log: nothing between an append and its answer may raise.
        wanted = parse_prefer(request.headers["prefer"]) if "prefer" in request.headers else None
        self.quotas.charge(owner, ((len(one.payload), one.records) for one in batches))
        began = perf_counter()
        entries = build_entries(owner.source_id, batches, self.clock())
        replayed = False
        if request.digest is None:
            first = await self._append_in_time(owner.source_id, self.log.append(entries))
        else:
            once = idempotency.create_idempotency_key(
                owner.source_id,
                request.headers[idempotency.KEY_HEADER],
                request.digest,
                idempotency.name_scope(owner),
            )
            stored = await self._append_in_time(
                owner.source_id, self.log.append_once(entries, once)
            )
            if stored.digest != once.digest:
                raise RequestRefusedError(422, idempotency.KEY_REUSED)
            first, replayed = stored.first, stored.duplicate
        receipt = Receipt(owner.source_id, first, len(batches))
        if self.note_push is not None and not replayed:
            try:
                self.note_push(owner.source_id, first, len(batches), perf_counter() - began)
            except Exception:
                logger.exception("An accepted request could not be noted")
        response = AcceptedResponse(status, self.receipts.encode(receipt))
        if replayed:
            response.headers[REPLAYED_HEADER] = "true"
        if wanted is not None and wanted.loaded and self.progress is not None:
            names = [batch.table_name for batch in batches]
            await self._wait_for_load(self.progress, wanted, receipt, names, response)
        return response

    def begin_append(
        self, source_id: int, batches: Iterable[EncodedBatch], waiter: AppendWaiter
    ) -> None:
        """Give batches to the log, which calls the waiter.

        The waiter calls `confirm_append` or `record_failure`.

        Raises:
            RetriableError: nothing of the batches is in the log, and the waiter is not called.
        """
        self.log.begin_append(build_entries(source_id, batches, self.clock()), waiter)

    def confirm_append(self, receipt: Receipt) -> Response:
        """Return the answer to a request whose entries are durable."""
        self.health.record_success(receipt.source_id)
        return AcceptedResponse(201, self.receipts.encode(receipt))

    def record_failure(self, error: BaseException, source_id: int) -> None:
        """Note that the log did not take something, or not from this source."""
        if isinstance(error, IntakeFullError):
            return  # one source may have sent all that waits
        if isinstance(error, RetriableError | AppendUnknownError):
            self.health.record_failure(source_id)
        elif isinstance(error, QuotaReachedError):
            self.quotas.count_refusal(error)

    def make_timeout_error(self, source_id: int) -> RequestRefusedError:
        """Return the refusal of a request for which the log did not answer in time."""
        self.health.record_failure(source_id, SILENT)
        # Not 503, which says that nothing of the request is in the log: it may come there yet.
        return RequestRefusedError(504, TIMEOUT)

    async def _track_append(self, source_id: int, appending: Awaitable[T]) -> T:
        """Wait for an append, and note whether the log of a source takes data."""
        try:
            found = await appending
        except (RetriableError, AppendUnknownError, QuotaReachedError) as later:
            self.record_failure(later, source_id)
            raise
        self.health.record_success(source_id)
        return found

    async def _append_in_time(self, source_id: int, appending: Awaitable[T]) -> T:
        try:
            async with RequestDeadline(APPEND_SECONDS_MAX):
                return await self._track_append(source_id, appending)
        except TimeoutError as late:
            raise self.make_timeout_error(source_id) from late

    async def _wait_for_load(
        self,
        progress: LoadProgress,
        wanted: LoadPreference,
        receipt: Receipt,
        table_names: Sequence[str],
        response: Response,
    ) -> None:
        """Wait for the load, and say in the answer when it came; the data is accepted anyway.

        So nothing may be raised from here, whatever becomes of the question: the sender would
        repeat what is in the log.
        """
        places = [(name, position) for position, name in enumerate(table_names, receipt.first)]
        try:
            # Between two questions the time is looked at, too; a store may not answer for longer.
            async with asyncio.timeout(wanted.seconds + LAST_LOOK_SECONDS):
                loaded = await progress.wait_until_loaded(receipt.source_id, places, wanted.seconds)
        except TimeoutError:
            return
        except TreadleError as error:
            logger.warning("Whether records are loaded cannot be asked now: %s", error)
            return
        except Exception:
            logger.exception("Whether records are loaded cannot be asked")
            return
        if loaded:
            response.headers["Preference-Applied"] = "ack=loaded"
