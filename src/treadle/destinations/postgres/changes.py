"""The schema changes of a plan as PostgreSQL statements (loading.md 5.3, 9.2)."""

from collections.abc import Iterable
from itertools import groupby

from psycopg import sql

from treadle.destinations.layout import (
    PRIVATE_SCHEMA,
    digest,
    index_order,
    tombstones_name,
)
from treadle.destinations.postgres.rows import STORED, Connection, definitions, identifiers
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    Relation,
    RenameColumn,
    SchemaChange,
    WidenColumn,
)


def apply_changes(connection: Connection, plan: LoadPlan) -> None:
    """Make a plan's schema changes, in order."""
    for change in _grouped(plan.changes):
        _apply(connection, plan, change)


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


def _apply(connection: Connection, plan: LoadPlan, change: SchemaChange | list[AddColumn]) -> None:
    def place(name: str, private: bool = False) -> sql.Identifier:
        return sql.Identifier(PRIVATE_SCHEMA if private else plan.schema, name)

    match change:
        case list():
            first = change[0]
            connection.execute(
                sql.SQL("ALTER TABLE {} {}").format(
                    place(first.relation, first.private),
                    sql.SQL(", ").join(
                        sql.SQL("ADD COLUMN {} {}").format(
                            sql.Identifier(addition.column.name), STORED[addition.column.type]
                        )
                        for addition in change
                    ),
                )
            )
        case CreateRelation(relation, private):
            _create(connection, PRIVATE_SCHEMA if private else plan.schema, relation)
            if not relation.path:
                schema = PRIVATE_SCHEMA if private else plan.schema
                _forget_tombstones(connection, schema, relation.name)
        case RenameColumn(relation_name, old, new, private):
            connection.execute(
                sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}").format(
                    place(relation_name, private), sql.Identifier(old), sql.Identifier(new)
                )
            )
        case WidenColumn(relation_name, column, _, private):
            connection.execute(
                sql.SQL(
                    "ALTER TABLE {} ALTER COLUMN {name} TYPE {type} USING {name}::{type}"
                ).format(
                    place(relation_name, private),
                    name=sql.Identifier(column.name),
                    type=STORED[column.type],
                )
            )
        case ChangeKey(relation_name, old, key):
            _change_key(connection, plan.schema, relation_name, old, key)
        case EmptyRelation(relation_name):
            connection.execute(sql.SQL("TRUNCATE {}").format(place(relation_name)))
            _forget_tombstones(connection, plan.schema, relation_name)
        case CopyStage(stage, relation_name, columns):
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
                    place(relation_name),
                    identifiers(live for _, live in columns),
                    identifiers(staged for staged, _ in columns),
                    place(stage, private=True),
                )
            )
            # What was deleted inside the version stays deleted when it is activated.
            connection.execute(
                sql.SQL("ALTER TABLE IF EXISTS {} RENAME TO {}").format(
                    tombstones(PRIVATE_SCHEMA, stage),
                    sql.Identifier(tombstones_name(plan.schema, relation_name)),
                )
            )
        case DropStage(relation_name):
            connection.execute(sql.SQL("DROP TABLE {}").format(place(relation_name, private=True)))
            _forget_tombstones(connection, PRIVATE_SCHEMA, relation_name)


def _create(connection: Connection, schema: str, relation: Relation) -> None:
    _free_name(connection, schema, relation.name)
    key = (
        sql.SQL(", PRIMARY KEY ({})").format(identifiers(index_order(relation.key)))
        if relation.key
        else sql.SQL("")
    )
    connection.execute(
        sql.SQL("CREATE TABLE {} ({}{})").format(
            sql.Identifier(schema, relation.name), definitions(relation.columns), key
        )
    )


def _free_name(connection: Connection, schema: str, name: str) -> None:
    """Move a primary key's index out of the way: tables and indexes share their names.

    The index of table `a` is called `a_pkey`, which a client may call a table as well.
    """
    taken = connection.execute(
        "SELECT 1 FROM pg_catalog.pg_class r"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " JOIN pg_catalog.pg_constraint k ON k.conindid = r.oid AND k.contype = 'p'"
        " WHERE n.nspname = %s AND r.relname = %s",
        [schema, name],
    ).fetchone()
    if taken:
        connection.execute(
            sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                sql.Identifier(schema, name), sql.Identifier(f"pkey_{digest(name)[:16]}")
            )
        )


def _change_key(
    connection: Connection, schema: str, relation: str, old: tuple[str, ...], key: tuple[str, ...]
) -> None:
    target = sql.Identifier(schema, relation)
    # The user may have renamed the constraint.
    constraint = connection.execute(
        "SELECT k.conname FROM pg_catalog.pg_constraint k"
        " JOIN pg_catalog.pg_class r ON r.oid = k.conrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace"
        " WHERE k.contype = 'p' AND n.nspname = %s AND r.relname = %s",
        [schema, relation],
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
        steps.append(sql.SQL("ADD PRIMARY KEY ({})").format(identifiers(index_order(key))))
    if steps:
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(target, sql.SQL(", ").join(steps)))


def tombstones(schema: str, root: str) -> sql.Identifier:
    """The private table of deleted keys (option hard_delete) of a root relation."""
    return sql.Identifier(PRIVATE_SCHEMA, tombstones_name(schema, root))


def _forget_tombstones(connection: Connection, schema: str, root: str) -> None:
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(tombstones(schema, root)))
