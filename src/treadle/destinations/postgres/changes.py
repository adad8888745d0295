"""The schema changes of a plan as PostgreSQL statements (loading.md 5.3, 9.2).

`statements` is all there is: a load executes what it gives, and a person is shown the same.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from psycopg import sql

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    digest_name,
    order_key,
    tombstones_name,
)
from treadle.destinations.postgres.rows import STORED, Connection, definitions, identifiers
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    ColumnType,
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

NAME_BYTES_MAX = 63
"""PostgreSQL cuts longer names (loading.md 6.2)."""


def apply_changes(connection: Connection, plan: LoadPlan) -> None:
    """Make a plan's schema changes, in order."""
    for statement in statements(connection, plan):
        connection.execute(statement)


def statements(connection: Connection, plan: LoadPlan) -> Iterator[sql.Composed]:
    """The statements that make a plan's schema changes, in order; runs none of them.

    What is there is looked up as late as it is needed, so that whoever executes each statement
    before asking for the next gets the same ones as who executes none.
    """
    return _Statements(connection, plan).run()


def tombstones(schema: str, root: str) -> sql.Identifier:
    """The private table of deleted keys (option hard_delete) of a root relation."""
    return sql.Identifier(PRIVATE_SCHEMA, tombstones_name(schema, root))


def create_tombstones(plan: LoadPlan, write: TableWrite) -> sql.Composed:
    """The statement that makes the table of deleted keys where it is missing."""
    root = write.root.relation
    types = {column.name: column.type for column in root.columns}
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} ({}, _sdc_sequence bigint NOT NULL, PRIMARY KEY ({}))"
    ).format(
        tombstones(PRIVATE_SCHEMA if write.private else plan.schema, root.name),
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), STORED[types[name]]) for name in root.key
        ),
        identifiers(root.key),
    )


def create(schema: str, relation: Relation) -> sql.Composed:
    """The statement that makes a relation; no other may have its name, nor a key's index."""
    key = (
        sql.SQL(", PRIMARY KEY ({})").format(identifiers(order_key(relation.key)))
        if relation.key
        else sql.SQL("")
    )
    return sql.SQL("CREATE TABLE {} ({}{})").format(
        sql.Identifier(schema, relation.name), definitions(relation.columns), key
    )


_AS_TEXT: Final = {
    ColumnType.DECIMAL: sql.SQL("trim_scale({0})::text"),
    ColumnType.DOUBLE: sql.SQL(
        "CASE WHEN {0} = trunc({0}) AND abs({0}) < 1e16 THEN {0}::bigint::text ELSE {0}::text END"
    ),
    ColumnType.TIMESTAMP: sql.SQL(
        "CASE WHEN {0} >= '0001-01-01 00:00:00Z' AND {0} < '10000-01-01 00:00:00Z'"
        " THEN regexp_replace(to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'),"
        " '\\.?0+$', '') || 'Z' ELSE {0}::text END"
    ),
}
"""How a value is spelled when its column becomes text: as `tables.columns.converted` spells it."""


def _widened(column: Column, old: ColumnType) -> sql.Composed:
    """A column's values as those of its wider type."""
    if column.type is ColumnType.TEXT and old in _AS_TEXT:
        return _AS_TEXT[old].format(sql.Identifier(column.name))
    return sql.SQL("{}::{}").format(sql.Identifier(column.name), STORED[column.type])


def _grouped(changes: Iterable[SchemaChange]) -> Iterable[SchemaChange | list[AddColumn]]:
    """The changes, neighbouring AddColumns of one relation as one list."""

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


