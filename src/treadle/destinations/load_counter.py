"""Counts the rows that a load has written, for its result. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from treadle.destinations.layout import find_empty_relations, map_report_names
from treadle.destinations.protocol import LoadResult
from treadle.tables.model import LoadPlan, Relation, TableWrite


class LoadCounter:
    """Counts rows while the writes of a plan are carried out one after the other.

    Args:
        plan: that is carried out.
        empty: (private, name) of further relations that have no rows after its changes.
    """

    def __init__(self, plan: LoadPlan, empty: Collection[tuple[bool, str]] = ()) -> None:
        self._plan = plan
        self._empty = find_empty_relations(plan).union(empty)
        self._rows: dict[str, int] = {}
        self._superseded: dict[int, int] = {}
        self._names: Mapping[str, str] = {}
        self._private = False

    def writes(self) -> Iterator[TableWrite]:
        """Give the plan's writes; one is done when the next is asked for."""
        for write in self._plan.writes:
            self._names = map_report_names(self._plan.table_after, write)
            self._private = write.private
            yield write
            self._empty -= {
                (write.private, rows.relation.name) for rows in (write.root, *write.children)
            }

    def is_empty(self, relation: Relation) -> bool:
        """Return whether a relation of the present write has no rows for certain."""
        return (self._private, relation.name) in self._empty

    def count(self, relation: Relation, rows: int) -> None:
        """Add rows written to a relation of the present write."""
        name = self._names.get(relation.name, relation.name)
        self._rows[name] = self._rows.get(name, 0) + rows

    def supersede(self, found: Iterable[tuple[int, int]]) -> None:
        """Add superseded records: index of the entry, and how many of it."""
        for entry, records in found:
            self._superseded[entry] = self._superseded.get(entry, 0) + records

    @property
    def result(self) -> LoadResult:
        """The rows that were written."""
        return LoadResult(self._rows, self._superseded)
