"""What a SQL database says of its schemas, tables and columns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final

from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.text import Quoted, compose, number_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import PhysicalRelation

LIST_SCHEMAS: Final = Quoted("SELECT schema_name FROM information_schema.schemata")


class RelationLookup(ABC):
    """Looks schemas and relations up by the statements of a dialect.

    Attributes:
        dialect: how statements are spelled.
    """

    dialect: SqlDialect

    @abstractmethod
    def rows(self, statement: Quoted, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement and fetch all rows."""

    def holds_table(self, schema: str, name: str) -> bool:
        """Return whether there is such a table; also inside a transaction."""
        return bool(self.rows(self.dialect.find_table, schema, name))

    def holds_own_table(self, name: str) -> bool:
        """Return whether treadle's schema has such a table; also inside a transaction."""
        return self.holds_table(PRIVATE_SCHEMA, name)

    def holds_schema(self, schema: str) -> bool:
        """Return whether there is such a schema."""
        return bool(self.rows(self.dialect.find_schema, schema))

    def list_schemas(self) -> list[str]:
        """Return the names of all schemas of the database."""
        return [str(name) for (name,) in self.rows(LIST_SCHEMAS)]

    def list_relations(self, schema: str) -> set[str]:
        """Return the names of the tables, views and sequences of a schema."""
        return {str(name) for (name,) in self.rows(self.dialect.list_relations, schema)}

    def describe(self, schema: str, names: Sequence[str]) -> dict[str, PhysicalRelation]:
        """Return those of some relations that exist; outside of a transaction."""
        columns: dict[str, dict[str, ColumnType | None]] = {}
        keys: dict[str, set[str]] = {}
        marks = number_values(2, len(names))
        statement = compose(self.dialect.list_columns, names=marks)
        for relation, column, type_name, in_key in self.rows(statement, schema, *names):
            columns.setdefault(relation, {})
            keys.setdefault(relation, set())
            if column is not None:
                columns[relation][column] = self.dialect.logical_types.get(type_name)
                if in_key:
                    keys[relation].add(column)
        return {name: PhysicalRelation(columns[name], frozenset(keys[name])) for name in columns}
