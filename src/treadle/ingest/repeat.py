"""`Idempotency-Key`: a request that is sent again is answered again and not stored again.

What was stored under a key is known to the log alone, which notes it in the transaction that stores
the entries (`log.protocol`): no crash and no hang can come between the two.
"""

import hashlib

from treadle.errors import Refused
from treadle.log.protocol import Once

HEADER = "idempotency-key"
KEY_CHARACTERS = 255
"""Longest key: what other services with this header allow."""

WRONG_KEY = {
    "status": "ERROR",
    "message": f"Idempotency-Key is to be a text of 1 to {KEY_CHARACTERS} characters",
}
OTHER_REQUEST = {
    "status": "ERROR",
    "message": "This Idempotency-Key was used with another request",
}

SCOPE = "source"


def digest_of(target: str, body: bytes) -> bytes:
    """What tells two requests apart.

    Args:
        target: path and whatever else decides what the body means.
        body: as received, inflated.
    """
    found = hashlib.sha256(target.encode("utf-8", "surrogatepass") + b"\n")
    found.update(body)
    return found.digest()


def asked(source_id: int, key: str, digest: bytes) -> Once:
    """A request with a key.

    Args:
        source_id: who asks; keys of two sources are two keys.
        key: as sent.
        digest: of the request.

    Raises:
        Refused: 400, the key is none.
    """
    if not 0 < len(key) <= KEY_CHARACTERS:
        raise Refused(400, WRONG_KEY)
    return Once(name_of(SCOPE, source_id, key), digest)


def name_of(scope: str, source_id: int, key: str) -> bytes:
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
