"""Names of idempotency keys: what the log calls a request that must be stored once.

Only the log knows what was stored under a name. It notes that in the transaction that stores the
entries (`log.protocol`), so no crash and no hang can come between the two.
"""

import hashlib


def digest_request(target: str, body: bytes) -> bytes:
    """Return a digest that tells one request from another, 32 bytes.

    Args:
        target: the path, and all else that decides what the body means.
        body: as received, decompressed.
    """
    found = hashlib.sha256(target.encode("utf-8", "surrogatepass") + b"\n")
    found.update(body)
    return found.digest()


def derive_key_name(scope: str, source_id: int, key: str) -> bytes:
    """Return the name of a request in the log, 32 bytes.

    Logs keep these names: another way to make them would make every key a new one.

    Args:
        scope: the kind of the key, so that a client's key is never that of a resend.
        source_id: the source that the key belongs to.
        key: any text.
    """
    prefix = f"{scope} {source_id} done".encode()
    # The length keeps ("a", "bc") apart from ("ab", "c").
    head = len(prefix).to_bytes(8, "big") + prefix
    return hashlib.sha256(head + key.encode("utf-8", "surrogatepass")).digest()
