"""Incoming webhooks: `POST /v1/clients/{client_id}/token/{token}` (import-api.md 15).

The URL is the credential. What a source's webhook does is in its settings, all optional:

    {"webhook": {"table": "data", "key": ["id"], "upsert": false}}

One key field may be given as its name alone. Records in which a key field is missing or null are
left out. With `upsert` a record replaces the earlier one with its key; otherwise every record is a
new row, as documented.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from treadle.errors import Refused
from treadle.ingest.accept import Acceptor, Packed, Sent, packed
from treadle.ingest.bare import Record, batch, parse, refuse
from treadle.ingest.directory import Directory
from treadle.ingest.endpoint import NOT_ACTIVE, NOT_AUTHORIZED
from treadle.ingest.large import Large
from treadle.ingest.room import Room
from treadle.records.fields import TOO_MANY_POINTS
from treadle.records.message import Batch
from treadle.records.points import too_many_points
from treadle.store.model import Pusher
from treadle.web import check_declared_length, fields

PATH = "/v1/clients/{client_id}/token/{token}"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "*",
}
"""Web pages send to this route too; the token in its URL is the only credential."""


class Hook(msgspec.Struct, frozen=True):
    """The webhook settings of a source."""

    table: str = "data"
    key: tuple[str, ...] = ()
    upsert: bool = False


class Settings(Protocol):
    """The part of the store that keeps settings."""

    def settings(self, source_id: int) -> dict[str, Any]:
        """The settings of a source."""


class Webhook:
    """Takes what senders post to a source's webhook URL."""

    def __init__(
        self,
        directory: Directory,
        store: Settings,
        acceptor: Acceptor,
        large: Large,
        room: Room,
        clock: Callable[[], int],
    ) -> None:
        """Serve webhooks.

        Args:
            directory: who may push.
            store: knows the settings of sources.
            acceptor: makes batches durable.
            large: works on large bodies.
            room: reads bodies.
            clock: microseconds since 1970, UTC.
        """
        self._directory = directory
        self._store = store
        self._acceptor = acceptor
        self._large = large
        self._room = room
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """Accept an object or an array of objects, whatever content type its sender names."""
        sent, pusher, kept = await self._checked(request)
        return await self._acceptor.accept(sent, pusher, kept, status=200)

    async def _checked(self, request: Request) -> tuple[Sent, Pusher, list[Packed]]:
        """What is to be kept; the body is let go with the end of this."""
        headers = fields(request.scope)
        check_declared_length(headers)
        token = request.path_params["token"]
        pusher = await self._directory.find(token)
        if pusher is None or str(pusher.account_id) != request.path_params["client_id"]:
            raise Refused(401, NOT_AUTHORIZED)
        if not pusher.active:
            raise Refused(401, NOT_ACTIVE)
        body = await self._room.read(request, headers)
        hook = await self._hook(pusher)
        # All records of a request have the time of its arrival as their sequence.
        arrival = self._clock() // 1000
        kept = await self._large.work(len(body), lambda: packed(judge(body, hook, arrival)))
        if not await self._directory.record_use(pusher):
            raise Refused(401, NOT_AUTHORIZED)
        return Sent.of("webhook", headers, body), pusher, kept  # its path holds the token

    async def _hook(self, pusher: Pusher) -> Hook:
        settings = await self._directory.cached(pusher.source_id, self._store.settings)
        return hook_of(settings)


def hook_of(settings: Mapping[str, Any]) -> Hook:
    """The webhook settings among a source's; what makes no sense there counts as not set."""
    given = settings.get("webhook", {})
    if isinstance(given, dict) and isinstance(given.get("key"), str):
        given = given | {"key": [given["key"]]}
    try:
        return msgspec.convert(given, Hook)
    except msgspec.ValidationError:
        return Hook()


def judge(body: bytes, hook: Hook, arrival: int) -> list[Batch]:
    """What the body holds, as a batch; none when no record has the key.

    Args:
        body: as received, inflated.
        hook: of the source.
        arrival: sequence of the records, milliseconds since 1970.

    Raises:
        Refused: 400 or 422; nothing of the body is kept then.
    """
    records = parse(body)
    if any(too_many_points(record.text) for record in records):
        refuse([{"data": [TOO_MANY_POINTS]}])
    kept = [record for record in records if has_key(record, hook.key)]
    if not kept:
        return []
    key_names = hook.key if hook.upsert else ()
    return [batch(kept, hook.table, key_names, [arrival] * len(kept))]


def has_key(record: Record, key: tuple[str, ...]) -> bool:
    """Whether a record has a value for every key field."""
    return all(record.value.get(name) is not None for name in key)
