"""A session on an Iceberg catalogue; see `Session`.

There is no transaction over several tables, so a load has an order (`table_load`), and what it
leaves when it is interrupted is taken back by the next one.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, Self

import pyarrow as pa
from pyiceberg.exceptions import TableAlreadyExistsError
from pyiceberg.table import Table as IcebergTable

from treadle import failpoint
from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.compaction import CompactionRule, compact_table
from treadle.destinations.iceberg.errors import ERRORS, message, translate
from treadle.destinations.iceberg.inspection import (
    compare_tables,
    count_rows,
    is_unused_rejections,
    list_changes,
)
from treadle.destinations.iceberg.key_search import KeySearch
from treadle.destinations.iceberg.relation_draft import RelationDraft
from treadle.destinations.iceberg.row_format import make_columns
from treadle.destinations.iceberg.schema_types import describe_schema, make_schema
from treadle.destinations.iceberg.statement_engine import StatementEngine
from treadle.destinations.iceberg.table_load import (
    LEDGER,
    REJECTIONS,
    IcebergLoad,
    TableHead,
    commit_part,
    is_pending,
)
from treadle.destinations.iceberg.table_record import (
    LEDGER_PREFIX,
    MARK,
    NAME,
    OWNER,
    SCHEMA,
    HeadNote,
    HeadRecord,
    decode_head,
    decode_owner,
    decode_relation,
    encode_head,
    encode_owner,
    name_ledger,
    name_owner,
)
from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    SEQUENCE,
    find_live_tombstones,
    find_stage_tombstones,
)
from treadle.destinations.protocol import (
    CommittedOffset,
    DestinationUnavailableError,
    LoadResult,
    PlanOutdatedError,
    QueryResult,
    QueryStream,
    RelationPair,
    RowCounts,
    RowDiff,
    SchemaStatus,
)
from treadle.destinations.schema_claim import SchemaClaim, claim_schema, refuse_system_schema
from treadle.errors import InternalError, OperatorError
from treadle.tables.model import (
    LoadPlan,
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


class IcebergSession:
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
        self._catalogue = catalogue
        self._rule = rule
        self._profile = profile
        self._read_only = read_only
        self._search = KeySearch()
        self._prepared: set[tuple[str, SchemaOwner]] = set()
        self._is_closed = False
        self._known: tuple[tuple[str, str], TableHead] | None = None
        """The table whose state was asked for last: a load that follows needs no second look."""
        self._load: IcebergLoad | None = None

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the catalogue and the engine."""
        if not self._is_closed:
            self._is_closed = True
            self._search.close()
            self._catalogue.close()

    @contextmanager
    def _working(self) -> Iterator[IcebergCatalogue]:
        """Give the catalogue, and say what its errors mean."""
        if self._is_closed:
            raise DestinationUnavailableError("the session on the Iceberg catalogue is closed")
        try:
            yield self._catalogue
        except ERRORS as error:
            raise translate(error) from error

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
        with self._working() as catalogue:
            status = self._read_status(schema)
            claim = claim_schema(schema, status, owner, self._profile)
            if claim is not SchemaClaim.KEEP:
                if not catalogue.holds_schema(PRIVATE_SCHEMA):
                    catalogue.make_schema(PRIVATE_SCHEMA)
                # The owner comes first: a schema that is there and not recorded is nobody's.
                if status.owner is None or owner.succeeds(status.owner):
                    self._record_owner(schema, owner)
                if not status.exists:
                    catalogue.make_schema(schema)
            failpoint.reach("destination.prepare")
            if catalogue.load(schema, REJECTED) is None:
                self._make_rejections(schema)
        self._prepared.add((schema, owner))

    def _make_rejections(self, schema: str) -> None:
        with suppress(TableAlreadyExistsError):  # another session was first
            self._catalogue.make(schema, REJECTED, make_schema(REJECTIONS), {})

    def _read_status(self, schema: str) -> SchemaStatus:
        return SchemaStatus(self._catalogue.holds_schema(schema), self._read_owner(schema))

    def _read_owner(self, schema: str) -> SchemaOwner | None:
        noted = self._catalogue.load(PRIVATE_SCHEMA, name_owner(schema))
        return None if noted is None else decode_owner(noted.properties[OWNER])

    def _record_owner(self, schema: str, owner: SchemaOwner) -> None:
        name = name_owner(schema)
        properties = {SCHEMA: schema, OWNER: encode_owner(owner)}
        noted = self._catalogue.load(PRIVATE_SCHEMA, name)
        if noted is None:
            try:
                self._catalogue.make(PRIVATE_SCHEMA, name, LEDGER, properties)
            except TableAlreadyExistsError:
                if self._read_owner(schema) != owner:
                    raise
            return
        draft = RelationDraft(noted, None)
        draft.properties = properties
        commit_part(draft)

    def check_owner(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Check that a schema is missing or the owner's; see `LoadSession.check_owner`."""
        with self._working():
            claim_schema(schema, self._read_status(schema), owner, self._profile)

    def schema_status(self, schema: str) -> SchemaStatus:
        """Return whether a schema is there and whose it is."""
        with self._working():
            return self._read_status(schema)

    def unknown_relations(self, schema: str) -> Mapping[str, PhysicalRelation]:
        """Return the relations that no catalogue entry names; see `Adoption`."""
        with self._working() as catalogue:
            known = {
                ICEBERG.fold(relation.name)
                for head in self._read_heads()
                if head.schema == schema and head.record.entry is not None
                for relation in head.record.entry.relations
            }
            found: dict[str, PhysicalRelation] = {}
            for name in catalogue.list_tables(schema):
                if ICEBERG.fold(name) in known or name == REJECTED:
                    continue
                table = catalogue.load(schema, name)
                if table is not None and not is_pending(table):
                    found[name] = describe_schema(table.schema(), table.properties)
            return found

    def adopt(self, schema: str, owner: SchemaOwner, tables: Sequence[Table] = ()) -> None:
        """Record an owner for a schema, and catalogue entries; see `Adoption.adopt`."""
        self._require_writing()
        refuse_system_schema(schema, self._profile)
        with self._working() as catalogue:
            self._prepared.clear()
            catalogue.make_schema(PRIVATE_SCHEMA)
            if self._read_owner(schema) != owner:
                self._record_owner(schema, owner)
            if not catalogue.holds_schema(schema):
                catalogue.make_schema(schema)
            if catalogue.load(schema, REJECTED) is None:
                self._make_rejections(schema)
            for table in tables:
                self._add_entry(table)

    def _add_entry(self, table: Table) -> None:
        """Write the catalogue entry of a table that treadle did not make."""
        head = self._read_head(table.schema, table.name)
        if head.record.entry is not None and head.record.entry.relations:
            raise PlanOutdatedError(f"the table {table.name!r} is known by now")
        followed = head.record.follow("adopted")
        note = HeadNote(followed.note.number, followed.note.revision + 1, followed.note.loads)
        record = HeadRecord(note, table, followed.marks)
        if head.ledger is None:
            properties = {SCHEMA: table.schema, NAME: table.name, **encode_head(record)}
            self._catalogue.make(PRIVATE_SCHEMA, head.name, LEDGER, properties)
            return
        draft = RelationDraft(head.ledger, None)
        draft.properties = encode_head(record)
        commit_part(draft)

    # --- what is there ----------------------------------------------------------------------------

    def _read_heads(self) -> Iterator[TableHead]:
        """Give the head of each table that there is a ledger of."""
        for name in self._catalogue.list_tables(PRIVATE_SCHEMA):
            if not name.startswith(LEDGER_PREFIX):
                continue
            ledger = self._catalogue.load(PRIVATE_SCHEMA, name)
            if ledger is not None and SCHEMA in ledger.properties:
                yield self._find_head(
                    ledger.properties[SCHEMA], ledger.properties.get(NAME, ""), name, ledger
                )

    def _read_head(self, schema: str, table: str) -> TableHead:
        """Return the head of a table, with its root, as they are now."""
        name = name_ledger(schema, ICEBERG.fold(table))
        return self._find_head(schema, table, name, self._catalogue.load(PRIVATE_SCHEMA, name))

    def _find_head(
        self, schema: str, table: str, name: str, ledger: IcebergTable | None
    ) -> TableHead:
        record = None if ledger is None else decode_head(ledger.properties)
        head = TableHead(schema, name, record or HeadRecord(), ledger)
        entry = head.record.entry
        called = entry.relations[0].name if entry is not None and entry.relations else table
        root = self._load_folded(schema, called) if called else None
        if root is None:
            return head
        head.root, head.root_name = root, root.name()[-1]
        head.tables[schema, head.root_name] = root
        at_root = decode_head(root.properties)
        if at_root is not None and at_root.note.number >= head.record.note.number:
            head.record, head.is_at_root = at_root, True
        return head

    def _load_folded(self, schema: str, name: str) -> IcebergTable | None:
        """Return a table, also one whose name differs in what is folded."""
        found = self._catalogue.load(schema, name)
        if found is not None:
            return found
        folded = ICEBERG.fold(name)
        for other in self._catalogue.list_tables(schema):
            if ICEBERG.fold(other) == folded:
                return self._catalogue.load(schema, other)
        return None

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """Return (source id, table name as sent) -> the last load, for one log."""
        with self._working():
            return {
                (mark.source_id, mark.table_name): mark.offset
                for head in self._read_heads()
                for mark in head.record.marks.values()
                if mark.log_id == log_id
            }

    def list_log_ids(self, prefix: str) -> list[str]:
        """Return the logs that there are offsets of, of those whose names begin so."""
        with self._working():
            found = {
                mark.log_id for head in self._read_heads() for mark in head.record.marks.values()
            }
        return sorted(log_id for log_id in found if log_id.startswith(prefix))

    def state(self, schema: str, table: str) -> TableState:
        """Return what is there for a canonical table name."""
        with self._working():
            head = self._read_head(schema, table)
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
        """Return a subtable as it is: a load that was interrupted may have added columns."""
        table = self._catalogue.load(head.schema, relation.name)
        if table is None:
            return relation
        head.tables[head.schema, relation.name] = table
        physical[relation.name] = describe_schema(table.schema(), table.properties)
        noted = decode_relation(table.properties)
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
        recorded = self._read_owner(plan.schema)
        if not rehearses or recorded is not None:
            if recorded is None:
                raise PlanOutdatedError(
                    f"the destination holds no owner of the schema {plan.schema!r}"
                )
            claim_schema(plan.schema, SchemaStatus(True, recorded), plan.owner, self._profile)
        else:
            claim_schema(plan.schema, self._read_status(plan.schema), plan.owner, self._profile)
        head = known[1] if known is not None and known[0] == place else None
        if head is None:
            head = self._read_head(plan.schema, name)
        load = IcebergLoad(self._catalogue, self._search, plan, head, rehearses=rehearses)
        load.check()
        failpoint.reach("destination.after-lock")
        return load

    def _compact(self, load: IcebergLoad) -> None:
        """Compact tables that have come to many files; what fails is done after a later load."""
        for (schema, name), table in load.touched.items():
            try:
                compact_table(table, self._rule)
            except ERRORS as error:
                logger.warning("cannot compact %s.%s now: %s", schema, name, message(error))

    # --- questions --------------------------------------------------------------------------------

    def relations(self, schema: str) -> list[str]:
        """Return the tables and views in a schema; see `Inspection.relations`."""
        with self._working() as catalogue:
            found = [*catalogue.list_tables(schema), *catalogue.list_views(schema)]
            if REJECTED in found:
                table = catalogue.load(schema, REJECTED)
                if table is not None and is_unused_rejections(table):
                    found.remove(REJECTED)
            return sorted(found)

    def counts(self, schema: str, relation: Relation, since: int) -> RowCounts:
        """Count the rows of a live root relation; see `Inspection.counts`."""
        with self._working():
            return count_rows(self._search, self._require(schema, relation.name), relation, since)

    def compare(self, schema: str, other: str, pair: RelationPair) -> RowDiff:
        """Compare the rows of two relations; see `Inspection.compare`."""
        with self._working():
            here = None if pair.here is None else self._require(schema, pair.here)
            there = None if pair.there is None else self._require(other, pair.there)
            return compare_tables(self._search, here, there, pair)

    def _require(self, schema: str, name: str) -> IcebergTable:
        table = self._catalogue.load(schema, name)
        if table is None:
            raise PlanOutdatedError(f"there is no table {name!r} in the schema {schema!r}")
        return table

    def ddl(self, plan: LoadPlan, shown_as: str | None = None) -> list[str]:
        """Return the changes of a load as statements of Spark; see `Inspection.ddl`.

        Iceberg has no statements of its own. The load makes these changes by the library.
        """
        with self._working() as catalogue:
            makes_schema = not catalogue.holds_schema(plan.schema)
            makes_rejections = makes_schema or catalogue.load(plan.schema, REJECTED) is None
        return list_changes(
            plan,
            shown_as or plan.schema,
            makes_schema=makes_schema,
            rejections=REJECTIONS if makes_rejections else None,
        )

    def query(self, sql: str) -> QueryResult:
        """Run one statement of the operator's; see `Inspection.query`."""
        with self._working() as catalogue, StatementEngine(catalogue) as engine:
            return engine.query(sql)

    @contextmanager
    def stream_query(self, sql: str) -> Iterator[QueryStream]:
        """Run one statement of the operator's, row by row; see `Inspection.stream_query`."""
        with self._working() as catalogue:
            engine = StatementEngine(catalogue)
            found = engine.stream(sql)
        with engine:
            yield found

    def count_query(self, sql: str, seconds: float) -> int | None:
        """Count the rows of a statement of the operator's; see `Inspection.count_query`."""
        with self._working() as catalogue, StatementEngine(catalogue) as engine:
            return engine.count(sql, seconds)

    def clock(self) -> int | None:
        """Return None: the time of loads is this machine's."""
        return None

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Drop a table with all that is kept of it; see `Rebuild.remove`."""
        self._require_writing()
        with self._working() as catalogue:
            self._prepared.clear()
            self._known = None
            if not catalogue.holds_schema(PRIVATE_SCHEMA):
                return
            head = self._read_head(schema, table)
            self._drop_tables(head)
            self._forget_log(log_id)
            catalogue.drop(PRIVATE_SCHEMA, head.name)
            left = catalogue.list_tables(schema)
            if left == [REJECTED]:
                catalogue.drop(schema, REJECTED)
                catalogue.drop_schema(schema)
                catalogue.drop(PRIVATE_SCHEMA, name_owner(schema))
            elif REJECTED in left:
                rejected = catalogue.load(schema, REJECTED)
                if rejected is not None:
                    self._remove_rejections(rejected, table)

    def _drop_tables(self, head: TableHead) -> None:
        entry = head.record.entry
        relations = () if entry is None else entry.relations
        # The head goes last: what is left of a table whose dropping was interrupted is found by it.
        for relation in reversed(relations):
            self._catalogue.drop(head.schema, relation.name)
        names = []
        if relations:
            names.append(find_live_tombstones(entry, head.schema, ICEBERG.fold(relations[0].name)))
        for stage in () if entry is None else entry.stages:
            for relation in stage.relations:
                names.append(relation.name)
                if not relation.path:
                    names.append(find_stage_tombstones(ICEBERG.fold(relation.name)))
        for name in names:
            self._catalogue.drop(PRIVATE_SCHEMA, name)

    def _forget_log(self, log_id: str) -> None:
        """Forget all offsets of a log."""
        for head in list(self._read_heads()):
            kept = {
                digest: mark for digest, mark in head.record.marks.items() if mark.log_id != log_id
            }
            gone = head.record.marks.keys() - kept.keys()
            if not gone:
                continue
            followed = head.record.follow("forgotten")
            places = (head.root if head.is_at_root else None, head.ledger)  # the copy comes last
            for table in filter(None, places):
                held = {name for name in table.properties if name.startswith(MARK)}
                draft = RelationDraft(table, None)
                draft.properties = encode_head(HeadRecord(followed.note, followed.entry, kept))
                draft.forget_properties(held & {f"{MARK}{digest}" for digest in gone})
                commit_part(draft)

    def _remove_rejections(self, rejected: IcebergTable, table: str) -> None:
        draft = RelationDraft(rejected, None)
        wanted = pa.table({"table_name": pa.array([table], pa.string())})
        live = draft.find_keys(["table_name"], wanted)
        found = self._search.find_rows(live, ["table_name"], wanted)
        if found.num_rows:
            draft.remove_rows(live, found.select(["file", "pos"]))
            commit_part(draft)
