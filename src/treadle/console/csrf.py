"""Whether a request that changes something was sent by a page of the console (console.md B.9)."""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"


def make_form_token(secret: str) -> str:
    """Return the token that forms carry for a session or a visit; it does not tell the secret."""
    return hmac.new(secret.encode("utf-8", "replace"), b"form", sha256).hexdigest()


def has_form_token(secret: str, sent: str) -> bool:
    """Return whether a form carries the token of a session or a visit."""
    return hmac.compare_digest(make_form_token(secret).encode(), sent.encode("utf-8", "replace"))


def comes_from_here(headers: Mapping[str, str], public_origin: str | None) -> bool:
    """Return whether a page of this server sent a request.

    Browsers say so themselves over TLS and on this machine (`Sec-Fetch-Site`). Elsewhere they name
    the server of the page (`Origin`). A request with neither is no browser's.

    Args:
        headers: of the request, names in lower case.
        public_origin: of the setting `public_url`; None without it.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin", "").lower()
    if not origin:
        return False
    if origin == public_origin:
        return True
    try:
        return urlsplit(origin).netloc == headers.get("host", "").lower()
    except ValueError:  # such as http://[
        return False
