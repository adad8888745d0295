"""The log lines about loads: at most one a second for each source, however many tables it has.

The first load of a source after a quiet second has a line of its own. Those that follow within a
second are summed up in the next line. Everything here is a decision on values; the caller writes
the lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from treadle.loader.schedule import TableKey

LINE_US: Final = 1_000_000
"""The least time between two lines about one source, microseconds."""


@dataclass(slots=True)
class SourceLines:
    """The loads of one source that have no log line yet.

    Attributes:
        written_at: the time of the last log line of the source, microseconds since 1970.
        first: the line of the first load since then.
        tables: the tables of these loads.
        loads: the number of these loads.
        sums: the sums of their numbers.
    """

    written_at: int
    first: str = ""
    tables: set[str] = field(default_factory=set)
    loads: int = 0
    sums: tuple[int, ...] = ()


@dataclass(slots=True)
class LoadLines:
    """Log lines for loads of one kind, by source.

    Attributes:
        summary: the line for several loads, with `{source}`, `{tables}`, `{loads}`, `{first}`, and
            the sums as `{0}` and so on.
    """

    summary: str
    _sources: dict[int, SourceLines] = field(default_factory=dict)

    def add(self, key: TableKey, line: str, now: int, numbers: Sequence[int] = ()) -> str | None:
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
            self._sources[source_id] = SourceLines(now)
            return line
        its.first = its.first or line
        its.tables.add(table_name)
        its.loads += 1
        its.sums = tuple(map(sum, zip(its.sums or (0,) * len(numbers), numbers, strict=True)))
        return self._take_line(source_id, its, now)

    def flush(self, now: int | None = None) -> list[str]:
        """Return the lines whose time has come.

        Args:
            now: microseconds since 1970; None for the end, when all are written.
        """
        found = [
            self._take_line(source_id, its, now) for source_id, its in [*self._sources.items()]
        ]
        return [line for line in found if line is not None]

    def _take_line(self, source_id: int, its: SourceLines, now: int | None) -> str | None:
        # Not below 0: a clock that was set back must not delay a line for longer.
        if now is not None and 0 <= now - its.written_at < LINE_US:
            return None
        if now is None or not its.loads:
            del self._sources[source_id]
        else:
            self._sources[source_id] = SourceLines(now)
        if its.loads <= 1:
            return its.first or None
        values = {"source": source_id, "tables": len(its.tables), "loads": its.loads}
        return self.summary.format(*its.sums, **values, first=its.first)
