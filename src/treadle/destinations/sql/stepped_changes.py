"""The schema changes of a plan where each is committed when it is made.

Those that only add and rename come before the transaction of the rows. What empties a table or
fills it from a stage is about rows, and comes inside. A table that is emptied and gets another key
is built anew beside the live one, and takes its place when the rows are committed.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    find_stage_tombstones,
)
from treadle.destinations.protocol import PlanOutdatedError
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import LoadIntent, TableReplacement
from treadle.destinations.sql.relation_definition import create_relation
from treadle.destinations.sql.schema_changes import (
    SchemaStatements,
    group_additions,
    make_tombstones,
    name_tombstones_of,
)
from treadle.destinations.sql.stepped_dialect import RelationPlace, SteppedDialect
from treadle.destinations.sql.text import Quoted, compose
from treadle.tables import names, table_codec
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    PhysicalRelation,
    Relation,
    RenameColumn,
    TableWrite,
    WidenColumn,
)

DRAFT = "draft_"
"""Beginning of the name of a table that is built beside the one whose place it takes."""

SHADOW = "treadle_shadow"
"""Name of a temporary table until it gets the one of the table that it hides."""


class SteppedStatements(SchemaStatements, ABC):
    """Makes the statements of a plan's schema changes in three parts.

    Attributes:
        replacements: tables that take the place of others once the rows are committed.
        rehearsed: what is made is made for this session alone, and nothing is dropped.
        is_noted: the catalogue has an intent of the table.
    """

    def __init__(self, connection: SqlConnection, plan: LoadPlan) -> None:
        super().__init__(connection, plan)
        assert isinstance(self._dialect, SteppedDialect)  # noqa: S101 - for the type
        self._stepped = self._dialect
        self.rehearsed = False
        self.is_noted = False
        fold = self._dialect.profile.fold
        emptied = {
            fold(change.relation) for change in plan.changes if isinstance(change, EmptyRelation)
        }
        self._rekeyed = [
            change
            for change in plan.changes
            if isinstance(change, ChangeKey) and change.key and fold(change.relation) in emptied
        ]
        self._forgotten: list[str] = []
        """Tables of deleted keys that go when the rows are committed."""
        self._drops = [change.relation for change in plan.changes if isinstance(change, DropStage)]
        tables = [self._draft_of(change.relation) for change in self._rekeyed]
        self.replacements = (*tables, *self._replace_tombstones())

    def _draft_of(self, relation: str) -> TableReplacement:
        draft = names.name_auxiliary(self._plan.owner, DRAFT, self._schema, relation)
        return TableReplacement(self._schema, relation, draft)

    @property
    def intent(self) -> LoadIntent:
        """What is noted before the first statement."""
        entry = self._plan.table_after
        made = tuple(each for each in self.replacements if each.is_new)
        return LoadIntent("" if entry is None else table_codec.encode_table(entry), made)

    @property
    def ending(self) -> LoadIntent:
        """What is left to be done when the rows are committed."""
        taken = {each.draft for each in self.replacements if each.schema == PRIVATE_SCHEMA}
        drops = list(self._forgotten)
        for stage in self._drops:
            kept = find_stage_tombstones(self._dialect.profile.fold(stage))
            drops += [name for name in (stage, kept) if name not in taken]
        return LoadIntent("", self.replacements, tuple(drops))

    @property
    def drafts(self) -> dict[RelationPlace, str]:
        """Relations in whose place others are written to until then."""
        return {(each.schema, each.relation): each.draft for each in self.replacements}

    def changes_structure(self) -> bool:
        """Return whether there is a statement before the transaction of the rows."""
        return any(type(self)(self._connection, self._plan).generate_structure())

    def generate(self) -> Iterator[Quoted]:
        """Give all statements, for a person."""
        yield from self.generate_structure()
        with self._stepped.drafting(self.drafts):
            contents = list(self.generate_contents())
        yield from contents
        yield from generate_ending(self._connection, self.ending, announced=True)

    # --- before the transaction -------------------------------------------------------------------

    def check(self) -> None:
        """Check that a plan fits what is there, before anything that cannot be undone.

        Raises:
            PlanOutdatedError: it does not.
        """
        there: dict[RelationPlace, PhysicalRelation | None] = {}

        def find(relation: str, private: bool) -> PhysicalRelation | None:
            schema = PRIVATE_SCHEMA if private else self._schema
            if (schema, relation) not in there:
                found = self._connection.describe(schema, [relation])
                there[schema, relation] = next(iter(found.values()), None)
            return there[schema, relation]

        for change in self._plan.changes:
            match change:
                case CreateRelation(relation, False):
                    # A stage of that name is a leftover, since no entry names it.
                    if self._connection.holds_table(self._schema, relation.name):
                        raise PlanOutdatedError(f"the table {relation.name!r} is there by now")
                case AddColumn(relation_name, column, private):
                    _check_columns(find(relation_name, private), relation_name, (), column.name)
                case RenameColumn(relation_name, old, new, private):
                    _check_columns(find(relation_name, private), relation_name, (old,), new)
                case WidenColumn(relation_name, column, _, private):
                    _check_columns(find(relation_name, private), relation_name, (column.name,))
                case ChangeKey(relation_name) | EmptyRelation(relation_name):
                    _check_columns(find(relation_name, False), relation_name)

    def generate_structure(self) -> Iterator[Quoted]:
        """Give the statements that come before the transaction of the rows."""
        rekeyed = {id(change) for change in self._rekeyed}
        rows_only = (EmptyRelation, CopyStage, DropStage)
        changes = [
            change
            for change in self._plan.changes
            if not isinstance(change, rows_only) and id(change) not in rekeyed
        ]
        for change in group_additions(changes):
            yield from self._make(change)
        for change in self._rekeyed:
            yield from self._build_draft(self._draft_of(change.relation), change)
        for replacement in self.replacements:
            if replacement.is_new and replacement.schema == PRIVATE_SCHEMA:
                yield from self._build_tombstones(replacement)
        yield from self._make_all_tombstones()

    def generate_shadows(self) -> Iterator[tuple[RelationPlace, Quoted]]:
        """Give the statements that put empty copies in front of what a rehearsal changes."""
        made = {
            (change.private, change.relation.name)
            for change in self._plan.changes
            if isinstance(change, CreateRelation)
        }
        copied: dict[RelationPlace, None] = {}
        for change in self._plan.changes:
            if isinstance(change, AddColumn | RenameColumn | WidenColumn):
                place = (change.private, change.relation)
            elif isinstance(change, ChangeKey) and change not in self._rekeyed:
                place = (False, change.relation)
            else:
                continue
            if place not in made:
                copied[PRIVATE_SCHEMA if place[0] else self._schema, place[1]] = None
        for schema, relation in copied:
            original, copy = self._dialect.place(schema, relation), self._dialect.own(SHADOW)
            copying = compose(self._stepped.copy_definition, copy=copy, original=original)
            yield (PRIVATE_SCHEMA, SHADOW), copying
            renaming = compose(self._stepped.rename_temporary, copy=copy, name=original)
            yield (schema, relation), renaming

    def list_made(self) -> Iterator[RelationPlace]:
        """Give the places of tables that a rehearsal makes for itself, with those it may make."""
        for change in self._plan.changes:
            if isinstance(change, CreateRelation):
                schema = PRIVATE_SCHEMA if change.private else self._schema
                yield schema, change.relation.name
        for each in self.replacements:
            if each.is_new:
                yield each.schema, each.draft
        for name in self._given:
            yield PRIVATE_SCHEMA, name

    def _create(self, schema: str, relation: Relation) -> Iterator[Quoted]:
        if schema == PRIVATE_SCHEMA and not self.rehearsed:
            yield from self._drop_leftover(schema, relation.name)
        yield create_relation(self._dialect, schema, relation, temporary=self.rehearsed)

    def _drop_leftover(self, schema: str, name: str) -> Iterator[Quoted]:
        if self._connection.holds_table(schema, name):
            yield compose("DROP TABLE {table}", table=self._dialect.place(schema, name))

    @abstractmethod
    def _build_draft(self, draft: TableReplacement, change: ChangeKey) -> Iterator[Quoted]:
        """Build a table like a live one, without rows and with another key."""

    # --- keys that were deleted (loading.md 9.4) --------------------------------------------------

    def _replace_tombstones(self) -> Iterator[TableReplacement]:
        """Find the tables that take the place of those of deleted keys when a version begins."""
        plan = self._plan
        copied = {
            change.relation: change for change in plan.changes if isinstance(change, CopyStage)
        }
        roots = () if plan.table_after is None else plan.table_after.relations[:1]
        for root in roots:
            emptied = any(
                isinstance(change, EmptyRelation) and change.relation == root.name
                for change in plan.changes
            )
            live = name_tombstones_of(self._dialect, plan, root.name, private=False)
            staged = self._name_staged(copied[root.name]) if root.name in copied else ""
            if staged and self._connection.holds_own_table(staged):
                yield TableReplacement(PRIVATE_SCHEMA, live, staged, is_new=False)
            elif emptied and self._connection.holds_own_table(live):
                if plan.table_after is not None and plan.table_after.tombstones:
                    draft = names.name_auxiliary(plan.owner, DRAFT, PRIVATE_SCHEMA, live)
                    yield TableReplacement(PRIVATE_SCHEMA, live, draft)
                else:
                    self._forgotten.append(live)

    def _build_tombstones(self, draft: TableReplacement) -> Iterator[Quoted]:
        assert self._plan.table_after is not None  # noqa: S101 - it has a table of deleted keys
        root = self._plan.table_after.relations[0]
        kept = make_tombstones(self._dialect, self._plan, root, private=False)
        drafted = Relation((), draft.draft, kept.columns, kept.key, "")
        yield from self._create(PRIVATE_SCHEMA, drafted)

    def _create_tombstones(self, kept: Relation) -> Iterator[Quoted]:
        yield from self._create(PRIVATE_SCHEMA, kept)

    def _make_tombstones(self, write: TableWrite) -> Iterator[Quoted]:
        root = write.root.relation
        kept = make_tombstones(self._dialect, self._plan, root, private=write.private)
        if (PRIVATE_SCHEMA, kept.name) not in self.drafts:
            yield from super()._make_tombstones(write)

    def _forget_tombstones(self, root: str, private: bool) -> Iterator[Quoted]:
        if not self.rehearsed:
            yield from super()._forget_tombstones(root, private)

    # --- inside the transaction -------------------------------------------------------------------

    def generate_contents(self) -> Iterator[Quoted]:
        """Give the statements about rows, for the transaction; while relations are drafted."""
        drafted = {self._dialect.profile.fold(change.relation) for change in self._rekeyed}
        for change in self._plan.changes:
            if isinstance(change, EmptyRelation):
                if self._dialect.profile.fold(change.relation) not in drafted:
                    target = self._place(change.relation)
                    yield compose(self._dialect.empty_relation, target=target)
            elif isinstance(change, CopyStage):
                yield self._copy_stage(change)


def _check_columns(
    there: PhysicalRelation | None, relation: str, old: tuple[str, ...] = (), new: str = ""
) -> None:
    if there is None:
        raise PlanOutdatedError(f"the table {relation!r} is not there any more")
    columns = {name.lower() for name in there.columns}
    for name in old:
        if name.lower() not in columns:
            raise PlanOutdatedError(f"the column {name!r} of {relation!r} is not there any more")
    if new and new.lower() in columns:
        raise PlanOutdatedError(f"the column {new!r} of {relation!r} is there by now")


def generate_ending(
    connection: SqlConnection, intent: LoadIntent, *, announced: bool = False
) -> Iterator[Quoted]:
    """Give the statements that do what is left of a load whose rows are committed.

    They may be given again when some of them were executed.

    Args:
        connection: to the database.
        intent: of the load.
        announced: its drafts are not made yet.
    """
    dialect = connection.dialect
    assert isinstance(dialect, SteppedDialect)  # noqa: S101 - for the type
    renames: list[tuple[str, str, str]] = []
    for each in intent.replacements:
        if not announced and not connection.holds_table(each.schema, each.draft):
            continue  # it has its place already
        if connection.holds_table(each.schema, each.relation):
            renames.append((each.schema, each.relation, each.old))
        renames.append((each.schema, each.draft, each.relation))
    if renames:
        yield from dialect.rename_relations(renames)
    for each in intent.replacements:
        yield compose("DROP TABLE IF EXISTS {table}", table=dialect.place(each.schema, each.old))
    for name in intent.drops:
        yield compose("DROP TABLE IF EXISTS {table}", table=dialect.own(name))


def generate_undoing(connection: SqlConnection, intent: LoadIntent) -> Iterator[Quoted]:
    """Give the statements that drop the drafts of a load whose rows were not committed."""
    for each in intent.replacements:
        if each.is_new:
            yield compose(
                "DROP TABLE IF EXISTS {table}",
                table=connection.dialect.place(each.schema, each.draft),
            )
