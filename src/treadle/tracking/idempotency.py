"""`Idempotency-Key`: a request that is sent again is answered again and not stored again.

What was stored under a key is known to the log alone, which notes it in the transaction that stores
the entries (`log.protocol`): no crash and no hang can come between the two.
"""

import hashlib

from treadle.errors import RequestRefusedError
from treadle.log.protocol import IdempotencyKey

KEY_HEADER = "idempotency-key"
KEY_CHARACTERS_MAX = 255
"""Longest key: what other services with this header allow."""

INVALID_KEY = {
    "status": "ERROR",
    "message": f"Idempotency-Key is to be a text of 1 to {KEY_CHARACTERS_MAX} characters",
}
KEY_REUSED = {
    "status": "ERROR",
    "message": "This Idempotency-Key was used with another request",
}

PUSH_SCOPE = "source"


def digest_request(target: str, body: bytes) -> bytes:
    """What tells two requests apart.

    Args:
        target: path and whatever else decides what the body means.
        body: as received, inflated.
    """
    found = hashlib.sha256(target.encode("utf-8", "surrogatepass") + b"\n")
    found.update(body)
    return found.digest()


def create_idempotency_key(source_id: int, key: str, digest: bytes) -> IdempotencyKey:
    """A request with a key.

    Args:
        source_id: who asks; keys of two sources are two keys.
        key: as sent.
        digest: of the request.

    Raises:
        RequestRefusedError: 400, the key is none.
    """
    if not 0 < len(key) <= KEY_CHARACTERS_MAX:
        raise RequestRefusedError(400, INVALID_KEY)
    return IdempotencyKey(derive_key_name(PUSH_SCOPE, source_id, key), digest)


def derive_key_name(scope: str, source_id: int, key: str) -> bytes:
    """What the log calls a request.

    An earlier treadle noted in the store under this name what was done, and the log has it from
    there: another way to make it would make every key a new one.

    Args:
        scope: what kind of key it is.
        source_id: whose key it is.
        key: any text.
    """
    whose = f"{scope} {source_id} done".encode()
    # The length keeps ("a", "bc") apart from ("ab", "c").
    head = len(whose).to_bytes(8, "big") + whose
    return hashlib.sha256(head + key.encode("utf-8", "surrogatepass")).digest()
