"""The Import API's part of the OpenAPI document, as a value."""

from typing import Final

from treadle import __version__
from treadle.ingest import (
    dry_run,
    openapi_schemas,
    raw_records,
    receipts_endpoint,
    records_endpoint,
    webhook_endpoint,
)
from treadle.ingest.endpoint import INTERNAL_ERROR, METHOD_NOT_ALLOWED, TIMEOUT, UNAVAILABLE
from treadle.ingest.openapi_schemas import Json, ref
from treadle.tracking import idempotency

ABOUT: Final = """
Takes records and answers once they are durable; they are loaded a moment later.

* Calls carry an Import API access token: `Authorization: Bearer at_...`. A webhook has it in its
  path.
* A request is accepted whole or refused whole.
* Bodies are UTF-8 and have at most 20,971,520 bytes, as sent and inflated. `Content-Encoding` may
  be `gzip` or `zstd`.
* A path below `/v2/` that is not described here is answered with 404 and `{"message":"Not Found"}`.
  `OPTIONS` names the methods of a path.
* Paths below `/v2/` are those that clients know; those below `/v1/` are treadle's own, but for
  webhooks.
"""

_TAGS: Final = [
    {"name": "import", "description": "the Import API that clients know"},
    {"name": "bare records", "description": "records with nothing around them"},
    {"name": "receipts", "description": "what became of accepted requests"},
]

_Answers = dict[str, Json]


