"""The schema changes of a plan as statements (loading.md 5.3, 9.2).

A load executes what `SchemaStatements` gives, and a person is shown the same.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    SEQUENCE,
    find_live_tombstones,
    find_stage_tombstones,
    order_key,
)
from treadle.destinations.protocol import ChangeRefusedError
from treadle.destinations.sql.catalogue import read_entry
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.relation_definition import create_relation
from treadle.destinations.sql.text import Quoted, compose, join
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
    RenameColumn,
    SchemaChange,
    Table,
    TableWrite,
    WidenColumn,
)


def run_change(connection: SqlConnection, statement: Quoted) -> None:
    """Execute a schema change.

    Raises:
        ChangeRefusedError: the database refused it.
        TableStoppedError: see `SqlConnection.define`.
    """
    try:
        connection.define(statement)
    except connection.errors as error:
        if not connection.is_refused_change(error):
            raise
        fault = connection.translate(error)
        raise ChangeRefusedError(connection.message(error), fault) from error


def takes_whole_tables(changes: Iterable[SchemaChange]) -> bool:
    """Return whether schema changes have statements that take the longer the larger a table is."""
    return any(isinstance(each, ChangeKey | CopyStage | WidenColumn) for each in changes)


def make_tombstones(
    dialect: SqlDialect, plan: LoadPlan, root: Relation, *, private: bool
) -> Relation:
    """Return the private table of deleted keys as a relation: the keys, and their sequences.

    Args:
        dialect: of the database.
        plan: that writes to the table.
        root: the root relation that the keys were deleted from.
        private: it is a stage's.
    """
    columns = (
        *(column for column in root.columns if column.name in root.key),
        Column(SEQUENCE, SEQUENCE, ColumnType.BIGINT, nullable=False),
    )
    name = name_tombstones_of(dialect, plan, root.name, private=private)
    return Relation((), name, columns, root.key, "")


def name_tombstones_of(
    dialect: SqlDialect, plan: LoadPlan, root_name: str, *, private: bool
) -> str:
    """Return the name of the private table of keys that were deleted from a root relation."""
    folded = dialect.profile.fold(root_name)
    if private:
        return find_stage_tombstones(folded)
    return find_live_tombstones(plan.table_after, plan.schema, folded)


class SchemaStatements:
    """Makes the statements of a plan's schema changes, in order; runs none of them.

    It looks up what is there as late as it can. So whoever executes each statement before asking
    for the next gets the same ones as who executes none.
    """

    def __init__(self, connection: SqlConnection, plan: LoadPlan) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._plan = plan
        self._schema = plan.schema
        self._gone: set[str] = set()
        """Tables of deleted keys that earlier statements drop, or give another name."""
        self._given: set[str] = set()
        """Tables of deleted keys that earlier statements make, or give this name."""

    def generate(self) -> Iterator[Quoted]:
        """Give the statements."""
        for change in group_additions(self._plan.changes):
            yield from self._make(change)
        yield from self._make_all_tombstones()

    def _make_all_tombstones(self) -> Iterator[Quoted]:
        plan = self._plan
        if plan.table_after is not None and plan.table_after.tombstones:
            for write in plan.writes:
                if write.mode == "upsert":
                    yield from self._make_tombstones(write)

    def _make_tombstones(self, write: TableWrite) -> Iterator[Quoted]:
        """Make the table of deleted keys where it is missing (loading.md 9.4).

        One of that name is taken only where the catalogue says that an earlier load made it.
        """
        root = write.root.relation
        kept = make_tombstones(self._dialect, self._plan, root, private=write.private)
        ours = kept.name in self._given or self._kept_tombstones(write.private)
        if not (ours and self._holds(kept.name)):
            self._given.add(kept.name)
            yield from self._create_tombstones(kept)

    def _create_tombstones(self, kept: Relation) -> Iterator[Quoted]:
        yield create_relation(self._dialect, PRIVATE_SCHEMA, kept)

    def _kept_tombstones(self, private: bool) -> bool:
        """Return whether the table kept deleted keys before this load, by its catalogue entry."""
        after = self._plan.table_after
        if after is None:
            return False
        before = self._find_entry(after.name)
        if before is None or not before.tombstones:
            return False
        return private or before.tombstones_relation == after.tombstones_relation

    def _make(self, change: SchemaChange | list[AddColumn]) -> Iterator[Quoted]:
        dialect = self._dialect
        match change:
            case list():
                yield from self._add_columns(change)
            case CreateRelation(relation, private):
                schema = PRIVATE_SCHEMA if private else self._schema
                yield from self._create(schema, relation)
                if not relation.path:
                    yield from self._forget_tombstones(relation.name, private)
            case RenameColumn(relation_name, old, new, private):
                yield compose(
                    "ALTER TABLE {target} RENAME COLUMN {old} TO {new}",
                    target=self._place(relation_name, private),
                    old=dialect.quote(old),
                    new=dialect.quote(new),
                )
            case WidenColumn(relation_name, column, old_type, private):
                yield from self._widen(self._place(relation_name, private), column, old_type)
            case ChangeKey(relation_name, old_key, key):
                yield from self._change_key(relation_name, old_key, key)
            case EmptyRelation(relation_name):
                yield compose(dialect.empty_relation, target=self._place(relation_name))
                yield from self._forget_tombstones(relation_name, False)
            case CopyStage():
                yield self._copy_stage(change)
                yield from self._activate_tombstones(change)
            case DropStage(relation_name):
                yield compose("DROP TABLE {stage}", stage=self._place(relation_name, private=True))
                yield from self._forget_tombstones(relation_name, True)

    def _copy_stage(self, copied: CopyStage) -> Quoted:
        dialect = self._dialect
        return compose(
            "INSERT INTO {target} ({live}) SELECT {staged} FROM {stage}",
            target=self._place(copied.relation),
            live=dialect.quote_all(live for _, live in copied.columns),
            staged=dialect.quote_all(staged for staged, _ in copied.columns),
            stage=dialect.place(copied.schema or PRIVATE_SCHEMA, copied.stage),
        )

    # --- what databases do differently ------------------------------------------------------------

    def _create(self, schema: str, relation: Relation) -> Iterator[Quoted]:
        yield create_relation(self._dialect, schema, relation)

    def _widen(self, target: Quoted, column: Column, old: ColumnType) -> Iterator[Quoted]:
        yield compose(
            "ALTER TABLE {target} ALTER COLUMN {name} TYPE {type} USING {value}",
            target=target,
            name=self._dialect.quote(column.name),
            type=self._dialect.types[column.type],
            value=self._dialect.widen(column, old),
        )

    def _change_key(
        self, relation: str, old: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[Quoted]:
        dialect = self._dialect
        # The user may have renamed the constraint.
        constraints = self._connection.rows(dialect.find_key, self._schema, relation)
        steps = [
            *(compose("DROP CONSTRAINT {c}", c=dialect.quote(name)) for (name,) in constraints),
            *(
                compose("ALTER COLUMN {c} DROP NOT NULL", c=dialect.quote(name))
                for name in old
                if name not in key
            ),
        ]
        if key:
            steps.append(compose("ADD PRIMARY KEY ({key})", key=dialect.quote_all(order_key(key))))
        if steps:
            yield compose(
                "ALTER TABLE {target} {steps}",
                target=self._place(relation),
                steps=join(", ", steps),
            )

    def _place(self, name: str, private: bool = False) -> Quoted:
        return self._dialect.place(PRIVATE_SCHEMA if private else self._schema, name)

    def _add_columns(self, additions: list[AddColumn]) -> Iterator[Quoted]:
        target = self._place(additions[0].relation, additions[0].private)
        parts = [
            compose(
                "ADD COLUMN {name} {type}",
                name=self._dialect.quote(addition.column.name),
                type=self._dialect.types[addition.column.type],
            )
            for addition in additions
        ]
        if self._dialect.adds_several_columns:
            parts = [join(", ", parts)]
        for part in parts:
            yield compose("ALTER TABLE {target} {part}", target=target, part=part)

    def _activate_tombstones(self, copied: CopyStage) -> Iterator[Quoted]:
        """Keep what was deleted inside a version deleted when the version is activated."""
        staged = self._name_staged(copied)
        if self._holds(staged):
            name = name_tombstones_of(self._dialect, self._plan, copied.relation, private=False)
            yield compose(
                "ALTER TABLE {staged} RENAME TO {live}",
                staged=self._dialect.own(staged),
                live=self._dialect.quote(name),
            )
            self._gone.add(staged)
            self._given.add(name)

    def _name_staged(self, copied: CopyStage) -> str:
        """Return the name of the private table of keys that were deleted from a stage."""
        stage = self._dialect.profile.fold(copied.stage)
        if copied.tombstones:
            return copied.tombstones
        if copied.schema is None:
            return find_stage_tombstones(stage)
        return find_live_tombstones(None, copied.schema, stage)

    def _forget_tombstones(self, root: str, private: bool) -> Iterator[Quoted]:
        name = name_tombstones_of(self._dialect, self._plan, root, private=private)
        if self._holds(name):
            self._gone.add(name)
            yield compose("DROP TABLE {table}", table=self._dialect.own(name))

    def _find_entry(self, table: str) -> Table | None:
        """Return the catalogue entry of a table before this load."""
        return read_entry(self._connection, self._plan.schema, table)[1]

    def _holds(self, own_table: str) -> bool:
        if own_table in self._given:
            return True
        return own_table not in self._gone and self._connection.holds_own_table(own_table)


def group_additions(
    changes: Iterable[SchemaChange],
) -> Iterator[SchemaChange | list[AddColumn]]:
    """Give the changes, neighbouring AddColumns of one relation as one list."""

    def key(change: SchemaChange) -> object:
        if isinstance(change, AddColumn):
            return (change.relation, change.private)
        return id(change)

    for _, group in groupby(changes, key):
        several = list(group)
        additions = [change for change in several if isinstance(change, AddColumn)]
        if additions:
            yield additions
        else:
            yield from several
