"""The meaning of BigQuery's errors to a loader, by their reason (loading.md 10.2, 10.3).

The service's own message is kept: operators search for it.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions

from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.errors import TableStoppedError, TreadleError

ERRORS: Final = (
    exceptions.GoogleAPIError,
    auth_exceptions.GoogleAuthError,
    OSError,  # what the HTTP library raises, and TimeoutError
    UnicodeEncodeError,
)
"""What the client raises."""

OUTDATED: Final = "treadle: outdated"
"""What the guard of a script says."""

_CONFLICT: Final = re.compile(r"concurrent update|Could not serialize access")
"""Texts of `invalidQuery` where another transaction was quicker, so that this one was aborted."""

_BUSY: Final = re.compile(rf"{_CONFLICT.pattern}|[Rr]etry(?:ing)? the job")
"""Texts of `invalidQuery` that come of what else happens."""

_ABSENT: Final = re.compile(
    r"^(?:Query error: )?"  # so a script tells of a statement in it
    r"(?:Not found: (?:Dataset|Table)\b|Unrecognized name|Name \S+ not found inside"
    r"|Column \S+ is not present in table|Already Exists)|[Dd]uplicate column"
)

_UNAVAILABLE: Final = frozenset(
    {
        *("backendError", "badGateway", "billingTierLimitExceeded", "internalError"),
        *("jobBackendError", "jobInternalError", "jobRateLimitExceeded", "quotaExceeded"),
        *("rateLimitExceeded", "resourcesExceeded", "stopped", "tableUnavailable", "timeout"),
    }
)

_DENIED: Final = frozenset(
    {"accessDenied", "authError", "billingNotEnabled", "blocked", "forbidden", "required"}
)

_MEANINGS: Final[Sequence[tuple[frozenset[str], type[TreadleError], str]]] = (
    (_UNAVAILABLE, DestinationUnavailableError, "BigQuery cannot take the load now: {text}"),
    (_DENIED, AccessDeniedError, "BigQuery: {text}"),
    (
        frozenset({"conditionNotMet", "duplicate", "notFound"}),
        PlanOutdatedError,
        "the table is not as it was planned: {text}",
    ),
)
"""Reasons -> what they mean."""


def find_reason(error: Exception) -> str:
    """Return the service's reason of an error, such as `rateLimitExceeded`; empty for none."""
    details = getattr(error, "errors", None) or ()
    first: Any = details[0] if details else {}
    return str(first.get("reason", "")) if isinstance(first, dict) else ""


def service_message(error: Exception) -> str:
    """Return the service's message, or the client's, on one line."""
    details = getattr(error, "errors", None) or ()
    first: Any = details[0] if details else {}
    text = first.get("message") if isinstance(first, dict) else None
    text = text or getattr(error, "message", None) or str(error)
    return " ".join(str(text).split())[:2000]


def is_missing(error: Exception) -> bool:
    """Return whether a statement failed because a table or dataset is not there."""
    return isinstance(error, exceptions.NotFound) or find_reason(error) == "notFound"


def is_refused_change(error: Exception) -> bool:
    """Return whether a schema change was refused for its content, such as a name."""
    text = service_message(error)
    if OUTDATED in text or _BUSY.search(text):
        return False
    return find_reason(error) in ("invalid", "invalidQuery", "duplicate") or isinstance(
        error, exceptions.Conflict
    )


def is_conflict(error: Exception) -> bool:
    """Return whether a script was aborted as a whole because another one was quicker."""
    return not is_uncertain(error) and bool(_CONFLICT.search(service_message(error)))


def is_uncertain(error: Exception) -> bool:
    """Return whether nobody knows, after an error of a request, what became of it."""
    if isinstance(error, exceptions.RetryError | exceptions.ServerError):
        return True
    return isinstance(error, OSError | auth_exceptions.TransportError)


def translate(error: Exception) -> TreadleError:
    """Return the meaning of an error of a statement, a load job or a request.

    A load job that is `invalid` has a row that is refused, which only its sender can know.
    """
    if isinstance(error, UnicodeEncodeError):
        return RowRefusedError(f"text that is not Unicode: {error.reason}")
    reason, text = find_reason(error), service_message(error)
    if OUTDATED in text:
        return PlanOutdatedError("the table was loaded or changed since the load was planned")
    if isinstance(error, auth_exceptions.RefreshError | auth_exceptions.DefaultCredentialsError):
        return AccessDeniedError(f"BigQuery refused the credentials: {text}")
    if _BUSY.search(text):
        return DestinationUnavailableError(f"BigQuery cannot take the load now: {text}")
    for reasons, kind, meaning in _MEANINGS:
        if reason in reasons:
            return kind(meaning.format(text=text))
    if isinstance(error, exceptions.Unauthorized | exceptions.Forbidden):
        return AccessDeniedError(f"BigQuery: {text}")
    if is_uncertain(error) or isinstance(error, exceptions.TooManyRequests):
        return DestinationUnavailableError(f"BigQuery cannot take the load now: {text}")
    if isinstance(error, auth_exceptions.GoogleAuthError):
        return DestinationUnavailableError(f"the connection to BigQuery broke: {text}")
    if is_missing(error) or isinstance(error, exceptions.Conflict | exceptions.PreconditionFailed):
        return PlanOutdatedError(f"the table is not as it was planned: {text}")
    if _ABSENT.search(text):
        return PlanOutdatedError(f"the table is not as it was planned: {text}")
    return TableStoppedError(f"BigQuery refused the load: {text}")
