"""Statements of people in DuckDB, read only and in bounded memory; used by all that have it answer.

The configuration is locked before a statement of a person runs, so that it can change none of this.
Nothing is written to a temporary folder: what needs more memory fails.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import duckdb

from treadle.destinations.asking import (
    QUESTION_BYTES_MAX,
    QUESTION_THREADS_MAX,
    AnswerColumn,
    AnswerRow,
    AnswerRows,
    StatementFaultError,
    StatementOverdueError,
    ValueForm,
)
from treadle.destinations.protocol import DestinationUnavailableError

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


class EngineAnswer:
    """Runs one statement of a person's.

    Args:
        driver: a connection that can write nothing.
        seconds: after which a statement is ended.
    """

    def __init__(self, driver: duckdb.DuckDBPyConnection, seconds: float) -> None:
        self._driver = driver
        self._seconds = seconds
        self._is_overdue = False

    def read_statement(self, statement: str, limit: int) -> AnswerRows:
        """Run a statement, and return the first rows.

        It always stands where a table can stand: there are no rights of a role to go by.

        Args:
            statement: SQL. After it nothing else can be asked on the connection.
            limit: most rows.
        """
        self._lock()
        text = self._require_reading(statement)
        with self._bounded(text, len(_DESCRIBING)):
            described = self._driver.execute(f"{_DESCRIBING}{text}\n) AS q").fetchall()
        columns = tuple(
            AnswerColumn(str(name), str(type_), choose_form(str(type_)))
            for name, type_, *_ in described
        )
        return AnswerRows(columns, self._read(text, columns, limit))

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
        with self._bounded(statement):
            found = self._driver.extract_statements(statement)
        if len(found) != 1:
            many = "several" if found else "none"
            raise StatementFaultError(f"Expected one statement, found {many}.")
        if found[0].type != duckdb.StatementType.SELECT:
            raise StatementFaultError(f"{_WAYS}.")
        return found[0].query.strip().rstrip(";")

    def _read(self, text: str, columns: Sequence[AnswerColumn], limit: int) -> Iterator[AnswerRow]:
        """Read rows as texts: columns get names of ours, since they may have any, or one twice."""
        names = [f"c{number:d}" for number in range(len(columns))]
        shown = ", ".join(
            f"to_base64({name})" if column.form is ValueForm.BLOB else f"CAST({name} AS VARCHAR)"
            for name, column in zip(names, columns, strict=True)
        )
        forms = [column.form for column in columns]
        with self._bounded():
            self._driver.execute(
                f"SELECT {shown} FROM ({text}\n) AS q({', '.join(names)}) LIMIT {limit:d}"  # noqa: S608 - a person's
            )
            while rows := self._driver.fetchmany(FETCHED_ROWS):
                for row in rows:
                    yield [
                        value if value is None else spell_value(form, value)
                        for form, value in zip(forms, row, strict=True)
                    ]

    @contextmanager
    def _bounded(self, statement: str = "", shift: int = 0) -> Iterator[None]:
        """Say in DuckDB's words what is wrong; where it was ended, that it took too long.

        Args:
            statement: that a position in an error is in; empty where it says nothing of it.
            shift: bytes before the statement in what is run.
        """
        try:
            yield
        except (duckdb.Error, RuntimeError, UnicodeError) as error:
            if self._is_overdue:
                raise StatementOverdueError(
                    f"The statement took longer than {self._seconds:g} s and was ended."
                ) from error
            words, at = read_fault(error)
            place = None
            if statement and at is not None and at >= shift:
                place = len(statement.encode()[: at - shift].decode(errors="ignore"))
            raise StatementFaultError(words, place) from error

    def end(self) -> None:
        """End the statement that runs; may be called from any thread."""
        self._is_overdue = True
        with suppress(duckdb.Error):
            self._driver.interrupt()


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


def spell_value(form: ValueForm, text: str) -> str:
    """Return a text of DuckDB in the spelling of its form."""
    if form is ValueForm.NUMBER:
        return _FLOATS.get(text, text)
    if form is ValueForm.INSTANT:
        found = _INSTANT.fullmatch(text)
        return f"{found[1]}T{found[2]}Z" if found else text
    return text


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
