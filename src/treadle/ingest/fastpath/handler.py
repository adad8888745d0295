"""From the body of a plain request to its answer, without the layers of the server between.

The handler does what the endpoints do, in the same order and with the same parts, as long as all
goes well and only the log has to be waited for. Where anything is unusual or wrong it takes
nothing: the request goes to its endpoint, which words the refusal.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Final, NamedTuple, Protocol

from starlette.responses import Response

from treadle.http.authentication import read_bearer_token
from treadle.http.deadline import DeadlineTimer, get_deadline_timer
from treadle.http.headers import read_media_type, select_headers
from treadle.ingest.acknowledgement import (
    APPEND_SECONDS_MAX,
    BatchAcceptor,
    EncodedBatch,
    encode_batches,
)
from treadle.ingest.admission import JSON_TYPE, RequestAdmission
from treadle.ingest.body_executor import INLINE_BYTES_MAX
from treadle.ingest.body_memory import UNCOUNTED_BYTES_MAX
from treadle.ingest.endpoint import PathEndpoint
from treadle.log.protocol import AppendResult
from treadle.records import batch, push
from treadle.records.message_batch import MessageBatch
from treadle.text import digest_text
from treadle.tracking.receipts import Receipt

FAST_PATH_STATE: Final = "treadle.fast_path"
"""Key of the handler in the application's state, by which connections find it."""

PUSH_PATH: Final = "/v2/import/push"
BATCH_PATH: Final = "/v2/import/batch"

