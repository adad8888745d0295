"""The request of a delivery, and its signature (connect-api.md 2.13, connect-rest.md A.2.6)."""

import hmac
from typing import Final

from treadle.http.outbound_url import OutboundUrl
from treadle.store.model import DueDelivery

USER_AGENT: Final = "StitchLoadingWebhook"
SIGNATURE_HEADER: Final = "Treadle-Signature"
KEY_HEADER: Final = "Idempotency-Key"


def list_request_headers(
    delivery: DueDelivery, url: OutboundUrl, unix_seconds: int
) -> list[tuple[str, str]]:
    """Return the headers of a delivery: the documented ones, and with a secret two more.

    Args:
        delivery: what is sent.
        url: that of its hook.
        unix_seconds: the time of the signature.
    """
    headers = [
        ("Host", url.authority),
        ("Content-Type", "application/json"),
        ("User-Agent", USER_AGENT),
        ("Connection", "close"),
    ]
    if delivery.secret is not None:
        signature = sign_body(delivery.secret, unix_seconds, delivery.body.encode())
        headers += [(SIGNATURE_HEADER, signature), (KEY_HEADER, delivery.id)]
    return headers


def sign_body(secret: str, unix_seconds: int, body: bytes) -> str:
    """Return the signature of a body: `t=<unix seconds>,v1=<HMAC-SHA256 of t.body, in hex>`."""
    signed = f"{unix_seconds}.".encode() + body
    digest = hmac.digest(secret.encode(), signed, "sha256").hex()
    return f"t={unix_seconds},v1={digest}"
