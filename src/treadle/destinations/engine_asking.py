"""Statements of people in DuckDB, read only and in bounded memory; used by all that have it answer.

The configuration is locked before a statement of a person runs, so that it can change none of this.
Nothing is written to a temporary folder: what needs more memory fails.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import duckdb

from treadle.destinations.asking import (
    QUESTION_BYTES_MAX,
    QUESTION_THREADS_MAX,
    AnswerColumn,
    RoleRights,
    StatementFaultError,
    ValueForm,
)
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.statement_asking import StatementAsking
from treadle.errors import TreadleError

ASKING_CONFIG: Final[Mapping[str, str]] = {
    "memory_limit": f"{QUESTION_BYTES_MAX // 1024**2}MiB",
    "threads": str(QUESTION_THREADS_MAX),
    "temp_directory": "",
}
"""Settings beside those of every session, in a process of its own."""

LOCKED: Final = (
    # A name in a statement is no variable of this program.
    "SET python_enable_replacements = false",
    # An error says at which character of the statement it is.
    "SET errors_as_json = true",
    "SET lock_configuration = true",
)
"""Statements that come before one of a person's."""

FETCHED_ROWS: Final = 1000

_DESCRIBING: Final = "DESCRIBE SELECT * FROM ("

_NUMBERS: Final = re.compile(
    r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|DECIMAL\(.*\)|DOUBLE|FLOAT|BIGNUM|VARINT"
)
_FLOATS: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)\+00")
_POINTER: Final = re.compile(r"\s*LINE \d+: .*", re.DOTALL)
_NO_MEMORY: Final = (
    "Out of Memory Error",
    "could not allocate",
    "failed to allocate",
    "failed to pin",
)

_WAYS: Final = (
    "Only a statement that reads is run here: SELECT, WITH, VALUES, FROM, DESCRIBE, SHOW or "
    "SUMMARIZE"
)


class EngineAsking(StatementAsking):
    """Runs one statement of a person's in DuckDB; see `StatementAsking`.

    It always stands where a table can stand: there are no rights of a role to go by. After it
    nothing else can be asked on the connection.
    """

    faults = (duckdb.Error, RuntimeError, UnicodeError)

    @property
    @abstractmethod
    def _driver(self) -> duckdb.DuckDBPyConnection:
        """A connection that can write nothing."""

    def find_rights(self) -> RoleRights:
        """Return none: DuckDB has no roles, and external access is off."""
        return RoleRights()

    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        self._lock()
        text = self._require_reading(text)
        self._show_tables(text)
        with self._bounded(lambda error: judge_fault(error, text, len(_DESCRIBING))):
            described = self._driver.execute(f"{_DESCRIBING}{text}\n) AS q").fetchall()
        columns = tuple(
            AnswerColumn(str(name), str(type_), choose_form(str(type_)))
            for name, type_, *_ in described
        )
        return columns, self._fetch(text, columns, limit)

    def _show_tables(self, statement: str) -> None:
        """Make the tables known that a statement reads, where they are not there already."""
        return

    def _lock(self) -> None:
        try:
            for statement in LOCKED:
                self._driver.execute(statement)
        except duckdb.Error as error:
            raise DestinationUnavailableError(
                f"DuckDB cannot take the statement now: {_say(error)}"
            ) from error

    def _require_reading(self, statement: str) -> str:
        """Return a statement without what may follow it, if it is one and reads.

        Raises:
            StatementFaultError: it is not.
        """
        try:
            statement.encode()  # DuckDB's driver would call it a wrong argument
        except UnicodeEncodeError as error:
            raise StatementFaultError("The statement is not Unicode.") from error
        with self._bounded(lambda error: judge_fault(error, statement)):
            found = self._driver.extract_statements(statement)
        if len(found) != 1:
            many = "several" if found else "none"
            raise StatementFaultError(f"Expected one statement, found {many}.")
        if found[0].type != duckdb.StatementType.SELECT:
            raise StatementFaultError(f"{_WAYS}.")
        return found[0].query.strip().rstrip(";")

    def _fetch(
        self, text: str, columns: Sequence[AnswerColumn], limit: int
    ) -> Generator[Sequence[Any], None, None]:
        """Read rows as texts: columns get names of ours, since they may have any, or one twice."""
        names = [f"c{number:d}" for number in range(len(columns))]
        shown = ", ".join(
            f"to_base64({name})" if column.form is ValueForm.BLOB else f"CAST({name} AS VARCHAR)"
            for name, column in zip(names, columns, strict=True)
        )
        driver = self._driver
        driver.execute(
            f"SELECT {shown} FROM ({text}\n) AS q({', '.join(names)}) LIMIT {limit:d}"  # noqa: S608 - a person's
        )
        while rows := driver.fetchmany(FETCHED_ROWS):
            yield from rows

    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        return judge_fault(error)

    def _spell_value(self, form: ValueForm, value: Any) -> str:
        text: str = value  # cast by the statement
        if form is ValueForm.NUMBER:
            return _FLOATS.get(text, text)
        if form is ValueForm.INSTANT:
            found = _INSTANT.fullmatch(text)
            return f"{found[1]}T{found[2]}Z" if found else text
        return text

    def _interrupt(self) -> None:
        with suppress(duckdb.Error):
            self._driver.interrupt()


def judge_fault(error: Exception, statement: str = "", shift: int = 0) -> StatementFaultError:
    """Return what an error of a statement of a person's means.

    Args:
        error: DuckDB's, or what the statement could not be handed over for.
        statement: that a position in the error is in; empty where it says nothing of it.
        shift: bytes before the statement in what is run.
    """
    words, at = read_fault(error)
    place = None
    if statement and at is not None and at >= shift:
        place = len(statement.encode()[: at - shift].decode(errors="ignore"))
    return StatementFaultError(words, place)


def choose_form(type_: str) -> ValueForm:
    """Return the form of the texts of a type, as DuckDB spells it."""
    match type_:
        case "BOOLEAN":
            return ValueForm.BOOLEAN
        case "JSON":
            return ValueForm.JSON
        case "BLOB":
            return ValueForm.BLOB
        case "TIMESTAMP WITH TIME ZONE":
            return ValueForm.INSTANT
    return ValueForm.NUMBER if _NUMBERS.fullmatch(type_) else ValueForm.TEXT


def read_fault(error: Exception) -> tuple[str, int | None]:
    """Return DuckDB's words, and the byte of what was run at which it is wrong."""
    said: Any = None
    with suppress(ValueError):
        said = json.loads(str(error).partition(": ")[2])  # behind its kind
    if isinstance(error, duckdb.Error) and any(mark in str(error) for mark in _NO_MEMORY):
        return f"DuckDB: the statement needs more than {QUESTION_BYTES_MAX // 1024**2} MB.", None
    if not isinstance(said, dict):
        return _say(error), None
    kind, text = said.get("exception_type"), str(said.get("exception_message", ""))
    words = " ".join(_POINTER.sub("", text).split())
    at = said.get("position")
    place = int(at) if isinstance(at, str | int) and str(at).isdigit() else None
    return (f"{kind} Error: {words}" if kind else words), place


def _say(error: Exception) -> str:
    """Return the first paragraph of a message, on one line."""
    return " ".join(str(error).split("\n\n")[0].split())
