"""Answers in JSON, and refusals as answers."""

import json
from typing import Any

import msgspec
from starlette.responses import PlainTextResponse, Response

from treadle.errors import RequestRefusedError


def encode_json(value: object) -> bytes:
    """Return JSON without blanks, its keys in the order of the value.

    A name in an error may repeat what a client sent. An unpaired surrogate in it has no form in
    UTF-8, so it is kept as an escape.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


class JsonResponse(Response):
    """A JSON answer: compact, key order kept, in UTF-8 (import-api.md 4)."""

    media_type = "application/json;charset=UTF-8"

    def render(self, content: Any) -> bytes:
        """Return any JSON value as bytes."""
        return encode_json(content)


def render_refusal(refused: RequestRefusedError) -> Response:
    """Return the answer to a refused request: text for a `str` body, JSON for anything else."""
    headers = dict(refused.headers)
    if isinstance(refused.body, str):
        return PlainTextResponse(refused.body, refused.status, headers)
    return JsonResponse(refused.body, refused.status, headers)
