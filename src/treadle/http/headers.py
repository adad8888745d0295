"""Headers of requests."""

from collections.abc import Mapping
from typing import Final

from starlette.types import Scope

KNOWN_HEADERS: Final = {
    name.encode(): name
    for name in (
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "idempotency-key",
        "prefer",
    )
}
"""The request headers that any endpoint reads."""


def select_headers(scope: Scope) -> dict[str, str]:
    """Return the known headers of a request, names in lower case; the last of equal names counts.

    Making this dict costs less than one look-up in Starlette's `Headers`.
    """
    return {
        KNOWN_HEADERS[name]: value.decode("latin-1")
        for name, value in scope["headers"]
        if name in KNOWN_HEADERS
    }


def read_media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a body as sent, without parameters; empty where there is none."""
    return headers.get("content-type", "").partition(";")[0].strip()


def read_peer(scope: Scope) -> str | None:
    """Return the address of the client of a request; None where there is none."""
    client = scope.get("client")
    return None if not client else str(client[0])
