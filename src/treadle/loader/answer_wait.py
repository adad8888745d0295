"""How long a destination has not answered."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class AnswerWait:
    """The wait for a destination that is being opened or is at a load.

    The loader's thread begins and ends it, and does not run meanwhile. The supervisor's thread
    measures it.

    Attributes:
        clock: microseconds since 1970.
    """

    clock: Callable[[], int]
    _since: int | None = None

    def begin(self) -> None:
        """Note that the destination is asked now."""
        self._since = self.clock()

    def end(self) -> None:
        """Note that it has answered, or that the question was given up."""
        self._since = None

    def measure(self) -> int | None:
        """Return for how long it has not answered, microseconds; None while it is not asked."""
        since = self._since
        return None if since is None else self.clock() - since
