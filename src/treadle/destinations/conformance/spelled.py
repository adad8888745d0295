"""A destination whose sessions take the suite's statements, where the database has other words."""

from collections.abc import Callable, Sequence
from typing import Any, Self

from treadle.destinations.protocol import Destination, QueryResult, Session

StatementSpelling = Callable[[str], Sequence[str]]
"""A statement of the suite -> those that are run in its place; the last one gives the rows."""


class SpelledSession:
    """A session of treadle whose `query` takes the suite's statements."""

    def __init__(self, session: Session, spell: StatementSpelling) -> None:
        self._session = session
        self._spell = spell

    def __getattr__(self, name: str) -> Any:
        """Return what the session has."""
        return getattr(self._session, name)

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self._session.close()

    def query(self, sql: str) -> QueryResult:
        """Run a statement of the suite's."""
        found = QueryResult((), [])
        for statement in self._spell(sql):
            found = self._session.query(statement)
        return found


class SpelledDestination:
    """A destination with such sessions."""

    def __init__(self, destination: Destination, spell: StatementSpelling) -> None:
        self._destination = destination
        self._spell = spell

    def __getattr__(self, name: str) -> Any:
        """Return what the destination has."""
        return getattr(self._destination, name)

    def open(self, *, read_only: bool = False) -> Any:
        """Connect; see `Destination.open`."""
        return SpelledSession(self._destination.open(read_only=read_only), self._spell)


def spell_statements(destination: Destination, spell: StatementSpelling | None) -> Destination:
    """Return a destination whose sessions take the suite's statements; None where all do."""
    if spell is None:
        return destination
    spelled: Any = SpelledDestination(destination, spell)
    made: Destination = spelled
    return made
