"""Looks into Iceberg tables with pyiceberg and DuckDB, not with treadle's code."""

from contextlib import closing
from typing import Any

import duckdb
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError
from tests.conformance.loading.warehouse import plain
from tests.servers.iceberg_hand import IcebergHand, key_of, open_catalog

from treadle.destinations.conformance.loading.warehouse import FoundTable

KINDS = {
    "long": "bigint",
    "int": "integer",
    "double": "double",
    "decimal(38, 9)": "decimal",
    "boolean": "boolean",
    "timestamptz": "timestamp",
    "string": "text",
}
"""Types of Iceberg -> logical type."""


class Iceberg:
    """A namespace of a catalogue."""

    name = "iceberg"
    display_name = "Iceberg"

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._hand = IcebergHand(url, schema)

    def run(self, statement: str) -> None:
        for one in statement.split("; "):
            self._hand.run(one)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        if self._hand.wants(statement):
            return [tuple(map(plain, row)) for row in self._hand.run(statement)]
        with closing(open_catalog(self._url)) as catalog, closing(duckdb.connect()) as driver:
            driver.execute("SET TimeZone = 'UTC'")
            for name in self._names(catalog):
                if name in statement:
                    rows = catalog.load_table((self._schema, name)).scan().to_arrow()
                    driver.register(name, rows)
            found = driver.sql(statement).to_arrow_table()
        columns = [column.to_pylist() for column in found.columns]
        return [tuple(map(plain, row)) for row in zip(*columns, strict=True)]

    def _names(self, catalog: Catalog) -> list[str]:
        try:
            return [identifier[-1] for identifier in catalog.list_tables((self._schema,))]
        except NoSuchNamespaceError:
            return []

    def tables(self) -> dict[str, FoundTable]:
        with closing(open_catalog(self._url)) as catalog:
            return {name: self._table(catalog, name) for name in self._names(catalog)}

    def _table(self, catalog: Catalog, name: str) -> FoundTable:
        table = catalog.load_table((self._schema, name))
        columns = [
            (
                field.name,
                "json" if field.doc == "JSON" else KINDS.get(str(field.field_type), "other"),
            )
            for field in table.schema().fields
        ]
        found = table.scan().to_arrow()
        values = [column.to_pylist() for column in found.columns]
        rows = [tuple(map(plain, row)) for row in zip(*values, strict=True)]
        return FoundTable(columns, key_of(table), rows)
