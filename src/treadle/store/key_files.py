"""The files of the secret key: the key in force, and the next one while the key is rotated.

A rotation has three steps, and each of them is done whole or not at all: the next key gets a file
(`make_next_key`), the store is sealed with it in one transaction (`KeyRepository.rotate_key`), and
its file takes the place of the key file (`promote_next_key`). Between them both files are there,
and every process takes both keys. A rotation that was cut short goes on where it was.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from treadle.errors import OperatorError
from treadle.file_rights import Exposure, FileContent, describe_exposure, judge_rights
from treadle.files import sync_folder, write_private_file
from treadle.store.secrets import HOW_TO_MAKE_A_KEY, KEY_BYTES, SecretCipher, SecretKey

KEY_FILE_BYTES_MAX: Final = 4096  # a key is 64; more is no key
KEY_VARIABLE: Final = "TREADLE_SECRET_KEY"
NEXT_KEY_VARIABLE: Final = "TREADLE_NEXT_SECRET_KEY"

_CHECK_DIGITS: Final = 8  # of a check value in the name of a former key's file


def load_cipher(
    path: Path, given: str | None = None, given_next: str | None = None
) -> SecretCipher:
    """Return the cipher of the installation; a key file is made where there is no key.

    Args:
        path: the key file. It is made with mode 0600; its folder must exist.
        given: the setting `secret_key`; where it is set, no file is read.
        given_next: the setting `next_secret_key`, for a rotation of a key that is given.

    Raises:
        OperatorError: there is no usable key; the text says what to do.
    """
    if _is_given(given):
        keys = [_parse_key(given or "", KEY_VARIABLE)]
        if _is_given(given_next):
            keys.append(_parse_key(given_next or "", NEXT_KEY_VARIABLE))
        return SecretCipher(*keys)
    if not path.exists():
        _make_key_file(path)
    return SecretCipher(*_read_keys(path), reread=lambda: _read_keys(path))


def require_key(path: Path, given: str | None = None) -> None:
    """Check that there is a key, where none is to be made: the store has one elsewhere.

    Args:
        path: the key file.
        given: the setting `secret_key`.

    Raises:
        OperatorError: there is none.
    """
    if not _is_given(given) and not path.exists():
        raise OperatorError(
            f"there is no key file {path}, and the store is encrypted with the key of the machine "
            f"where `treadle init` was run: copy the file from there (mode 0600), or set "
            f"{KEY_VARIABLE} to the same key"
        )


def has_next_key(path: Path) -> bool:
    """Return whether a rotation was begun and is not finished."""
    return _next_path(path).exists()


def make_next_key(path: Path) -> SecretKey:
    """Return the next key of a rotation; its file is made where there is none.

    Args:
        path: the key file.

    Raises:
        OperatorError: the file cannot be made or read.
    """
    if not has_next_key(path):
        _make_key_file(_next_path(path))
    return SecretKey(_parse_key(_read_key_file(_next_path(path)), f"the file {_next_path(path)}"))


def promote_next_key(path: Path) -> Path:
    """Let the next key take the place of the key file; return where the former key is kept.

    Backups of the store that were made until now need the former key.

    Raises:
        OperatorError: the files cannot be renamed.
    """
    if not has_next_key(path):
        raise OperatorError("another `treadle key rotate` finished this rotation a moment ago")
    former = SecretKey(_parse_key(_read_key_file(path), f"the key file {path}"))
    kept = path.with_name(f"{path.name}.former-{former.check_value[:_CHECK_DIGITS]}")
    try:
        with contextlib.suppress(FileExistsError):  # of a rotation that was cut short here
            os.link(path, kept)
        _next_path(path).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OperatorError(
            f"the key file {path} cannot be replaced ({error.strerror}): make its folder writable "
            f"and run `treadle key rotate` again"
        ) from error
    return kept


def _is_given(value: str | None) -> bool:
    return value is not None and bool(value.strip())


def _next_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _read_keys(path: Path) -> list[bytes]:
    """Return the key of the key file, and the next one if there is one.

    The next one is read first: a rotation that ends in between moves it to the key file.
    """
    keys: list[bytes] = []
    with contextlib.suppress(FileNotFoundError):
        text = _read_key_file(_next_path(path))
        keys.append(_parse_key(text, f"the file {_next_path(path)}"))
    return [_parse_key(_read_key_file(path), f"the key file {path}"), *keys]


def _parse_key(text: str, origin: str) -> bytes:
    stripped = text.strip()
    if not re.fullmatch(r"[0-9a-fA-F]{64}", stripped):
        raise OperatorError(
            f"{origin} holds no key ({len(stripped)} characters): it must hold {HOW_TO_MAKE_A_KEY}"
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
    """Write a new key file and make it durable, unless another process made one meanwhile."""
    try:
        write_private_file(path, secrets.token_hex(KEY_BYTES) + "\n", replace=False)
    except OSError as error:
        what = "its folder is missing" if error.errno == errno.ENOENT else error.strerror
        raise OperatorError(
            f"the key file {path} cannot be made ({what}): make its folder writable for the user "
            f"treadle runs as, or set {KEY_VARIABLE} to {HOW_TO_MAKE_A_KEY}"
        ) from error
