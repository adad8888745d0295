"""What the parts of one load share: its plan, the head, and how tables are found."""

import uuid
from dataclasses import dataclass, field

from pyiceberg.table import Table

from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.key_search import KeySearch
from treadle.destinations.iceberg.table_head import Place, TableHead
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.tables.model import LoadPlan, Relation


@dataclass(frozen=True)
class LoadContext:
    """A load of one table.

    Attributes:
        catalogue: of the destination.
        search: finds rows by keys.
        plan: what to do.
        head: of the table, as it is now: each commit of the load brings it up to date.
        rehearses: write nothing.
        name: of the load, as parts and heads note it.
        missing: places where no table was when the load looked.
    """

    catalogue: IcebergCatalogue
    search: KeySearch
    plan: LoadPlan
    head: TableHead
    rehearses: bool = False
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    missing: set[Place] = field(default_factory=set)

    @property
    def keeps_tombstones(self) -> bool:
        """Whether keys that are deleted are kept."""
        after = self.plan.table_after
        return after is not None and after.tombstones

    def place(self, name: str, *, private: bool) -> Place:
        """Return where a relation is, live or staged."""
        return PRIVATE_SCHEMA if private else self.plan.schema, name

    def find_table(self, schema: str, name: str) -> Table | None:
        """Return a table that was loaded with the head, or is loaded now.

        A load looks at a place once. What appears there later is another loader's: making the table
        fails then, and so does a commit to what was there before.
        """
        place = (schema, name)
        found = self.head.tables.get(place)
        if found is None and place not in self.missing:
            found = self.catalogue.load(schema, name)
            if found is None:
                self.missing.add(place)
            else:
                self.head.tables[place] = found
        return found

    def find_relation(self, name: str, *, private: bool) -> Relation | None:
        """Return a relation as it is after the plan."""
        after = self.plan.table_after
        if after is None:
            return None
        groups = [stage.relations for stage in after.stages] if private else [after.relations]
        return next((each for group in groups for each in group if each.name == name), None)
