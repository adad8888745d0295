"""The header `Idempotency-Key`: a request that is sent again is answered, and not stored again."""

from treadle.errors import RequestRefusedError
from treadle.log.protocol import IdempotencyKey
from treadle.tracking.idempotency import derive_key_name

KEY_HEADER = "idempotency-key"
KEY_CHARACTERS_MAX = 255
"""Longest key: other services with this header allow as much."""

INVALID_KEY = {
    "status": "ERROR",
    "message": f"Idempotency-Key is to be a text of 1 to {KEY_CHARACTERS_MAX} characters",
}
KEY_REUSED = {
    "status": "ERROR",
    "message": "This Idempotency-Key was used with another request",
}

PUSH_SCOPE = "source"


def create_idempotency_key(source_id: int, key: str, digest: bytes) -> IdempotencyKey:
    """Return the key of a request, for the log.

    Args:
        source_id: the source that pushes; the same text of another source is another key.
        key: as sent.
        digest: of the request (`digest_request`).

    Raises:
        RequestRefusedError: 400, the text is no key.
    """
    if not 0 < len(key) <= KEY_CHARACTERS_MAX:
        raise RequestRefusedError(400, INVALID_KEY)
    return IdempotencyKey(derive_key_name(PUSH_SCOPE, source_id, key), digest)
