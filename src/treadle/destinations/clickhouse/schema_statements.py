"""The schema changes of a plan in ClickHouse (loading.md 5.3, 9.2).

A table that is emptied, or whose key changes, is built anew beside the live one: the draft. It
takes the place of the live one by EXCHANGE TABLES, once the load is committed.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from treadle.destinations.clickhouse.dialect import (
    TEXT_OF_TEXT,
    VIEW_MARK,
    VIEW_SUFFIX,
    ClickhouseDialect,
)
from treadle.destinations.layout import BATCHED_AT, PRIVATE_SCHEMA, SEQUENCE
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.load_intent import LoadAttempt, LoadIntent, TableReplacement
from treadle.destinations.sql.relation_definition import create_relation
from treadle.destinations.sql.schema_changes import group_additions
from treadle.destinations.sql.stepped_changes import DRAFT, SteppedStatements
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join
from treadle.tables import names, table_codec
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
    Table,
    TableWrite,
    WidenColumn,
)
from treadle.tables.profiles import CLICKHOUSE_GONE

VIEW_BYTES_MAX: Final = 206
"""Longest name of a view, each byte that is no letter, digit or `_` counted as three."""

FIND_COMMENT: Final = Quoted(
    "SELECT 1 FROM system.tables WHERE database = $1 AND name = $2 AND comment = $3"
)

FIND_EXTRAS: Final = """
SELECT name, type, default_kind, default_expression FROM system.columns
WHERE database = $1 AND table = $2 ORDER BY position
"""


class ClickhouseStatements(SteppedStatements):
    """Makes the statements of a plan's schema changes."""

    def __init__(self, connection: SqlConnection, plan: LoadPlan) -> None:
        super().__init__(connection, plan)
        assert isinstance(self._dialect, ClickhouseDialect)  # noqa: S101 - for the type
        self._spelled = self._dialect
        self._emptied = {
            change.relation for change in plan.changes if isinstance(change, EmptyRelation)
        }
        self._rekeyed = [change for change in plan.changes if isinstance(change, ChangeKey)]
        rebuilt = dict.fromkeys((*self._emptied, *(each.relation for each in self._rekeyed)))
        self.replacements = tuple(self._draft_of(relation) for relation in sorted(rebuilt))

    def _draft_of(self, relation: str) -> TableReplacement:
        draft = names.name_auxiliary(self._plan.owner, DRAFT, self._schema, relation)
        mark = f"draft of a load by treadle, {self._plan.batched_at}"
        return TableReplacement(self._schema, relation, draft, mark=mark)

    def generate(self) -> Iterator[Quoted]:
        """Give all statements, for a person."""
        yield from self.generate_structure()
        with self._spelled.drafting(self.drafts):
            contents = list(self.generate_contents())
        yield from contents
        ending = self.ending
        noted = LoadIntent(self.intent.table, ending.replacements, ending.drops)
        yield from generate_exchange(self._connection, self._schema, noted, announced=True)

    def generate_structure(self) -> Iterator[Quoted]:
        """Give the statements that come before the rows."""
        later = (EmptyRelation, CopyStage, DropStage, ChangeKey)
        first = [change for change in self._plan.changes if not isinstance(change, later)]
        if self.rehearsed:  # there the drafts are what is changed
            yield from self._build_drafts()
        for change in group_additions(first):
            yield from self._make(change)
        if not self.rehearsed:
            yield from self._build_drafts()
            yield from self._show_current()

    def generate_contents(self) -> Iterator[Quoted]:
        """Give the statements that fill drafts; while relations are drafted."""
        for rekeyed in self._rekeyed:
            if rekeyed.relation not in self._emptied:
                yield self._copy_live(rekeyed.relation)
        for change in self._plan.changes:
            if isinstance(change, CopyStage):
                yield self._copy_stage(change)

    def list_drafted(self) -> dict[tuple[str, str], str]:
        """Return relations of which a rehearsal has an empty copy -> the copy's name."""
        drafted = dict(self.drafts)
        relations = [
            (write.private, part.relation)
            for write in self._plan.writes
            for part in (write.root, *write.children)
        ]
        for change in self._plan.changes:
            match change:
                case CreateRelation(relation, private):
                    relations.append((private, relation))
                case AddColumn(name, _, private) | WidenColumn(name, _, _, private):
                    relations.append((private, Relation((), name, (), (), "")))
        for private, relation in relations:
            schema = self._name_schema(private)
            copy = names.name_auxiliary(self._plan.owner, "rehearsal_", schema, relation.name)
            drafted.setdefault((schema, relation.name), copy)
        return drafted

    # --- tables -----------------------------------------------------------------------------------

    def _name_schema(self, private: bool) -> str:
        return PRIVATE_SCHEMA if private else self._schema

    def _create(self, schema: str, relation: Relation) -> Iterator[Quoted]:
        if self.rehearsed:
            pass  # nothing is in the way of a copy
        elif schema == self._schema and self._is_shown(schema, relation.name):
            # A client's table is called like the view of another one.
            view = self._dialect.place(schema, relation.name)
            yield compose("DROP VIEW IF EXISTS {view}", view=view)
        elif schema != self._schema:
            yield from self._drop_leftover(schema, relation.name)
        yield create_relation(self._dialect, schema, relation)

    def _add_columns(self, additions: list[AddColumn]) -> Iterator[Quoted]:
        # A draft that a rehearsal builds first has the columns already.
        absent = Quoted("IF NOT EXISTS " if self.rehearsed else "")
        yield compose(
            "ALTER TABLE {target} {parts}",
            target=self._place(additions[0].relation, additions[0].private),
            parts=join(
                ", ",
                (
                    compose(
                        "ADD COLUMN {absent}{name} {type}",
                        absent=absent,
                        name=self._dialect.quote(each.column.name),
                        type=self._dialect.types[each.column.type],
                    )
                    for each in additions
                ),
            ),
        )

    def _is_shown(self, schema: str, view: str) -> bool:
        return bool(self._connection.rows(FIND_COMMENT, schema, view, VIEW_MARK))

    def _build_drafts(self) -> Iterator[Quoted]:
        keys = {change.relation: change for change in self._rekeyed}
        for each in self.replacements:
            place = self._dialect.place(each.schema, each.draft)
            yield compose("DROP TABLE IF EXISTS {draft}", draft=place)
            yield from self._build(each, keys.get(each.relation))

    def _build(self, draft: TableReplacement, change: ChangeKey | None) -> Iterator[Quoted]:
        place = self._dialect.place(draft.schema, draft.draft)
        live = self._dialect.quote(draft.schema, draft.relation)
        if change is None:
            yield compose("CREATE TABLE {draft} AS {live}", draft=place, live=live)
        else:
            yield self._create_rekeyed(draft, change)
        yield compose(
            "ALTER TABLE {draft} MODIFY COMMENT {mark}",
            draft=place,
            mark=Quoted(self._spelled.literal(draft.mark)),
        )

    def _create_rekeyed(self, draft: TableReplacement, change: ChangeKey) -> Quoted:
        """Return the statement that makes a table like a live one, with another key."""
        assert self._plan.table_after is not None  # noqa: S101 - it has the relation
        [relation] = [
            each for each in self._plan.table_after.relations if each.name == change.relation
        ]
        columns = tuple(
            Column(each.name, each.field, each.type, nullable=each.name not in change.key)
            for each in relation.columns
        )
        made = Relation(relation.path, draft.draft, columns, change.key, relation.source_name)
        known = {CLICKHOUSE_GONE, *(column.name for column in columns)}
        extras = [
            compose(
                ", {name} {type} {kind} {value}",
                name=self._dialect.quote(name),
                type=Quoted(type_),
                kind=Quoted(kind),
                value=Quoted(value),
            )
            for name, type_, kind, value in self._connection.rows(
                Quoted(FIND_EXTRAS), self._schema, change.relation
            )
            if name not in known
        ]
        return compose(
            "CREATE TABLE {place} ({columns}{extras}){storage}",
            place=self._dialect.place(draft.schema, draft.draft),
            columns=self._dialect.define(columns, change.key),
            extras=join("", extras),
            storage=self._dialect.describe_storage(made),
        )

    def _build_draft(self, draft: TableReplacement, change: ChangeKey) -> Iterator[Quoted]:
        yield from self._build(draft, change)

    def _widen(self, target: Quoted, column: Column, old: ColumnType) -> Iterator[Quoted]:
        name = self._dialect.quote(column.name)
        yield compose(
            "ALTER TABLE {target} MODIFY COLUMN {name} {type}",
            target=target,
            name=name,
            type=self._dialect.types[column.type],
        )
        if column.type is ColumnType.TEXT and old in TEXT_OF_TEXT:
            yield _respell(target, name, old)

    def _show_current(self) -> Iterator[Quoted]:
        """Make the views by which others read what is there now, with the columns of the plan."""
        if self._plan.table_after is None:
            return
        touched = {
            change.relation.name if isinstance(change, CreateRelation) else change.relation
            for change in self._plan.changes
            if isinstance(change, CreateRelation | AddColumn | WidenColumn)
            and not getattr(change, "private", False)
        }
        rebuilt = {each.relation for each in self.replacements}  # they have theirs at the end
        shown = touched - rebuilt
        yield from generate_views(self._connection, self._schema, self._plan.table_after, shown)

    # --- rows -------------------------------------------------------------------------------------

    def _copy_stage(self, copied: CopyStage) -> Quoted:
        """Copy rows that are there, and those that were deleted."""
        pairs = dict(copied.columns)
        pairs.setdefault(SEQUENCE, SEQUENCE)
        after = self._plan.table_after
        relations = () if after is None else after.relations
        if any(each.name == copied.relation and each.key for each in relations):
            pairs[CLICKHOUSE_GONE] = CLICKHOUSE_GONE
        return compose(
            # The settings are here for those who run what a dry run showed.
            "INSERT INTO {target} ({live}) SELECT {staged} FROM {stage} SETTINGS final = 0,"
            " insert_allow_materialized_columns = 1",
            target=self._place(copied.relation),
            live=self._dialect.quote_all(pairs.values()),
            staged=self._dialect.quote_all(pairs),
            stage=self._dialect.place(copied.schema or PRIVATE_SCHEMA, copied.stage),
        )

    def _copy_live(self, relation: str) -> Quoted:
        """Copy the rows of a table to its draft, which has another key."""
        found = self._connection.rows(Quoted(FIND_EXTRAS), self._schema, relation)
        columns = self._dialect.quote_all(
            name for name, _, kind, _ in found if kind in ("", "DEFAULT")
        )
        return compose(
            "INSERT INTO {draft} ({columns}) SELECT {columns} FROM {live}",
            draft=self._place(relation),
            columns=columns,
            live=self._dialect.quote(self._schema, relation),
        )

    # --- deleted keys are rows of the table itself ------------------------------------------------

    def _make_all_tombstones(self) -> Iterator[Quoted]:
        yield from ()

    def _replace_tombstones(self) -> Iterator[TableReplacement]:
        yield from ()

    def _make_tombstones(self, write: TableWrite) -> Iterator[Quoted]:
        yield from ()


