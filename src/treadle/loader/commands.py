"""Commands from one thread to another. Only the newest command of each kind waits.

A loader whose destination hangs receives a new backlog twenty times a second and takes none of
them. In an ordinary queue they would pile up for as long as it hangs, so a newer command replaces
an older one of its kind, which nobody needs any more.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from treadle.log.protocol import TableBacklog
from treadle.quotas import SourceQuota
from treadle.store.model import Source

Command = TypeVar("Command")

MoveKey = tuple[int, int]
"""(source id, time of the move): one move of a source to another destination."""

POLL_SECONDS: Final = 0.05
"""The time after which a waiting thread of the loader looks again whether something became due: a
twentieth of the default age of a load."""

IDLE_SECONDS_MAX: Final = 0.25
"""The same while nothing waits. To look as often as when something waits took 2 % of a core."""

SENSE_SECONDS: Final = 0.1
"""The time between two questions whether something was appended while nothing waits. To wake up
for it takes 0.1 ms of a core, to look 1 ms."""

REST_SECONDS: Final = 1.0
"""The same for who is told of everything by a command, and only has lines of the log to write."""


def choose_pause(age_us: int, *, is_busy: bool) -> float:
    """Return the seconds after which a waiting thread looks again.

    What was accepted while nothing waited is seen long before it is due.

    Args:
        age_us: of a record, at which it is loaded; microseconds.
        is_busy: whether something waits, or is on its way.
    """
    if is_busy:
        return POLL_SECONDS
    return max(POLL_SECONDS, min(IDLE_SECONDS_MAX, age_us / 4_000_000))


@dataclass(frozen=True, slots=True)
class AssignSources:
    """These sources, by id, load into the destination; earlier backlogs are void.

    Attributes:
        quotas: by source id; one that is missing has no bounds.
    """

    sources: Mapping[int, Source]
    quotas: Mapping[int, SourceQuota] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetBacklog:
    """This is all that waits for the destination."""

    backlogs: Sequence[TableBacklog]


@dataclass(frozen=True, slots=True)
class AskOffsets:
    """Ask the destination what it has committed of the sources of these moves, once for each."""

    moves: frozenset[MoveKey]


@dataclass(frozen=True, slots=True)
class TakeRequests:
    """Somebody wants tables loaded at once; which ones is in a queue."""


@dataclass(frozen=True, slots=True)
class RetireLoader:
    """Another loader has the place of this one: finish what is open, then end."""


@dataclass(frozen=True, slots=True)
class StopLoader:
    """End after the load that is under way."""


class CommandQueue(Generic[Command]):
    """Commands of several threads to one, in the order in which they were put last."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[type, Command] = {}

    def put(self, command: Command) -> None:
        """Add a command in place of one of the same class that was not received yet."""
        with self._changed:
            self._waiting.pop(type(command), None)
            self._waiting[type(command)] = command
            self._changed.notify()

    def receive(self, timeout_seconds: float = 0.0) -> list[Command]:
        """Remove and return all commands; wait for the first one at most so long."""
        with self._changed:
            if not self._waiting and timeout_seconds > 0:
                self._changed.wait(timeout_seconds)
            found = list(self._waiting.values())
            self._waiting.clear()
            return found
