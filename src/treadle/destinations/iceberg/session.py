"""A session on an Iceberg catalogue; see `Session`.

There is no transaction over several tables, so a load has an order (`table_load`), and what it
leaves when it is interrupted is taken back by the next one.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final, Self

from treadle import failpoint
from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.compaction import CompactionRule, compact_table
from treadle.destinations.iceberg.errors import ERRORS, message
from treadle.destinations.iceberg.inspection import IcebergInspection
from treadle.destinations.iceberg.load_context import LoadContext
from treadle.destinations.iceberg.part_undo import describe_before
from treadle.destinations.iceberg.relation_draft import RelationDraft
from treadle.destinations.iceberg.row_format import make_columns
from treadle.destinations.iceberg.schema_types import describe_schema
from treadle.destinations.iceberg.table_head import TableHead, note_fence, read_head, read_heads
from treadle.destinations.iceberg.table_load import IcebergLoad
from treadle.destinations.iceberg.table_record import (
    decode_part,
    decode_relation,
    is_unfinished,
)
from treadle.destinations.iceberg.table_removal import remove_table
from treadle.destinations.layout import PRIVATE_SCHEMA, SEQUENCE
from treadle.destinations.load_mark import LoadMark
from treadle.destinations.protocol import CommittedOffset, LoadResult, PlanOutdatedError
from treadle.errors import InternalError, OperatorError, TreadleError
from treadle.tables.model import (
    LoadPlan,
    OffsetCommit,
    PhysicalRelation,
    Relation,
    Table,
    TableState,
)
from treadle.tables.profile import DestinationProfile
from treadle.tables.profiles import ICEBERG
from treadle.tables.schema_owner import UNOWNED, SchemaOwner

logger = logging.getLogger(__name__)

READ_ONLY: Final = "the session only reads"


class IcebergSession(IcebergInspection):
    """One connection to a catalogue.

    Args:
        catalogue: that is open; the session closes it.
        rule: when tables are compacted.
        profile: of the catalogue.
        read_only: nothing is written.
    """

    def __init__(
        self,
        catalogue: IcebergCatalogue,
        rule: CompactionRule,
        profile: DestinationProfile = ICEBERG,
        *,
        read_only: bool = False,
    ) -> None:
        super().__init__(catalogue, profile)
        self._rule = rule
        self._read_only = read_only
        self._prepared: set[tuple[str, SchemaOwner]] = set()
        self._known: tuple[tuple[str, str], TableHead] | None = None
        """The table whose state was asked for last: a load that follows needs no second look."""
        self._load: IcebergLoad | None = None

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def _require_writing(self) -> None:
        if self._read_only:
            raise OperatorError(READ_ONLY)

    def evict(self, member: str) -> int:
        """End the sessions of another process; here there are none. See `LoadSession.evict`."""
        return 0

    # --- schemas and their owners -----------------------------------------------------------------

    def prepare(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Make the schema with `_sdc_rejected` in it, and treadle's own, where missing."""
        if (schema, owner) in self._prepared:
            return
        self._require_writing()
        with self._working():
            self._owners.prepare_schema(schema, owner)
        self._prepared.add((schema, owner))

    def check_owner(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Check that a schema is missing or the owner's; see `LoadSession.check_owner`."""
        with self._working():
            self._owners.check_owner(schema, owner)

    def adopt(self, schema: str, owner: SchemaOwner, tables: Sequence[Table] = ()) -> None:
        """Record an owner for a schema, and catalogue entries; see `Adoption.adopt`."""
        self._require_writing()
        with self._working():
            self._prepared.clear()
            self._owners.adopt_schema(schema, owner, tables)

    # --- what is there ----------------------------------------------------------------------------

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """Return (source id, table name as sent) -> the last load, for one log."""
        with self._working() as catalogue:
            marks = (mark for head in read_heads(catalogue) for mark in head.record.marks.values())
            # A table that options call otherwise than before has an older mark at another head.
            found = sorted(
                (mark for mark in marks if mark.log_id == log_id), key=attrgetter("position")
            )
            return {(mark.source_id, mark.table_name): mark.offset for mark in found}

    def state(self, schema: str, table: str) -> TableState:
        """Return what is there for a canonical table name."""
        with self._working() as catalogue:
            head = read_head(catalogue, schema, table)
            self._known = (schema, ICEBERG.fold(table)), head
            entry = head.record.entry
            physical: dict[str, PhysicalRelation] = {}
            if head.root is not None and not head.is_root_pending:
                physical[head.root_name] = describe_schema(head.root.schema(), head.root.properties)
            if entry is None:
                return TableState(head.record.note.revision, None, physical)
            relations = tuple(
                self._find_child(head, relation, physical) if relation.path else relation
                for relation in entry.relations
            )
            return TableState(
                head.record.note.revision, replace(entry, relations=relations), physical
            )

    def _find_child(
        self, head: TableHead, relation: Relation, physical: dict[str, PhysicalRelation]
    ) -> Relation:
        """Return a subtable as it is, without what an unfinished load did to it."""
        table = self._catalogue.load(head.schema, relation.name)
        if table is None:
            return relation
        head.tables[head.schema, relation.name] = table
        part = decode_part(table.properties)
        # As it is when the load of the plan begins: what another one did is undone first.
        is_undone = part is not None and is_unfinished(part, head.record.note)
        schema, properties = describe_before(table, part if is_undone else None)
        physical[relation.name] = describe_schema(schema, properties)
        noted = decode_relation(properties)
        if noted is None or noted.path != relation.path:
            return relation
        return noted

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """Return the `_sdc_sequence` each key has in the table now: None for no such row."""
        if not relation.key:
            return []
        types = {column.name: column.type for column in relation.columns}
        wanted = make_columns(
            [(name, types[name], list(k)) for name, k in zip(relation.key, keys, strict=True)]
        )
        if not wanted.num_rows:
            return []
        with self._working() as catalogue:
            table = catalogue.load(PRIVATE_SCHEMA if private else schema, relation.name)
            if table is None:
                raise PlanOutdatedError(f"the table {relation.name!r} is not there any more")
            draft = RelationDraft(table, relation, rehearses=True)
            live = draft.find_keys(relation.key, wanted)
            found = self._search.find_rows(live, relation.key, wanted, [SEQUENCE])
        held = dict(zip(found["row"].to_pylist(), found["x0"].to_pylist(), strict=True))
        return [held.get(row) for row in range(wanted.num_rows)]

    # --- loads ------------------------------------------------------------------------------------

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out; see `LoadSession.load`."""
        if not rehearse:
            self._require_writing()
        with self._working():
            load = self._begin(plan, rehearses=rehearse)
            try:
                load.change()
                failpoint.reach("destination.after-changes")
                result = load.write()
                if rehearse:
                    return result
                load.commit(result)
            except Exception:
                load.discard()
                raise
            load.finish()
            self._compact(load)
            return result

    def load_group(self, plans: Sequence[LoadPlan]) -> list[LoadResult]:
        """Carry plans out one by one, if all of them follow what is there.

        Tables commit for themselves. So loads that were begun stay where a later one fails, and
        whoever plans again finds them done.
        """
        with self._working():
            for plan in plans:
                self._begin(plan, rehearses=False)
        return [self.load(plan) for plan in plans]

    def change(self, plan: LoadPlan) -> None:
        """Check that a plan follows what is there, and make its tables; see `LoadSession`."""
        with self._working():
            self._load = self._begin(plan, rehearses=False)
            self._load.change()

    def write(self, plan: LoadPlan) -> LoadResult:
        """Write and commit all of a plan that `change` was called for."""
        load, self._load = self._load, None
        if load is None:
            raise InternalError("a plan was to be written whose changes were not made")
        with self._working():
            result = load.write()
            load.commit(result)
            load.finish()
            return result

    def _begin(self, plan: LoadPlan, *, rehearses: bool) -> IcebergLoad:
        """Check the owner and the offset, and return what carries the plan out."""
        name = plan.table_after.name if plan.table_after is not None else plan.table_name
        place = (plan.schema, ICEBERG.fold(name))
        known, self._known = self._known, None
        self._owners.check_plan(plan, rehearses=rehearses)
        head = known[1] if known is not None and known[0] == place else None
        if head is None:
            head = read_head(self._catalogue, plan.schema, name)
        load = IcebergLoad(
            LoadContext(self._catalogue, self._search, plan, head, rehearses=rehearses)
        )
        load.check(self._find_mark(plan.offset, head, rehearses=rehearses))
        failpoint.reach("destination.after-lock")
        return load

    def _find_mark(
        self, offset: OffsetCommit, head: TableHead, *, rehearses: bool
    ) -> LoadMark | None:
        """Return what is held for the offset of a plan; None for nothing.

        It is at the head of the table, or at another one, where options call the table otherwise
        than before. There the fence of this load is noted, so that a loader that still goes by the
        former options cannot load any more.
        """
        found = head.record.get_mark(offset)
        if (-1 if found is None else found.position) >= offset.previous_position:
            return found
        heads = [each for each in read_heads(self._catalogue) if each.record.get_mark(offset)]
        if not rehearses:
            for other in heads:
                if other.name != head.name:
                    note_fence(other, offset)
        marks = (each.record.get_mark(offset) for each in heads)
        return max(filter(None, marks), key=attrgetter("position"), default=None)

    def _compact(self, load: IcebergLoad) -> None:
        """Compact tables that have come to many files; what fails is done after a later load."""
        for place, table in load.touched.items():
            try:
                compact_table(table, self._rule, kept=load.list_kept(place))
            except (*ERRORS, TreadleError) as error:  # the load is done, whatever it is
                logger.warning("cannot compact %s now: %s", ".".join(place), message(error))

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Rebuild.remove`."""
        self._require_writing()
        with self._working() as catalogue:
            self._prepared.clear()
            self._known = None
            remove_table(catalogue, self._search, schema, table, log_id)