def _respell(target: Quoted, name: Quoted, old: ColumnType, condition: Quoted = NOTHING) -> Quoted:
    """Return the statement that spells a column's texts as the loader would; it may be repeated."""
    return compose(
        "ALTER TABLE {target} UPDATE {name} = {value} WHERE isNotNull({name}){condition}",
        target=target,
        name=name,
        value=compose(TEXT_OF_TEXT[old], name=name),
        condition=condition,
    )


def generate_respelling(
    connection: SqlConnection,
    schema: str,
    held: Table,
    coming: Table,
    attempts: Sequence[LoadAttempt],
) -> Iterator[Quoted]:
    """Give the statements that finish a widening to text of a load that may have ended amid it.

    The column is text then, and its values may be spelled by the server.

    Args:
        connection: to the database.
        schema: of the table.
        held: the entry of the last load that was committed.
        coming: the entry of the load that was not.
        attempts: that load and those before it. Their rows are texts already, as they were sent.
    """
    dialect = connection.dialect
    rows = join(", ", (dialect.instant(each.batched_at) for each in attempts))
    ours = compose(" AND NOT ifNull({at} IN ({rows}), 0)", at=dialect.quote(BATCHED_AT), rows=rows)
    stages = {stage.version: stage.relations for stage in held.stages}
    pairs = [(schema, held.relations, coming.relations)]
    pairs += [
        (PRIVATE_SCHEMA, stages.get(stage.version, ()), stage.relations) for stage in coming.stages
    ]
    for place, before, after in pairs:
        types = {
            (relation.name, column.name): column.type
            for relation in before
            for column in relation.columns
            if column.type in TEXT_OF_TEXT
        }
        for relation in after:
            for column in relation.columns:
                old = types.get((relation.name, column.name))
                if old is None or column.type is not ColumnType.TEXT:
                    continue
                there = connection.describe(place, [relation.name]).get(relation.name)
                if there is not None and there.columns.get(column.name) is ColumnType.TEXT:
                    target, name = dialect.place(place, relation.name), dialect.quote(column.name)
                    condition = ours if BATCHED_AT in there.columns else NOTHING
                    yield _respell(target, name, old, condition)


