"""`POST /v2/import/batch` (import-api.md 9)."""

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import Refused
from treadle.ingest.accept import Acceptor, Sent, packed
from treadle.ingest.directory import Directory
from treadle.ingest.dry_run import DryRun, asked
from treadle.ingest.endpoint import NOT_ACTIVE, NOT_AUTHORIZED
from treadle.ingest.large import Large
from treadle.ingest.room import Room
from treadle.records import batch
from treadle.records.message import Batch
from treadle.store.model import Pusher
from treadle.web import bearer, check_declared_length, fields, media_type

T = TypeVar("T")

WRONG_TYPE = "Content-Type must be application/json"


class BatchEndpoint:
    """Takes the messages of one table with their schema."""

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

    async def post(self, request: Request) -> Response:
        """The checks in the order of import-api.md 9.2.

        The token is known before anything is read, so that only its owner can fill memory.
        """
        if asked(request.scope):
            _, pusher, batches = await self._checked(request, list)
            return await self._dry_run.answer(pusher, batches)
        sent, pusher, kept = await self._checked(request, packed)
        return await self._acceptor.accept(sent, pusher, kept)

    async def _checked(
        self, request: Request, use: Callable[[list[Batch]], T]
    ) -> tuple[Sent, Pusher, T]:
        """The checks, and what is made of the batches; the body is let go with the end of this."""
        headers = fields(request.scope)
        check_declared_length(headers)
        pusher = await self._directory.find(bearer(headers))
        if pusher is None:
            raise Refused(401, NOT_AUTHORIZED)
        if not pusher.active:
            raise Refused(401, NOT_ACTIVE)
        if media_type(headers).lower() != "application/json":
            raise Refused(415, WRONG_TYPE)
        body = await self._room.read(request, headers)
        made = await self._large.work(len(body), lambda: use(batch.judge(body)))
        if not await self._directory.record_use(pusher):
            raise Refused(401, NOT_AUTHORIZED)
        return Sent.of("batch", headers, body), pusher, made
