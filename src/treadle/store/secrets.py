"""The secret key of the installation, encryption with it, and tokens.

Encrypted are import tokens, because the API shows them again (connect-api.md 3.1), the secrets that
senders of webhooks sign with, and the URLs of destinations. The cipher is AES-GCM with 256 bits.
The *context* names the row of a text, so that a text that somebody moves to another row cannot be
decrypted there.

While the key is rotated there are two of them. The store says which one is in force
(`meta.key_check`): only that one encrypts. Both decrypt, so it does not matter which one a process
has seen first.
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from treadle.errors import OperatorError
from treadle.text import digest_text

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # what NIST SP 800-38D recommends for GCM

HOW_TO_MAKE_A_KEY: Final = "64 hexadecimal digits, as `openssl rand -hex 32` prints them"


class SecretKey:
    """Encrypts and decrypts short texts with one key.

    Args:
        key: 32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise OperatorError(
                f"the secret key has {len(key)} bytes and must have {KEY_BYTES}: "
                f"give {HOW_TO_MAKE_A_KEY}"
            )
        self._aead = AESGCM(_derive_key(key, "seal"))
        self.check_value = _derive_key(key, "check").hex()
        """64 hexadecimal digits that differ from key to key and do not reveal the key."""

    def seal(self, text: str, context: str) -> bytes:
        """Encrypt a text for one row.

        Args:
            text: the secret.
            context: the row, with the same text when it is decrypted.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, text.encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> str | None:
        """Decrypt a text that `seal` encrypted for the same context.

        Returns:
            None where the bytes were changed, or belong to another key or row.
        """
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, rest, context.encode()).decode()
        except (InvalidTag, ValueError):
            return None


class SecretCipher:
    """Encrypts and decrypts short texts with the keys of the installation.

    Args:
        key: 32 random bytes.
        further: other keys that are valid, too: the next one, while the key is rotated.
        reread: returns the keys that are valid now. It is asked when something was encrypted with a
            key that is not known: the key was rotated since. None where keys cannot change.
    """

    def __init__(
        self, key: bytes, *further: bytes, reread: Callable[[], Sequence[bytes]] | None = None
    ) -> None:
        # Replaced as a whole and never changed, so that threads need no lock.
        self._keys = tuple(SecretKey(one) for one in (key, *further))
        self._reread = reread

    @property
    def check_value(self) -> str:
        """The check value of the first key."""
        return self._keys[0].check_value

    def is_key_of(self, check_value: str) -> bool:
        """Return whether `check_value` was made by a key of these."""
        return self.find_key(check_value) is not None

    def find_key(self, check_value: str) -> SecretKey | None:
        """Return the key with this check value; None where it is none of the installation's."""
        found = self._search_key(check_value)
        if found is None and self._reread_keys():
            found = self._search_key(check_value)
        return found

    def seal(self, text: str, context: str, check_value: str | None = None) -> bytes:
        """Encrypt a text for one row.

        Args:
            text: the secret.
            context: the row, with the same text when it is decrypted.
            check_value: of the key in force; None for the first key.

        Raises:
            OperatorError: the key in force is not known here.
        """
        key = self._keys[0] if check_value is None else self.find_key(check_value)
        if key is None:
            raise OperatorError(
                "the secret key was rotated, and this process has only an earlier one: give it the "
                "key in force (`secret_key` or the key file) and start it again"
            )
        return key.seal(text, context)

    def open(self, sealed: bytes, context: str) -> str:
        """Decrypt a text that `seal` encrypted for the same context.

        Raises:
            OperatorError: the bytes were changed, or belong to another key or row.
        """
        found = self._try_keys(sealed, context)
        if found is None and self._reread_keys():
            found = self._try_keys(sealed, context)
        if found is None:
            raise OperatorError(
                f"the stored secret of {context} does not open with this key: the store was "
                f"changed from outside or is damaged; restore it from a backup"
            )
        return found

    def _try_keys(self, sealed: bytes, context: str) -> str | None:
        opened = (key.open(sealed, context) for key in self._keys)
        return next((text for text in opened if text is not None), None)

    def _search_key(self, check_value: str) -> SecretKey | None:
        wanted = check_value.encode()
        matches = (k for k in self._keys if hmac.compare_digest(k.check_value.encode(), wanted))
        return next(matches, None)

    def _reread_keys(self) -> bool:
        """Read the keys again; return whether there are others than before.

        Keys that were known stay: a transaction that began before the rotation still reads what
        they encrypted.
        """
        if self._reread is None:
            return False
        known = {key.check_value for key in self._keys}
        fresh = [SecretKey(one) for one in self._reread()]
        new = [key for key in fresh if key.check_value not in known]
        self._keys = (*new, *self._keys)
        return bool(new)


def _derive_key(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, b"treadle " + purpose.encode(), "sha256")


def hash_token(token: str) -> bytes:
    """Return the SHA-256 of a token, 32 bytes, under which it is looked up.

    A token has at least 128 random bits. Nobody can try them all, so a slow hash would hide it no
    better.
    """
    return digest_text(token)


def mint_token(prefix: str) -> str:
    """Return a new token: the prefix (`at_`, `ac_`) and 256 random bits in hexadecimal."""
    return prefix + secrets.token_hex(32)
