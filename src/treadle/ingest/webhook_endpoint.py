"""Incoming webhooks: `POST /v1/clients/{client_id}/token/{token}` (import-api.md 15).

The URL holds the credential. A *webhook token* fills the tables that it names, appends only, and
may ask the sender for a signature. An import token works here too, as at Stitch, until that is
turned off for its source. What a source's webhook does is in its settings, all optional:

    {"webhook": {"table": "data", "key": ["id"], "upsert": false, "import_tokens": true,
                 "provider": "stripe"}}

One key field may be given as its name alone, and a header as `header:X-Name`: its value becomes a
field of each record. Records in which a key field is missing or null are left out. With `upsert`, a
record that comes with an import token replaces the earlier one with its key; otherwise every record
is a new row, as documented.

With a `provider` the rows have the provider's event id as their key, or `key` where that is set, so
that an event that is sent again is no second row. That holds for both kinds of tokens.

A body is JSON or a form. HEAD and GET are answered 200 and store nothing: senders ask in this way
whether the URL is there, and some of them with a challenge that is to be repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive

from treadle.errors import RequestRefusedError
from treadle.http.headers import read_media_type, select_headers
from treadle.http.responses import JsonResponse
from treadle.ingest.acknowledgement import (
    BatchAcceptor,
    EncodedBatch,
    ReceivedRequest,
    encode_batches,
)
from treadle.ingest.admission import RequestAdmission
from treadle.ingest.body_executor import weigh_body
from treadle.ingest.endpoint import NOT_AUTHORIZED
from treadle.ingest.form_body import convert_form, is_form
from treadle.ingest.raw_records import RawRecord, add_fields, build_batch, parse_records
from treadle.ingest.sender_signature import verify_signature
from treadle.ingest.table_schema_check import TableSchemaCheck
from treadle.ingest.token_cache import TokenCache
from treadle.records.data_points import has_too_many_points
from treadle.records.field_check import TOO_MANY_POINTS, refuse_records
from treadle.records.message_batch import MessageBatch
from treadle.records.webhook_provider import (
    PROVIDERS,
    WebhookProvider,
    find_posted_challenge,
    name_field,
    read_challenge,
    read_header_fields,
)
from treadle.step_check import StepCheck
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
LISTENING = {
    "status": "OK",
    "message": "This webhook takes records by POST; nothing was stored",
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
        provider: who sends; one of PROVIDERS, or empty for nobody in particular.
    """

    table: str = "data"
    key: tuple[str, ...] = ()
    upsert: bool = False
    provider: str = ""

    def get_provider(self) -> WebhookProvider | None:
        """Return what is known of the provider; None where none is named."""
        return PROVIDERS.get(self.provider)

    def get_key(self) -> tuple[str, ...]:
        """Return the parts of the key: fields, and headers with their prefix."""
        provider = self.get_provider()
        return self.key if self.key or provider is None else provider.key


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
    schemas: TableSchemaCheck

    async def post(self, request: Request) -> Response:
        """Accept an object or an array of objects, as JSON or as a form."""
        sent, owner, kept = await self._checked(request)
        if isinstance(kept, str):
            return PlainTextResponse(kept)
        return await self.acceptor.accept(sent, owner, kept, status=200)

    async def get(self, request: Request) -> Response:
        """Answer that the URL is there, and repeat the challenge of a provider; store nothing."""
        _, hook = await self._admit(request, select_headers(request.scope))
        challenge = read_challenge(hook.get_provider(), request.query_params)
        return JsonResponse(LISTENING) if challenge is None else PlainTextResponse(challenge)

    async def _admit(
        self, request: Request, headers: Mapping[str, str]
    ) -> tuple[TokenOwner, WebhookSettings]:
        """Check all that can be checked before the body is read."""
        path = request.path_params
        owner = await self.admission.admit_first(headers, path["token"], path["client_id"])
        settings = await self._read_settings(owner)
        if owner.webhook is None and not allows_import_tokens(settings):
            raise RequestRefusedError(401, NOT_AUTHORIZED)
        hook = parse_webhook_settings(settings)
        if owner.webhook is not None:
            hook = limit_webhook(hook, owner.webhook, request.query_params.get(TABLE_PARAMETER))
        return owner, hook

    async def _checked(
        self, request: Request
    ) -> tuple[ReceivedRequest, TokenOwner, list[EncodedBatch] | str]:
        """Check a request and encode its batches; the body is free after this.

        A challenge stands for the batches of a request that has one.
        """
        headers = select_headers(request.scope)
        owner, hook = await self._admit(request, headers)
        body = await self._read_body(request, headers, owner)
        kept = await self._read_records(request, owner, hook, body)
        await self.admission.record_use(request, owner, request.path_params["token"])
        target = "webhook"  # its path holds the token
        if owner.webhook is not None:
            target = f"webhook {hook.table}"
        return ReceivedRequest.from_body(target, headers, body), owner, kept

    async def _read_records(
        self, request: Request, owner: TokenOwner, hook: WebhookSettings, body: bytes
    ) -> list[EncodedBatch] | str:
        """Encode the records of a body, or return the challenge that is all of it."""
        headers = request.scope["headers"]
        fields = read_header_fields(hook.get_key(), hook.get_provider(), headers)
        form = is_form(read_media_type(select_headers(request.scope)), body)
        # All records of a request have the time of its arrival as their sequence.
        arrival = self.clock() // 1000

        def read(check: StepCheck) -> list[RawRecord] | str:
            return read_records(convert_form(body, check) if form else body, hook, fields, check)

        build = partial(
            build_batches, hook=hook, arrival=arrival, append_only=owner.webhook is not None
        )

        def encode(check: StepCheck) -> list[EncodedBatch] | str:
            found = read(check)
            if isinstance(found, str):
                return found
            return encode_batches(build(found))

        weight = weigh_body(body)
        if not owner.has_schemas:
            return await self.admission.decode(request, owner, weight, encode)
        records = await self.admission.decode(request, owner, weight, read)
        if isinstance(records, str):
            return records
        run = self.admission.executor.run
        batches = await run(owner.source_id, weight, build, records)
        places = {hook.table: list_places(records, hook)}
        typed = await self.schemas.apply(request, owner, batches, lambda: places)
        return await run(owner.source_id, weight, encode_batches, typed)

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
    return msgspec.structs.replace(hook, table=table, upsert=False)