_ENDPOINT_HEADERS: Final = frozenset(
    (
        b"content-encoding",
        b"expect",
        b"idempotency-key",
        b"prefer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that ask for something which only an endpoint does."""

BodyDecoder = Callable[[bytes, int], Sequence[MessageBatch] | None]
"""Body and account id -> the batches of the body in order; None where it needs the exact reader."""

BODY_DECODERS: Final[Mapping[bytes, tuple[str, BodyDecoder]]] = {
    PUSH_PATH.encode(): (PUSH_PATH, push.read_fast),
    BATCH_PATH.encode(): (BATCH_PATH, lambda body, _: batch.read_fast(body)),
}


class RequestHead(NamedTuple):
    """The head of a plain request, as far as it matters.

    Attributes:
        path: of the endpoint.
        decode: decodes bodies that are sent there.
        token_sha256: digest of the token.
    """

    path: str
    decode: BodyDecoder
    token_sha256: bytes


class ResponseSink(Protocol):
    """A connection that waits for an answer."""

    def reply(self, response: Response) -> None:
        """Send the answer."""


def read_head(
    method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> RequestHead | None:
    """Return what a plain head says.

    Args:
        method: as sent.
        target: path and query, as sent.
        headers: names in lower case.

    Returns:
        None for a head that is not plain: its requests go to their endpoint.
    """
    found = BODY_DECODERS.get(target)
    if method != b"POST" or found is None or any(name in _ENDPOINT_HEADERS for name, _ in headers):
        return None
    known = select_headers({"headers": headers})
    token = read_bearer_token(known)
    if token is None or read_media_type(known).lower() != JSON_TYPE:
        return None
    return RequestHead(*found, digest_text(token))


class FastPathHandler:
    """Takes requests of which only the body is new.

    Attributes:
        budget: counts bodies, from their arrival to the answer.
    """

    def __init__(
        self,
        admission: RequestAdmission,
        acceptor: BatchAcceptor,
        endpoints: Mapping[str, PathEndpoint],
        count_answer: Callable[[str, int, float], None],
        keep_refusal: Callable[[str, int, bytes, int], None] = lambda *_: None,
    ) -> None:
        """Serve the owners of import tokens.

        Args:
            admission: checks requests.
            acceptor: makes batches durable.
            endpoints: by path; they word failures.
            count_answer: called with path, status and duration in seconds of each answer.
            keep_refusal: called with path, status, body and source of each answer that refuses.
        """
        self._get_known_owner = admission.get_known_owner
        self._get_account = admission.get_account
        self._count_use = admission.count_use
        self._quotas = admission.quotas
        self._gates = admission.quotas.gates
        self._acceptor = acceptor
        self.budget = admission.budget
        self._endpoints = endpoints
        self._count_answer = count_answer
        self._keep_refusal = keep_refusal

    def find_account(self, headers: Sequence[tuple[bytes, bytes]]) -> int | None:
        """Return the account of a request's import token; None without a token that is known.

        Args:
            headers: of the request, names in lower case.
        """
        token = read_bearer_token(select_headers({"headers": headers}))
        return None if token is None else self._get_account(digest_text(token))

    def find_sender(self, head: RequestHead, size: int) -> int | None:
        """Return the source that sends a body of so many bytes, if `take` may take it.

        Returns:
            None where the rest of the body is not to be waited for.
        """
        owner = self._get_known_owner(head.token_sha256) if size <= INLINE_BYTES_MAX else None
        return None if owner is None or owner.has_schemas else owner.source_id

    def take(self, head: RequestHead, body: bytes, sink: ResponseSink) -> bool:
        """Begin to make a request durable; its answer comes on a later turn of the event loop.

        Args:
            head: of the request.
            body: as sent.
            sink: gets the answer.

        Returns:
            False where nothing was done, and the request has to go to its endpoint.
        """
        began = perf_counter()
        size = len(body)
        owner = self._get_known_owner(head.token_sha256)
        if owner is None or owner.has_schemas:
            return False
        gate = self._gates.get(owner.source_id)
        if gate is None or not gate.is_open or size > INLINE_BYTES_MAX:
            return False
        try:
            batches = head.decode(body, owner.account_id)
            if batches is None:
                return False
            held = size if size > UNCOUNTED_BYTES_MAX else 0
            request = PendingRequest(
                self, head.path, sink, owner.source_id, len(batches), held, began
            )
            kept = encode_batches(batches)
            self._begin(request, kept)
        except Exception:  # noqa: BLE001 - the endpoint meets it again, and answers it
            return False
        self._count_use(owner)
        gate.requests += 1
        for _, records, payload in kept:
            gate.bytes += len(payload)
            gate.records += records
        if self._quotas.is_resting:
            self._quotas.wake()
        self._deadlines.start(request)
        return True

    def _begin(self, request: "PendingRequest", batches: Sequence[EncodedBatch]) -> None:
        if not request.held_bytes:
            self._acceptor.begin_append(request.source_id, batches, request)
            return
        self.budget.reserve(request.source_id, request.held_bytes)
        try:
            self._acceptor.begin_append(request.source_id, batches, request)
        except BaseException:
            self.budget.release(request.source_id, request.held_bytes)
            raise

    @cached_property
    def _deadlines(self) -> DeadlineTimer:
        return get_deadline_timer(asyncio.get_running_loop())

    def answer_durable(self, request: "PendingRequest", first: int) -> None:
        """Answer a request whose entries are durable, the first at this position."""
        self._deadlines.discard(request)
        receipt = Receipt(request.source_id, first, request.entries)
        self._answer(request, self._acceptor.confirm_append(receipt))
        if self._acceptor.note_push is not None:
            seconds = perf_counter() - request.began
            self._acceptor.note_push(request.source_id, first, request.entries, seconds)

    def answer_failure(self, request: "PendingRequest", error: BaseException) -> None:
        """Answer a request of which nothing is in the log."""
        self._deadlines.discard(request)
        self._acceptor.record_failure(error, request.source_id)
        self._refuse(request, error)

    def answer_timeout(self, request: "PendingRequest") -> None:
        """Answer a request of which nobody knows whether it is in the log."""
        self._refuse(request, self._acceptor.make_timeout_error(request.source_id))

    def _refuse(self, request: "PendingRequest", error: BaseException) -> None:
        response = self._endpoints[request.path].render_failure("POST", error)
        self._answer(request, response)
        body = bytes(response.body)
        self._keep_refusal(request.path, response.status_code, body, request.source_id)

    def _answer(self, request: "PendingRequest", response: Response) -> None:
        request.answered = True
        if request.held_bytes:
            self.budget.release(request.source_id, request.held_bytes)
        seconds = perf_counter() - request.began
        self._count_answer(request.path, response.status_code, seconds)
        request.sink.reply(response)


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request that waits for the log; to the log it is what a future is.

    A future would cost a callback and a turn of the event loop for each request.
    """

    handler: FastPathHandler
    path: str
    sink: ResponseSink
    source_id: int
    entries: int
    held_bytes: int
    began: float
    answered: bool = False
    _due: float | None = None

    def cancelled(self) -> bool:
        """Return False: nobody gives up before the log has answered or the time is over."""
        return False

    def done(self) -> bool:
        """Return whether the request was answered."""
        return self.answered

    def set_result(self, stored: AppendResult, /) -> None:
        """Answer: the entries are durable."""
        self.handler.answer_durable(self, stored.first)

    def set_exception(self, error: BaseException, /) -> None:
        """Answer: the log did not take the entries."""
        self.handler.answer_failure(self, error)

    def check_deadline(self, now: float) -> bool:
        """Give up if it is late; return whether it was. Time counts from the first check."""
        if self._due is None:
            self._due = now + APPEND_SECONDS_MAX
        late = now >= self._due
        if late:
            self.handler.answer_timeout(self)
        return late
