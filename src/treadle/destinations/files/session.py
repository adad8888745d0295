"""A session on files; see `Session`."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from operator import attrgetter
from typing import Any, Self

import msgspec
import pyarrow as pa

from treadle import failpoint
from treadle.destinations.arrow_rows import make_columns
from treadle.destinations.files.errors import FAULTS
from treadle.destinations.files.inspection import (
    FilesInspection,
    describe_foreign,
    describe_table,
)
from treadle.destinations.files.object_names import (
    PENDING,
    encode_folder,
    name_owner_records,
    name_relation_folder,
    name_table_records,
    read_attempt,
)
from treadle.destinations.files.object_store import ObjectStore
from treadle.destinations.files.store_probe import StoreProbe, probe_store
from treadle.destinations.files.stored_tables import RelationFiles, list_relations
from treadle.destinations.files.table_load import AttemptSight, FilesLoad
from treadle.destinations.files.table_record import OwnerRecord, TableRecord
from treadle.destinations.layout import REJECTED, SEQUENCE
from treadle.destinations.load_mark import LoadMark, digest_mark
from treadle.destinations.protocol import (
    CommittedOffset,
    CommitUnknownError,
    LoadResult,
    PlanOutdatedError,
    SchemaStatus,
)
from treadle.destinations.schema_claim import SchemaClaim, claim_schema, refuse_system_schema
from treadle.errors import InternalError, OperatorError
from treadle.tables import table_codec
from treadle.tables.model import LoadPlan, OffsetCommit, Relation, Table, TableState
from treadle.tables.profiles import FILES
from treadle.tables.schema_owner import UNOWNED, SchemaOwner


class FilesSession(FilesInspection):
    """One session on a store.

    Args:
        store: of the files; the session closes it.
        read_only: nothing is written.
        probe: of the store, that sessions share.
    """

    def __init__(
        self, store: ObjectStore, *, read_only: bool = False, probe: StoreProbe | None = None
    ) -> None:
        super().__init__(store)
        self._probe = probe or StoreProbe()
        self._read_only = read_only
        self._sight = AttemptSight(store)
        self._prepared: set[tuple[str, SchemaOwner]] = set()
        self._load: FilesLoad | None = None

    def __enter__(self) -> Self:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def _require_writing(self) -> None:
        if self._read_only:
            raise OperatorError("the session only reads")

    def evict(self, member: str) -> int:
        """End the sessions of another process; here there are none. See `LoadSession.evict`."""
        return 0

    # --- schemas and their owners -----------------------------------------------------------------

    def prepare(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Record the owner of a schema, where that is missing. Folders come with files."""
        if (schema, owner) in self._prepared:
            return
        self._require_writing()
        with self._working():
            self._probe.require(self._store)
            status = self._read_status(schema)
            if claim_schema(schema, status, owner, FILES) is not SchemaClaim.KEEP and (
                status.owner is None or owner.succeeds(status.owner)
            ):
                self._record_owner(schema, owner)
            failpoint.reach("destination.prepare")
        self._prepared.add((schema, owner))

    def _record_owner(self, schema: str, owner: SchemaOwner | None) -> None:
        folder = name_owner_records(schema)
        held = self._owners.read(folder)
        record = OwnerRecord(
            schema,
            owner,
            uuid.uuid4().hex,
            "" if held is None else held.attempt,
            1 if held is None else held.number + 1,
        )
        try:
            self._owners.append(folder, record)
        except PlanOutdatedError:
            if self._read_owner(schema) != owner:
                raise

    def check_owner(self, schema: str, owner: SchemaOwner = UNOWNED) -> None:
        """Check that a schema is missing or the owner's; see `LoadSession.check_owner`."""
        with self._working():
            claim_schema(schema, self._read_status(schema), owner, FILES)

    def adopt(self, schema: str, owner: SchemaOwner, tables: Sequence[Table] = ()) -> None:
        """Record an owner for a schema, and catalogue entries; see `Adoption.adopt`."""
        self._require_writing()
        refuse_system_schema(schema, FILES)
        with self._working():
            self._prepared.clear()
            if self._read_owner(schema) != owner:
                self._record_owner(schema, owner)
            for table in tables:
                self._add_entry(table)

    def _add_entry(self, table: Table) -> None:
        """Write the catalogue entry of a table that treadle did not make."""
        held = self._read_settled(table.schema, table.name)
        if held is not None and list_relations(held.table):
            raise PlanOutdatedError(f"the table {table.name!r} is known by now")
        record = (held or TableRecord(table.schema, table.name)).follow(uuid.uuid4().hex)
        record = msgspec.structs.replace(
            record,
            revision=record.revision + 1,
            entry=table_codec.encode_table(table),
            filled={relation.name: 1 for relation in table.relations},
        )
        self._tables.append(name_table_records(table.schema, FILES.fold(table.name)), record)

    # --- what is there ----------------------------------------------------------------------------

    def committed(self, log_id: str) -> Mapping[tuple[int, str], CommittedOffset]:
        """Return (source id, table name as sent) -> the last load, for one log.

        Loads that are done and not shown, because their loader died, are shown.
        """
        with self._working():
            records = self._stored.read_all()
            if not self._read_only:
                self._show_all(records)
            marks = (mark for record in records for mark in record.marks.values())
            # A table that options call otherwise than before has an older mark in another record.
            found = sorted(
                (mark for mark in marks if mark.log_id == log_id), key=attrgetter("position")
            )
            return {(mark.source_id, mark.table_name): mark.offset for mark in found}

    def _show_all(self, records: Sequence[TableRecord]) -> None:
        waiting = {read_attempt(key)[1] for key in self._store.list_keys(PENDING)}
        for record in records:
            if record.attempt in waiting:
                self._sight.settle(record.schema, FILES.fold(record.name), record)

    def state(self, schema: str, table: str) -> TableState:
        """Return what is there for a canonical table name."""
        with self._working():
            found = self._stored.describe(self._read_settled(schema, table))
            if found.table is None or not found.table.relations:
                # Files that somebody else put where the table would be.
                found = replace(found, physical=describe_table(self._store, schema, table))
            return found

    def _read_settled(self, schema: str, table: str) -> TableRecord | None:
        """Return the record of a table, whose files are shown then."""
        record = self._stored.read(schema, table)
        if not self._read_only:
            self._sight.settle(schema, FILES.fold(table), record)
        return record

    def sequences(
        self, schema: str, relation: Relation, keys: Sequence[Sequence[Any]], private: bool
    ) -> list[int | None]:
        """Return the greatest `_sdc_sequence` that each key has; None for no such row."""
        if not relation.key:
            return []
        types = {column.name: column.type for column in relation.columns}
        wanted = make_columns(
            [(name, types[name], list(k)) for name, k in zip(relation.key, keys, strict=True)],
            FILES.display_name,
        )
        names = [f"k{at}" for at in range(len(relation.key))]
        numbers: pa.Array[Any] = pa.arange(0, wanted.num_rows)  # type: ignore[attr-defined]
        asked = wanted.rename_columns(names).append_column("row", numbers)
        with self._working() as store:
            files = RelationFiles(store, schema, relation)
            rows = files.read_named()([*relation.key, SEQUENCE], [*names, "seq"])
            same = " AND ".join(f"s.{name} = t.{name}" for name in names)
            found = self._engine.run(
                f"SELECT s.row, max(t.seq) AS seq FROM asked s JOIN stored t ON {same}"  # noqa: S608 - ours
                " GROUP BY s.row",
                asked=asked,
                stored=rows,
            )
        held = dict(zip(found["row"].to_pylist(), found["seq"].to_pylist(), strict=True))
        return [held.get(row) for row in range(wanted.num_rows)]

    # --- loads ------------------------------------------------------------------------------------

    def load(self, plan: LoadPlan, *, rehearse: bool = False) -> LoadResult:
        """Carry a plan out; see `LoadSession.load`."""
        if rehearse:
            with self._working():
                self._require_rights()
                load = self._begin(plan, rehearses=True)
                load.change()
                return load.write(rehearses=True)
        self._require_writing()
        with self._working():
            self._load = self._begin(plan, rehearses=False)
            self._load.change()
            failpoint.reach("destination.after-changes")
            return self._carry_out()

    def _require_rights(self) -> None:
        """Try to put and remove an object, where somebody rehearses who may write."""
        if not self._read_only:
            probe_store(self._store)

    def _carry_out(self) -> LoadResult:
        load, self._load = self._load, None
        if load is None:
            raise InternalError("a plan was to be written whose changes were not made")
        try:
            result = load.write(rehearses=False)
            failpoint.reach("destination.after-rows")
        except Exception:
            with suppress(*FAULTS):
                load.discard()
            raise
        # From here on a record that comes late may name the files. Those of a load that was not
        # committed are removed by the next one that is.
        load.commit(result)
        try:
            load.finish()
        except FAULTS as error:
            raise CommitUnknownError(
                f"the load is done, and its files could not be shown: {error}"
            ) from error
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
        """Check that a plan follows what is there; see `LoadSession`."""
        self._require_writing()
        with self._working():
            self._load = self._begin(plan, rehearses=False)
            self._load.change()

    def write(self, plan: LoadPlan) -> LoadResult:
        """Write and commit all of a plan that `change` was called for."""
        with self._working():
            return self._carry_out()

    def _begin(self, plan: LoadPlan, *, rehearses: bool) -> FilesLoad:
        """Check the owner and the offset, and return what carries the plan out."""
        recorded = self._read_owner(plan.schema)
        if recorded is None and not rehearses:
            raise PlanOutdatedError(f"the destination holds no owner of the schema {plan.schema!r}")
        status = (
            SchemaStatus(True, recorded) if recorded is not None else self._read_status(plan.schema)
        )
        claim_schema(plan.schema, status, plan.owner, FILES)
        name = plan.table_after.name if plan.table_after is not None else plan.table_name
        record = (
            self._stored.read(plan.schema, name)
            if rehearses
            else self._read_settled(plan.schema, name)
        )
        load = FilesLoad(self._store, self._tables, self._sight, plan, record, uuid.uuid4().hex)
        load.check(self._find_mark(plan.offset, record, rehearses=rehearses))
        failpoint.reach("destination.after-lock")
        return load

    def _find_mark(
        self, offset: OffsetCommit, record: TableRecord | None, *, rehearses: bool
    ) -> LoadMark | None:
        """Return what is held for the offset of a plan; None for nothing.

        It is in the record of the table, or in another one, where options call the table otherwise
        than before. There the fence of this load is noted, so that a loader that still goes by the
        former options cannot load any more.
        """
        found = None if record is None else record.get_mark(offset)
        if (-1 if found is None else found.position) >= offset.previous_position:
            return found
        held = [each for each in self._stored.read_all() if each.get_mark(offset) is not None]
        if not rehearses:
            for other in held:
                if record is None or other.attempt != record.attempt:
                    self._note_fence(other, offset)
        marks = (each.get_mark(offset) for each in held)
        return max(filter(None, marks), key=attrgetter("position"), default=None)

    def _note_fence(self, record: TableRecord, offset: OffsetCommit) -> None:
        mark = record.get_mark(offset)
        if mark is None or mark.fence >= offset.fence:
            return
        self._sight.settle(record.schema, FILES.fold(record.name), record)
        digest = digest_mark(mark.log_id, mark.source_id, mark.table_name)
        marks = {**record.marks, digest: msgspec.structs.replace(mark, fence=offset.fence)}
        followed = msgspec.structs.replace(record.follow(uuid.uuid4().hex), marks=marks)
        self._tables.append(name_table_records(record.schema, FILES.fold(record.name)), followed)

    # --- what a rebuild made ----------------------------------------------------------------------

    def remove(self, schema: str, table: str, log_id: str) -> None:
        """Remove the files of a table that a rebuild made; see `Rebuild.remove`."""
        self._require_writing()
        with self._working() as store:
            self._prepared.clear()
            for each in self._stored.read_all():
                self._forget_log(each, log_id)
            record = self._read_settled(schema, table)
            folder = name_table_records(schema, FILES.fold(table))
            if record is not None:
                for relation in reversed(list_relations(record.table)):
                    store.remove(store.list_keys(name_relation_folder(schema, relation.name)))
                self._forget(folder, record)
            left = {encode_folder(name) for name in self._stored.list_tables(schema)}
            if left <= {REJECTED} and not describe_foreign(store, schema, left):
                store.remove(store.list_keys(name_relation_folder(schema, REJECTED)))
                if self._read_owner(schema) is not None:
                    self._record_owner(schema, None)
            # Of a schema with other tables, rejected records stay: files are not changed.

    def _forget(self, folder: str, record: TableRecord) -> None:
        """Note that a table is gone. The numbers of its records go on, so none is there twice."""
        gone = TableRecord(record.schema, record.name, number=record.number, attempt=record.attempt)
        self._tables.append(folder, gone.follow(uuid.uuid4().hex))

    def _forget_log(self, record: TableRecord, log_id: str) -> None:
        kept = {digest: mark for digest, mark in record.marks.items() if mark.log_id != log_id}
        if len(kept) == len(record.marks):
            return
        self._sight.settle(record.schema, FILES.fold(record.name), record)
        followed = msgspec.structs.replace(record.follow(uuid.uuid4().hex), marks=kept)
        self._tables.append(name_table_records(record.schema, FILES.fold(record.name)), followed)
