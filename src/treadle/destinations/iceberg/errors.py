"""The meaning of errors of pyiceberg, of stores of files and of the engine of joins.

A commit that was sent and not answered may be there: whoever commits takes every error for one
whose end is not known (loading.md 10.2, 10.3), but those of `LOST` and answers that refuse it.
"""

from typing import Final

import pyarrow as pa
import requests
import sqlalchemy.exc
from pydantic import ValidationError as ResponseError
from pyiceberg import exceptions

from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    DestinationUnavailableError,
    PlanOutdatedError,
)
from treadle.errors import OperatorError, TableStoppedError, TreadleError

LOST: Final = (
    exceptions.CommitFailedException,
    exceptions.ValidationException,
    exceptions.NoSuchTableError,
    exceptions.NoSuchNamespaceError,
    exceptions.TableAlreadyExistsError,
)
"""Errors of a commit, or of a table that is made, that surely did nothing: somebody else was
first."""

DENIED: Final = (
    exceptions.ForbiddenError,
    exceptions.UnauthorizedError,
    exceptions.AuthorizationExpiredError,
    exceptions.OAuthError,
    exceptions.SignError,
    PermissionError,
)

AWAY: Final = (
    exceptions.ServiceUnavailableError,
    exceptions.ServerError,
    exceptions.TooManyRequestsError,
    exceptions.CommitStateUnknownException,
    requests.exceptions.RequestException,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.InternalError,
    sqlalchemy.exc.TimeoutError,
    OSError,
)

FOREIGN: Final = (
    exceptions.RESTError,
    exceptions.ResolveError,
    exceptions.ValidationError,
    exceptions.NoSuchPropertyException,
    exceptions.NotInstalledError,
    exceptions.NamespaceNotEmptyError,
    sqlalchemy.exc.SQLAlchemyError,
    ResponseError,
    NotImplementedError,
    ValueError,
    OverflowError,
    pa.ArrowException,
)

ERRORS: Final = (*LOST, *DENIED, *AWAY, *FOREIGN, exceptions.NamespaceAlreadyExistsError)
"""All that a statement of this back-end may raise."""

_UNDECIDED: Final = frozenset({401, 403, 408, 409, 419, 425, 429})
"""Answers of a server below 500 that say nothing about what was asked for: of who asks, or when."""

_STORE_DENIED: Final = ("ACCESS_DENIED", "AWS Error [code 15]", "Forbidden", "SignatureDoesNot")


def message(error: Exception) -> str:
    """Return what an error says, on one line."""
    text = str(error)
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        text = str(error.orig)
    return " ".join(text.split()) or type(error).__name__


def read_status(error: Exception) -> int | None:
    """Return the status of the answer that an error of the REST client is made of."""
    cause = error.__cause__
    answered = isinstance(cause, requests.HTTPError) and cause.response is not None
    return cause.response.status_code if answered else None  # type: ignore[union-attr]


def is_refusal(error: Exception) -> bool:
    """Return whether an error says that the catalogue understood a commit, and did not do it."""
    status = read_status(error)
    if status is None:
        return isinstance(error, exceptions.BadRequestError | NotImplementedError)
    return status == 501 or (400 <= status < 500 and status not in _UNDECIDED)


def translate(error: Exception) -> TreadleError:
    """Return the meaning of an error that is not one of a commit.

    A value that cannot be stored is refused where rows are made (`arrow_rows`): an error of Arrow
    that comes here is of a file of the table, and no record is to blame.
    """
    if isinstance(error, TreadleError):
        return error
    text = message(error)
    if isinstance(error, LOST):
        return PlanOutdatedError(f"the table is not as it was planned: {text}")
    if isinstance(error, DENIED) or any(mark in text for mark in _STORE_DENIED):
        return AccessDeniedError(f"the Iceberg catalogue or its store refuses access: {text}")
    if isinstance(error, FileNotFoundError):
        return PlanOutdatedError(f"a file of the table is gone: {text}")
    if isinstance(error, AWAY) or read_status(error) in (408, 425):
        return DestinationUnavailableError(f"the Iceberg catalogue cannot be used now: {text}")
    return TableStoppedError(f"the Iceberg catalogue refused the load: {text}")


def translate_commit(error: Exception) -> TreadleError:
    """Return the meaning of an error of a commit."""
    if isinstance(error, TreadleError):
        return error
    if isinstance(error, LOST):
        return PlanOutdatedError(f"somebody else changed the table: {message(error)}")
    if isinstance(error, DENIED):
        return translate(error)
    if is_refusal(error):
        return TableStoppedError(f"the Iceberg catalogue refused a commit: {message(error)}")
    return CommitUnknownError(f"a commit to Iceberg was not answered: {message(error)}")


def translate_part(error: Exception) -> TreadleError:
    """Return the meaning of an error of a commit that is not the head's."""
    meaning = translate_commit(error)
    if isinstance(meaning, CommitUnknownError):
        return DestinationUnavailableError(str(translate(error)))
    return meaning


def translate_open(error: Exception, identity: str) -> TreadleError:
    """Return the meaning of a failed attempt to reach a catalogue."""
    text = message(error)
    if isinstance(error, DENIED) or any(mark in text for mark in _STORE_DENIED):
        return AccessDeniedError(f"{identity} refused the connection: {text}")
    if isinstance(error, AWAY):
        return DestinationUnavailableError(f"{identity} cannot be reached: {text}")
    return OperatorError(f"{identity} cannot be used as an Iceberg catalogue: {text}")
