"""The short way of a request without anything unusual: from its body to its answer.

It does what the endpoints do, in the same order and with the same parts, as long as all goes well
and nothing has to be waited for but the log. Where anything is unusual or wrong it takes nothing,
and the request goes the long way, which finds the words for it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple, Protocol

from starlette.responses import Response

from treadle.http.body_reader import (
    DeadlineTimer,
    get_deadline_timer,
    read_bearer_token,
    read_media_type,
    select_headers,
)
from treadle.ingest.acceptance import (
    APPEND_SECONDS_MAX,
    BatchAcceptor,
    EncodedBatch,
    encode_batches,
)
from treadle.ingest.body_executor import INLINE_BYTES_MAX
from treadle.ingest.body_memory import UNCOUNTED_BYTES_MAX, BodyMemoryBudget
from treadle.ingest.endpoint import PathEndpoint
from treadle.ingest.token_cache import TokenCache
from treadle.log.protocol import AppendResult
from treadle.records import batch, push
from treadle.records.message_batch import MessageBatch
from treadle.store.secrets import hash_token
from treadle.tracking.receipts import Receipt

FAST_PATH_STATE: Final = "treadle.express"
"""Its name in the application's state, by which connections find it."""

PUSH_PATH: Final = "/v2/import/push"
BATCH_PATH: Final = "/v2/import/batch"

_SLOW_PATH_HEADERS: Final = frozenset(
    (
        b"content-encoding",
        b"expect",
        b"idempotency-key",
        b"prefer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that ask for something which only the long way does."""

BodyDecoder = Callable[[bytes, int], Sequence[MessageBatch] | None]
"""Body and account id -> the batches of a body in order; None where a closer look is needed."""

BODY_DECODERS: Final[Mapping[bytes, tuple[str, BodyDecoder]]] = {
    PUSH_PATH.encode(): (PUSH_PATH, push.read_fast),
    BATCH_PATH.encode(): (BATCH_PATH, lambda body, _: batch.read_fast(body)),
}


class RequestHead(NamedTuple):
    """What the head of a request says.

    Attributes:
        path: of the endpoint.
        judge: looks at its bodies.
        sha256: of the token.
    """

    path: str
    decode: BodyDecoder
    token_sha256: bytes


class ResponseSink(Protocol):
    """Who waits for an answer."""

    def reply(self, response: Response) -> None:
        """Send the answer."""


def read_head(
    method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> RequestHead | None:
    """What a head says; None for one that has to go the long way.

    Args:
        method: as sent.
        target: path and query, as sent.
        headers: names in lower case.
    """
    found = BODY_DECODERS.get(target)
    if method != b"POST" or found is None or any(name in _SLOW_PATH_HEADERS for name, _ in headers):
        return None
    known = select_headers({"headers": headers})
    token = read_bearer_token(known)
    if token is None or read_media_type(known).lower() != "application/json":
        return None
    return RequestHead(*found, hash_token(token))


class FastPathHandler:
    """Takes requests of which nothing but the body is new."""

    def __init__(
        self,
        directory: TokenCache,
        acceptor: BatchAcceptor,
        room: BodyMemoryBudget,
        endpoints: Mapping[str, PathEndpoint],
        count: Callable[[str, int], None],
    ) -> None:
        """Nothing is asked before the first request.

        Args:
            directory: who may push.
            acceptor: makes batches durable.
            room: counts bodies, from their arrival to the answer.
            endpoints: by path, of the long way: they word failures.
            count: told path and status of each answer.
        """
        self._token_cache = directory
        self._acceptor = acceptor
        self.memory = room
        self._endpoints = endpoints
        self._count = count

    def can_take(self, head: RequestHead, size: int) -> bool:
        """Whether to wait for the rest of a body of so many bytes: `take` may take it then."""
        return (
            size <= INLINE_BYTES_MAX
            and self._token_cache.get_known_owner(head.token_sha256) is not None
        )

    def take(self, head: RequestHead, body: bytes, replier: ResponseSink) -> bool:
        """Begin to make a request durable; False, and nothing is done, where it has to go round.

        The answer comes when the log has spoken, on a later turn of the event loop.

        Args:
            head: of the request.
            body: as sent.
            replier: to be answered.
        """
        size = len(body)
        pusher = self._token_cache.get_known_owner(head.token_sha256)
        if pusher is None or size > INLINE_BYTES_MAX:
            return False
        try:
            batches = head.decode(body, pusher.account_id)
            if batches is None:
                return False
            held = size if size > UNCOUNTED_BYTES_MAX else 0
            ticket = _PendingRequest(self, head.path, replier, pusher.source_id, len(batches), held)
            self._begin(ticket, encode_batches(batches))
        except Exception:  # noqa: BLE001 - the long way meets it again, and answers it
            return False
        self._token_cache.count_use(pusher)
        self._deadlines.start(ticket)
        return True

    def _begin(self, ticket: "_PendingRequest", batches: Sequence[EncodedBatch]) -> None:
        self.memory.reserve(ticket.held)
        try:
            self._acceptor.begin_append(ticket.source_id, batches, ticket)
        except BaseException:
            self.memory.release(ticket.held)
            raise

    @cached_property
    def _deadlines(self) -> DeadlineTimer:
        return get_deadline_timer(asyncio.get_running_loop())

    def answer_durable(self, ticket: "_PendingRequest", first: int) -> None:
        """Answer a request whose entries are durable, the first at this position."""
        self._deadlines.discard(ticket)
        receipt = Receipt(ticket.source_id, first, ticket.entries)
        self._answer(ticket, self._acceptor.confirm_append(receipt))

    def answer_failure(self, ticket: "_PendingRequest", error: BaseException) -> None:
        """Answer a request of which nothing is in the log."""
        self._deadlines.discard(ticket)
        self._acceptor.record_failure(error)
        self._answer(ticket, self._endpoints[ticket.path].render_failure("POST", error))

    def answer_timeout(self, ticket: "_PendingRequest") -> None:
        """Answer a request of which nobody knows whether it is in the log."""
        refused = self._acceptor.make_timeout_error()
        self._answer(ticket, self._endpoints[ticket.path].render_failure("POST", refused))

    def _answer(self, ticket: "_PendingRequest", response: Response) -> None:
        ticket.answered = True
        self.memory.release(ticket.held)
        self._count(ticket.path, response.status_code)
        ticket.replier.reply(response)


class _PendingRequest:
    """One request that waits for the log; to the log what a future is."""

    __slots__ = ("_due", "_express", "answered", "entries", "held", "path", "replier", "source_id")

    def __init__(
        self,
        express: FastPathHandler,
        path: str,
        replier: ResponseSink,
        source_id: int,
        entries: int,
        held: int,
    ) -> None:
        self._express = express
        self._due: float | None = None
        self.answered = False
        self.path = path
        self.replier = replier
        self.source_id = source_id
        self.entries = entries
        self.held = held

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return self.answered

    def set_result(self, stored: AppendResult, /) -> None:
        self._express.answer_durable(self, stored.first)

    def set_exception(self, error: BaseException, /) -> None:
        self._express.answer_failure(self, error)

    def look(self, now: float) -> bool:
        """Give up if it is late; whether it was. Time counts from the first look."""
        if self._due is None:
            self._due = now + APPEND_SECONDS_MAX
        late = now >= self._due
        if late:
            self._express.answer_timeout(self)
        return late
