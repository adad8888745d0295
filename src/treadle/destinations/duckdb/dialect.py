"""DuckDB's SQL."""

from collections.abc import Iterator
from typing import ClassVar

import duckdb

from treadle.destinations.sql.dialect import SqlDialect
from treadle.destinations.sql.schema_changes import SchemaStatements
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.tables import names
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, WidenColumn
from treadle.tables.profiles import DUCKDB


class DuckDBDialect(SqlDialect):
    """DuckDB 2.

    Args:
        catalog: what DuckDB calls the file.
    """

    profile = DUCKDB
    types: ClassVar = {
        ColumnType.BIGINT: Quoted("BIGINT"),
        ColumnType.BOOLEAN: Quoted("BOOLEAN"),
        ColumnType.DECIMAL: Quoted("DECIMAL(38,9)"),
        ColumnType.DOUBLE: Quoted("DOUBLE"),
        ColumnType.JSON: Quoted("JSON"),
        ColumnType.TEXT: Quoted("VARCHAR"),
        ColumnType.TIMESTAMP: Quoted("TIMESTAMPTZ"),
    }
    logical_types: ClassVar = {
        "BIGINT": ColumnType.BIGINT,
        "BOOLEAN": ColumnType.BOOLEAN,
        "DECIMAL": ColumnType.DECIMAL,
        "DOUBLE": ColumnType.DOUBLE,
        "JSON": ColumnType.JSON,
        "TIMESTAMP WITH TIME ZONE": ColumnType.TIMESTAMP,
        "VARCHAR": ColumnType.TEXT,
    }
    text_forms: ClassVar = {
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
    microseconds = "epoch_us({at})"
    find_schema = Quoted(
        "SELECT 1 FROM duckdb_schemas() WHERE database_name = current_database()"
        " AND lower(schema_name) = lower($1)"
    )
    find_table = Quoted(
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()"
        " AND schema_name = $1 AND table_name = $2"
    )
    list_relations = Quoted(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
        " AND schema_name = $1"
        " UNION ALL SELECT view_name FROM duckdb_views()"
        " WHERE database_name = current_database() AND schema_name = $1"
        " UNION ALL SELECT sequence_name FROM duckdb_sequences()"
        " WHERE database_name = current_database() AND schema_name = $1"
    )

    def __init__(self, catalog: str) -> None:
        self._catalog = catalog

    def quote(self, *parts: str) -> Quoted:
        """Return a name, qualified by those before it, as DuckDB quotes it."""
        return Quoted(str(duckdb.col(*parts)))

    def schema(self, schema: str) -> Quoted:
        """Return a schema's full name."""
        return self.quote(self._catalog, schema)

    def place(self, schema: str, relation: str) -> Quoted:
        """Return a relation's full name: a schema may be called like the file."""
        return self.quote(self._catalog, schema, relation)


class DuckDBSchemaStatements(SchemaStatements):
    """Schema changes where a primary key can be added and not dropped."""

    def _change_key(
        self, relation: str, _: tuple[str, ...], key: tuple[str, ...]
    ) -> Iterator[Quoted]:
        """Make the table anew, with its rows copied. Views find it by its name."""
        dialect = self._dialect
        target = self._place(relation)
        name = names.name_auxiliary(self._plan.owner, "_treadle_", self._schema, relation)
        rebuilt = self._place(name)
        described = self._describe(relation)
        indexes = self._connection.rows(
            Quoted(
                "SELECT sql FROM duckdb_indexes() WHERE database_name = current_database()"
                " AND schema_name = $1 AND table_name = $2 AND sql IS NOT NULL"
            ),
            self._schema,
            relation,
        )
        parts = [
            compose("{name} {rest}", name=dialect.quote(column), rest=rest)
            for column, rest in described.items()
        ]
        if key:
            parts.append(compose("PRIMARY KEY ({key})", key=dialect.quote_all(key)))
        yield compose(
            "CREATE TABLE {rebuilt} ({columns})", rebuilt=rebuilt, columns=join(", ", parts)
        )
        yield compose(
            "INSERT INTO {rebuilt} ({columns}) SELECT {columns} FROM {target}",
            rebuilt=rebuilt,
            columns=dialect.quote_all(described),
            target=target,
        )
        yield compose("DROP TABLE {target}", target=target)
        yield compose(
            "ALTER TABLE {rebuilt} RENAME TO {name}", rebuilt=rebuilt, name=dialect.quote(relation)
        )
        for (index,) in indexes:
            yield Quoted(index)

    def _describe(self, relation: str) -> dict[str, Quoted]:
        """Return type and default of each column, as DuckDB itself spells them."""
        columns = self._connection.rows(
            Quoted(
                "SELECT column_name, data_type, column_default FROM duckdb_columns()"
                " WHERE database_name = current_database() AND schema_name = $1"
                " AND table_name = $2 ORDER BY column_index"
            ),
            self._schema,
            relation,
        )
        described = {
            column: Quoted(f"{type_} DEFAULT {default}" if default else type_)
            for column, type_, default in columns
        }
        # Columns of this load are there already when its statements were executed.
        for change in self._plan.changes:
            if not isinstance(change, AddColumn | WidenColumn) or change.private:
                continue
            if change.relation == relation:
                type_ = self._dialect.types[change.column.type]
                if change.column.type is ColumnType.TIMESTAMP:
                    type_ = Quoted("TIMESTAMP WITH TIME ZONE")
                described[change.column.name] = type_
        return described
