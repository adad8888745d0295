"""One load of one table into Iceberg: what it does to each relation, and in which order.

Every relation commits for itself. Rejections come first, then keys that were deleted, stages,
subtables, and at last the head, which is the root where there is one: with it the load is done.
"""

import contextlib
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import BadRequestError, CommitFailedException, ValidationError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField, StringType

from treadle import failpoint
from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.errors import ERRORS, message, translate, translate_commit
from treadle.destinations.iceberg.key_search import KeySearch, make_numbers
from treadle.destinations.iceberg.live_rows import LiveRows, gather_tasks
from treadle.destinations.iceberg.relation_draft import RelationDraft
from treadle.destinations.iceberg.row_format import make_columns, make_rows
from treadle.destinations.iceberg.schema_types import make_schema
from treadle.destinations.iceberg.table_record import (
    HEAD,
    NAME,
    PART,
    SCHEMA,
    TABLE,
    HeadNote,
    HeadRecord,
    PartNote,
    decode_part,
    encode_head,
    encode_part,
    is_unfinished,
)
from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    REJECTED,
    REJECTED_COLUMNS,
    SEQUENCE,
    check_offset,
    find_empty_relations,
    find_live_tombstones,
    find_stage_tombstones,
    list_subtables,
    moves_offset,
    pair_parent_key,
)
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.load_mark import digest_mark, make_mark
from treadle.destinations.protocol import (
    ChangeRefusedError,
    CommitUnknownError,
    DestinationUnavailableError,
    LoadResult,
    PlanOutdatedError,
)
from treadle.destinations.sql.schema_changes import group_additions
from treadle.errors import InternalError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    Relation,
    RelationRows,
    RenameColumn,
    SchemaChange,
    TableWrite,
    WidenColumn,
)
from treadle.tables.names import TOMBSTONES
from treadle.tables.profiles import ICEBERG
from treadle.text import make_storable

REJECTIONS: Final = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
"""Rejected records, in the schema of each source."""

LEDGER: Final = Schema(NestedField(1, "note", StringType(), required=False))
"""The columns of a table that is only there for its properties."""

TRIES_MAX: Final = 10
"""Most tries to add rejections to a table that loads of other tables write to as well."""

Place = tuple[str, str]
"""Schema and name of a table."""


@dataclass
class TableHead:
    """The head of a table, and the tables that were loaded with it.

    Attributes:
        schema: of the table.
        name: of the ledger.
        record: what the head says.
        ledger: None where it is missing.
        root: the table of the root's name, whoever made it; None where it is missing.
        root_name: of it.
        is_at_root: the root is the head.
        tables: place -> table, of the relations that were loaded.
    """

    schema: str
    name: str
    record: HeadRecord = field(default_factory=HeadRecord)
    ledger: Table | None = None
    root: Table | None = None
    root_name: str = ""
    is_at_root: bool = False
    tables: dict[Place, Table] = field(default_factory=dict)

    @property
    def is_root_pending(self) -> bool:
        """Whether a load made the root and did not come to its end."""
        return self.root is not None and is_pending(self.root)

    @property
    def table(self) -> Table | None:
        """The head."""
        return self.root if self.is_at_root else self.ledger


def is_pending(table: Table) -> bool:
    """Return whether a table that treadle made is not the head that it was made to be."""
    return PART in table.properties and HEAD not in table.properties


@dataclass
class WrittenParents:
    """Root rows that a load wrote, as their children are looked up by them.

    Attributes:
        key: names of the root's key columns.
        rows: these columns, and their sequences, in a column whose name is empty.
        are_all: no row of the load lost.
    """

    key: tuple[str, ...]
    rows: "pa.Table"
    are_all: bool


