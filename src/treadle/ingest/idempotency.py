"""The header `Idempotency-Key`: a request that is sent again is answered, and not stored again."""

from treadle.errors import RequestRefusedError
from treadle.log.protocol import IdempotencyKey
from treadle.store.model import TokenOwner
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


def name_scope(owner: TokenOwner) -> str:
    """Return the scope of the keys that come with a token: webhook tokens have one each.

    So the sender of a webhook cannot use up the keys of others.
    """
    return PUSH_SCOPE if owner.webhook is None else f"webhook token {owner.token_id}"


def create_idempotency_key(
    source_id: int, key: str, digest: bytes, scope: str = PUSH_SCOPE
) -> IdempotencyKey:
    """Return the key of a request, for the log.

    Args:
        source_id: the source that pushes; the same text of another source is another key.
        key: as sent.
        digest: of the request (`digest_request`).
        scope: of the token (`name_scope`).

    Raises:
        RequestRefusedError: 400, the text is no key.
    """
    if not 0 < len(key) <= KEY_CHARACTERS_MAX:
        raise RequestRefusedError(400, INVALID_KEY)
    return IdempotencyKey(derive_key_name(scope, source_id, key), digest)