def generate_views(
    connection: SqlConnection, schema: str, table: Table, shown: Collection[str]
) -> Iterator[Quoted]:
    """Give the statements that make views of what is there now, or drop one that shows nothing.

    Args:
        connection: to the database.
        schema: of the table.
        table: its catalogue entry.
        shown: names of those of its relations whose views are made.
    """
    dialect = connection.dialect
    assert isinstance(dialect, ClickhouseDialect)  # noqa: S101 - for the type
    taken = {relation.name for relation in table.relations}
    for relation in table.relations:
        view = relation.name + VIEW_SUFFIX
        if relation.name not in shown or view in taken or not fits_as_name(view):
            continue
        if connection.holds_table(schema, view):
            continue  # somebody else's
        place = dialect.quote(schema, view)
        if relation.key:
            yield compose(
                "CREATE OR REPLACE VIEW {view} AS SELECT * FROM {table} FINAL COMMENT {mark}",
                view=place,
                table=dialect.quote(schema, relation.name),
                mark=Quoted(dialect.literal(VIEW_MARK)),
            )
        else:
            yield compose("DROP VIEW IF EXISTS {view}", view=place)


def fits_as_name(name: str) -> bool:
    """Return whether a view can have a name, which is that of a file."""
    letters = sum(c.isascii() and (c.isalnum() or c == "_") for c in name)
    return letters + 3 * (len(name.encode(errors="replace")) - letters) <= VIEW_BYTES_MAX