def read_records(
    text: bytes, hook: WebhookSettings, fields: Mapping[str, str], check: StepCheck
) -> list[RawRecord] | str:
    """Return the records of a body, or the challenge that is all of it.

    Args:
        text: the body as JSON.
        hook: of the source.
        fields: that headers give to each record.
        check: called between steps.

    Raises:
        RequestRefusedError: 400.
    """
    records = parse_records(text, check)
    if len(records) == 1:
        challenge = find_posted_challenge(hook.get_provider(), records[0].value)
        if challenge is not None:
            return challenge
    return add_fields(records, fields)


def build_batches(
    records: Sequence[RawRecord],
    hook: WebhookSettings,
    arrival: int,
    *,
    append_only: bool = False,
) -> list[MessageBatch]:
    """Return the records of a body as one batch; no batch when no record has the key.

    Args:
        records: of the body, with the fields that headers give them.
        hook: of the source.
        arrival: sequence of the records, milliseconds since 1970.
        append_only: the sender may only append; in a table with a key its records are rejected.

    Raises:
        RequestRefusedError: 422; nothing of the body is kept then.
    """
    large = [index for index, one in enumerate(records) if has_too_many_points(one.text)]
    if large:
        refuse_records([{"data": [TOO_MANY_POINTS]}], large)
    key = tuple(map(name_field, hook.get_key()))
    kept = [records[index] for index in list_places(records, hook)]
    if not kept:
        return []
    key_names = key if hook.upsert or hook.get_provider() is not None else ()
    sequences = [arrival] * len(kept)
    appends = append_only and not key_names
    return [build_batch(kept, hook.table, key_names, sequences, append_only=appends)]


def list_places(records: Sequence[RawRecord], hook: WebhookSettings) -> list[int]:
    """Return the indices of the records that have a value in every key field."""
    key = tuple(map(name_field, hook.get_key()))
    return [
        index
        for index, record in enumerate(records)
        if all(record.value.get(name) is not None for name in key)
    ]