class IcebergLoad:
    """Carries out a plan.

    Args:
        catalogue: of the destination.
        search: finds rows by keys.
        plan: what to do.
        head: of the table, as it is now.
        rehearses: write nothing.
    """

    def __init__(
        self,
        catalogue: IcebergCatalogue,
        search: KeySearch,
        plan: LoadPlan,
        head: TableHead,
        *,
        rehearses: bool,
    ) -> None:
        self._catalogue = catalogue
        self._search = search
        self._plan = plan
        self._head = head
        self._rehearses = rehearses
        self._id = uuid.uuid4().hex[:16]
        self._drafts: dict[Place, RelationDraft] = {}
        self._counter = LoadCounter(plan)
        self._empty = find_empty_relations(plan)
        self._leftovers: dict[str, str] = {}
        self._committed: set[Place] = set()
        """Tables to which a commit was sent."""
        self.touched: dict[Place, Table] = {}
        """Tables that the load committed to, with rows, as they are after that."""

    # --- what was there -----------------------------------------------------------------------

    def check(self) -> None:
        """Check that the plan follows what is there.

        Raises:
            PlanOutdatedError, FencedError: it does not.
        """
        plan, record = self._plan, self._head.record
        held = record.get_mark(plan.offset)
        check_offset(plan.offset, *((-1, 0) if held is None else (held.position, held.fence)))
        if plan.table_after is not None and record.note.revision != plan.revision:
            raise PlanOutdatedError(
                f"table {plan.table_name!r}: planned from revision {plan.revision}, the "
                f"destination holds {record.note.revision}"
            )

    def change(self) -> None:
        """Make what the plan makes, and draft the other changes of the schema."""
        self._check_creations()
        if not self._rehearses:
            self._drop_leftovers()
            self._settle()
            self._make_ledger()
        for change in group_additions(self._plan.changes):
            self._draft_change(change)

    def _check_creations(self) -> None:
        """Refuse a plan that makes what somebody else has made meanwhile."""
        for change in self._plan.changes:
            if isinstance(change, CreateRelation) and not change.private:
                name = change.relation.name
                table = self._find(self._plan.schema, name)
                if table is not None and not self._is_leftover(name, table):
                    raise PlanOutdatedError(f"the table {name!r} is there by now")

    def _is_leftover(self, name: str, table: Table) -> bool:
        """Return whether a table is what an unfinished load of this one made."""
        if PART not in table.properties or table.properties.get(TABLE) != self._head.name:
            return False
        entry = self._head.record.entry
        known = set() if entry is None else {relation.name for relation in entry.relations}
        return is_pending(table) and (name not in known or name == self._head.root_name)

    def _settle(self) -> None:
        """Take back what loads wrote that did not come to their head."""
        note = self._head.record.note
        entry = self._head.record.entry
        places: list[Place] = []
        if entry is not None:
            places += [(self._plan.schema, each.name) for each in entry.relations if each.path]
            places += [
                (PRIVATE_SCHEMA, each.name) for stage in entry.stages for each in stage.relations
            ]
        unfinished = [
            (place, table, part)
            for place in places
            if (table := self._find(*place)) is not None
            and (part := decode_part(table.properties)) is not None
            and is_unfinished(part, note)
        ]
        if not unfinished:
            return
        self._claim()
        for place, table, part in unfinished:
            draft = RelationDraft(table, None)
            draft.remove_files(part.files)
            draft.properties = encode_part(PartNote("", note.number), None)
            self._head.tables[place] = commit_part(draft)

    def _claim(self) -> None:
        """Let no commit of the head succeed any more that was begun before.

        What is taken back then belongs to no load that could still be done.
        """
        head = self._head
        head.record = head.record.follow(self._id + "c")
        properties = encode_head(head.record)
        if head.is_root_pending and head.root is not None:
            draft = RelationDraft(head.root, None)
            draft.properties = encode_part(PartNote("", head.record.note.number), None)
            head.root = head.tables[self._plan.schema, head.root_name] = commit_part(draft)
        if head.table is None:
            return  # there is no head that anybody could commit to
        draft = RelationDraft(head.table, None)
        draft.properties = properties
        made = commit_part(draft)
        if head.is_at_root:
            head.root = head.tables[self._plan.schema, head.root_name] = made
        else:
            head.ledger = made

    def _make_ledger(self) -> None:
        head = self._head
        if head.ledger is None:
            head.ledger = self._catalogue.make(
                PRIVATE_SCHEMA,
                head.name,
                LEDGER,
                {SCHEMA: head.schema, NAME: self._plan.table_name, **encode_head(head.record)},
            )

    def _find(self, schema: str, name: str) -> Table | None:
        """Return a table that was loaded with the head, or is loaded now."""
        found = self._head.tables.get((schema, name))
        if found is None:
            found = self._catalogue.load(schema, name)
            if found is not None:
                self._head.tables[schema, name] = found
        return found

    # --- changes of the schema ----------------------------------------------------------------

    def _draft_change(self, change: SchemaChange | list[AddColumn]) -> None:
        match change:
            case list():
                self._draft(change[0].relation, change[0].private).add_columns(change)
            case CreateRelation(relation, private):
                self._create(relation, private=private)
            case RenameColumn(relation_name, _, _, private):
                self._draft(relation_name, private).rename_column(change)
            case WidenColumn(relation_name, _, _, private):
                self._draft(relation_name, private).widen_column(change)
            case ChangeKey(relation_name, _, _):
                columns = {column.name: column for column in self._list_columns(relation_name)}
                self._draft(relation_name).change_key(change, columns)
            case EmptyRelation(relation_name):
                self._draft(relation_name).empty()
                self._forget_tombstones(relation_name)
            case CopyStage():
                self._copy_stage(change)
            case DropStage(relation_name):
                self._leave_behind(relation_name)
                self._leave_behind(find_stage_tombstones(ICEBERG.fold(relation_name)))

    def _list_columns(self, name: str) -> Sequence[Column]:
        relation = self._find_relation(name, private=False)
        return () if relation is None else relation.columns

    def _find_relation(self, name: str, *, private: bool) -> Relation | None:
        """Return a relation as it is after the plan."""
        after = self._plan.table_after
        if after is None:
            return None
        groups = [stage.relations for stage in after.stages] if private else [after.relations]
        return next((each for group in groups for each in group if each.name == name), None)

    def _create(self, relation: Relation, *, private: bool) -> None:
        schema = PRIVATE_SCHEMA if private else self._plan.schema
        self._make_draft((schema, relation.name), relation)
        if not relation.path:
            self._forget_tombstones(relation.name, private=private)

    def _make_draft(self, place: Place, relation: Relation) -> RelationDraft:
        """Draft a table that is to be made; one that an unfinished load left is taken."""
        table = self._find(*place)
        if table is not None:
            draft = RelationDraft(table, relation, rehearses=self._rehearses)
            draft.reshape(relation)
        elif self._rehearses:
            draft = RelationDraft(None, relation, rehearses=True)
        else:
            part = encode_part(PartNote("", self._head.record.note.number), relation)
            try:
                made = self._catalogue.make(
                    *place, make_schema(relation), {TABLE: self._head.name, **part}
                )
            except (BadRequestError, ValidationError) as error:  # such as a name that it refuses
                raise ChangeRefusedError(message(error), translate(error)) from error
            self._head.tables[place] = made
            draft = RelationDraft(made, relation)
            draft.reshape(relation)
            draft.is_emptied = False
        self._drafts[place] = draft
        return draft

    def _draft(
        self, name: str, private: bool = False, relation: Relation | None = None
    ) -> RelationDraft:
        """Return the draft of a relation that is there.

        Args:
            name: of the relation.
            private: it is a stage's.
            relation: as the plan has it; None to look for it in the entry that is to come.

        Raises:
            PlanOutdatedError: it is not.
        """
        place = (PRIVATE_SCHEMA if private else self._plan.schema, name)
        draft = self._drafts.get(place)
        if draft is None:
            table = self._find(*place)
            if table is None:
                raise PlanOutdatedError(f"the table {name!r} is not there any more")
            relation = relation or self._find_relation(name, private=private)
            draft = RelationDraft(table, relation, rehearses=self._rehearses)
            self._drafts[place] = draft
        if draft.relation is None:
            draft.relation = relation
        return draft

    def _copy_stage(self, copied: CopyStage) -> None:
        schema = copied.schema or PRIVATE_SCHEMA
        stage = self._find(schema, copied.stage)
        if stage is None:
            raise PlanOutdatedError(f"the stage {copied.stage!r} is not there any more")
        self._draft(copied.relation).copy_rows(read_all(stage), copied.columns)
        staged = copied.tombstones or (
            find_stage_tombstones(ICEBERG.fold(copied.stage))
            if copied.schema is None
            else find_live_tombstones(None, copied.schema, ICEBERG.fold(copied.stage))
        )
        kept = self._find(PRIVATE_SCHEMA, staged)
        root = self._find_relation(copied.relation, private=False)
        if kept is None or root is None or root.path:
            return
        # What was deleted inside a version stays deleted when the version is activated.
        tombstones = self._make_tombstones(root, private=False)
        pairs = [(field.name, field.name) for field in kept.schema().fields]
        draft = self._drafts.get((PRIVATE_SCHEMA, tombstones.name))
        if draft is None:
            draft = self._make_draft((PRIVATE_SCHEMA, tombstones.name), tombstones)
        self._leftovers.pop(tombstones.name, None)
        draft.copy_rows(read_all(kept), pairs)
        if staged != tombstones.name:
            self._leave_behind(staged)

    # --- deleted keys (loading.md 9.4) --------------------------------------------------------

    def _make_tombstones(self, root: Relation, *, private: bool) -> Relation:
        """Return the private table of deleted keys as a relation: the keys, and their sequences."""
        columns = (
            *(column for column in root.columns if column.name in root.key),
            Column(SEQUENCE, SEQUENCE, ColumnType.BIGINT, nullable=False),
        )
        return Relation((), self._name_tombstones(root.name, private), columns, root.key, "")

    def _name_tombstones(self, root_name: str, private: bool) -> str:
        folded = ICEBERG.fold(root_name)
        if private:
            return find_stage_tombstones(folded)
        return find_live_tombstones(self._plan.table_after, self._plan.schema, folded)

    def _forget_tombstones(self, root_name: str, *, private: bool = False) -> None:
        """Forget the keys that were deleted from what a relation was before."""
        name = self._name_tombstones(root_name, private)
        table = self._find(PRIVATE_SCHEMA, name)
        root = self._find_relation(root_name, private=private)
        is_subtable = root is not None and bool(root.path)
        if table is None or is_subtable or (PRIVATE_SCHEMA, name) in self._drafts:
            return
        if self._keeps_tombstones() and root is not None:
            kept = self._make_tombstones(root, private=private)
            self._make_draft((PRIVATE_SCHEMA, name), kept)
        else:
            self._leave_behind(name)

    def _find_tombstones(self, root: Relation, *, private: bool) -> RelationDraft | None:
        """Return the draft of the table of deleted keys; None where no key was deleted."""
        name = self._name_tombstones(root.name, private)
        draft = self._drafts.get((PRIVATE_SCHEMA, name))
        if draft is None and (table := self._find(PRIVATE_SCHEMA, name)) is not None:
            draft = RelationDraft(table, None, rehearses=self._rehearses)
            self._drafts[PRIVATE_SCHEMA, name] = draft
        return draft

    def _leave_behind(self, name: str) -> None:
        """Note a table of treadle's own that is dropped once the load is done."""
        table = self._find(PRIVATE_SCHEMA, name)
        if table is not None:
            self._leftovers[name] = str(table.metadata.table_uuid)

    # --- rows ---------------------------------------------------------------------------------

    def write(self) -> LoadResult:
        """Draft the rows of the plan; returns the result that the load has when it is committed."""
        for write in self._counter.writes():
            schema = PRIVATE_SCHEMA if write.private else self._plan.schema
            self._write_table(write, schema)
        return self._counter.result

    def _write_table(self, write: TableWrite, schema: str) -> None:
        relations = [write.root, *write.children]
        if write.mode == "append":
            for rows in relations:
                self._append(rows, schema)
            return
        parents: WrittenParents | None = None
        if len(write.root):
            parents = self._merge_root(write, schema)
            for rows in filter(len, write.children):
                self._write_children(write, rows, parents, schema)
            written = {rows.relation.name for rows in write.children if len(rows)}
            for child in write.stale:
                is_empty = (write.private, child.name) in self._empty
                if not is_empty and child.name not in written:
                    self._write_children(write, RelationRows(child, {}), parents, schema)
        if write.deletes is not None and len(write.deletes):
            self._delete(write, write.deletes, schema)

    def _append(self, rows: RelationRows, schema: str) -> None:
        if len(rows):
            draft = self._draft(rows.relation.name, schema == PRIVATE_SCHEMA, rows.relation)
            draft.require_free_columns()
            draft.add_rows(make_rows(rows))
            self._counter.count(rows.relation, len(rows))

    def _merge_root(self, write: TableWrite, schema: str) -> WrittenParents:
        """Upsert the root's rows (loading.md 2)."""
        root = write.root.relation
        draft = self._draft(root.name, schema == PRIVATE_SCHEMA, root)
        draft.require_free_columns()
        rows = make_rows(write.root)
        keys = rows.select(list(root.key))
        if self._counter.is_empty(root) and not draft.added:
            draft.add_rows(rows)
            self._counter.count(root, rows.num_rows)
            return WrittenParents(root.key, _with_sequence(rows, root.key), are_all=True)
        foreign = draft.list_foreign_columns()
        live = draft.find_keys(root.key, keys)
        found = self._search.find_rows(live, root.key, keys, [SEQUENCE, *foreign])
        lost = self._find_lost(found, rows, write.tie)
        if self._keeps_tombstones():
            lost |= self._find_buried(write, keys, rows, private=schema == PRIVATE_SCHEMA)
        kept = rows
        if lost:
            self._supersede(write.root, lost)
            numbers = make_numbers(rows.num_rows)
            stays = pc.invert(pc.is_in(numbers, value_set=pa.array(sorted(lost), pa.int64())))
            kept = rows.filter(stays)
            won = pc.invert(pc.is_in(found["row"], value_set=pa.array(sorted(lost), pa.int64())))
            found = found.filter(won)
        draft.remove_rows(live, found.select(["file", "pos"]))
        written = kept
        if foreign and kept.num_rows:
            places = [at for at in range(rows.num_rows) if at not in lost]
            written = carry_columns(kept, places, found, foreign)
        if written.num_rows:
            draft.add_rows(written)
        self._counter.count(root, kept.num_rows)
        return WrittenParents(root.key, _with_sequence(kept, root.key), are_all=not lost)

    def _find_lost(self, found: "pa.Table", rows: "pa.Table", tie: str) -> set[int]:
        """Return the rows of the load that lose against one that is there."""
        if not found.num_rows:
            return set()
        mine: Any = rows[SEQUENCE].combine_chunks().take(found["row"])
        is_newer: Any = (pc.greater_equal if tie == "last" else pc.greater)(mine, found["x0"])
        lost: Any = found["row"].filter(pc.equal(is_newer, pa.scalar(False)))
        return set(lost.to_pylist())

    def _keeps_tombstones(self) -> bool:
        after = self._plan.table_after
        return after is not None and after.tombstones

    def _find_buried(
        self, write: TableWrite, keys: "pa.Table", rows: "pa.Table", *, private: bool
    ) -> set[int]:
        """Return the rows of the load whose key was deleted with a sequence that is not lower."""
        root = write.root.relation
        draft = self._find_tombstones(root, private=private)
        if draft is None:
            return set()
        live = draft.find_keys(root.key, keys)
        found = self._search.find_rows(live, root.key, keys, [SEQUENCE])
        if not found.num_rows:
            return set()
        mine = pa.table({"row": make_numbers(rows.num_rows), "sequence": rows[SEQUENCE]})
        at_least = ">" if write.tie == "last" else ">="
        buried = self._search.run(
            "SELECT DISTINCT f.row FROM found f JOIN mine s ON s.row = f.row"  # noqa: S608
            f" WHERE f.x0 {at_least} s.sequence",
            found=found.select(["row", "x0"]),
            mine=mine,
        )
        return {int(row["row"]) for row in buried.to_pylist()}

    def _supersede(self, rows: RelationRows, lost: set[int]) -> None:
        if rows.entries:
            entries = Counter(int(rows.entries[row]) for row in lost)
            self._counter.supersede(sorted(entries.items()))

    def _write_children(
        self, write: TableWrite, rows: RelationRows, parents: WrittenParents, schema: str
    ) -> None:
        """Write the rows of a subtable whose parents won, and remove those that they leave stale.

        The rows of a parent are looked up once: they go if they have the place of one that comes,
        or if the parent is newer (loading.md 7.5).
        """
        child, root = rows.relation, write.root.relation
        stale = any(each.name == child.name for each in write.stale)
        draft = self._draft(child.name, schema == PRIVATE_SCHEMA, child)
        coming = make_rows(rows) if len(rows) else None
        pairs = pair_parent_key(root, child)
        if coming is not None:
            draft.require_free_columns()
            if not parents.are_all:
                coming = self._keep_children(coming, parents, pairs)
        is_empty = (write.private, child.name) in self._empty and not draft.added
        if not is_empty and parents.rows.num_rows:
            self._replace_children(draft, child, coming, parents, pairs, stale=stale)
        if coming is not None and coming.num_rows:
            draft.add_rows(coming)
            self._counter.count(child, coming.num_rows)

    def _keep_children(
        self,
        coming: "pa.Table",
        parents: WrittenParents,
        pairs: Sequence[tuple[str, str]],
    ) -> "pa.Table":
        """Return the rows whose parent was written."""
        if not coming.num_rows:
            return coming
        mine = coming.select([repeated for _, repeated in pairs])
        mine = mine.rename_columns([f"k{at}" for at in range(len(pairs))])
        kept = self._search.run(
            "SELECT s.row FROM mine s SEMI JOIN parents p ON "  # noqa: S608 - names of ours
            + " AND ".join(f"p.k{at} = s.k{at}" for at in range(len(pairs))),
            mine=mine.append_column("row", make_numbers(mine.num_rows)),
            parents=_name_keys(parents, [key for key, _ in pairs]),
        )
        return coming.take(kept["row"].combine_chunks().sort())

    def _replace_children(
        self,
        draft: RelationDraft,
        child: Relation,
        coming: "pa.Table | None",
        parents: WrittenParents,
        pairs: Sequence[tuple[str, str]],
        *,
        stale: bool,
    ) -> None:
        repeated = [name for _, name in pairs]
        others = [name for name in child.key if name not in repeated]
        # A subtable without a key of its own has rows that no coming row has the place of.
        replaces = coming is not None and coming.num_rows > 0 and bool(child.key)
        if not stale and not replaces:
            return
        wanted = _name_keys(parents, [key for key, _ in pairs]).drop_columns(["sequence"])
        live = draft.find_keys(repeated, wanted)
        found = self._search.find_rows(live, repeated, wanted, [SEQUENCE, *others])
        if not found.num_rows:
            return
        if stale:
            gone = self._search.run(
                "SELECT f.file, f.pos FROM found f JOIN parents p ON p.row = f.row"
                " WHERE f.x0 <= p.sequence",
                found=found.select(["row", "file", "pos", "x0"]),
                parents=pa.table(
                    {"row": make_numbers(parents.rows.num_rows), "sequence": parents.rows[""]}
                ),
            )
            draft.remove_rows(live, gone)
        if replaces and coming is not None:
            draft.remove_rows(live, self._find_replaced(found, coming, wanted, repeated, others))

    def _find_replaced(
        self,
        found: "pa.Table",
        coming: "pa.Table",
        wanted: "pa.Table",
        repeated: Sequence[str],
        others: Sequence[str],
    ) -> "pa.Table":
        """Return the places of the rows that have the place of one that comes.

        The number of the parent stands for its key: `found` has it from the search.
        """
        names = [*repeated, *others]
        mine = coming.select(names).rename_columns([f"k{at}" for at in range(len(names))])
        others_of_mine = [f"m.k{len(repeated) + at} AS x{at + 1}" for at in range(len(others))]
        placed = self._search.run(
            f"SELECT {', '.join(['w.row', *others_of_mine])} FROM mine m JOIN wanted w ON "  # noqa: S608 - names of ours
            + " AND ".join(f"w.k{at} = m.k{at}" for at in range(len(repeated))),
            mine=mine,
            wanted=wanted.append_column("row", make_numbers(wanted.num_rows)),
        )
        same = ["m.row = f.row", *(f"m.x{at + 1} = f.x{at + 1}" for at in range(len(others)))]
        return self._search.run(
            f"SELECT f.file, f.pos FROM found f SEMI JOIN placed m ON {' AND '.join(same)}",  # noqa: S608
            found=found,
            placed=placed,
        )

    def _delete(self, write: TableWrite, deletes: RelationRows, schema: str) -> None:
        """Remove rows with their children, and keep their keys (loading.md 9.4)."""
        root = write.root.relation
        private = schema == PRIVATE_SCHEMA
        rows = make_rows(RelationRows(root, deletes.columns, deletes.entries))
        keys = rows.select(list(root.key))
        mine = pa.table({"row": make_numbers(rows.num_rows), "sequence": rows[SEQUENCE]})
        draft = self._draft(root.name, private, root)
        live = draft.find_keys(root.key, keys)
        found = self._search.find_rows(live, root.key, keys, [SEQUENCE])
        # A delete that is older than the row in the table loses to it.
        outlived = self._find_lost(found, rows, write.tie)
        if outlived:
            self._supersede(deletes, outlived)
        kept = self._find_tombstones(root, private=private)
        relation = self._make_tombstones(root, private=private)
        if kept is None:
            kept = self._make_draft((PRIVATE_SCHEMA, relation.name), relation)
        held_live = kept.find_keys(root.key, keys)
        held = self._search.find_rows(held_live, root.key, keys, [SEQUENCE])
        judged = self._search.run(
            "SELECT s.row, coalesce(max(h.x0) >= s.sequence, false) AS is_held,"
            " coalesce(max(h.x0) > s.sequence, false) AS is_higher"
            " FROM mine s LEFT JOIN held h ON h.row = s.row GROUP BY s.row, s.sequence",
            mine=mine,
            held=held.select(["row", "x0"]),
        )
        alive = [row for row in judged.to_pylist() if row["row"] not in outlived]
        noted = sorted(row["row"] for row in alive if not row["is_held"])
        done = sorted(row["row"] for row in alive if not row["is_higher"])
        if noted:
            chosen = pa.array(noted, pa.int64())
            replaced = held.filter(pc.is_in(held["row"], value_set=chosen))
            kept.remove_rows(held_live, replaced.select(["file", "pos"]))
            names = [*root.key, SEQUENCE]
            kept.add_rows(rows.select(names).take(chosen))
        if not done:
            return
        chosen = pa.array(done, pa.int64())
        gone = rows.take(chosen)
        for relation in (root, *list_subtables(self._plan, write)):
            pairs = pair_parent_key(root, relation) if relation.path else _pairs(root.key)
            self._remove_older(relation, gone, pairs, private=private)

    def _remove_older(
        self,
        relation: Relation,
        gone: "pa.Table",
        pairs: Sequence[tuple[str, str]],
        *,
        private: bool,
    ) -> None:
        draft = self._draft(relation.name, private, relation)
        names = [name for _, name in pairs]
        keys = gone.select([key for key, _ in pairs])
        live = draft.find_keys(names, keys)
        found = self._search.find_rows(live, names, keys, [SEQUENCE])
        if not found.num_rows:
            return
        places = self._search.run(
            "SELECT f.file, f.pos FROM found f JOIN mine s ON s.row = f.row"
            " WHERE f.x0 IS NULL OR f.x0 <= s.sequence",
            found=found,
            mine=pa.table({"row": make_numbers(gone.num_rows), "sequence": gone[SEQUENCE]}),
        )
        draft.remove_rows(live, places)

    # --- commits ------------------------------------------------------------------------------

    def commit(self, result: LoadResult) -> None:
        """Commit everything, the head last.

        Raises:
            CommitUnknownError: the commit of the head was not answered.
            PlanOutdatedError, DestinationUnavailableError: nothing of the load counts.
        """
        head = self._head
        record = self._make_record(result)
        part = PartNote(self._id, record.note.number)
        if self._plan.rejections:
            self._reject(part)
        root_place = (self._plan.schema, head.root_name or self._name_root())
        for place in sorted(self._drafts, key=self._rank):
            draft = self._drafts[place]
            if place == root_place or not draft.is_touched:
                continue
            note = replace_files(part, draft.files)
            draft.properties |= encode_part(note, draft.relation)
            self._committed.add(place)
            self._head.tables[place] = self.touched[place] = commit_part(draft)
            failpoint.reach("destination.part")
        failpoint.reach("destination.after-rows")
        self._commit_head(record, root_place)
        failpoint.reach("destination.after-commit")

    def _name_root(self) -> str:
        after = self._plan.table_after
        return after.relations[0].name if after is not None and after.relations else ""

    def _rank(self, place: Place) -> tuple[int, str, str]:
        """Return a value by which deleted keys come first, then stages, then subtables."""
        schema, name = place
        if schema == PRIVATE_SCHEMA:
            return (0 if name.startswith(TOMBSTONES) else 1, schema, name)
        return (2, schema, name)

    def _make_record(self, result: LoadResult) -> HeadRecord:
        plan, record = self._plan, self._head.record.follow(self._id)
        note, entry, marks = record.note, record.entry, dict(record.marks)
        revision = note.revision
        if plan.table_after is not None:
            entry, revision = plan.table_after, plan.revision + 1
        note = HeadNote(note.number, revision, note.loads, dict(self._leftovers))
        mark = plan.offset
        if moves_offset(mark):
            marks[digest_mark(mark.log_id, mark.source_id, mark.table_name)] = make_mark(
                mark, result
            )
        return HeadRecord(note, entry, marks)

    def _commit_head(self, record: HeadRecord, root_place: Place) -> None:
        head = self._head
        draft, is_at_root = self._draft_head(record, root_place)
        draft.properties |= encode_head(record)
        failpoint.reach("destination.before-commit")
        self._committed.add(root_place)
        try:
            committed = draft.commit(keeps_history=is_at_root)
        except ERRORS as error:
            meaning = translate_commit(error)
            if not isinstance(meaning, CommitUnknownError):
                draft.discard()
            raise meaning from error
        head.record, head.is_at_root = record, is_at_root
        if is_at_root:
            head.root, head.root_name = committed, root_place[1]
            head.tables[root_place] = self.touched[root_place] = committed
        else:
            head.ledger = committed

    def _draft_head(self, record: HeadRecord, root_place: Place) -> tuple[RelationDraft, bool]:
        """Return the draft of the head, and whether it is the root."""
        head = self._head
        known = () if record.entry is None else (each.name for each in record.entry.relations)
        draft = self._drafts.get(root_place)
        if draft is None and root_place[1] in set(known):
            root = self._find(*root_place)
            if root is not None and not is_pending(root):
                draft = RelationDraft(root, None)
        if draft is not None:
            draft.properties[TABLE] = head.name
            if draft.relation is not None:
                draft.properties |= encode_part(
                    PartNote(self._id, record.note.number), draft.relation
                )
            return draft, True
        if head.ledger is None:
            raise InternalError("a load came to its end without a ledger")
        return RelationDraft(head.ledger, None), False

    def _reject(self, part: PartNote) -> None:
        """Add the rejections to the table that all tables of the schema share."""
        plan = self._plan
        name = f"{PART}.{self._head.name}"
        for _ in range(TRIES_MAX):
            table = self._catalogue.load(plan.schema, REJECTED)
            if table is None:  # the user may have dropped it
                table = self._catalogue.make(plan.schema, REJECTED, make_schema(REJECTIONS), {})
            held = decode_part(table.properties, name)
            draft = RelationDraft(table, REJECTIONS)
            if held is not None and is_unfinished(held, self._head.record.note):
                self._claim()
                part = PartNote(self._id, self._head.record.note.number + 1)
                draft.remove_files(held.files)
            self._draft_rejections(draft)
            note = replace_files(part, draft.files)
            draft.properties[name] = encode_part(note, None)[PART]
            try:
                draft.commit()
            except CommitFailedException:
                draft.discard()
                continue
            except ERRORS as error:
                raise translate_part(error) from error
            return
        raise DestinationUnavailableError(
            f"the table {REJECTED} of the schema {plan.schema!r} is written to by too many at once"
        )

    def _draft_rejections(self, draft: RelationDraft) -> None:
        plan = self._plan
        there = {field.name: field for field in draft.schema.fields}
        missing = [
            AddColumn(REJECTED, column) for column in REJECTED_COLUMNS if column.name not in there
        ]
        if missing:
            draft.add_columns(missing)
        columns: dict[str, list[Any]] = {
            "record": [make_storable(each.record) for each in plan.rejections],
            "reason": [make_storable(each.reason) for each in plan.rejections],
            "table_name": [make_storable(each.table_name) for each in plan.rejections],
            "_sdc_rejected_at": [plan.rejected_at] * len(plan.rejections),
            "code": [each.code.value for each in plan.rejections],
            "field": [each.field for each in plan.rejections],
        }
        for name in ("code", "field"):  # a column of the user with another type stays as it is
            if name in there and not isinstance(there[name].field_type, StringType):
                del columns[name]
        types = {column.name: column.type for column in REJECTED_COLUMNS}
        draft.add_rows(make_columns([(n, types[n], values) for n, values in columns.items()]))

    # --- after the load -----------------------------------------------------------------------

    def _drop_leftovers(self) -> None:
        """Drop what the load that the head tells of last no longer needed."""
        for name, known in self._head.record.note.leftovers.items():
            table = self._catalogue.load(PRIVATE_SCHEMA, name)
            if table is not None and str(table.metadata.table_uuid) == known:
                self._catalogue.drop(PRIVATE_SCHEMA, name)

    def discard(self) -> None:
        """Delete the data files that no commit names, as far as possible."""
        for place, draft in self._drafts.items():
            if place not in self._committed:
                draft.discard()

    def finish(self) -> None:
        """Copy the record into the ledger, and drop what the load no longer needs.

        What fails here is done by a later load: the head says that this one is done.
        """
        head = self._head
        with contextlib.suppress(*ERRORS):
            self._drop_leftovers()
        if head.is_at_root and head.ledger is not None:
            draft = RelationDraft(head.ledger, None)
            draft.properties = encode_head(head.record)
            with contextlib.suppress(*ERRORS):
                head.ledger = draft.commit(keeps_history=False)


