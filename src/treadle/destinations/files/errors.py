"""The meaning of errors of a folder of this machine and of Arrow (loading.md 10.2, 10.3).

A bucket's errors are translated where they are raised (`bucket_store`).
"""

import errno
from typing import Final

import pyarrow as pa

from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    RowRefusedError,
)
from treadle.errors import OperatorError, TreadleError

FAULTS: Final = (TreadleError, OSError, pa.ArrowException)
"""All that a call of a store may raise."""

_WRONG: Final = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)


def describe(error: Exception) -> str:
    """Return what an error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def translate(error: Exception) -> TreadleError:
    """Return the meaning of an error."""
    if isinstance(error, TreadleError):
        return error
    text = describe(error)
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
        return AccessDeniedError(f"the folder for files refuses access: {text}")
    if isinstance(error, OSError) and error.errno in _WRONG:
        return OperatorError(f"the folder for files cannot be used: {text}")
    if isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        return RowRefusedError(f"Parquet cannot store a value: {text}")
    return DestinationUnavailableError(f"the files cannot be reached now: {text}")
