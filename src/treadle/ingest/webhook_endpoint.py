"""Incoming webhooks: `POST /v1/clients/{client_id}/token/{token}` (import-api.md 15).

The URL holds the credential. A *webhook token* fills the tables that it names, appends only, and
may ask the sender for a signature. An import token works here too, as at Stitch, until that is
turned off for its source. What a source's webhook does is in its settings, all optional:

    {"webhook": {"table": "data", "key": ["id"], "upsert": false, "import_tokens": true}}

One key field may be given as its name alone. Records in which a key field is missing or null are
left out. With `upsert`, a record that comes with an import token replaces the earlier one with its
key; otherwise every record is a new row, as documented.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from treadle.errors import RequestRefusedError
from treadle.http.headers import read_peer, select_headers
from treadle.ingest.acknowledgement import (
    BatchAcceptor,
    EncodedBatch,
    ReceivedRequest,
    encode_batches,
)
from treadle.ingest.admission import RequestAdmission
from treadle.ingest.endpoint import NOT_AUTHORIZED
from treadle.ingest.raw_records import RawRecord, build_batch, parse_records
from treadle.ingest.sender_signature import verify_signature
from treadle.ingest.token_cache import TokenCache
from treadle.records.data_points import has_too_many_points
from treadle.records.field_check import TOO_MANY_POINTS, refuse_records
from treadle.records.message_batch import MessageBatch
from treadle.step_check import StepCheck, pass_step
from treadle.store.model import TokenOwner, WebhookScope
from treadle.store.sources import SourceRepository

WEBHOOK_PATH = "/v1/clients/{client_id}/token/{token}"
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "*",
}
"""Web pages send to this route too; the token in its URL is the only credential."""

TABLE_PARAMETER: Final = "table"
"""The query parameter with which a webhook token chooses among its tables."""

TABLE_NOT_ALLOWED = {
    "status": "ERROR",
    "message": "The token of this URL does not allow this table",
}
BAD_SIGNATURE = {
    "status": "ERROR",
    "message": "The signature of the sender is missing or does not fit the body",
}


class WebhookSettings(msgspec.Struct, frozen=True):
    """The webhook settings of a source.

    Attributes:
        table: that records go to.
        key: fields that a record must have.
        upsert: records that come with an import token replace earlier ones with their key.
    """

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
        settings = await self._read_settings(owner)
        if owner.webhook is None and not allows_import_tokens(settings):
            raise RequestRefusedError(401, NOT_AUTHORIZED)
        hook = parse_webhook_settings(settings)
        if owner.webhook is not None:
            hook = limit_webhook(hook, owner.webhook, request.query_params.get(TABLE_PARAMETER))
        body = await self._read_body(request, headers, owner)
        # All records of a request have the time of its arrival as their sequence.
        arrival = self.clock() // 1000
        kept = await self.admission.decode(
            request,
            owner,
            len(body),
            lambda check: encode_batches(
                build_batches(body, hook, arrival, check, append_only=owner.webhook is not None)
            ),
        )
        await self.admission.record_use(owner, read_peer(request.scope))
        target = "webhook"  # its path holds the token
        if owner.webhook is not None:
            target = f"webhook {hook.table}"
        return ReceivedRequest.from_body(target, headers, body), owner, kept

    async def _read_body(
        self, request: Request, headers: Mapping[str, str], owner: TokenOwner
    ) -> bytes:
        """Return the body, decompressed; its sender has signed it where the token asks for that.

        Raises:
            RequestRefusedError: 401, the signature is missing or wrong; and as the budget's `read`.
        """
        signature = None if owner.webhook is None else owner.webhook.signature
        if signature is None:
            return await self.admission.budget.read(request, headers, owner.source_id)
        raw = bytearray()
        if "content-encoding" in headers:  # signed is what was sent
            request = Request(request.scope, copy_received(request.receive, raw))
        body = await self.admission.budget.read(request, headers, owner.source_id)
        signed = bytes(raw) if "content-encoding" in headers else body
        now = self.clock() // 1_000_000
        genuine = await self.admission.decode(
            request,
            owner,
            len(signed),
            lambda _: verify_signature(signature, request.scope["headers"], signed, now),
        )
        if not genuine:
            raise RequestRefusedError(401, BAD_SIGNATURE)
        return body

    async def _read_settings(self, owner: TokenOwner) -> Mapping[str, Any]:
        return await self.token_cache.get_cached(owner.source_id, self.sources.get_settings)


def copy_received(receive: Receive, raw: bytearray) -> Receive:
    """Return a channel that also adds the body's bytes to `raw`, as they arrive."""

    async def receive_and_copy() -> Message:
        message = await receive()
        raw.extend(message.get("body", b""))
        return message

    return receive_and_copy


def parse_webhook_settings(settings: Mapping[str, Any]) -> WebhookSettings:
    """Return the webhook settings of a source; settings of a wrong form count as not set."""
    given = settings.get("webhook", {})
    if isinstance(given, dict) and isinstance(given.get("key"), str):
        given = given | {"key": [given["key"]]}
    try:
        return msgspec.convert(given, WebhookSettings)
    except msgspec.ValidationError:
        return WebhookSettings()


def allows_import_tokens(settings: Mapping[str, Any]) -> bool:
    """Return whether import tokens of a source work in its webhook's URL.

    It is a setting of its own: another one of a wrong form must not turn it on again.
    """
    given = settings.get("webhook")
    return not isinstance(given, dict) or given.get("import_tokens", True) is True


def limit_webhook(hook: WebhookSettings, scope: WebhookScope, asked: str | None) -> WebhookSettings:
    """Return what a webhook token may do: append to one of its tables.

    Without names it fills the table that its source is set to. The sender cannot choose another:
    a table that its rows make has no key, and would stop at records that come with one.

    Args:
        hook: the settings of its source.
        scope: of the token.
        asked: the table that the URL names; None for none.

    Raises:
        RequestRefusedError: 403, the token does not name this table.
    """
    allowed = scope.tables or (hook.table,)
    preferred = hook.table if hook.table in allowed else allowed[0]
    table = preferred if asked is None else asked
    if table not in allowed:
        raise RequestRefusedError(403, TABLE_NOT_ALLOWED)
    return WebhookSettings(table, hook.key, upsert=False)


def build_batches(
    body: bytes,
    hook: WebhookSettings,
    arrival: int,
    check: StepCheck = pass_step,
    *,
    append_only: bool = False,
) -> list[MessageBatch]:
    """Return the records of a body as one batch; no batch when no record has the key.

    Args:
        body: as received, inflated.
        hook: of the source.
        arrival: sequence of the records, milliseconds since 1970.
        check: called between steps.
        append_only: the sender may only append; in a table with a key its records are rejected.

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
    sequences = [arrival] * len(kept)
    appends = append_only and not key_names
    return [build_batch(kept, hook.table, key_names, sequences, append_only=appends)]


def has_key_values(record: RawRecord, key: tuple[str, ...]) -> bool:
    """Return whether a record has a value in every key field."""
    return all(record.value.get(name) is not None for name in key)
