"""The drafts of a load, one for each relation, and the schema changes in them."""

from pyiceberg.exceptions import BadRequestError, ValidationError
from pyiceberg.table import Table

from treadle.destinations.iceberg.errors import message, translate
from treadle.destinations.iceberg.live_rows import read_all
from treadle.destinations.iceberg.load_context import LoadContext
from treadle.destinations.iceberg.relation_draft import RelationDraft
from treadle.destinations.iceberg.schema_types import make_schema
from treadle.destinations.iceberg.table_head import Place, is_pending
from treadle.destinations.iceberg.table_record import PART, TABLE, PartNote, encode_part
from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    SEQUENCE,
    find_live_tombstones,
    find_stage_tombstones,
)
from treadle.destinations.protocol import ChangeRefusedError, PlanOutdatedError
from treadle.destinations.sql.schema_changes import group_additions
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    Relation,
    RenameColumn,
    SchemaChange,
    WidenColumn,
)
from treadle.tables.profiles import ICEBERG


class LoadDrafts:
    """Finds and makes the tables that a load writes to.

    Args:
        context: of the load.

    Attributes:
        by_place: the drafts.
        leftovers: name in treadle's own schema -> UUID of a table that the load no longer needs.
    """

    def __init__(self, context: LoadContext) -> None:
        self.by_place: dict[Place, RelationDraft] = {}
        self.leftovers: dict[str, str] = {}
        self._context = context

    def check_creations(self) -> list[Place]:
        """Look at the places of what the plan makes.

        Returns:
            those where an unfinished load of this table left one. Whoever takes such a table has to
            claim the head first: that load may still be under way.

        Raises:
            PlanOutdatedError: somebody else has made one meanwhile.
        """
        found: list[Place] = []
        for change in self._context.plan.changes:
            if isinstance(change, CreateRelation):
                name = change.relation.name
                place = self._context.place(name, private=change.private)
                table = self._context.find_table(*place)
                if table is None:
                    continue
                if not self._is_leftover(name, table, private=change.private):
                    raise PlanOutdatedError(f"the table {name!r} is there by now")
                found.append(place)
        return found

    def _is_leftover(self, name: str, table: Table, *, private: bool) -> bool:
        """Return whether a table is what an unfinished load of this one made."""
        head = self._context.head
        if PART not in table.properties or table.properties.get(TABLE) != head.name:
            return False
        entry = head.record.entry
        if private:
            stages = () if entry is None else entry.stages
            return all(each.name != name for stage in stages for each in stage.relations)
        known = set() if entry is None else {relation.name for relation in entry.relations}
        return is_pending(table) and (name not in known or name == head.root_name)

    def list_parts(self) -> list[Place]:
        """Return the places of the tables that are no head, which earlier loads may have written.

        Tables of deleted keys are among them where the load may look at one.
        """
        context, schema = self._context, self._context.plan.schema
        entry, after = context.head.record.entry, context.plan.table_after
        stages = () if entry is None else entry.stages
        staged = [relation for stage in stages for relation in stage.relations]
        live = () if entry is None else entry.relations
        places = [(schema, each.name) for each in live if each.path]
        places += [(PRIVATE_SCHEMA, each.name) for each in staged]
        if (entry is not None and entry.tombstones) or self._may_keep_keys():
            roots = {each.name for each in (*live, *(after.relations if after else ()))[:1]}
            names = [self._name_tombstones(name, private=False) for name in roots]
            made = [stage.relations for stage in (after.stages if after else ())]
            found = {
                each.name for each in (*staged, *(e for g in made for e in g)) if not each.path
            }
            names += [self._name_tombstones(name, private=True) for name in sorted(found)]
            places += [(PRIVATE_SCHEMA, name) for name in dict.fromkeys(names)]
        return places

    def _may_keep_keys(self) -> bool:
        """Return whether the load may look at a table of deleted keys."""
        plan = self._context.plan
        return (
            self._context.keeps_tombstones
            or any(isinstance(change, CopyStage) for change in plan.changes)
            or any(write.deletes is not None for write in plan.writes)
        )

    # --- changes of the schema ----------------------------------------------------------------

    def draft_changes(self) -> None:
        """Make the tables that the plan makes, and draft its other changes of the schema."""
        for change in group_additions(self._context.plan.changes):
            self._draft_change(change)

    def _draft_change(self, change: SchemaChange | list[AddColumn]) -> None:
        match change:
            case list():
                self.require_draft(change[0].relation, change[0].private).add_columns(change)
            case CreateRelation(relation, private):
                self._create(relation, private=private)
            case RenameColumn(relation_name, _, _, private):
                self.require_draft(relation_name, private).rename_column(change)
            case WidenColumn(relation_name, _, _, private):
                self.require_draft(relation_name, private).widen_column(change)
            case ChangeKey(relation_name, _, _):
                live = self._context.find_relation(relation_name, private=False)
                columns = {column.name: column for column in (live.columns if live else ())}
                self.require_draft(relation_name).change_key(change, columns)
            case EmptyRelation(relation_name):
                self.require_draft(relation_name).empty()
                self._forget_tombstones(relation_name)
            case CopyStage():
                self._copy_stage(change)
            case DropStage(relation_name):
                self._leave_behind(relation_name)
                self._leave_behind(find_stage_tombstones(ICEBERG.fold(relation_name)))

    def _create(self, relation: Relation, *, private: bool) -> None:
        self._make(self._context.place(relation.name, private=private), relation)
        if not relation.path:
            self._forget_tombstones(relation.name, private=private)

    def _make(self, place: Place, relation: Relation) -> RelationDraft:
        """Draft a table that is to be made; one that an unfinished load left is taken."""
        head, rehearses = self._context.head, self._context.rehearses
        table = self._context.find_table(*place)
        if table is not None:
            draft = RelationDraft(table, relation, rehearses=rehearses)
            draft.reshape(relation)
        elif rehearses:
            draft = RelationDraft(None, relation, rehearses=True)
        else:
            part = encode_part(PartNote("", head.record.note.number), relation)
            try:
                made = self._context.catalogue.make(
                    *place, make_schema(relation), {TABLE: head.name, **part}
                )
            except (BadRequestError, ValidationError) as error:  # such as a name that it refuses
                raise ChangeRefusedError(message(error), translate(error)) from error
            head.tables[place] = made
            draft = RelationDraft(made, relation)
            draft.reshape(relation)
            draft.is_emptied = False
        self.by_place[place] = draft
        return draft

    def require_draft(
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
        context = self._context
        place = context.place(name, private=private)
        draft = self.by_place.get(place)
        if draft is None:
            table = context.find_table(*place)
            if table is None:
                raise PlanOutdatedError(f"the table {name!r} is not there any more")
            relation = relation or context.find_relation(name, private=private)
            draft = RelationDraft(table, relation, rehearses=context.rehearses)
            self.by_place[place] = draft
        if draft.relation is None:
            draft.relation = relation
        return draft

    def _copy_stage(self, copied: CopyStage) -> None:
        context = self._context
        schema = copied.schema or PRIVATE_SCHEMA
        stage = context.find_table(schema, copied.stage)
        if stage is None:
            raise PlanOutdatedError(f"the stage {copied.stage!r} is not there any more")
        self.require_draft(copied.relation).copy_rows(read_all(stage), copied.columns)
        staged = copied.tombstones or (
            find_stage_tombstones(ICEBERG.fold(copied.stage))
            if copied.schema is None
            else find_live_tombstones(None, copied.schema, ICEBERG.fold(copied.stage))
        )
        kept = context.find_table(PRIVATE_SCHEMA, staged)
        root = context.find_relation(copied.relation, private=False)
        if kept is None or root is None or root.path:
            return
        # What was deleted inside a version stays deleted when the version is activated.
        name = self._name_tombstones(root.name, private=False)
        pairs = [(field.name, field.name) for field in kept.schema().fields]
        draft = self.by_place.get((PRIVATE_SCHEMA, name))
        if draft is None:
            draft = self.make_tombstones(root, private=False)
        self.leftovers.pop(name, None)
        draft.copy_rows(read_all(kept), pairs)
        if staged != name:
            self._leave_behind(staged)

    # --- deleted keys (loading.md 9.4) --------------------------------------------------------

    def _name_tombstones(self, root_name: str, *, private: bool) -> str:
        folded, plan = ICEBERG.fold(root_name), self._context.plan
        if private:
            return find_stage_tombstones(folded)
        return find_live_tombstones(plan.table_after, plan.schema, folded)

    def find_tombstones(self, root: Relation, *, private: bool) -> RelationDraft | None:
        """Return the draft of the table of deleted keys; None where no key was deleted."""
        place = (PRIVATE_SCHEMA, self._name_tombstones(root.name, private=private))
        draft = self.by_place.get(place)
        if draft is None and (table := self._context.find_table(*place)) is not None:
            draft = RelationDraft(table, None, rehearses=self._context.rehearses)
            self.by_place[place] = draft
        return draft

    def make_tombstones(self, root: Relation, *, private: bool) -> RelationDraft:
        """Draft the private table of deleted keys anew: the keys, and their sequences."""
        columns = (
            *(column for column in root.columns if column.name in root.key),
            Column(SEQUENCE, SEQUENCE, ColumnType.BIGINT, nullable=False),
        )
        name = self._name_tombstones(root.name, private=private)
        return self._make((PRIVATE_SCHEMA, name), Relation((), name, columns, root.key, ""))

    def _forget_tombstones(self, root_name: str, *, private: bool = False) -> None:
        """Forget the keys that were deleted from what a relation was before."""
        context = self._context
        name = self._name_tombstones(root_name, private=private)
        table = context.find_table(PRIVATE_SCHEMA, name)
        root = context.find_relation(root_name, private=private)
        is_subtable = root is not None and bool(root.path)
        if table is None or is_subtable or (PRIVATE_SCHEMA, name) in self.by_place:
            return
        if context.keeps_tombstones and root is not None:
            self.make_tombstones(root, private=private)
        else:
            self._leave_behind(name)

    def _leave_behind(self, name: str) -> None:
        """Note a table of treadle's own that is dropped once the load is done."""
        table = self._context.find_table(PRIVATE_SCHEMA, name)
        if table is not None:
            self.leftovers[name] = str(table.metadata.table_uuid)
