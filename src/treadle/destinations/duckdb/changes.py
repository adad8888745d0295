"""The schema changes of a plan as DuckDB statements (loading.md 5.3, 9.2).

`statements` is all there is: a load executes what it gives, and a person is shown the same.
"""

from collections.abc import Iterator
from typing import Final, LiteralString

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
from treadle.destinations.layout import PRIVATE_SCHEMA, digest_name, tombstones_name
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
    RenameColumn,
    SchemaChange,
    TableWrite,
    WidenColumn,
)
from treadle.tables.profiles import DUCKDB

_SPELLED: Final = {
    type_: Quoted("TIMESTAMP WITH TIME ZONE") if type_ is ColumnType.TIMESTAMP else stored
    for type_, stored in STORED.items()
}
"""Types as DuckDB itself writes them."""


_AS_TEXT: Final[dict[ColumnType, LiteralString]] = {
    ColumnType.DECIMAL: "regexp_replace({name}::VARCHAR, '\\.?0+$', '')",
    ColumnType.DOUBLE: (
        "CASE WHEN {name} = trunc({name}) AND abs({name}) < 1e16"
        " THEN {name}::BIGINT::VARCHAR ELSE {name}::VARCHAR END"
    ),
    # The session's time zone is UTC.
    ColumnType.TIMESTAMP: (
        "CASE WHEN {name} >= '0001-01-01 00:00:00Z'::TIMESTAMPTZ"
        " AND {name} < '10000-01-01 00:00:00Z'::TIMESTAMPTZ"
        " THEN regexp_replace(strftime({name}::TIMESTAMP, '%Y-%m-%dT%H:%M:%S.%f'),"
        " '\\.?0+$', '') || 'Z' ELSE {name}::VARCHAR END"
    ),
}
"""How a value is spelled when its column becomes text: as `tables.columns.converted` spells it."""


def _widened(column: Column, old: ColumnType) -> Quoted:
    """A column's values as those of its wider type."""
    if column.type is ColumnType.TEXT and old in _AS_TEXT:
        return compose(_AS_TEXT[old], name=name(column.name))
    return compose("{name}::{type}", name=name(column.name), type=STORED[column.type])


def apply_changes(database: Database, plan: LoadPlan) -> None:
    """Make a plan's schema changes, in order."""
    for statement in statements(database, plan):
        database.run(statement)


def statements(database: Database, plan: LoadPlan) -> Iterator[Quoted]:
    """The statements that make a plan's schema changes, in order; runs none of them.

    What is there is looked up as late as it is needed, so that whoever executes each statement
    before asking for the next gets the same ones as who executes none.
    """
    return _Statements(database, plan).run()


def tombstones(database: Database, schema: str, root: str) -> Quoted:
    """The private table of deleted keys (option hard_delete) of a root relation."""
    return database.private(tombstones_name(schema, DUCKDB.fold(root)))


def create_tombstones(database: Database, plan: LoadPlan, write: TableWrite) -> Quoted:
    """The statement that makes the table of deleted keys where it is missing."""
    root = write.root.relation
    return compose(
        "CREATE TABLE IF NOT EXISTS {tombstones}"
        " ({columns}, _sdc_sequence BIGINT NOT NULL, PRIMARY KEY ({key}))",
        tombstones=tombstones(
            database, PRIVATE_SCHEMA if write.private else plan.schema, root.name
        ),
        columns=definitions([column for column in root.columns if column.name in root.key]),
        key=names(root.key),
    )


