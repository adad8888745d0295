"""Answers in JSON, refusals as answers, and the headers that every answer has."""

import json
from typing import Any, Final

import msgspec
from starlette.responses import PlainTextResponse, Response

from treadle.errors import RequestRefusedError

COMMON_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
"""The headers of every answer. The server adds them, so that no endpoint can forget them. They
keep browsers from guessing another type for a body, and from sending the path of a page, which may
hold a token, to other servers."""


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
    headers = list_refusal_headers(refused)
    if isinstance(refused.body, str):
        return PlainTextResponse(refused.body, refused.status, headers)
    return JsonResponse(refused.body, refused.status, headers)


def list_refusal_headers(refused: RequestRefusedError) -> dict[str, str]:
    """Return the headers of the answer to a refused request.

    A 401 names the scheme that is expected (RFC 9110 11.6.1).
    """
    headers = dict(refused.headers)
    if refused.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    return headers
