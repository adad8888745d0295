"""The log lines about loads: at most one a second for each source, however many tables it has.

The first load of a source after a quiet second has a line of its own. Those that follow within a
second are summed up in the next line. Everything here is a decision on values; the caller writes
the lines.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle.loader.schedule import TableKey

LINE_US: Final = 1_000_000
"""The least time between two lines about one source, microseconds."""


@dataclass(frozen=True, slots=True)
class LoadLine:
    """One log line.

    Attributes:
        text: for people.
        fields: the same for programs, by name.
        is_warning: somebody should look at it.
    """

    text: str
    fields: Mapping[str, object] = field(default_factory=dict)
    is_warning: bool = False


@dataclass(slots=True)
class SourceLines:
    """The loads of one source that have no log line yet.

    Attributes:
        source_id: of the source.
        written_at: the time of the last log line of the source, microseconds since 1970.
        first: the line of the first load since then.
        tables: the tables of these loads.
        loads: the number of these loads.
        sums: the sums of their numbers.
        is_warning: somebody should look at one of them.
    """

    source_id: int
    written_at: int
    first: LoadLine | None = None
    tables: set[str] = field(default_factory=set)
    loads: int = 0
    sums: tuple[int, ...] = ()
    is_warning: bool = False


@dataclass(slots=True)
class LoadLines:
    """Log lines for loads of one kind, by source.

    Attributes:
        summarize: makes the line for several loads.
    """

    summarize: Callable[[SourceLines], LoadLine]
    _sources: dict[int, SourceLines] = field(default_factory=dict)

    def add(
        self, key: TableKey, line: LoadLine, now: int, numbers: Sequence[int] = ()
    ) -> LoadLine | None:
        """Note a load; return the line to write now, if there is one.

        Args:
            key: its table.
            line: what is written of it where it is alone.
            now: microseconds since 1970.
            numbers: what is summed up; of all loads equally many.
        """
        source_id, table_name = key
        its = self._sources.get(source_id)
        if its is None:
            self._sources[source_id] = SourceLines(source_id, now)
            return line
        its.first = its.first or line
        its.tables.add(table_name)
        its.loads += 1
        its.is_warning |= line.is_warning
        its.sums = tuple(map(sum, zip(its.sums or (0,) * len(numbers), numbers, strict=True)))
        return self._take_line(its, now)

    def flush(self, now: int | None = None) -> list[LoadLine]:
        """Return the lines whose time has come.

        Args:
            now: microseconds since 1970; None for the end, when all are written.
        """
        found = [self._take_line(its, now) for its in [*self._sources.values()]]
        return [line for line in found if line is not None]

    def _take_line(self, its: SourceLines, now: int | None) -> LoadLine | None:
        # Not below 0: a clock that was set back must not delay a line for longer.
        if now is not None and 0 <= now - its.written_at < LINE_US:
            return None
        if now is None or not its.loads:
            del self._sources[its.source_id]
        else:
            self._sources[its.source_id] = SourceLines(its.source_id, now)
        return self.summarize(its) if its.loads > 1 else its.first
