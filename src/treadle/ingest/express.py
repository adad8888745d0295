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

from treadle.ingest.accept import APPEND_SECONDS_MAX, Acceptor, Packed, packed
from treadle.ingest.directory import Directory
from treadle.ingest.endpoint import Endpoint
from treadle.ingest.large import INLINE_BYTES
from treadle.ingest.receipt import Receipt
from treadle.ingest.room import SMALL_BYTES, Room
from treadle.log.protocol import Stored
from treadle.records import batch, push
from treadle.records.message import Batch
from treadle.store.secrets import digest
from treadle.web import Watch, bearer, fields, media_type, watch_of

STATE: Final = "treadle.express"
"""Its name in the application's state, by which connections find it."""

PUSH: Final = "/v2/import/push"
BATCH: Final = "/v2/import/batch"

_UNUSUAL: Final = frozenset(
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

Judge = Callable[[bytes, int], Sequence[Batch] | None]
"""Body and account id -> the batches of a body in order; None where a closer look is needed."""

JUDGES: Final[Mapping[bytes, tuple[str, Judge]]] = {
    PUSH.encode(): (PUSH, push.quickly),
    BATCH.encode(): (BATCH, lambda body, _: batch.quickly(body)),
}


class Told(NamedTuple):
    """What the head of a request says.

    Attributes:
        path: of the endpoint.
        judge: looks at its bodies.
        sha256: of the token.
    """

    path: str
    judge: Judge
    sha256: bytes


class Replier(Protocol):
    """Who waits for an answer."""

    def reply(self, response: Response) -> None:
        """Send the answer."""


def told(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Told | None:
    """What a head says; None for one that has to go the long way.

    Args:
        method: as sent.
        target: path and query, as sent.
        headers: names in lower case.
    """
    found = JUDGES.get(target)
    if method != b"POST" or found is None or any(name in _UNUSUAL for name, _ in headers):
        return None
    known = fields({"headers": headers})
    token = bearer(known)
    if token is None or media_type(known).lower() != "application/json":
        return None
    return Told(*found, digest(token))


class Express:
    """Takes requests of which nothing but the body is new."""

    def __init__(
        self,
        directory: Directory,
        acceptor: Acceptor,
        room: Room,
        endpoints: Mapping[str, Endpoint],
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
        self._directory = directory
        self._acceptor = acceptor
        self.room = room
        self._endpoints = endpoints
        self._count = count

    def expects(self, head: Told, size: int) -> bool:
        """Whether to wait for the rest of a body of so many bytes: `take` may take it then."""
        return size <= INLINE_BYTES and self._directory.known(head.sha256) is not None

    def take(self, head: Told, body: bytes, replier: Replier) -> bool:
        """Begin to make a request durable; False, and nothing is done, where it has to go round.

        The answer comes when the log has spoken, on a later turn of the event loop.

        Args:
            head: of the request.
            body: as sent.
            replier: to be answered.
        """
        size = len(body)
        pusher = self._directory.known(head.sha256)
        if pusher is None or size > INLINE_BYTES:
            return False
        try:
            batches = head.judge(body, pusher.account_id)
            if batches is None:
                return False
            held = size if size > SMALL_BYTES else 0
            ticket = _Ticket(self, head.path, replier, pusher.source_id, len(batches), held)
            self._begin(ticket, packed(batches))
        except Exception:  # noqa: BLE001 - the long way meets it again, and answers it
            return False
        self._directory.count_use(pusher)
        self._watch.begin(ticket)
        return True

    def _begin(self, ticket: "_Ticket", batches: Sequence[Packed]) -> None:
        self.room.hold(ticket.held)
        try:
            self._acceptor.begin(ticket.source_id, batches, ticket)
        except BaseException:
            self.room.let_go(ticket.held)
            raise

    @cached_property
    def _watch(self) -> Watch:
        return watch_of(asyncio.get_running_loop())

    def accepted(self, ticket: "_Ticket", first: int) -> None:
        """Answer a request whose entries are durable, the first at this position."""
        self._watch.discard(ticket)
        receipt = Receipt(ticket.source_id, first, ticket.entries)
        self._answer(ticket, self._acceptor.accepted(receipt))

    def failed(self, ticket: "_Ticket", error: BaseException) -> None:
        """Answer a request of which nothing is in the log."""
        self._watch.discard(ticket)
        self._acceptor.failed(error)
        self._answer(ticket, self._endpoints[ticket.path].failure("POST", error))

    def late(self, ticket: "_Ticket") -> None:
        """Answer a request of which nobody knows whether it is in the log."""
        refused = self._acceptor.silent()
        self._answer(ticket, self._endpoints[ticket.path].failure("POST", refused))

    def _answer(self, ticket: "_Ticket", response: Response) -> None:
        ticket.answered = True
        self.room.let_go(ticket.held)
        self._count(ticket.path, response.status_code)
        ticket.replier.reply(response)


class _Ticket:
    """One request that waits for the log; to the log what a future is."""

    __slots__ = ("_due", "_express", "answered", "entries", "held", "path", "replier", "source_id")

    def __init__(
        self,
        express: Express,
        path: str,
        replier: Replier,
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

    def set_result(self, stored: Stored, /) -> None:
        self._express.accepted(self, stored.first)

    def set_exception(self, error: BaseException, /) -> None:
        self._express.failed(self, error)

    def look(self, now: float) -> bool:
        """Give up if it is late; whether it was. Time counts from the first look."""
        if self._due is None:
            self._due = now + APPEND_SECONDS_MAX
        late = now >= self._due
        if late:
            self._express.late(self)
        return late
