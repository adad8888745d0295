"""The hand of a user on Iceberg tables: statements in SQL, carried out with pyiceberg alone.

Iceberg has no SQL of its own. A user changes tables with Spark or Trino, which need Java and a
server. Here DuckDB gets all tables of a catalogue in memory and runs the statement, and what it
changed is written back by pyiceberg: tables, columns, keys and rows. Nothing of treadle takes part.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchNamespaceError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

KEY_NOTE: Final = "treadle.key"
"""The key of a table whose key the format takes for no identifier, as the documentation says."""

TYPES: Final[dict[str, IcebergType]] = {
    "BIGINT": LongType(),
    "INTEGER": IntegerType(),
    "BOOLEAN": BooleanType(),
    "DOUBLE": DoubleType(),
    "DATE": DateType(),
    "VARCHAR": StringType(),
    "TIMESTAMP": TimestampType(),
    "TIMESTAMP WITH TIME ZONE": TimestamptzType(),
}
NAMES: Final = {str(type_): name for name, type_ in TYPES.items()}
_READS: Final = re.compile(r"\s*(SELECT|WITH|VALUES|FROM)\b", re.IGNORECASE)
_KEPT: Final = re.compile(r"\s*CREATE\s+(VIEW|UNIQUE\s+INDEX|INDEX)\b", re.IGNORECASE)


def open_catalog(url: str) -> Catalog:
    """The catalogue of a treadle URL, as a user would open it."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    properties = {name: value for name, value in given.items() if name.startswith("s3.")}
    if parts.scheme == "iceberg+sql":
        path = unquote(parts.path)
        stem = path.rpartition(".")[0] or path
        return SqlCatalog(
            "treadle",
            uri=f"sqlite:///{path}",
            warehouse=given.get("warehouse", f"file://{stem}_tables"),
            **properties,
        )
    scheme = "http" if given.get("tls") == "false" else "https"
    properties["uri"] = f"{scheme}://{parts.hostname}:{parts.port}{parts.path}"
    if "warehouse" in given:
        properties["warehouse"] = given["warehouse"]
    if parts.username:
        properties["credential"] = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return RestCatalog("treadle", **properties)