class _Statements:
    def __init__(self, database: Database, plan: LoadPlan) -> None:
        self._database = database
        self._schema = plan.schema
        self._changes = plan.changes
        self._earlier: list[AddColumn | WidenColumn] = []
        self._renamed: set[str] = set()
        """Tables of deleted keys that earlier statements give another name."""

    def run(self) -> Iterator[Quoted]:
        for change in self._changes:
            yield from self._of(change)
            if isinstance(change, AddColumn | WidenColumn):
                self._earlier.append(change)

    def _place(self, relation: str, private: bool = False) -> Quoted:
        if private:
            return self._database.private(relation)
        return self._database.place(self._schema, relation)

    def _of(self, change: SchemaChange) -> Iterator[Quoted]:
        match change:
            case CreateRelation(relation, private):
                key = compose(", PRIMARY KEY ({key})", key=names(relation.key))
                yield compose(
                    "CREATE TABLE {target} ({columns}{key})",
                    target=self._place(relation.name, private),
                    columns=definitions(relation.columns),
                    key=key if relation.key else Quoted(""),
                )
                if not relation.path:
                    schema = PRIVATE_SCHEMA if private else self._schema
                    yield from self._forget_tombstones(schema, relation.name)
            case AddColumn(relation_name, column, private):
                yield compose(
                    "ALTER TABLE {target} ADD COLUMN {name} {type}",
                    target=self._place(relation_name, private),
                    name=name(column.name),
                    type=STORED[column.type],
                )
            case RenameColumn(relation_name, old, new, private):
                yield compose(
                    "ALTER TABLE {target} RENAME COLUMN {old} TO {new}",
                    target=self._place(relation_name, private),
                    old=name(old),
                    new=name(new),
                )
            case WidenColumn(relation_name, column, old, private):
                yield compose(
                    "ALTER TABLE {target} ALTER COLUMN {name} TYPE {type} USING {value}",
                    target=self._place(relation_name, private),
                    name=name(column.name),
                    type=STORED[column.type],
                    value=_widened(column, old),
                )
            case ChangeKey(relation_name, _, key_names):
                yield from self._change_key(relation_name, key_names)
            case EmptyRelation(relation_name):
                yield compose("DELETE FROM {target}", target=self._place(relation_name))
                yield from self._forget_tombstones(self._schema, relation_name)
            case CopyStage(stage, relation_name, columns, staged_in):
                yield compose(
                    "INSERT INTO {target} ({live}) SELECT {staged} FROM {stage}",
                    target=self._place(relation_name),
                    live=names(live for _, live in columns),
                    staged=names(staged for staged, _ in columns),
                    stage=self._database.place(staged_in or PRIVATE_SCHEMA, stage),
                )
                staged_keys = tombstones_name(staged_in or PRIVATE_SCHEMA, DUCKDB.fold(stage))
                if self._exists(staged_keys):
                    # What was deleted inside the version stays deleted when it is activated.
                    yield compose(
                        "ALTER TABLE {staged} RENAME TO {live}",
                        staged=self._place(staged_keys, private=True),
                        live=name(tombstones_name(self._schema, DUCKDB.fold(relation_name))),
                    )
                    self._renamed.add(staged_keys)
            case DropStage(relation_name):
                yield compose("DROP TABLE {stage}", stage=self._place(relation_name, private=True))
                yield from self._forget_tombstones(PRIVATE_SCHEMA, relation_name)

    def _change_key(self, relation: str, key: tuple[str, ...]) -> Iterator[Quoted]:
        """Make a table anew, its rows copied: DuckDB can add a primary key but not drop one.

        Views find a table by its name, so they see the new one.
        """
        target = self._place(relation)
        rebuilt = f"_treadle_{digest_name(relation)[:16]}"
        columns = self._database.rows(
            Quoted(
                "SELECT column_name, data_type, column_default FROM duckdb_columns()"
                " WHERE database_name = current_database() AND schema_name = ?"
                " AND table_name = ? ORDER BY column_index"
            ),
            self._schema,
            relation,
        )
        indexes = self._database.rows(
            Quoted(
                "SELECT sql FROM duckdb_indexes() WHERE database_name = current_database()"
                " AND schema_name = ? AND table_name = ? AND sql IS NOT NULL"
            ),
            self._schema,
            relation,
        )
        # Type and default are DuckDB's own spelling of what is there. Columns of this load are
        # there already when its statements were executed.
        described = {
            column: compose(
                "{type}{default}",
                type=Quoted(type_),
                default=Quoted(f" DEFAULT {default}" if default else ""),
            )
            for column, type_, default in columns
        }
        for change in self._earlier:
            if change.relation == relation and not change.private:
                described[change.column.name] = _SPELLED[change.column.type]
        parts = [
            compose("{name} {rest}", name=name(column), rest=rest)
            for column, rest in described.items()
        ]
        if key:
            parts.append(compose("PRIMARY KEY ({key})", key=names(key)))
        yield compose(
            "CREATE TABLE {rebuilt} ({columns})",
            rebuilt=self._place(rebuilt),
            columns=joined(", ", parts),
        )
        yield compose(
            "INSERT INTO {rebuilt} ({columns}) SELECT {columns} FROM {target}",
            rebuilt=self._place(rebuilt),
            columns=names(described),
            target=target,
        )
        yield compose("DROP TABLE {target}", target=target)
        yield compose(
            "ALTER TABLE {rebuilt} RENAME TO {name}",
            rebuilt=self._place(rebuilt),
            name=name(relation),
        )
        for (index,) in indexes:
            yield Quoted(index)

    def _forget_tombstones(self, schema: str, root: str) -> Iterator[Quoted]:
        name_ = tombstones_name(schema, DUCKDB.fold(root))
        if self._exists(name_):
            yield compose("DROP TABLE {table}", table=self._place(name_, private=True))

    def _exists(self, private_table: str) -> bool:
        if private_table in self._renamed or not self._database.may_hold_tombstones():
            return False
        found = self._database.rows(
            Quoted(
                "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()"
                " AND schema_name = ? AND table_name = ?"
            ),
            PRIVATE_SCHEMA,
            private_table,
        )
        return bool(found)
