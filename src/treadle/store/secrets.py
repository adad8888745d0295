"""The secret key of the installation, encryption with it, and tokens.

Encrypted are import tokens, because the API shows them again (connect-api.md 3.1), and the URLs of
destinations. The cipher is AES-GCM with 256 bits. The *context* names the row of a text, so that a
text that somebody moves to another row cannot be decrypted there.
"""

import errno
import hmac
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from treadle.errors import OperatorError
from treadle.file_rights import Exposure, FileContent, describe_exposure, judge_rights
from treadle.files import sync_folder
from treadle.text import digest_text

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # what NIST SP 800-38D recommends for GCM
KEY_FILE_BYTES_MAX: Final = 4096  # a key is 64; more is no key
KEY_VARIABLE: Final = "TREADLE_SECRET_KEY"

_HOW_TO_MAKE: Final = "64 hexadecimal digits, as `openssl rand -hex 32` prints them"


class SecretCipher:
    """Encrypts and decrypts short texts with the key of the installation.

    Args:
        key: 32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise OperatorError(
                f"the secret key has {len(key)} bytes and must have {KEY_BYTES}: "
                f"give {_HOW_TO_MAKE}"
            )
        self._aead = AESGCM(_derive_key(key, "seal"))
        self.check_value = _derive_key(key, "check").hex()
        """64 hexadecimal digits that differ from key to key and do not reveal the key."""

    def is_key_of(self, check_value: str) -> bool:
        """Return whether `check_value` was made by this key."""
        return hmac.compare_digest(self.check_value.encode(), check_value.encode())

    def seal(self, text: str, context: str) -> bytes:
        """Encrypt a text for one row.

        Args:
            text: the secret.
            context: the row, with the same text when it is decrypted.
        """
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, text.encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        """Decrypt a text that `seal` encrypted for the same context.

        Raises:
            OperatorError: the bytes were changed, or belong to another key or row.
        """
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, rest, context.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise OperatorError(
                f"the stored secret of {context} does not open with this key: the store was "
                f"changed from outside or is damaged; restore it from a backup"
            ) from error


def _derive_key(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, b"treadle " + purpose.encode(), "sha256")


def hash_token(token: str) -> bytes:
    """Return the SHA-256 of a token, 32 bytes, under which it is looked up.

    A token has 256 random bits. Nobody can try them all, so a slow hash would hide it no better.
    """
    return digest_text(token)


def mint_token(prefix: str) -> str:
    """Return a new token: the prefix (`at_`, `ac_`) and 256 random bits in hexadecimal."""
    return prefix + secrets.token_hex(32)


def load_cipher(path: Path, environment_value: str | None = None) -> SecretCipher:
    """Return the cipher of the installation; a key file is made where there is no key.

    Args:
        path: the key file. It is made with mode 0600; its folder must exist.
        environment_value: the value of TREADLE_SECRET_KEY; where it is set, the file is not read.

    Raises:
        OperatorError: there is no usable key; the text says what to do.
    """
    if environment_value is not None and environment_value.strip():
        return SecretCipher(_parse_key(environment_value, KEY_VARIABLE))
    try:
        text = _read_key_file(path)
    except FileNotFoundError:
        _make_key_file(path)
        text = _read_key_file(path)
    return SecretCipher(_parse_key(text, f"the key file {path}"))


def _parse_key(text: str, origin: str) -> bytes:
    stripped = text.strip()
    if not re.fullmatch(r"[0-9a-fA-F]{64}", stripped):
        raise OperatorError(
            f"{origin} holds no key ({len(stripped)} characters): it must hold {_HOW_TO_MAKE}"
        )
    return bytes.fromhex(stripped)


def _read_key_file(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OperatorError(
            f"the key file {path} cannot be read ({error.strerror}): make it readable for the "
            f"user treadle runs as"
        ) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OperatorError(f"the key file {path} is not a file: name another one")
        mode = stat.S_IMODE(status.st_mode)
        if judge_rights(mode, FileContent.KEY) is Exposure.REFUSED:
            raise OperatorError(
                f"the key file {path} {describe_exposure(mode)}: run `chmod 600 {path}`"
            )
        return os.read(descriptor, KEY_FILE_BYTES_MAX).decode("ascii", "replace")
    finally:
        os.close(descriptor)


def _make_key_file(path: Path) -> None:
    """Write a new key file and make it durable, unless another process made one meanwhile.

    The file gets its name when it is complete, so no process can read half a key.
    """
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                return
        finally:
            draft.unlink()
        sync_folder(path.parent)
    except OSError as error:
        what = "its folder is missing" if error.errno == errno.ENOENT else error.strerror
        raise OperatorError(
            f"the key file {path} cannot be made ({what}): make its folder writable for the user "
            f"treadle runs as, or set {KEY_VARIABLE} to {_HOW_TO_MAKE}"
        ) from error
