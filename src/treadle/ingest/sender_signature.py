"""Signatures of webhook senders, which prove that the sender knows a secret and made the body.

Every scheme is an HMAC over the body as it was sent, before a content encoding is undone:

| scheme | header | what is signed | as |
|---|---|---|---|
| github | `X-Hub-Signature-256: sha256=...` | the body | SHA-256, hexadecimal |
| stripe | `Stripe-Signature: t=...,v1=...` | the time, a dot, the body | SHA-256, hexadecimal |
| segment | `X-Signature: ...` | the body | SHA-1, hexadecimal |
| plain | any | the body | SHA-256, hexadecimal or base64 |

The first three are as their senders document them. A signature of Stripe with another time than now
is refused: TOLERANCE_SECONDS is what its own libraries take.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterable
from typing import Final

from treadle.store.model import SenderSignature

TOLERANCE_SECONDS: Final = 300
"""Most seconds between the time in a Stripe signature and now, in both directions."""

STRIPE_SIGNATURES_MAX: Final = 16
"""Most signatures in one header that are compared. While a secret is changed there are two."""

_HEADERS: Final = {
    "github": b"x-hub-signature-256",
    "stripe": b"stripe-signature",
    "segment": b"x-signature",
}
_GITHUB_PREFIX: Final = "sha256="
_SECONDS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)

RawHeaders = Iterable[tuple[bytes, bytes]]


def verify_signature(
    signature: SenderSignature, headers: RawHeaders, body: bytes, now: int
) -> bool:
    """Return whether the sender of a request knows the secret.

    How long it takes says nothing about the secret: signatures are compared in constant time.

    Args:
        signature: how the sender is to sign.
        headers: of the request, names in lower case. A header that comes twice is no signature.
        body: as sent, before a content encoding is undone.
        now: seconds since 1970.
    """
    sent = _find_header(headers, _name_header(signature))
    if sent is None:
        return False
    key = signature.secret.encode()
    match signature.scheme:
        case "github":
            if not sent.startswith(_GITHUB_PREFIX):
                return False
            return _matches_hex(sent.removeprefix(_GITHUB_PREFIX), key, body, "sha256")
        case "stripe":
            return _verify_stripe(sent, key, body, now)
        case "segment":
            return _matches_hex(sent, key, body, "sha1")
        case "plain" if signature.encoding == "base64":
            return _matches_base64(sent, key, body)
        case "plain":
            return _matches_hex(sent, key, body, "sha256")
    return False


def _name_header(signature: SenderSignature) -> bytes:
    return _HEADERS.get(signature.scheme) or signature.header.lower().encode()


def _find_header(headers: RawHeaders, name: bytes) -> str | None:
    found = [value for sent_name, value in headers if sent_name.lower() == name]
    return found[0].decode("latin-1").strip(" \t") if len(found) == 1 else None


def _verify_stripe(sent: str, key: bytes, body: bytes, now: int) -> bool:
    """Verify `t=1700000000,v1=<hex>,v1=<hex>,v0=<hex>`: one time, and any of the v1."""
    parts = [part.strip(" \t").partition("=") for part in sent.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not _SECONDS.fullmatch(times[0]) or len(given) > STRIPE_SIGNATURES_MAX:
        return False
    if abs(now - int(times[0])) > TOLERANCE_SECONDS:
        return False
    expected = hmac.digest(key, times[0].encode() + b"." + body, "sha256").hex()
    return any(_are_equal(one.lower(), expected) for one in given)


def _matches_hex(sent: str, key: bytes, body: bytes, algorithm: str) -> bool:
    return _are_equal(sent.lower(), hmac.digest(key, body, algorithm).hex())


def _matches_base64(sent: str, key: bytes, body: bytes) -> bool:
    try:
        decoded = base64.b64decode(sent, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(decoded, hmac.digest(key, body, "sha256"))


def _are_equal(sent: str, expected: str) -> bool:
    return hmac.compare_digest(sent.encode(), expected.encode())
