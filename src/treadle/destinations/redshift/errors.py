"""The meaning of the errors that Redshift has besides those of libpq (loading.md 10.2, 10.3).

All of them have the SQLSTATE XX000. Codes of Redshift's own are in the detail, and one of them,
8001, is that of a value as well as of S3. So the message has to tell.
"""

import re
from collections.abc import Sequence
from typing import Final

import psycopg

from treadle.destinations.libpq.errors import server_message as message_without_detail
from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    RowRefusedError,
)
from treadle.errors import TableStoppedError, TreadleError

SERVER: Final = "Amazon Redshift"

_CONTEXT: Final = re.compile(
    r"^\s*context:(?P<said>.*?)(?=^\s*(?:query|location|process):|^\s*-+\s*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
"""The part of a detail that says what the message is about. A detail has a line for each part."""

_RULE: Final = "-----"
"""Part of the lines above and below a detail that has parts."""

_REFUSED: Final = SERVER + " refused the load: {text}"

_NOT_READ: Final = (
    "{text}; the role that iam_role names has to be attached to the database, and to have the "
    "rights s3:GetObject and s3:ListBucket for what s3 names"
)

_MEANINGS: Final[Sequence[tuple[tuple[str, ...], type[TreadleError], str]]] = (
    (
        (
            *("Access Denied", "AccessDenied", "Forbidden", "Status 403", "error code: 403"),
            "not authorized to assume IAM Role",
        ),
        AccessDeniedError,
        _NOT_READ,
    ),
    # A column that somebody made narrower than treadle's.
    (
        ("Value too long for", "Numeric data overflow", "longer than the length defined"),
        RowRefusedError,
        "{text}",
    ),
    # A file that COPY does not take. Values were checked when it was written, so no row is to
    # blame, and each rehearsal of a row would copy another such file. Other tables are copied.
    (
        ("Spectrum Scan Error", "stl_load_errors", "sys_load_error_detail"),
        TableStoppedError,
        _REFUSED,
    ),
    # In a column of the user's: every row would be refused, so no row is to blame.
    (("Cannot insert a NULL value",), TableStoppedError, _REFUSED),
    (("",), DestinationUnavailableError, SERVER + " cannot take the load now: {text}"),
)
"""Parts of messages, with what they are about -> what they mean; the first one that is found
counts."""


def server_message(error: Exception) -> str:
    """Return the server's message, and where it is one of Redshift's own, what it is about.

    The message alone is as short as `1023` or `Value too long for character type`.
    """
    text = message_without_detail(error)
    if not isinstance(error, psycopg.errors.InternalError_):
        return text
    detail = error.diag.message_detail or ""
    found = _CONTEXT.search(detail)
    said = found["said"] if found else "" if _RULE in detail else detail
    return ": ".join(filter(None, (text, " ".join(said.split()))))


def translate_own(
    error: psycopg.errors.InternalError_ | psycopg.errors.UniqueViolation,
) -> TreadleError:
    """Return the meaning of an error that is Redshift's own."""
    text = server_message(error)
    if isinstance(error, psycopg.errors.UniqueViolation):
        # No user has an index, so it is one of the database's own catalogue.
        return DestinationUnavailableError(f"another session made the same meanwhile: {text}")
    kind, meaning = next(
        (kind, meaning) for marks, kind, meaning in _MEANINGS if any(mark in text for mark in marks)
    )
    return kind(meaning.format(text=text))