class _Statements:
    def __init__(self, connection: Connection, plan: LoadPlan) -> None:
        self._connection = connection
        self._schema = plan.schema
        self._changes = plan.changes
        self._indexes: set[tuple[str, str]] = set()
        """(schema, name) of the keys' indexes that earlier statements make."""
        self._renamed: set[str] = set()
        """Tables of deleted keys that earlier statements give another name."""

    def run(self) -> Iterator[sql.Composed]:
        for change in _grouped(self._changes):
            yield from self._of(change)

    def _place(self, name: str, private: bool = False) -> sql.Identifier:
        return sql.Identifier(PRIVATE_SCHEMA if private else self._schema, name)

    def _of(self, change: SchemaChange | list[AddColumn]) -> Iterator[sql.Composed]:
        match change:
            case list():
                first = change[0]
                yield sql.SQL("ALTER TABLE {} {}").format(
                    self._place(first.relation, first.private),
                    sql.SQL(", ").join(
                        sql.SQL("ADD COLUMN {} {}").format(
                            sql.Identifier(addition.column.name), STORED[addition.column.type]
                        )
                        for addition in change
                    ),
                )
            case CreateRelation(relation, private):
                schema = PRIVATE_SCHEMA if private else self._schema
                yield from self._create(schema, relation)
                if not relation.path:
                    yield from self._forget_tombstones(schema, relation.name)
            case RenameColumn(relation_name, old, new, private):
                yield sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
                    self._place(relation_name, private), sql.Identifier(old), sql.Identifier(new)
                )
            case WidenColumn(relation_name, column, old, private):
                yield sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {type} USING {value}").format(
                    self._place(relation_name, private),
                    sql.Identifier(column.name),
                    type=STORED[column.type],
                    value=_widened(column, old),
                )
            case ChangeKey(relation_name, old_key, key):
                yield from self._change_key(relation_name, old_key, key)
            case EmptyRelation(relation_name):
                yield sql.SQL("TRUNCATE {}").format(self._place(relation_name))
                yield from self._forget_tombstones(self._schema, relation_name)
            case CopyStage(stage, relation_name, columns, staged_in):
                yield sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
                    self._place(relation_name),
                    identifiers(live for _, live in columns),
                    identifiers(staged for staged, _ in columns),
                    sql.Identifier(staged_in or PRIVATE_SCHEMA, stage),
                )
                staged_keys = tombstones_name(staged_in or PRIVATE_SCHEMA, stage)
                if self._exists(staged_keys):
                    # What was deleted inside the version stays deleted when it is activated.
                    yield sql.SQL("ALTER TABLE {} RENAME TO {}").format(
                        self._place(staged_keys, private=True),
                        sql.Identifier(tombstones_name(self._schema, relation_name)),
                    )
                    self._renamed.add(staged_keys)
            case DropStage(relation_name):
                yield sql.SQL("DROP TABLE {}").format(self._place(relation_name, private=True))
                yield from self._forget_tombstones(PRIVATE_SCHEMA, relation_name)

    def _create(self, schema: str, relation: Relation) -> Iterator[sql.Composed]:
        yield from self._free_name(schema, relation.name)
        yield create(schema, relation)
        if relation.key:
            stem = relation.name.encode()[: NAME_BYTES_MAX - len("_pkey")].decode(errors="ignore")
            self._indexes.add((schema, f"{stem}_pkey"))

    def _free_name(self, schema: str, name: str) -> Iterator[sql.Composed]:
        """Move a primary key's index out of the way: tables and indexes share their names.

        The index of table `a` is called `a_pkey`, which a client may call a table as well.
        """
        taken = (schema, name) in self._indexes or self._connection.execute(
            "SELECT 1 FROM pg_catalog.pg_class r"
            " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
            " JOIN pg_catalog.pg_constraint k ON k.conindid = r.oid AND k.contype = 'p'"
            " WHERE n.nspname = %s AND r.relname = %s",
            [schema, name],
        ).fetchone()
        if taken:
            yield sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                sql.Identifier(schema, name), sql.Identifier(f"pkey_{digest_name(name)[:16]}")
            )

    def _change_key(
        self, relation: str, old: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[sql.Composed]:
        # The user may have renamed the constraint.
        constraint = self._connection.execute(
            "SELECT k.conname FROM pg_catalog.pg_constraint k"
            " JOIN pg_catalog.pg_class r ON r.oid = k.conrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
            " WHERE k.contype = 'p' AND n.nspname = %s AND r.relname = %s",
            [self._schema, relation],
        ).fetchone()
        steps: list[sql.Composable] = []
        if constraint:
            steps.append(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(constraint[0])))
        steps += [
            sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(name))
            for name in old
            if name not in key
        ]
        if key:
            steps.append(sql.SQL("ADD PRIMARY KEY ({})").format(identifiers(order_key(key))))
        if steps:
            yield sql.SQL("ALTER TABLE {} {}").format(
                self._place(relation), sql.SQL(", ").join(steps)
            )

    def _forget_tombstones(self, schema: str, root: str) -> Iterator[sql.Composed]:
        name = tombstones_name(schema, root)
        if self._exists(name):
            yield sql.SQL("DROP TABLE {}").format(self._place(name, private=True))

    def _exists(self, private_table: str) -> bool:
        if private_table in self._renamed:
            return False
        found = self._connection.execute(
            "SELECT 1 FROM pg_catalog.pg_class r"
            " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
            " WHERE n.nspname = %s AND r.relname = %s",
            [PRIVATE_SCHEMA, private_table],
        ).fetchone()
        return found is not None