def replace_files(part: PartNote, files: Mapping[str, int]) -> PartNote:
    """Return the note of a load on a table that it added files to."""
    return PartNote(part.load, part.number, dict(files))


def commit_part(draft: RelationDraft) -> Table:
    """Commit what a load does to a table that is no head.

    Raises:
        PlanOutdatedError: somebody else changed the table.
        DestinationUnavailableError: it was not answered. The load is not done, whatever became of
            this commit: the next one takes it back.
    """
    try:
        return draft.commit()
    except ERRORS as error:
        meaning = translate_part(error)
        if isinstance(meaning, PlanOutdatedError):
            draft.discard()
        raise meaning from error


def translate_part(error: Exception) -> Exception:
    """Return the meaning of an error of a commit that is not the head's."""
    meaning = translate_commit(error)
    if isinstance(meaning, CommitUnknownError):
        return DestinationUnavailableError(str(translate(error)))
    return meaning


def read_all(table: Table) -> LiveRows:
    """Return all rows of a table."""
    tasks: Sequence[Any] = ()
    if table.metadata.current_snapshot_id is not None:
        tasks = list(table.scan(row_filter=AlwaysTrue()).plan_files())
    return gather_tasks(table.io, table.schema(), tasks)


def carry_columns(
    kept: "pa.Table", places: Sequence[int], found: "pa.Table", names: Sequence[str]
) -> "pa.Table":
    """Return rows with the values that the rows they replace have in further columns.

    Args:
        kept: the rows that are written.
        places: the number of each, as `found` has it.
        found: the rows that are replaced: `row`, and the columns as x1, x2, ...
        names: of these columns.
    """
    at = pc.index_in(pa.array(places, pa.int64()), value_set=found["row"].combine_chunks())
    for number, name in enumerate(names, 1):
        kept = kept.append_column(name, found[f"x{number}"].take(at))
    return kept


def _with_sequence(rows: "pa.Table", key: Sequence[str]) -> "pa.Table":
    """Return the key columns of rows, and their sequences behind them, which have no name."""
    columns = [*(rows[name] for name in key), rows[SEQUENCE]]
    return pa.table(columns, names=[*key, ""])


def _name_keys(parents: WrittenParents, keys: Sequence[str]) -> "pa.Table":
    columns = {f"k{at}": parents.rows[key] for at, key in enumerate(keys)}
    return pa.table({**columns, "sequence": parents.rows[""]})


def _pairs(key: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, name) for name in key]
