"""How rows travel to DuckDB: as Arrow tables that statements can name.

An Arrow table's columns are called c0, c1, ... and it is registered under a name of our own: no
name of a client takes part until it is quoted as a target.
"""

from collections.abc import Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from treadle.destinations.duckdb.quoting import Quoted, name, names, same
from treadle.destinations.layout import PRIVATE_SCHEMA, TOMBSTONES
from treadle.tables.model import ColumnType, Relation, RelationRows
from treadle.tables.prepare.arrow_column import ArrowColumn
from treadle.tables.profiles import DUCKDB

_ARROW: Final[dict[ColumnType, Any]] = {
    ColumnType.BIGINT: pa.int64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DECIMAL: pa.decimal128(38, 9),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.JSON: pa.string(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}

_ENTRY: Final = "entry"

COPIED_MAX: Final = 512
"""Bytes of a value, on average, up to which a column is copied into one piece."""


PARSED_MAX: Final = 64
"""Statements that are kept parsed; the bookkeeping of a load has a dozen."""


class Database:
    """A connection with the names and the shorthand that statements need.

    Args:
        connection: to the file.
        catalog: what DuckDB calls the file.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, catalog: str) -> None:
        self.connection = connection
        self._catalog = catalog
        self._registered: list[str] = []
        self._tombstones: bool | None = None
        self._referred: bool | None = None
        self._alone = False
        self._statements: dict[str, duckdb.Statement] = {}

    def place(self, schema: str, relation: str) -> Quoted:
        """A relation's full name: a schema may be called like the file."""
        return name(self._catalog, schema, relation)

    def schema(self, schema: str) -> Quoted:
        """A schema's full name."""
        return name(self._catalog, schema)

    def private(self, relation: str) -> Quoted:
        """Full name of a relation of treadle's own schema."""
        return self.place(PRIVATE_SCHEMA, relation)

    def run(self, statement: Quoted, *values: object) -> int:
        """Execute; returns the number of rows written."""
        found = self.rows(statement, *values)
        return int(found[0][0]) if found and isinstance(found[0][0], int) else 0

    def may_hold_tombstones(self) -> bool:
        """Whether some root's table of deleted keys is there, or was made here.

        Asked once: the answer takes longer the more tables there are, and is mostly no.
        """
        if self._tombstones is None:
            found = self.rows(
                Quoted(
                    "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()"
                    " AND schema_name = ? AND starts_with(table_name, ?) LIMIT 1"
                ),
                PRIVATE_SCHEMA,
                TOMBSTONES,
            )
            self._tombstones = bool(found)
        return self._tombstones

    def made_tombstones(self) -> None:
        """Note that a table of deleted keys was made."""
        self._tombstones = True

    def holds_only(self, place: Quoted, relation: Relation) -> bool:
        """Whether nothing of a relation would be lost with a row that is deleted and written anew.

        That are the operator's own columns, and rows of other tables that refer to it.

        Args:
            place: the relation's full name; it exists.
            relation: what treadle knows of it.
        """
        if self._referred is None:
            found = self.rows(
                Quoted(
                    "SELECT 1 FROM duckdb_constraints() WHERE database_name = current_database()"
                    " AND constraint_type = 'FOREIGN KEY' LIMIT 1"
                )
            )
            self._referred = bool(found)
        there = self.rows(Quoted("SELECT name FROM pragma_table_info(?)"), place)
        ours = {DUCKDB.fold(column.name) for column in relation.columns}
        return not self._referred and {DUCKDB.fold(called) for (called,) in there} == ours

    def register(self, title: str, table: pa.Table) -> None:
        """Let statements name an Arrow table, until `forget`."""
        self._registered.append(title)
        self.connection.register(title, table)

    def forget(self) -> None:
        """Let go of what was registered; only outside a transaction, which may have failed."""
        while self._registered:
            self.connection.unregister(self._registered.pop())

    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute and fetch everything."""
        if not values:
            return self.connection.execute(statement).fetchall()
        # What takes values comes again: parsing it takes up to half as long as a look by a key.
        parsed = self._statements.get(statement)
        if parsed is None:
            if len(self._statements) >= PARSED_MAX:
                self._statements.clear()
            [parsed] = self.connection.extract_statements(statement)
            self._statements[statement] = parsed
        return self.connection.execute(parsed, values).fetchall()

    def insert(self, schema: str, rows: RelationRows) -> None:
        """Put rows into a relation that was made as it is described, and had no change since.

        An Arrow table that is given to DuckDB and taken away again takes two more transactions.
        """
        arrays = [
            _array(rows.columns[column.name], _ARROW[column.type])
            if column.name in rows.columns
            else pa.nulls(len(rows), _ARROW[column.type])
            for column in rows.relation.columns
        ]
        titles = [f"c{number}" for number in range(len(arrays))]
        given = self.connection.from_arrow(pa.table(arrays, names=titles))
        given.insert_into(self.place(schema, rows.relation.name))

    def hurry(self, *, alone: bool) -> None:
        """Have one thread do everything from now on, or as many as there are processors.

        To hand out work and wait for it takes half of what a small statement takes.
        """
        if alone != self._alone:
            self.connection.execute("SET threads = 1" if alone else "RESET threads")
            self._alone = alone


class Stage:
    """Rows for a relation as an Arrow table that statements can name.

    Attributes:
        name: the table's quoted name.
        columns: relation's column -> the stage's.
    """

    def __init__(self, database: Database, rows: RelationRows, title: str) -> None:
        self.columns: dict[str, str] = {}
        arrays: list[pa.Array[Any]] = []
        for column in rows.relation.columns:
            if column.name in rows.columns:
                self.columns[column.name] = f"c{len(arrays)}"
                arrays.append(_array(rows.columns[column.name], _ARROW[column.type]))
        titles = list(self.columns.values())
        if len(rows.entries) == len(rows):
            titles.append(_ENTRY)
            arrays.append(pa.array(rows.entries, pa.int64()))
        database.register(title, pa.table(arrays, names=titles))
        self.name = name(title)

    def values(self, columns: Sequence[str] | dict[str, Any]) -> Quoted:
        """The stage's columns for these of the relation, behind the alias `s`."""
        return names((self.columns[column] for column in columns), "s")

    def matches(self, alias: str, pairs: Sequence[tuple[str, str]]) -> Quoted:
        """Condition: for every (column, other), stage `s`'s column equals `alias`'s other."""
        return same("s", alias, [(self.columns[column], other) for column, other in pairs])


def _array(column: Sequence[Any], type_: Any) -> Any:
    if isinstance(column, ArrowColumn):
        if column.array.nbytes > COPIED_MAX * len(column):
            return column.array.cast(type_)
        # In one piece: DuckDB reads Arrow in pieces of any size, and small ones cost it as much.
        return column.array.combine_chunks().cast(type_)
    return pa.array(column, type_)
