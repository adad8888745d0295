"""The meaning of DuckDB's errors to a loader (loading.md 10.2, 10.3)."""

import re
from collections.abc import Sequence
from typing import Final

import duckdb

from treadle.destinations.protocol import (
    AccessDeniedError,
    DestinationHeldError,
    DestinationUnavailableError,
    PlanOutdatedError,
    RowRefusedError,
)
from treadle.errors import OperatorError, TableStoppedError, TreadleError

_HELD = "Could not set lock on file"
_HOLDER = re.compile(r"Conflicting lock is held in (.*?\(PID \d+\))")
_NO_DATABASE = "database does not exist"
_NO_PERMISSION = ("Permission denied", "Read-only file system", "Operation not permitted")
_NOT_A_DATABASE = "not a valid DuckDB database file"
_NO_MEMORY = ("Out of Memory Error", "could not allocate", "failed to allocate", "failed to pin")


def message(error: Exception) -> str:
    """Return the first paragraph of DuckDB's message, on one line."""
    return " ".join(str(error).split("\n\n")[0].split())


def is_missing(error: Exception) -> bool:
    """Return whether a statement failed because a table or schema is not there."""
    text = message(error)
    return (
        isinstance(error, duckdb.CatalogException)
        and text.startswith(("Catalog Error: Table with name ", "Catalog Error: Schema with name "))
        and "does not exist" in text
    )


_REFUSED_CHANGES: Final = (
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.NotImplementedException,
    duckdb.ParserException,
    duckdb.SyntaxException,
)


def is_refused_change(error: Exception) -> bool:
    """Return whether the database refused a schema change for its content, such as a name."""
    return isinstance(error, _REFUSED_CHANGES) and not is_missing(error)


def translate_open(error: duckdb.Error, path: str) -> TreadleError:
    """Return the meaning of a failed attempt to open a file."""
    text = message(error)
    if _HELD in text:
        # "... Conflicting lock is held in /usr/bin/duckdb (PID 4711). See also ..."
        holder = _HOLDER.search(text)
        who = f" by {holder[1]}" if holder else " by another process"
        return DestinationHeldError(f"the DuckDB file {path} is held{who}")
    if any(mark in text for mark in _NO_PERMISSION):
        return AccessDeniedError(f"the DuckDB file {path} cannot be opened: {text}")
    if _NO_DATABASE in text:
        return DestinationUnavailableError(
            f"the DuckDB file {path} does not exist yet; the first load makes it"
        )
    if "No such file or directory" in text:
        return OperatorError(
            f"the DuckDB file {path} cannot be made: {text}; make its directory first"
        )
    if _NOT_A_DATABASE in text:
        return OperatorError(f"{path} is not a DuckDB database; name another file")
    return DestinationUnavailableError(f"the DuckDB file {path} cannot be opened now: {text}")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether DuckDB met its limit of memory, also while it wrote its file at a COMMIT."""
    return isinstance(error, duckdb.Error) and any(mark in str(error) for mark in _NO_MEMORY)


_MEANINGS: Final[Sequence[tuple[tuple[type[duckdb.Error], ...], type[TreadleError], str]]] = (
    ((duckdb.ConstraintException,), RowRefusedError, "{text}"),
    (
        (duckdb.TransactionException,),
        PlanOutdatedError,
        "somebody else writes to the DuckDB file: {text}",
    ),
    ((duckdb.PermissionException,), AccessDeniedError, "{text}"),
    (
        (
            duckdb.OperationalError,
            duckdb.InterruptException,
            duckdb.FatalException,
            duckdb.InternalError,
        ),
        DestinationUnavailableError,
        "DuckDB cannot take the load now: {text}",
    ),
    ((duckdb.DataError, duckdb.InvalidInputException), RowRefusedError, "{text}"),
    (
        (duckdb.CatalogException, duckdb.BinderException),
        PlanOutdatedError,
        "the table is not as it was planned: {text}",
    ),
    ((duckdb.Error,), TableStoppedError, "DuckDB refused the load: {text}"),
)
"""Kinds of errors -> what they mean; the first one that fits counts."""


def translate(error: Exception) -> TreadleError:
    """Return the meaning of an error of a statement."""
    text = message(error)
    if not isinstance(error, duckdb.Error):
        return RowRefusedError(f"DuckDB cannot store a value: {error}")
    if text.startswith("Constraint Error: NOT NULL"):
        # Every row would be refused, so no row is to blame (loading.md 5.2).
        return TableStoppedError(f"DuckDB refused the load: {text}")
    kind, meaning = next(
        (kind, meaning) for kinds, kind, meaning in _MEANINGS if isinstance(error, kinds)
    )
    return kind(meaning.format(text=text))
