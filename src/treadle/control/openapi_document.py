"""Completes the OpenAPI document that the framework derives from the routes."""

from typing import Final

from treadle.control import openapi_examples, requests
from treadle.control.document_schemas import add_named_schemas
from treadle.control.settings import ConnectApiSettings
from treadle.http.openapi import JsonObject

ABOUT: Final = f"""
Creates the sources that may push records, and their Import API access tokens.

* Every call carries an account token: `Authorization: Bearer ac_...`.
* Bodies are JSON, whatever the Content-Type says, and have at most
  {requests.CONTROL_BODY_BYTES_MAX:,} bytes. Calls without a described body ignore what is sent.
* Its paths begin with `/v3/`, `/v4/` or `/notifications/`, those of our own with `/v1/`. Every
  success is 200. A path or method that is not described here is answered with 404 and
  `{{"status":"NOT FOUND"}}`; there is no 405.
* An id in a path that is no number is answered like an unknown id. Another account's ids are
  unknown.
"""


def complete_document(document: JsonObject, settings: ConnectApiSettings) -> JsonObject:
    """Add examples, and remove answers that are never given.

    Args:
        document: as the framework made it; changed in place.
        settings: what the examples look like.
    """
    bodies_of, answers_of = (
        openapi_examples.list_request_examples(),
        openapi_examples.list_response_examples(settings),
    )
    schemas = document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            # The framework's own refusal: no parameter or body is checked by it.
            operation["responses"].pop("422", None)
            given = {
                **openapi_examples.BODY_EXAMPLES,
                **openapi_examples.COMMON_EXAMPLES,
                **answers_of[name],
            }
            for status, answer in operation["responses"].items():
                _add_examples(answer, given[int(status)])
            if "requestBody" in operation:
                _add_examples(operation["requestBody"], bodies_of[name])
                content = operation["requestBody"]["content"]["application/json"]
                schemas.update(content["schema"].pop("$defs", {}))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    add_named_schemas(document)
    return document


def _add_examples(described: JsonObject, values: openapi_examples.Examples) -> None:
    content = described["content"].get("application/json")
    if content is None:  # a stream
        return
    content["examples"] = {name: {"value": value} for name, value in values.items()}
