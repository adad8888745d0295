"""`POST /v2/import/push` and `POST /v2/import/validate` (import-api.md 7, 8)."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import Defect, OperatorFault, Refused, TryLater
from treadle.ingest.accept import Acceptor, Sent, packed
from treadle.ingest.directory import Directory
from treadle.ingest.dry_run import DryRun, asked
from treadle.ingest.endpoint import NOT_ACTIVE, TIMEOUT
from treadle.ingest.large import Large
from treadle.ingest.room import Room
from treadle.records import push
from treadle.records.message import Batch
from treadle.store.model import Pusher
from treadle.web import Json, bearer, fields, media_type

T = TypeVar("T")

VALID = {"status": "OK", "message": "Batch is valid!"}

JSON_TYPE = "application/json"
TRANSIT_TYPE = "application/transit+json"

TRANSIT_WEIGHT = 25
"""How much longer than JSON a byte of Transit takes: 120 ms instead of 5 ms a megabyte."""


class PushEndpoint:
    """Both endpoints: what they check is the same."""

    def __init__(
        self,
        directory: Directory,
        acceptor: Acceptor,
        large: Large,
        room: Room,
        dry_run: DryRun,
    ) -> None:
        """Serve the pushers of a directory.

        Args:
            directory: who may push.
            acceptor: makes batches durable.
            large: works on large bodies.
            room: reads bodies.
            dry_run: plans what is not to be kept.
        """
        self._dry_run = dry_run
        self._directory = directory
        self._acceptor = acceptor
        self._large = large
        self._room = room

    async def push(self, request: Request) -> Response:
        """Accept the records, or plan them."""
        if asked(request.scope):
            _, pusher, batches = await self._checked(request, list)
            await self._count(pusher)
            return await self._dry_run.answer(pusher, batches)
        sent, pusher, kept = await self._checked(request, packed)
        await self._count(pusher)
        return await self._acceptor.accept(sent, pusher, kept)

    async def validate(self, request: Request) -> Response:
        """Say what `push` would, and keep nothing; works while store and log do not (8)."""
        try:
            _, pusher, _ = await self._checked(request, len)
        except (TryLater, OperatorFault) as error:
            raise Refused(504, TIMEOUT) from error  # never 503; only a new token comes here
        with contextlib.suppress(TryLater, OperatorFault):
            await self._count(pusher)
        return Json(VALID)

    async def _count(self, pusher: Pusher) -> None:
        if not await self._directory.record_use(pusher):
            raise Refused(401, push.NOT_AUTHENTICATED)

    async def _checked(
        self, request: Request, use: Callable[[list[Batch]], T]
    ) -> tuple[Sent, Pusher, T]:
        """The checks in the order of import-api.md 7.2, and what is made of the batches.

        The body is let go with the end of this.
        """
        headers = fields(request.scope)
        body = await self._room.read(request, headers)
        transit = is_transit(headers)
        pusher = await self._directory.find(bearer(headers))
        weight = len(body) * (TRANSIT_WEIGHT if transit else 1)
        made = await self._large.work(weight, lambda: use(judge(body, transit, pusher)))
        if pusher is None:
            raise Defect("a push without a known token passed its checks")
        target = TRANSIT_TYPE if transit else JSON_TYPE
        return Sent.of(f"push {target}", headers, body), pusher, made


def judge(body: bytes, transit: bool, pusher: Pusher | None) -> list[Batch]:
    """Steps 4 to 10 of import-api.md 7.2: what the body says, then whether its sender may say it.

    Args:
        body: as received, inflated.
        transit: it is Transit and not JSON.
        pusher: whom the token belongs to; None when it is unknown.

    Raises:
        Refused: with the answer of the first step that fails.
    """
    parsed = push.decode(body, transit=transit)
    if pusher is None:
        raise Refused(401, push.NOT_AUTHENTICATED)
    if not pusher.active:
        raise Refused(401, NOT_ACTIVE)
    return push.check(parsed, pusher.account_id)


def is_transit(headers: Mapping[str, str]) -> bool:
    """Whether the body is Transit and not JSON.

    Raises:
        Refused: 415, it is neither.
    """
    sent = media_type(headers)
    name = sent.lower()
    if name not in (JSON_TYPE, TRANSIT_TYPE):
        message = f"Unsupported content-type {sent}. Please send {JSON_TYPE} or {TRANSIT_TYPE}"
        raise Refused(415, {"status": "ERROR", "message": message})
    return name == TRANSIT_TYPE