def quote(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def key_of(table: Table) -> frozenset[str]:
    """The key of a table as the documentation says that it is kept."""
    identifier = table.schema().identifier_field_names()
    noted = table.properties.get(KEY_NOTE, "")
    return frozenset(identifier) or frozenset(filter(None, noted.split("\n")))


@dataclass
class Shape:
    """A table as DuckDB shows it."""

    columns: dict[str, tuple[str, bool]]
    key: frozenset[str]
    rows: "pa.Table"


@dataclass
class IcebergHand:
    """A user with statements.

    Attributes:
        url: of the destination.
        schema: that names without a schema mean.
    """

    url: str
    schema: str = "main"
    _kept: list[str] = field(default_factory=list)

    def wants(self, statement: str) -> bool:
        """Whether a statement is for this hand: it writes, or asks for what only this hand has."""
        return _READS.match(statement) is None or bool(self._kept)

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement, and write what it changed."""
        if _KEPT.match(statement):
            self._kept.append(statement)
            with self._opened():
                return []
        with self._opened() as (catalog, driver):
            before = look(driver)
            for place in before:
                if isinstance(place, tuple):
                    before[place].key = key_of(catalog.load_table(place))
            relation = driver.sql(statement)
            found = None if relation is None else relation.to_arrow_table()
            if _READS.match(statement) is None:
                write_back(catalog, before, look(driver), driver)
        if found is None:
            return []
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))

    def columns(self, statement: str) -> tuple[str, ...]:
        """The names of the columns of an answer."""
        with self._opened() as (_, driver):
            return tuple(driver.sql(statement).columns)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[Catalog, duckdb.DuckDBPyConnection]]:
        with (
            contextlib.closing(open_catalog(self.url)) as catalog,
            contextlib.closing(duckdb.connect()) as driver,
        ):
            driver.execute("SET TimeZone = 'UTC'")
            fill(catalog, driver)
            if self.schema != "main":
                known = driver.execute(
                    "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?", [self.schema]
                ).fetchall()
                if known:
                    driver.execute(f"SET schema = '{self.schema}'")
            for kept in self._kept:
                if not re.match(r"\s*CREATE\s+(UNIQUE\s+)?INDEX", kept, re.IGNORECASE):
                    with contextlib.suppress(duckdb.CatalogException):
                        driver.execute(kept)
            yield catalog, driver


def fill(catalog: Catalog, driver: duckdb.DuckDBPyConnection) -> None:
    """Copy all tables of a catalogue into DuckDB."""
    for namespace in catalog.list_namespaces():
        schema = namespace[0]
        driver.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
        for identifier in catalog.list_tables(namespace):
            table = catalog.load_table(identifier)
            fields = [
                f"{quote(each.name)} {duck_type(each)}{' NOT NULL' if each.required else ''}"
                for each in table.schema().fields
            ]
            # Without the key: DuckDB drops no column that an index depends on.
            place = quote(schema, identifier[-1])
            driver.execute(f"CREATE TABLE {place} ({', '.join(fields)})")
            rows = table.scan().to_arrow()
            if rows.num_rows:
                driver.register("rows_of_table", rows)
                driver.execute(f"INSERT INTO {place} SELECT * FROM rows_of_table")
                driver.unregister("rows_of_table")


def duck_type(field_: NestedField) -> str:
    text = str(field_.field_type)
    return text.upper() if text.startswith("decimal") else NAMES[text]


def iceberg_type(name: str) -> IcebergType:
    found = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", name.replace(" ", ""))
    return DecimalType(int(found[1]), int(found[2])) if found else TYPES[name]


def look(driver: duckdb.DuckDBPyConnection) -> dict[tuple[str, str] | str, Any]:
    """What DuckDB holds: schemas by name, and tables by schema and name."""
    found: dict[tuple[str, str] | str, Any] = {}
    for (schema,) in driver.execute(
        "SELECT schema_name FROM duckdb_schemas() WHERE NOT internal AND schema_name <> 'main'"
    ).fetchall():
        found[schema] = None
    for schema, name in driver.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT temporary"
    ).fetchall():
        columns = driver.execute(
            "SELECT column_name, data_type, NOT is_nullable FROM duckdb_columns()"
            " WHERE schema_name = ? AND table_name = ? ORDER BY column_index",
            [schema, name],
        ).fetchall()
        key = driver.execute(
            "SELECT unnest(constraint_column_names) FROM duckdb_constraints()"
            " WHERE schema_name = ? AND table_name = ? AND constraint_type = 'PRIMARY KEY'",
            [schema, name],
        ).fetchall()
        rows = driver.sql(f"SELECT * FROM {quote(schema, name)}").to_arrow_table()
        found[schema, name] = Shape(
            {column: (type_, required) for column, type_, required in columns},
            frozenset(column for (column,) in key),
            rows,
        )
    return found


def write_back(
    catalog: Catalog,
    before: dict[tuple[str, str] | str, Any],
    after: dict[tuple[str, str] | str, Any],
    driver: duckdb.DuckDBPyConnection,
) -> None:
    """Change the tables of a catalogue as they were changed in DuckDB."""
    for place in after:
        if isinstance(place, str) and place not in before:
            with contextlib.suppress(NamespaceAlreadyExistsError):
                catalog.create_namespace((place,))
    for place, shape in before.items():
        if isinstance(place, tuple) and place not in after:
            catalog.drop_table(place)
        elif isinstance(place, tuple):
            # The columns that are left of it are still the key.
            after[place].key = shape.key & after[place].columns.keys()
            change(catalog.load_table(place), shape, after[place])
    for place, shape in after.items():
        if isinstance(place, tuple) and place not in before:
            make(catalog, place, shape)
    for place in before:
        if isinstance(place, str) and place not in after:
            with contextlib.suppress(NoSuchNamespaceError):
                catalog.drop_namespace((place,))


def make(catalog: Catalog, place: tuple[str, str], shape: Shape) -> None:
    """Make a table and fill it."""
    fields = [
        NestedField(number, name, iceberg_type(type_), required=required or name in shape.key)
        for number, (name, (type_, required)) in enumerate(shape.columns.items(), 1)
    ]
    identifier = [each.field_id for each in fields if each.name in shape.key]
    made = catalog.create_table(place, Schema(*fields, identifier_field_ids=identifier))
    if shape.rows.num_rows:
        made.append(fit(made, shape.rows))


def change(table: Table, before: Shape, after: Shape) -> None:
    """Change columns, key and rows of a table."""
    for (old, kind), (new, same) in zip(
        before.columns.items(), after.columns.items(), strict=False
    ):
        if old not in after.columns and new not in before.columns and kind == same:
            with table.update_schema() as update:
                update.rename_column((old,), new)
            return
    if before.columns != after.columns or before.key != after.key:
        with table.update_schema(allow_incompatible_changes=True) as update:
            if before.key != after.key:
                update.set_identifier_fields(*after.key)
            for name, described in before.columns.items():
                if after.columns.get(name) != described:
                    update.delete_column((name,))
            for name, (type_, required) in after.columns.items():
                if before.columns.get(name) != (type_, required):
                    update.add_column((name,), iceberg_type(type_), required=required)
    if not before.rows.equals(after.rows):
        if after.rows.num_rows:
            table.overwrite(fit(table, after.rows))
        else:
            table.delete()


def fit(table: Table, rows: "pa.Table") -> "pa.Table":
    """Rows with the types of a table."""
    schema = table.schema().as_arrow()
    return rows.select(schema.names).cast(schema)
