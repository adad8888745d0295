"""One load of one table into Iceberg: what it does to each relation, and in which order.

Every relation commits for itself. Rejections come first, then keys that were deleted, stages,
subtables, and at last the head, which is the root where there is one: with it the load is done.

Before that, in this order: look at every table that the load may write to; where one of them shows
another load that may not be done, claim the head, so that this load cannot be done any more; undo
what it committed. Only then is anything drafted.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.types import StringType

from treadle import failpoint
from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.errors import ERRORS, translate_commit, translate_part
from treadle.destinations.iceberg.load_context import LoadContext
from treadle.destinations.iceberg.load_drafts import LoadDrafts
from treadle.destinations.iceberg.load_rows import LoadRows
from treadle.destinations.iceberg.part_undo import describe_stop, draft_undo
from treadle.destinations.iceberg.relation_draft import (
    RelationDraft,
    commit_part,
    commit_properties,
)
from treadle.destinations.iceberg.row_format import make_columns
from treadle.destinations.iceberg.schema_types import make_schema
from treadle.destinations.iceberg.table_head import Place, is_pending, make_ledger, read_head
from treadle.destinations.iceberg.table_record import (
    PART,
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
    check_offset,
    moves_offset,
)
from treadle.destinations.load_mark import LoadMark, digest_mark, make_mark
from treadle.destinations.protocol import (
    CommitUnknownError,
    DestinationUnavailableError,
    LoadResult,
    PlanOutdatedError,
)
from treadle.errors import InternalError, TableStoppedError
from treadle.tables.model import AddColumn, LoadPlan, Relation
from treadle.tables.names import TOMBSTONES
from treadle.text import make_storable

REJECTIONS: Final = Relation((), REJECTED, REJECTED_COLUMNS, (), REJECTED)
"""Rejected records, in the schema of each source."""

TRIES_MAX: Final = 10
"""Most tries to add rejections to a table that loads of other tables write to as well."""


class IcebergLoad:
    """Carries out a plan: its drafts, their rows, and at last their commits.

    Args:
        context: of the load.

    Attributes:
        touched: tables that the load committed to, with rows, as they are after that.
    """

    def __init__(self, context: LoadContext) -> None:
        self.touched: dict[Place, Table] = {}
        self._context = context
        self._drafts = LoadDrafts(context)
        self._rows = LoadRows(context, self._drafts)
        self._committed: set[Place] = set()
        """Tables to which a commit was sent."""

    # --- what was there -----------------------------------------------------------------------

    def check(self, held: LoadMark | None) -> None:
        """Check that the plan follows what is there.

        Args:
            held: for the offset of the plan.

        Raises:
            PlanOutdatedError, FencedError: it does not.
        """
        plan, record = self._context.plan, self._context.head.record
        check_offset(plan.offset, *((-1, 0) if held is None else (held.position, held.fence)))
        if plan.table_after is not None and record.note.revision != plan.revision:
            raise PlanOutdatedError(
                f"table {plan.table_name!r}: planned from revision {plan.revision}, the "
                f"destination holds {record.note.revision}"
            )

    def change(self) -> None:
        """Make what the plan makes, and draft the other changes of the schema."""
        context = self._context
        if not context.rehearses:
            self._drop_leftovers()
        found = self._drafts.check_creations()
        unfinished = self._list_unfinished()
        if context.rehearses:
            for place, table, part in unfinished:
                context.head.tables[place] = draft_undo(table, part, 0).imagine()
        else:
            self._take_back(found, unfinished)
        self._drafts.draft_changes()

    def _list_unfinished(self) -> list[tuple[Place, Table, PartNote]]:
        """Return the tables that a load wrote to which did not come to its head."""
        context = self._context
        return [
            (place, table, part)
            for place in self._drafts.list_parts()
            if (table := context.find_table(*place)) is not None
            and (part := decode_part(table.properties)) is not None
            and is_unfinished(part, context.head.record.note)
        ]

    def _take_back(
        self, found: Collection[Place], unfinished: Sequence[tuple[Place, Table, PartNote]]
    ) -> None:
        """Undo what loads committed that did not come to their head.

        Args:
            found: tables that the plan makes, and that another load made which is not done.
            unfinished: tables to be undone.
        """
        context, head = self._context, self._context.head
        is_first = head.ledger is None
        if head.ledger is None:  # fails if another loader is first, so it is a claim as well
            table_name = context.plan.table_name
            head.ledger = make_ledger(context.catalogue, head, table_name, head.record)
        rejected = self._find_rejections()
        if found or unfinished or rejected is not None or (self._moves_head() and not is_first):
            self._claim()
        for place, table, part in unfinished:
            head.tables[place] = commit_part(draft_undo(table, part, head.record.note.number))
        if rejected is not None:
            self._remove_rejections(rejected)

    def _moves_head(self) -> bool:
        """Return whether the load makes the root the head, which was the ledger."""
        after = self._context.plan.table_after
        return not self._context.head.is_at_root and after is not None and bool(after.relations)

    def _claim(self) -> None:
        """Let no commit of a head succeed any more that was begun before.

        The tables of the load were looked at before this. So what they held then is of a load that
        the head knows, or of one that will never be done. The head may be at the ledger, and a
        load that was begun before may be about to move it to the root: both are committed to.

        Raises:
            PlanOutdatedError: the head is not what it was when the load looked at it.
        """
        context, head = self._context, self._context.head
        head.record = head.record.follow(context.name + "c")
        if head.root is None:
            self._look_for_root()
        if head.root is not None and not head.is_at_root:
            self._claim_root(head.root)
        if head.table is not None:
            made = commit_properties(head.table, encode_head(head.record))
            if head.is_at_root:
                head.keep_root(head.root_name, made)
            else:
                head.ledger = made

    def _look_for_root(self) -> None:
        """Look whether the root is there by now, which was missing when the head was read.

        Raises:
            PlanOutdatedError: it was made after this load looked at its tables.
        """
        context, head = self._context, self._context.head
        after = context.plan.table_after
        table_name = context.plan.table_name if after is None else after.name
        fresh = read_head(context.catalogue, head.schema, table_name)
        if fresh.root is not None:
            seen = head.tables.get((head.schema, fresh.root_name))
            if seen is None:
                raise PlanOutdatedError(f"the table {fresh.root_name!r} is there by now")
            head.keep_root(fresh.root_name, seen)

    def _claim_root(self, root: Table) -> None:
        """Claim a root that is not the head yet."""
        head, entry = self._context.head, self._context.head.record.entry
        if is_pending(root):
            part = encode_part(PartNote("", head.record.note.number), None)
            head.keep_root(head.root_name, commit_properties(root, part))
        elif entry is not None and any(each.name == head.root_name for each in entry.relations):
            # It was adopted, and a load of before may be about to make it the head.
            properties = {TABLE: head.name, **encode_head(head.record)}
            head.keep_root(head.root_name, commit_properties(root, properties))

    def _drop_leftovers(self) -> None:
        """Drop what the load that the head tells of last no longer needed."""
        context = self._context
        for name, known in context.head.record.note.leftovers.items():
            table = context.catalogue.load(PRIVATE_SCHEMA, name)
            if table is not None and str(table.metadata.table_uuid) == known:
                context.catalogue.drop(PRIVATE_SCHEMA, name)

    # --- rows and commits ---------------------------------------------------------------------

    def write(self) -> LoadResult:
        """Draft the rows of the plan; returns the result that the load has when it is committed."""
        return self._rows.draft_writes()

    def commit(self, result: LoadResult) -> None:
        """Commit everything, the head last.

        Raises:
            CommitUnknownError: the commit of the head was not answered.
            PlanOutdatedError, DestinationUnavailableError: nothing of the load counts.
        """
        context, head = self._context, self._context.head
        record = make_record(context, self._drafts.leftovers, result)
        if context.plan.rejections:
            self._commit_rejections(record.note.number)
        root_place = (head.schema, head.root_name or self._name_root())
        for place in sorted(self._drafts.by_place, key=rank_place):
            draft = self._drafts.by_place[place]
            if place == root_place or not draft.is_touched:
                continue
            draft.note = PartNote(context.name, record.note.number)
            self._committed.add(place)
            head.tables[place] = self.touched[place] = commit_part(draft)
            failpoint.reach("destination.part")
        failpoint.reach("destination.after-rows")
        self._commit_head(record, root_place)
        failpoint.reach("destination.after-commit")

    @property
    def _rejections_note(self) -> str:
        """The property of the rejected records' table that notes a load of this table."""
        return f"{PART}.{self._context.head.name}"

    def _find_rejections(self) -> PartNote | None:
        """Return the note of a load that left rejections and did not come to its head."""
        context = self._context
        if not context.plan.rejections:
            return None
        table = context.catalogue.load(context.plan.schema, REJECTED)
        part = None if table is None else decode_part(table.properties, self._rejections_note)
        return part if is_unfinished(part, context.head.record.note) else None

    def _remove_rejections(self, part: PartNote) -> None:
        """Take back the rejections of a load; other tables' loads may have added some since."""
        note = PartNote("", self._context.head.record.note.number)

        def draft_removal(table: Table) -> RelationDraft:
            self._require_note(table, part)
            draft = RelationDraft(table, None)
            if not draft.remove_files(part.files):
                raise TableStoppedError(describe_stop(table, part, self._rejections_note))
            draft.properties[self._rejections_note] = encode_part(note, None)[PART]
            return draft

        self._commit_shared(draft_removal)

    def _commit_rejections(self, number: int) -> None:
        """Add the rejections to the table that all tables of the schema share.

        Args:
            number: of the commit of the head that the load is to make.
        """
        context = self._context

        def draft_addition(table: Table) -> RelationDraft:
            self._require_note(table, None)
            draft = RelationDraft(table, REJECTIONS)
            draft_rejections(draft, context.plan)
            note = PartNote(context.name, number, draft.files)
            draft.properties[self._rejections_note] = encode_part(note, None)[PART]
            return draft

        self.touched[context.plan.schema, REJECTED] = self._commit_shared(draft_addition)

    def _require_note(self, table: Table, expected: PartNote | None) -> None:
        """Check that no other load of this table has left rejections meanwhile.

        Args:
            table: of the rejections.
            expected: the note of the only load whose rejections may be there.

        Raises:
            PlanOutdatedError: another one has. It is taken back before the next load, if need be.
        """
        held = decode_part(table.properties, self._rejections_note)
        if held != expected and is_unfinished(held, self._context.head.record.note):
            raise PlanOutdatedError("another loader rejects records of this table")

    def _commit_shared(self, draft_change: Callable[[Table], RelationDraft]) -> Table:
        """Commit to the table of rejections, again where another table's load was first."""
        catalogue, schema = self._context.catalogue, self._context.plan.schema
        for _ in range(TRIES_MAX):
            table = catalogue.load(schema, REJECTED)
            if table is None:  # the user may have dropped it
                table = make_rejections(catalogue, schema)
            draft = draft_change(table)
            try:
                return draft.commit()
            except CommitFailedException:
                draft.discard()
            except ERRORS as error:
                meaning = translate_part(error)
                if not isinstance(meaning, DestinationUnavailableError):
                    draft.discard()
                raise meaning from error
        raise DestinationUnavailableError(
            f"the table {REJECTED} of the schema {schema!r} is written to by too many at once"
        )

    def _name_root(self) -> str:
        after = self._context.plan.table_after
        return after.relations[0].name if after is not None and after.relations else ""

    def _commit_head(self, record: HeadRecord, root_place: Place) -> None:
        head = self._context.head
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
            head.keep_root(root_place[1], committed)
            self.touched[root_place] = committed
        else:
            head.ledger = committed

    def _draft_head(self, record: HeadRecord, root_place: Place) -> tuple[RelationDraft, bool]:
        """Return the draft of the head, and whether it is the root."""
        context = self._context
        known = () if record.entry is None else (each.name for each in record.entry.relations)
        draft = self._drafts.by_place.get(root_place)
        if draft is None and root_place[1] in set(known):
            root = context.find_table(*root_place)
            if root is not None and not is_pending(root):
                draft = RelationDraft(root, None)
        if draft is not None:
            draft.properties[TABLE] = context.head.name
            if draft.relation is not None:
                note = PartNote(context.name, record.note.number)
                draft.properties |= encode_part(note, draft.relation)
            return draft, True
        if context.head.ledger is None:
            raise InternalError("a load came to its end without a ledger")
        return RelationDraft(context.head.ledger, None), False

    def list_kept(self, place: Place) -> set[str]:
        """Return the files of a touched table that another load may have to find as they are.

        They are those of rejections: a load of another table that did not come to its head is taken
        back by them.
        """
        properties = self.touched[place].properties
        others = {name for name in properties if name.startswith(f"{PART}.")}
        notes = [decode_part(properties, name) for name in others - {self._rejections_note}]
        return {path for note in notes if note is not None for path in note.files}

    def discard(self) -> None:
        """Delete the data files that no commit names, as far as possible."""
        for place, draft in self._drafts.by_place.items():
            if place not in self._committed:
                draft.discard()

    def finish(self) -> None:
        """Copy the record into the ledger, and drop what the load no longer needs.

        What fails here is done by a later load: the head says that this one is done.
        """
        head = self._context.head
        with contextlib.suppress(*ERRORS):
            self._drop_leftovers()
        if head.is_at_root and head.ledger is not None:
            draft = RelationDraft(head.ledger, None)
            draft.properties = encode_head(head.record)
            with contextlib.suppress(*ERRORS):
                head.ledger = draft.commit(keeps_history=False)


