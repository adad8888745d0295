"""The schema changes of a plan as DuckDB statements (loading.md 5.3, 9.2)."""

from treadle.destinations.duckdb.quoting import (
    STORED,
    Quoted,
    compose,
    definitions,
    joined,
    name,
    names,
)
from treadle.destinations.duckdb.rows import Database
from treadle.destinations.layout import PRIVATE_SCHEMA, tombstones_name
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    RenameColumn,
    SchemaChange,
    WidenColumn,
)
from treadle.tables.profiles import DUCKDB


def apply_changes(database: Database, plan: LoadPlan) -> None:
    """Make a plan's schema changes, in order."""
    for change in plan.changes:
        _apply(database, plan, change)


def _apply(database: Database, plan: LoadPlan, change: SchemaChange) -> None:
    def place(relation: str, private: bool = False) -> Quoted:
        return database.private(relation) if private else database.place(plan.schema, relation)

    match change:
        case CreateRelation(relation, private):
            key = compose(", PRIMARY KEY ({key})", key=names(relation.key))
            database.run(
                compose(
                    "CREATE TABLE {target} ({columns}{key})",
                    target=place(relation.name, private),
                    columns=definitions(relation.columns),
                    key=key if relation.key else Quoted(""),
                )
            )
            if not relation.path:
                schema = PRIVATE_SCHEMA if private else plan.schema
                _forget_tombstones(database, schema, relation.name)
        case AddColumn(relation_name, column, private):
            database.run(
                compose(
                    "ALTER TABLE {target} ADD COLUMN {name} {type}",
                    target=place(relation_name, private),
                    name=name(column.name),
                    type=STORED[column.type],
                )
            )
        case RenameColumn(relation_name, old, new, private):
            database.run(
                compose(
                    "ALTER TABLE {target} RENAME COLUMN {old} TO {new}",
                    target=place(relation_name, private),
                    old=name(old),
                    new=name(new),
                )
            )
        case WidenColumn(relation_name, column, _, private):
            database.run(
                compose(
                    "ALTER TABLE {target} ALTER COLUMN {name} TYPE {type}",
                    target=place(relation_name, private),
                    name=name(column.name),
                    type=STORED[column.type],
                )
            )
        case ChangeKey(relation_name, _, key_names):
            _change_key(database, plan.schema, relation_name, key_names)
        case EmptyRelation(relation_name):
            database.run(compose("DELETE FROM {target}", target=place(relation_name)))
            _forget_tombstones(database, plan.schema, relation_name)
        case CopyStage(stage, relation_name, columns):
            database.run(
                compose(
                    "INSERT INTO {target} ({live}) SELECT {staged} FROM {stage}",
                    target=place(relation_name),
                    live=names(live for _, live in columns),
                    staged=names(staged for staged, _ in columns),
                    stage=place(stage, private=True),
                )
            )
            # What was deleted inside the version stays deleted when it is activated.
            database.run(
                compose(
                    "ALTER TABLE IF EXISTS {staged} RENAME TO {live}",
                    staged=tombstones(database, PRIVATE_SCHEMA, stage),
                    live=name(tombstones_name(plan.schema, DUCKDB.fold(relation_name))),
                )
            )
        case DropStage(relation_name):
            database.run(compose("DROP TABLE {stage}", stage=place(relation_name, private=True)))
            _forget_tombstones(database, PRIVATE_SCHEMA, relation_name)


def _change_key(database: Database, schema: str, relation: str, key: tuple[str, ...]) -> None:
    """Make an empty table anew: DuckDB can add a primary key but not drop one."""
    target = database.place(schema, relation)
    columns = database.rows(
        Quoted(
            "SELECT column_name, data_type, column_default FROM duckdb_columns()"
            " WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
            " ORDER BY column_index"
        ),
        schema,
        relation,
    )
    indexes = database.rows(
        Quoted(
            "SELECT sql FROM duckdb_indexes() WHERE database_name = current_database()"
            " AND schema_name = ? AND table_name = ? AND sql IS NOT NULL"
        ),
        schema,
        relation,
    )
    described = [
        # Type and default are DuckDB's own spelling of what is there.
        compose(
            "{name} {type}{default}",
            name=name(column),
            type=Quoted(type_),
            default=Quoted(f" DEFAULT {default}" if default else ""),
        )
        for column, type_, default in columns
    ]
    if key:
        described.append(compose("PRIMARY KEY ({key})", key=names(key)))
    database.run(compose("DROP TABLE {target}", target=target))
    database.run(
        compose("CREATE TABLE {target} ({columns})", target=target, columns=joined(", ", described))
    )
    for (index,) in indexes:
        database.run(Quoted(index))


def tombstones(database: Database, schema: str, root: str) -> Quoted:
    """The private table of deleted keys (option hard_delete) of a root relation."""
    return database.private(tombstones_name(schema, DUCKDB.fold(root)))


def _forget_tombstones(database: Database, schema: str, root: str) -> None:
    database.run(
        compose("DROP TABLE IF EXISTS {tombstones}", tombstones=tombstones(database, schema, root))
    )
