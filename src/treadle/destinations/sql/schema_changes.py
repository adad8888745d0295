"""The schema changes of a plan as statements (loading.md 5.3, 9.2).

A load executes what `SchemaStatements` gives, and a person is shown the same.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from treadle.destinations.layout import PRIVATE_SCHEMA, SEQUENCE, order_key, tombstones_name
from treadle.destinations.sql.connection import SqlConnection
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import NOTHING, Quoted, compose, join
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
    TableWrite,
    WidenColumn,
)


def create_relation(
    dialect: SqlDialect, schema: str, relation: Relation, *, if_missing: bool = False
) -> Quoted:
    """Return the statement that makes a relation."""
    key = compose(", PRIMARY KEY ({key})", key=dialect.quote_all(order_key(relation.key)))
    return compose(
        "CREATE TABLE {if_missing}{place} ({columns}{key})",
        if_missing=Quoted("IF NOT EXISTS " if if_missing else ""),
        place=dialect.place(schema, relation.name),
        columns=dialect.define(relation.columns),
        key=key if relation.key else NOTHING,
    )


def make_tombstones(dialect: SqlDialect, schema: str, root: Relation) -> Relation:
    """Return the private table of deleted keys as a relation: the keys, and their sequences."""
    columns = (
        *(column for column in root.columns if column.name in root.key),
        Column(SEQUENCE, SEQUENCE, ColumnType.BIGINT, nullable=False),
    )
    name = tombstones_name(schema, dialect.profile.fold(root.name))
    return Relation((), name, columns, root.key, "")


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
        self._renamed: set[str] = set()
        """Tables of deleted keys that earlier statements give another name."""

    def generate(self) -> Iterator[Quoted]:
        """Give the statements."""
        for change in _group_additions(self._plan.changes):
            yield from self._make(change)
        plan = self._plan
        if plan.table_after is not None and plan.table_after.tombstones:
            yield from (
                self._make_tombstones(write) for write in plan.writes if write.mode == "upsert"
            )

    def _make_tombstones(self, write: TableWrite) -> Quoted:
        """Make the table of deleted keys where it is missing (loading.md 9.4)."""
        schema = PRIVATE_SCHEMA if write.private else self._schema
        kept = make_tombstones(self._dialect, schema, write.root.relation)
        return create_relation(self._dialect, PRIVATE_SCHEMA, kept, if_missing=True)

    def _make(self, change: SchemaChange | list[AddColumn]) -> Iterator[Quoted]:
        dialect = self._dialect
        match change:
            case list():
                yield from self._add_columns(change)
            case CreateRelation(relation, private):
                schema = PRIVATE_SCHEMA if private else self._schema
                yield from self._create(schema, relation)
                if not relation.path:
                    yield from self._forget_tombstones(schema, relation.name)
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
                yield from self._forget_tombstones(self._schema, relation_name)
            case CopyStage(stage, relation_name, columns, staged_in):
                schema = staged_in or PRIVATE_SCHEMA
                yield compose(
                    "INSERT INTO {target} ({live}) SELECT {staged} FROM {stage}",
                    target=self._place(relation_name),
                    live=dialect.quote_all(live for _, live in columns),
                    staged=dialect.quote_all(staged for staged, _ in columns),
                    stage=dialect.place(schema, stage),
                )
                yield from self._activate_tombstones(schema, stage, relation_name)
            case DropStage(relation_name):
                yield compose("DROP TABLE {stage}", stage=self._place(relation_name, private=True))
                yield from self._forget_tombstones(PRIVATE_SCHEMA, relation_name)

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

    def _activate_tombstones(self, staged_in: str, stage: str, live: str) -> Iterator[Quoted]:
        """Keep what was deleted inside a version deleted when the version is activated."""
        fold = self._dialect.profile.fold
        staged = tombstones_name(staged_in, fold(stage))
        if self._holds(staged):
            yield compose(
                "ALTER TABLE {staged} RENAME TO {live}",
                staged=self._dialect.own(staged),
                live=self._dialect.quote(tombstones_name(self._schema, fold(live))),
            )
            self._renamed.add(staged)

    def _forget_tombstones(self, schema: str, root: str) -> Iterator[Quoted]:
        name = tombstones_name(schema, self._dialect.profile.fold(root))
        if self._holds(name):
            yield compose("DROP TABLE {table}", table=self._dialect.own(name))

    def _holds(self, own_table: str) -> bool:
        return own_table not in self._renamed and self._connection.holds_own_table(own_table)


def _group_additions(
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
