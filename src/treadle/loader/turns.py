"""The order in which the tables of a destination are loaded: weighted round robin by source.

Everything here is a decision on values. A source that has 20,000 tables to load gets its turn, and
then every other source that waits gets one, before the first gets the next.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from treadle.log.protocol import TableBacklog

DEFAULT_WEIGHT: Final = 1
"""Loads of one turn of a source for which the operator set nothing else."""


@dataclass(slots=True)
class SourceTurns:
    """The tables that are due, and whose turn it is.

    A turn is as many loads in a row as the source has weight. A load takes one chunk of one table
    at most, so a turn is bounded by the read limits. A source that begins to wait is last in the
    circle: it waits for one turn of each other source, and no source can push itself forward.

    Attributes:
        weights: source id -> loads of one turn; `DEFAULT_WEIGHT` where there is none.
    """

    weights: Mapping[int, int] = field(default_factory=dict)
    _waiting: dict[int, deque[TableBacklog]] = field(default_factory=dict)
    """By source, in the order of the circle. One that has the turn may be empty for a moment."""
    _turn_of: int | None = None
    """The source that has the turn: the first one, or None before the next turn begins."""
    _loads_left: int = 0

    def is_waiting(self, source_id: int) -> bool:
        """Return whether a source has something here."""
        return bool(self._waiting.get(source_id))

    def offer(self, backlogs: Iterable[TableBacklog]) -> None:
        """Replace all that waits; a source that waits still keeps its place in the circle.

        Args:
            backlogs: of all sources; those of one source are loaded in this order.
        """
        groups = {source: deque[TableBacklog]() for source in self._waiting}
        for backlog in backlogs:
            groups.setdefault(backlog.source_id, deque()).append(backlog)
        self._waiting = {source: group for source, group in groups.items() if group}
        if self._turn_of not in self._waiting:
            self._turn_of = None

    def add(self, backlogs: Iterable[TableBacklog]) -> None:
        """Add tables behind the others of their source; a new source is last in the circle."""
        for backlog in backlogs:
            self._waiting.setdefault(backlog.source_id, deque()).append(backlog)

    def put_back(self, backlog: TableBacklog) -> None:
        """Put what is left of a table before the others of its source."""
        self._waiting.setdefault(backlog.source_id, deque()).appendleft(backlog)

    def take(self) -> TableBacklog | None:
        """Take the next table out; None when nothing waits."""
        if self._turn_of is not None:
            self._end_turn_if_over(self._turn_of)
        source = next(iter(self._waiting), None)
        if source is None:
            return None
        if self._turn_of is None:
            self._turn_of = source
            self._loads_left = max(1, self.weights.get(source, DEFAULT_WEIGHT))
        self._loads_left -= 1
        return self._waiting[source].popleft()

    def _end_turn_if_over(self, source: int) -> None:
        group = self._waiting[source]
        if group and self._loads_left:
            return
        self._turn_of = None
        del self._waiting[source]
        if group:
            self._waiting[source] = group