def load_document() -> Json:
    """An OpenAPI 3.1 document of the Import API alone; a fresh value each time."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Import API", "version": __version__, "description": ABOUT},
        "tags": [dict(tag) for tag in _TAGS],
        "paths": {
            "/v2/import/push": {"post": _push()},
            "/v2/import/validate": {"post": _validate()},
            "/v2/import/batch": {"post": _batch()},
            "/v2/import/status": {"get": _status()},
            webhook_endpoint.WEBHOOK_PATH: {"post": _webhook()},
            records_endpoint.RECORDS_PATH.replace(":text", ""): {"post": _plain()},
            "/v1/receipts/{id}": {"get": _receipt()},
        },
        "components": {
            "schemas": openapi_schemas.BODIES | openapi_schemas.ANSWERS,
            "parameters": _PARAMETERS,
            "headers": _HEADERS,
            "securitySchemes": {
                "import_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An Import API access token, `at_...`.",
                }
            },
        },
    }


# --- operations -----------------------------------------------------------------------------------


def _push() -> Json:
    return {
        "operationId": "push",
        "tags": ["import"],
        "summary": "Push records",
        "description": "Accept records of one or several tables.",
        "security": [{"import_token": []}],
        "parameters": _parameters("Content-Encoding", "Idempotency-Key", "Prefer", "dry_run"),
        "requestBody": _pushed(),
        "responses": _sorted(
            {"201": _accepted("every record is durable")},
            _DRY_RUN,
            _PUSH_REFUSALS,
            {"400": _NOT_PUSHED},
            _BODY,
            _STORED,
            {
                "422": _json(
                    "records break rules, or the key was used with another request",
                    "BadRecords",
                    "Trouble",
                    another=idempotency.KEY_REUSED,
                )
            },
            _always(),
        ),
    }


def _validate() -> Json:
    return {
        "operationId": "validate",
        "tags": ["import"],
        "summary": "Check records",
        "description": "Say what a push of this would be answered, and keep nothing.",
        "security": [{"import_token": []}],
        "parameters": _parameters("Content-Encoding"),
        "requestBody": _pushed(),
        "responses": _sorted(
            {"200": _json("a push of this would be accepted", "Valid")},
            _PUSH_REFUSALS,
            _BODY,
            {
                "422": _json("records break rules", "BadRecords"),
                "504": _json("the token cannot be looked up now", "Trouble", timeout=TIMEOUT),
            },
            _always(),
        ),
    }


def _batch() -> Json:
    refused = "not JSON, not the documented shape, or records that do not fit the schema"
    return {
        "operationId": "batch",
        "tags": ["import"],
        "summary": "Push records with their schema",
        "description": "Accept records of one table; the schema says of which types they are.",
        "security": [{"import_token": []}],
        "parameters": _parameters("Content-Encoding", "Idempotency-Key", "Prefer", "dry_run"),
        "requestBody": _body({"application/json": _content(ref("Batch"), openapi_schemas.BATCHES)}),
        "responses": _sorted(
            {"201": _accepted("every record is durable")},
            _DRY_RUN,
            {
                "400": _json(
                    refused,
                    "BatchRefusal",
                    "Malformed",
                    "Trouble",
                    "Said",
                    key=idempotency.INVALID_KEY,
                    dry_run=dry_run.INVALID_DRY_RUN,
                ),
                "401": _json(
                    "no valid token, or the source is paused", "NotAuthorized", "NotActive"
                ),
            },
            _BODY,
            {
                "415": _with_text(
                    _BODY["415"], "another `Content-Type`, or an unknown `Content-Encoding`"
                )
            },
            _STORED,
            {"422": _json("the key was used with another request", "Trouble", **_OTHER)},
            _always(),
        ),
    }


def _status() -> Json:
    failing = openapi_schemas.EXAMPLES["Status"] | {
        "status": "ERROR",
        "reason": "No space left on the device",
    }
    return {
        "operationId": "status",
        "tags": ["import"],
        "summary": "Whether data is accepted",
        "description": "For health checks; no token is needed.",
        "security": [],
        "responses": _sorted(
            {"200": _json("data is accepted", "Status")},
            {"503": _json("data is not accepted", "Status", failing=failing)},
            _always(),
        ),
    }


def _webhook() -> Json:
    described = _sorted(
        {"200": _accepted("every record that has the key is durable")},
        _BARE_REFUSALS,
        _BODY,
        _STORED,
        _always(),
    )
    for name, answer in described.items():
        described[name] = answer | {
            "headers": answer.get("headers", {}) | _headers("Access-Control-Allow-Origin")
        }
    return {
        "operationId": "webhook",
        "tags": ["bare records"],
        "summary": "Take a webhook",
        "description": "Accept an object, or an array of objects, as rows of the table that the "
        "source's settings name; it is `data` by default. The URL is the credential.",
        "security": [],
        "parameters": [
            _in_path("client_id", "the account", "4321"),
            _in_path("token", "an Import API access token", "at_0"),
            *_parameters("Content-Encoding", "Idempotency-Key", "Prefer"),
        ],
        "requestBody": _body(
            {"application/json": _content(ref("BareRecords"), openapi_schemas.BARE)}
        ),
        "responses": described,
    }


def _plain() -> Json:
    lines = "objects one after the other, as a rule one on each line"
    return {
        "operationId": "push_bare_records",
        "tags": ["bare records"],
        "summary": "Push bare records",
        "description": "Accept records of one table, whatever content type is named.",
        "security": [{"import_token": []}],
        "parameters": [
            _in_path("table", "destination table; made with its first record", "orders"),
            {
                "name": "key",
                "in": "query",
                "description": "a field of the table's key; may come several times; without it "
                "every record is a new row",
                "schema": {"type": "array", "items": {"type": "string"}},
            },
            {
                "name": "sequence",
                "in": "query",
                "description": "the integer field that orders the versions of one record; without "
                "it the last one wins",
                "schema": {"type": "string"},
            },
            *_parameters("Content-Encoding", "Idempotency-Key", "Prefer"),
        ],
        "requestBody": _body(
            {
                "application/json": _content(ref("BareRecords"), openapi_schemas.BARE),
                "application/x-ndjson": {
                    "schema": {"type": "string", "description": lines},
                    "examples": {"two records": {"value": '{"id":1}\n{"id":2}\n'}},
                },
            }
        ),
        "responses": _sorted(
            {"201": _accepted("every record is durable")},
            _BARE_REFUSALS,
            _BODY,
            _STORED,
            _always(),
        ),
    }


def _receipt() -> Json:
    seconds = f"{receipts_endpoint.WAIT_SECONDS_MAX:.0f}"
    return {
        "operationId": "follow_receipt",
        "tags": ["receipts"],
        "summary": "Follow a request",
        "description": "Tell what became of an accepted request, table by table. Its source's "
        "tokens and its account's tokens may ask.",
        "security": [{"import_token": []}, {"account_token": []}],
        "parameters": [
            _in_path("id", "what `Treadle-Receipt` said", "rc_kwEHAg8rJmA1kQ"),
            {
                "name": "wait",
                "in": "query",
                "description": "seconds to wait until nothing is waiting any more; more than "
                f"{seconds} count as {seconds}",
                "schema": {"type": "number", "minimum": 0},
            },
        ],
        "responses": _sorted(
            {"200": _json("what became of it", "Receipt")},
            {
                "400": _json(
                    "`wait` is no such number", "Said", wait=receipts_endpoint.INVALID_WAIT
                ),
                "401": _json("no valid token", "NotAuthorized"),
                "404": _json("no such receipt, or another's", "NotFound"),
                "410": _json(
                    "details are no longer kept", "Said", gone=receipts_endpoint.DETAILS_GONE
                ),
                "503": _UNAVAILABLE,
            },
            _always(),
        ),
    }


# --- parts ----------------------------------------------------------------------------------------


def _content(schema: Json, values: Json) -> Json:
    return {"schema": schema, "examples": {name: {"value": v} for name, v in values.items()}}


def _body(content: Json) -> Json:
    return {"required": True, "content": content}


def _pushed() -> Json:
    transit = {
        "type": "array",
        "description": "Transit, compact or verbose, of what `application/json` holds; plain JSON "
        "is Transit too as long as no text begins with `~` or `^`",
    }
    return _body(
        {
            "application/json": _content(ref("Push"), openapi_schemas.PUSHES),
            "application/transit+json": _content(transit, openapi_schemas.TRANSIT),
        }
    )


def _json(described: str, *names: str, **examples: object) -> Json:
    """An answer in JSON of one of these kinds, with an example of each and these."""
    values = {
        name: openapi_schemas.EXAMPLES[name] for name in names if name in openapi_schemas.EXAMPLES
    } | examples
    schema = ref(names[0]) if len(names) == 1 else {"anyOf": [ref(name) for name in names]}
    return {"description": described, "content": {"application/json": _content(schema, values)}}


def _with_text(answer: Json, described: str) -> Json:
    text = _content({"type": "string"}, {"type": "Content-Type must be application/json"})
    return {"description": described, "content": answer["content"] | {"text/plain": text}}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _parameters(*names: str) -> list[Json]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _in_path(name: str, described: str, example: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": described,
        "schema": {"type": "string", "minLength": 1},
        "example": example,
    }


def _accepted(described: str) -> Json:
    return _json(described, "Accepted") | {
        "headers": _headers("Treadle-Receipt", "Idempotency-Replayed", "Preference-Applied")
    }


def _always() -> _Answers:
    """Answers of every path."""
    return {
        "405": {
            "description": "another method; `Allow` names those of the path",
            "headers": _headers("Allow"),
            "content": {
                "text/plain": _content({"const": METHOD_NOT_ALLOWED}, {"any": METHOD_NOT_ALLOWED})
            },
        },
        "500": _json("the server's fault", "Trouble", fault=INTERNAL_ERROR),
    }


def _sorted(*answers: _Answers) -> _Answers:
    """All answers by status; the later ones count."""
    joined: _Answers = {}
    for some in answers:
        joined |= some
    return {status: joined[status] for status in sorted(joined)}


def _parameter(name: str, described: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "description": described, "schema": schema}


def _header(described: str, schema: Json) -> Json:
    return {"description": described, "schema": schema}


_PARAMETERS: Final[Json] = {
    "Content-Encoding": _parameter(
        "Content-Encoding",
        "how the body is compressed",
        {"type": "string", "enum": ["gzip", "zstd", "identity"]},
    ),
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "a text of the sender's; a request that is sent again with it is stored once",
        {"type": "string", "minLength": 1, "maxLength": idempotency.KEY_CHARACTERS_MAX},
    ),
    "dry_run": {
        "name": dry_run.DRY_RUN_PARAMETER,
        "in": "query",
        "description": "`1` or `true`: check the request and say what a load would do, no more",
        "schema": {"type": "string", "enum": list(dry_run.DRY_RUN_VALUES)},
    },
    "Prefer": _parameter(
        "Prefer",
        "`wait=10, ack=loaded` answers when the records are loaded, or after so many seconds",
        {"type": "string"},
    ),
}

_HEADERS: Final[Json] = {
    "Treadle-Receipt": _header(
        "names the request at `/v1/receipts/{id}`; absent when nothing was left to store",
        {"type": "string", "pattern": "^rc_"},
    ),
    "Idempotency-Replayed": _header("the request was stored before", {"const": "true"}),
    "Preference-Applied": _header("the records are loaded", {"const": "ack=loaded"}),
    "Retry-After": _header("seconds", {"type": "string", "pattern": "^[0-9]+$"}),
    "Allow": _header("methods", {"type": "string"}),
    "Access-Control-Allow-Origin": _header("web pages may send here", {"const": "*"}),
}

_OTHER: Final[dict[str, object]] = {"another": idempotency.KEY_REUSED}

_UNAVAILABLE: Final[Json] = _json(
    "nothing can be stored or looked up now; repeat", "Trouble", unavailable=UNAVAILABLE
) | {"headers": _headers("Retry-After")}

_DRY_RUN: Final[_Answers] = {
    "200": _json("what a load would do; nothing is kept (`dry_run=1`)", "DryRun"),
}

_NOT_PUSHED: Final[Json] = _json(
    "not parsable, no array, no records or too many, or a wrong `Idempotency-Key` or `dry_run`",
    "Malformed",
    "Trouble",
    "Said",
    key=idempotency.INVALID_KEY,
    dry_run=dry_run.INVALID_DRY_RUN,
)

_PUSH_REFUSALS: Final[_Answers] = {
    "400": _json("not parsable, no array, no records or too many", "Malformed", "Trouble"),
    "401": _json(
        "no valid token, a record without `client_id`, or the source is paused",
        "NotAuthenticated",
        "NotActive",
    ),
    "403": _json("`client_id` is not the token's account", "Forbidden"),
}

_BARE_REFUSALS: Final[_Answers] = {
    "400": _json(
        "not JSON, no objects or too many, or a wrong `Idempotency-Key`",
        "Malformed",
        "Trouble",
        objects=raw_records.NOT_OBJECTS,
    ),
    "401": _json("no valid token, or the source is paused", "NotAuthorized", "NotActive"),
    "422": _json(
        "records break rules, or the key was used with another request",
        "BadRecords",
        "Trouble",
        another=idempotency.KEY_REUSED,
    ),
}

_BODY: Final[_Answers] = {
    "408": _json(
        "the body arrived too slowly",
        "Trouble",
        slow={
            "status": "ERROR",
            "message": "The request body arrived too slowly. Send it again.",
        },
    ),
    "413": _json(
        "the body is too large",
        "Trouble",
        large={
            "status": "ERROR",
            "message": "Request rejected: request size (20971521 bytes) exceeds the maximum",
        },
    ),
    "415": _json(
        "another `Content-Type`, or an unknown `Content-Encoding`",
        "Trouble",
        encoding={
            "status": "ERROR",
            "message": "Unsupported content-encoding br. Please send gzip, zstd or no encoding",
        },
    ),
}

_STORED: Final[_Answers] = {
    "503": _UNAVAILABLE,
    "504": _json(
        "the disk did not answer in time, or the token cannot be looked up now: the records may "
        "come to be stored, or not",
        "Trouble",
        timeout=TIMEOUT,
    ),
}
