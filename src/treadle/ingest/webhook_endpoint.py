"""Incoming webhooks: `POST /v1/clients/{client_id}/token/{token}` (import-api.md 15).

The URL is the credential. What a source's webhook does is in its settings, all optional:

    {"webhook": {"table": "data", "key": ["id"], "upsert": false}}

One key field may be given as its name alone. Records in which a key field is missing or null are
left out. With `upsert` a record replaces the earlier one with its key; otherwise every record is a
new row, as documented.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from treadle.http.headers import select_headers
from treadle.ingest.acknowledgement import (
    BatchAcceptor,
    EncodedBatch,
    ReceivedRequest,
    encode_batches,
)
from treadle.ingest.admission import RequestAdmission
from treadle.ingest.raw_records import RawRecord, build_batch, parse_records
from treadle.ingest.token_cache import TokenCache
from treadle.records.data_points import has_too_many_points
from treadle.records.field_check import TOO_MANY_POINTS, refuse_records
from treadle.records.message_batch import MessageBatch
from treadle.step_check import StepCheck, pass_step
from treadle.store.model import TokenOwner
from treadle.store.sources import SourceRepository

WEBHOOK_PATH = "/v1/clients/{client_id}/token/{token}"
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "*",
}
"""Web pages send to this route too; the token in its URL is the only credential."""


class WebhookSettings(msgspec.Struct, frozen=True):
    """The webhook settings of a source."""

    table: str = "data"
    key: tuple[str, ...] = ()
    upsert: bool = False


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Accepts what senders post to a source's webhook URL.

    Attributes:
        token_cache: remembers the settings of sources.
        clock: microseconds since 1970, UTC.
    """

    admission: RequestAdmission
    token_cache: TokenCache
    sources: SourceRepository
    acceptor: BatchAcceptor
    clock: Callable[[], int]

    async def post(self, request: Request) -> Response:
        """Accept an object or an array of objects, whatever content type its sender names."""
        sent, owner, kept = await self._checked(request)
        return await self.acceptor.accept(sent, owner, kept, status=200)

    async def _checked(
        self, request: Request
    ) -> tuple[ReceivedRequest, TokenOwner, list[EncodedBatch]]:
        """Check a request and encode its batches; the body is free after this."""
        headers = select_headers(request.scope)
        path = request.path_params
        owner = await self.admission.admit_first(headers, path["token"], path["client_id"])
        body = await self.admission.budget.read(request, headers, owner.source_id)
        hook = await self._read_settings(owner)
        # All records of a request have the time of its arrival as their sequence.
        arrival = self.clock() // 1000
        kept = await self.admission.decode(
            request,
            owner,
            len(body),
            lambda check: encode_batches(build_batches(body, hook, arrival, check)),
        )
        await self.admission.record_use(owner)
        return (
            ReceivedRequest.from_body("webhook", headers, body),
            owner,
            kept,
        )  # its path holds the token

    async def _read_settings(self, owner: TokenOwner) -> WebhookSettings:
        settings = await self.token_cache.get_cached(owner.source_id, self.sources.get_settings)
        return parse_webhook_settings(settings)


def parse_webhook_settings(settings: Mapping[str, Any]) -> WebhookSettings:
    """Return the webhook settings of a source; settings of a wrong form count as not set."""
    given = settings.get("webhook", {})
    if isinstance(given, dict) and isinstance(given.get("key"), str):
        given = given | {"key": [given["key"]]}
    try:
        return msgspec.convert(given, WebhookSettings)
    except msgspec.ValidationError:
        return WebhookSettings()


def build_batches(
    body: bytes,
    hook: WebhookSettings,
    arrival: int,
    check: StepCheck = pass_step,
) -> list[MessageBatch]:
    """Return the records of a body as one batch; no batch when no record has the key.

    Args:
        body: as received, inflated.
        hook: of the source.
        arrival: sequence of the records, milliseconds since 1970.
        check: called between steps.

    Raises:
        RequestRefusedError: 400 or 422; nothing of the body is kept then.
    """
    records = parse_records(body, check)
    if any(has_too_many_points(record.text) for record in records):
        refuse_records([{"data": [TOO_MANY_POINTS]}])
    kept = [record for record in records if has_key_values(record, hook.key)]
    if not kept:
        return []
    key_names = hook.key if hook.upsert else ()
    return [build_batch(kept, hook.table, key_names, [arrival] * len(kept))]


def has_key_values(record: RawRecord, key: tuple[str, ...]) -> bool:
    """Return whether a record has a value in every key field."""
    return all(record.value.get(name) is not None for name in key)
