"""Tells answers without an end that the server stops: without it they would hold up the stop."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopNotice:
    """The notice that a server stops; used on its event loop only.

    Attributes:
        announced: the server stops.
    """

    announced: bool = False
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call a function when the server stops; at once where it does already."""
        if self.announced:
            listener()
        else:
            self._listeners.append(listener)

    def announce(self) -> None:
        """Call the listeners; a second call does nothing."""
        if self.announced:
            return
        self.announced = True
        for listener in self._listeners:
            listener()
