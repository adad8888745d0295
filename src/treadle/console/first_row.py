"""The first row of a table, which the desk is asked for once."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treadle.console.view import describe_refusal, show_text
from treadle.errors import RequestRefusedError

KEPT_MAX: Final = 100
"""Tables of which the row is kept."""

ASKING_MAX: Final = 4
"""Questions of a worker that are under way at once."""

RETRY_SECONDS: Final = 10.0
"""After so long a question that failed is asked again."""

CELLS_MAX: Final = 24
CELL_CHARACTERS_MAX: Final = 200

RowPlace = tuple[int, str]
"""Source id and name of a table."""


@dataclass(frozen=True, slots=True)
class FirstRow:
    """A row of a table, or why there is none to be seen.

    Attributes:
        names: of its columns.
        values: JSON values, one for each column.
        trouble: a sentence; None where there is a row.
    """

    names: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    trouble: str | None = None

    def list_cells(self) -> list[tuple[str, str]]:
        """Return name and text of each value: the columns of the record first."""
        pairs = [
            (name, show_value(value)) for name, value in zip(self.names, self.values, strict=True)
        ]
        return sorted(pairs, key=lambda pair: pair[0].startswith("_sdc_"))[:CELLS_MAX]


def show_value(value: Any) -> str:
    """Return a JSON value of a row as a text for people."""
    if value is None:
        return "NULL"
    if not isinstance(value, str):
        value = msgspec.json.encode(value).decode()
    return show_text(value, CELL_CHARACTERS_MAX)


def read_first_row(answer: Any) -> FirstRow:
    """Return the first row of an answer of the desk.

    Args:
        answer: JSON value of `GET /v1/sources/{source_id}/tables/{table}/rows`.
    """
    if not answer["rows"]:
        return FirstRow(trouble="The table has no row any more.")
    names = tuple(str(column["name"]) for column in answer["columns"])
    return FirstRow(names, tuple(answer["rows"][0]))


class FirstRowDesk:
    """Asks for rows in threads, so that no page waits for a destination, and keeps them."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Know no row.

        Args:
            monotonic: seconds.
        """
        self._monotonic = monotonic
        self._lock = threading.Condition()
        self._rows: dict[RowPlace, tuple[FirstRow, float]] = {}
        self._asked: set[RowPlace] = set()

    def find(
        self, place: RowPlace, ask: Callable[[], Any], seconds: float = 0.0
    ) -> FirstRow | None:
        """Return the row of a table; None while the desk is asked for it.

        Args:
            place: of the table.
            ask: asks the desk; called once, in a thread.
            seconds: to wait for the answer.
        """
        with self._lock:
            known = self._rows.get(place)
            if known is not None and (known[0].trouble is None or self._monotonic() < known[1]):
                return known[0]
            if place not in self._asked:
                if len(self._asked) >= ASKING_MAX:
                    return None
                self._asked.add(place)
                threading.Thread(target=self._ask, args=(place, ask), daemon=True).start()
            if seconds:
                self._lock.wait_for(lambda: place not in self._asked, seconds)
            found = None if place in self._asked else self._rows.get(place)
            return None if found is None else found[0]

    def _ask(self, place: RowPlace, ask: Callable[[], Any]) -> None:
        row = FirstRow(trouble="The row cannot be read now.")
        try:
            row = read_first_row(ask())
        except RequestRefusedError as refused:
            row = FirstRow(trouble=describe_refusal(refused.body))
        finally:
            with self._lock:
                self._asked.discard(place)
                self._rows.pop(place, None)
                while len(self._rows) >= KEPT_MAX:
                    del self._rows[next(iter(self._rows))]
                self._rows[place] = row, self._monotonic() + RETRY_SECONDS
                self._lock.notify_all()
