"""Passwords: which are taken, how they are kept, and whether one fits (console.md B.9). Pure.

A record is the text that the store keeps: the parameters of scrypt, the salt and the digest.
"""

import hashlib
import hmac
import unicodedata
from base64 import b64decode, b64encode
from typing import Final

from treadle.errors import OperatorError

COST: Final = 2**15
BLOCK_SIZE: Final = 8
PARALLELISM: Final = 1
DIGEST_BYTES: Final = 32
SALT_BYTES: Final = 16

_MEMORY_MAX: Final = 64 * 1024 * 1024
"""OpenSSL refuses more; these parameters take 32 MiB."""

PASSWORD_CHARACTERS_MIN: Final = 10
PASSWORD_BYTES_MAX: Final = 1_024


class PasswordRuleError(OperatorError):
    """A password is not taken."""


def check_password(password: str, *others: str) -> None:
    """Check that a password may be set.

    Args:
        password: as it was typed.
        others: what it must not be: the name and the address of its user.

    Raises:
        PasswordRuleError: with what is expected.
    """
    text = _normalize(password)
    if len(text) < PASSWORD_CHARACTERS_MIN:
        raise PasswordRuleError(
            f"a password has at least {PASSWORD_CHARACTERS_MIN} characters; a few words make a "
            "good one"
        )
    if len(text.encode("utf-8", "replace")) > PASSWORD_BYTES_MAX:
        raise PasswordRuleError(f"a password has at most {PASSWORD_BYTES_MAX} bytes")
    if len(set(text)) < 3 or text.casefold() in {one.casefold() for one in others}:
        raise PasswordRuleError("this password is easy to guess: take another one")


def make_record(password: str, salt: bytes) -> str:
    """Return the record of a password.

    Args:
        password: as it was typed.
        salt: SALT_BYTES random bytes.
    """
    digest = _digest(password, salt)
    return f"scrypt${COST}${BLOCK_SIZE}${PARALLELISM}${_write(salt)}${_write(digest)}"


def fits_record(password: str, record: str | None) -> bool:
    """Return whether a password is the one of a record.

    It takes the same time for a wrong password and for None, which is no user's record.
    """
    _, _, _, _, salt, digest = (record or _NOBODY).split("$")
    found = _digest(password, b64decode(salt))
    return hmac.compare_digest(found, b64decode(digest)) and record is not None


def _digest(password: str, salt: bytes) -> bytes:
    text = _normalize(password).encode("utf-8", "replace")[: PASSWORD_BYTES_MAX + 1]
    return hashlib.scrypt(
        text,
        salt=salt,
        n=COST,
        r=BLOCK_SIZE,
        p=PARALLELISM,
        maxmem=_MEMORY_MAX,
        dklen=DIGEST_BYTES,
    )


def _normalize(password: str) -> str:
    """Return a password in one form: keyboards make some letters in several."""
    return unicodedata.normalize("NFKC", password)


def _write(data: bytes) -> str:
    return b64encode(data).decode()


_NOBODY: Final = (
    f"scrypt${COST}${BLOCK_SIZE}${PARALLELISM}${_write(bytes(SALT_BYTES))}"
    f"${_write(bytes(DIGEST_BYTES))}"
)
