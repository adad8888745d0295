"""When to do what is left of committed loads, as in a database that cannot undo schema changes."""

from dataclasses import dataclass
from typing import Final

from treadle.destinations.protocol import EndingSession, Session

ENDING_US: Final = 30_000_000
"""The time until a further try to do what is left of a load that is committed. A try may wait for
15 seconds, in which nothing else is loaded."""


@dataclass(slots=True)
class LoadEnding:
    """What is left of the committed loads of a destination, and when that is tried."""

    _at: int | None = None
    """When to try it, microseconds since 1970; None where nothing is known to be left."""

    def is_due(self, now: int) -> bool:
        """Return whether it is time to try it."""
        return self._at is not None and now >= self._at

    def note_question(self) -> None:
        """Note that the destination was asked: a process that was killed may have left something.

        What is left already is not tried more often by that.
        """
        if self._at is None:
            self._at = 0

    def note_round(self, session: Session, now: int) -> None:
        """Note whether the loads of a round have left something."""
        if self._at is None and isinstance(session, EndingSession) and session.has_unended:
            self._at = now + ENDING_US

    def end_loads(self, session: Session, now: int) -> None:
        """Do what is left, if it is time."""
        if not self.is_due(now):
            return
        self._at = None
        if isinstance(session, EndingSession):
            session.end_loads()
            self.note_round(session, now)