def make_rejections(catalogue: IcebergCatalogue, schema: str) -> Table:
    """Make the table in a schema.

    Raises:
        TableAlreadyExistsError: it is there.
    """
    return catalogue.make(schema, REJECTED, make_schema(REJECTIONS), {})


def draft_rejections(draft: RelationDraft, plan: LoadPlan) -> None:
    """Draft the rejections of a plan as rows of the table."""
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


def make_record(context: LoadContext, leftovers: dict[str, str], result: LoadResult) -> HeadRecord:
    """Return the record of a table after a load.

    Args:
        context: of the load.
        leftovers: see `HeadNote`.
        result: of the load.
    """
    plan, record = context.plan, context.head.record.follow(context.name)
    note, entry, marks = record.note, record.entry, dict(record.marks)
    revision = note.revision
    if plan.table_after is not None:
        entry, revision = plan.table_after, plan.revision + 1
    note = HeadNote(note.number, revision, note.loads, dict(leftovers))
    mark = plan.offset
    if moves_offset(mark):
        marks[digest_mark(mark.log_id, mark.source_id, mark.table_name)] = make_mark(mark, result)
    return HeadRecord(note, entry, marks)


def rank_place(place: Place) -> tuple[int, str, str]:
    """Return a value by which deleted keys come first, then stages, then subtables."""
    schema, name = place
    if schema == PRIVATE_SCHEMA:
        return (0 if name.startswith(TOMBSTONES) else 1, schema, name)
    return (2, schema, name)
