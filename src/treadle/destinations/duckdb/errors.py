"""What an error of DuckDB means to a loader (loading.md 10.2, 10.3)."""

import re

import duckdb

from treadle.destinations.protocol import (
    AccessDeniedError,
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


def message(error: duckdb.Error) -> str:
    """The first paragraph of DuckDB's message, on one line."""
    return " ".join(str(error).split("\n\n")[0].split())


def is_missing(error: duckdb.Error) -> bool:
    """Whether a statement failed because a table or schema is not there."""
    text = message(error)
    return (
        isinstance(error, duckdb.CatalogException)
        and text.startswith(("Catalog Error: Table with name ", "Catalog Error: Schema with name "))
        and "does not exist" in text
    )


def at_open(error: duckdb.Error, path: str) -> TreadleError:
    """What a failed attempt to open a file means."""
    text = message(error)
    if _HELD in text:
        # "... Conflicting lock is held in /usr/bin/duckdb (PID 4711). See also ..."
        holder = _HOLDER.search(text)
        who = f" by {holder[1]}" if holder else " by another process"
        return DestinationUnavailableError(
            f"the DuckDB file {path} is held{who}; it is tried again"
        )
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


def out_of_memory(error: BaseException | None) -> bool:
    """Whether DuckDB met its bound of memory, be it while it wrote its file at a COMMIT."""
    return isinstance(error, duckdb.Error) and any(mark in str(error) for mark in _NO_MEMORY)


def translate(error: duckdb.Error) -> TreadleError:
    """What an error of a statement means."""
    text = message(error)
    match error:
        case duckdb.ConstraintException():
            # Every row would be refused, so no row is to blame (loading.md 5.2).
            if text.startswith("Constraint Error: NOT NULL"):
                return TableStoppedError(f"DuckDB refused the load: {text}")
            return RowRefusedError(text)
        case duckdb.TransactionException():
            return PlanOutdatedError(f"somebody else writes to the DuckDB file: {text}")
        case duckdb.PermissionException():
            return AccessDeniedError(text)
        case (
            duckdb.OperationalError()
            | duckdb.InterruptException()
            | duckdb.FatalException()
            | duckdb.InternalError()
        ):
            return DestinationUnavailableError(f"DuckDB cannot take the load now: {text}")
        case duckdb.DataError() | duckdb.InvalidInputException():
            return RowRefusedError(text)
        case duckdb.CatalogException() | duckdb.BinderException():
            return PlanOutdatedError(f"the table is not as it was planned: {text}")
        case _:
            return TableStoppedError(f"DuckDB refused the load: {text}")
