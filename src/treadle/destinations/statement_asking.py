"""What a session for one statement of a person's does, whatever runs the statement."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, ClassVar, TypeVar

from treadle.destinations.asking import (
    AnswerColumn,
    AnswerRow,
    AnswerRows,
    StatementFaultError,
    StatementOverdueError,
    ValueForm,
)
from treadle.errors import TreadleError


class StatementAsking(ABC):
    """Runs one statement, and ends it when it takes too long; see `AskedSession`.

    Args:
        seconds: after which a statement is ended.

    Attributes:
        faults: what is raised for a statement of a person's.
    """

    faults: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        self._is_overdue = False

    def read_statement(self, statement: str, limit: int, *, wraps: bool) -> AnswerRows:
        """Run one statement of a person's; see `AskedSession`."""
        text = statement.rstrip("; \t\r\n\f\v")
        if not text:
            raise StatementFaultError("Expected one statement, found none.")
        columns, rows = self._start(text, limit, wraps=wraps)
        return AnswerRows(columns, self._spell_rows(columns, rows, limit, wraps=wraps))

    @abstractmethod
    def _start(
        self, text: str, limit: int, *, wraps: bool
    ) -> tuple[tuple[AnswerColumn, ...], Generator[Sequence[Any], None, None]]:
        """Begin a statement; returns its columns, and its rows as they come.

        Closing the rows ends the statement.

        Raises:
            StatementFaultError: it is not one statement, gives no rows, or is refused.
        """

    def _spell_rows(
        self,
        columns: Sequence[AnswerColumn],
        rows: Generator[Sequence[Any], None, None],
        limit: int,
        *,
        wraps: bool,
    ) -> Iterator[AnswerRow]:
        forms = [column.form for column in columns]
        spell = self._spell_value  # looked up once, for a million values
        with self._bounded(lambda error: self._judge_fault(error, wraps=wraps)), closing(rows):
            for row in islice(rows, limit):
                if time.monotonic() > self._until:
                    raise self._make_overdue()
                yield [
                    None if value is None else spell(form, value)
                    for form, value in zip(forms, row, strict=True)
                ]

    @abstractmethod
    def _spell_value(self, form: ValueForm, value: Any) -> str:
        """Return a value of the driver's in the spelling of its form."""

    @contextmanager
    def _bounded(self, judge: Callable[[Exception], TreadleError]) -> Iterator[None]:
        """Say what is wrong with a statement; where it was ended, that it took too long."""
        try:
            yield
        except self.faults as error:
            if self._is_overdue or self._is_interrupted(error):
                raise self._make_overdue() from error
            raise judge(error) from error

    @abstractmethod
    def _judge_fault(self, error: Exception, *, wraps: bool) -> TreadleError:
        """Return what an error of a statement of a person's means.

        Args:
            error: one of `faults`.
            wraps: the statement stands where a table can stand.
        """

    def _is_interrupted(self, error: Exception) -> bool:
        """Return whether the database ended a statement that took too long."""
        return False

    def _make_overdue(self) -> StatementOverdueError:
        return StatementOverdueError(
            f"The statement took longer than {self.seconds:g} s and was ended."
        )

    # --- life -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to read, before the first question.

        Raises:
            TreadleError: the database refuses it.
        """
        return

    def end(self) -> None:
        """End the statement that runs; may be called from any thread."""
        self._is_overdue = True
        self._interrupt()

    @abstractmethod
    def _interrupt(self) -> None:
        """End the statement that runs; from any thread."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what the statement was run with."""


AskingT = TypeVar("AskingT", bound=StatementAsking)


@contextmanager
def open_asking(asking: AskingT) -> Iterator[AskingT]:
    """Give a session for one question, and close it at the end."""
    timer = threading.Timer(asking.seconds, asking.end)
    timer.daemon = True
    try:
        asking.begin()
        timer.start()
        yield asking
    finally:
        timer.cancel()
        asking.close()