def generate_exchange(
    connection: SqlConnection, schema: str, intent: LoadIntent, *, announced: bool = False
) -> Iterator[Quoted]:
    """Give the statements by which drafts take the places of tables, and tables go.

    They may be given again when some of them were executed.

    Args:
        connection: to the database.
        schema: of the table.
        intent: of a load that is committed.
        announced: its drafts are not made yet.
    """
    dialect = connection.dialect
    for each in intent.replacements:
        draft = dialect.place(each.schema, each.draft)
        live = dialect.place(each.schema, each.relation)
        if announced or connection.rows(FIND_COMMENT, each.schema, each.draft, each.mark):
            if announced or connection.holds_table(each.schema, each.relation):
                yield compose("EXCHANGE TABLES {live} AND {draft}", live=live, draft=draft)
            else:  # somebody dropped it
                yield compose("RENAME TABLE {draft} TO {live}", live=live, draft=draft)
        yield compose("DROP TABLE IF EXISTS {draft}", draft=draft)
    replaced = {each.relation for each in intent.replacements}
    if replaced and intent.table:
        table = table_codec.decode_table(intent.table)
        yield from generate_views(connection, schema, table, replaced)
    for name in intent.drops:
        yield compose("DROP TABLE IF EXISTS {table}", table=dialect.own(name))
