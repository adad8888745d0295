"""Iceberg tables as statements of people name them; see `scanned_engine`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pyiceberg.table import Table

from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.live_rows import read_all
from treadle.destinations.iceberg.schema_types import list_key
from treadle.destinations.iceberg.table_head import is_pending
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.scanned_engine import ScannedColumn, ScannedEngine
from treadle.tables.profiles import ICEBERG


class LiveRowsScan:
    """The rows of a table, read anew by whoever asks for a stream of them."""

    def __init__(self, table: Table) -> None:
        self._live = read_all(table)
        self._names = [field.name for field in table.schema().fields]

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a stream of all rows; see the Arrow PyCapsule interface."""
        reader: Any = self._live.read_rows(self._names)
        stream: object = reader.__arrow_c_stream__(requested_schema)
        return stream


class CatalogueTable:
    """A table of a catalogue."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def list_columns(self) -> list[ScannedColumn]:
        """Return its columns; see `ScannedTable`."""
        schema = self._table.schema()
        key = list_key(schema, self._table.properties)
        return [
            ScannedColumn(
                field.name,
                name_type(str(field.field_type)),
                is_required=field.required,
                is_key=field.name in key,
            )
            for field in schema.fields
        ]

    def scan(self) -> LiveRowsScan:
        """Return its rows; see `ScannedTable`."""
        return LiveRowsScan(self._table)


class CatalogueTables:
    """The tables of a catalogue; see `ScannedTables`."""

    display_name = "Iceberg tables"

    def __init__(self, catalogue: IcebergCatalogue) -> None:
        self._catalogue = catalogue

    def fold(self, name: str) -> str:
        """Return a name in the form in which names are compared."""
        return ICEBERG.fold(name)

    def list_schemas(self) -> Sequence[str]:
        """Return the schemas of the catalogue."""
        return self._catalogue.list_schemas()

    def list_tables(self, schema: str) -> Sequence[str]:
        """Return the tables of a schema."""
        return self._catalogue.list_tables(schema)

    def find_table(self, schema: str, name: str) -> CatalogueTable | None:
        """Return a table; None for one that a load made and has not committed."""
        table = self._catalogue.load(schema, name)
        if table is None or (is_pending(table) and table.current_snapshot() is None):
            return None
        return CatalogueTable(table)


class StatementEngine(ScannedEngine):
    """An engine for one statement on the tables of a catalogue."""

    def __init__(
        self, catalogue: IcebergCatalogue, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(CatalogueTables(catalogue), settings)


_TYPES: Final[Mapping[str, str]] = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "string": "VARCHAR",
    "uuid": "UUID",
}


def name_type(type_: str) -> str:
    """Return what the engine calls a type of Iceberg."""
    if type_.startswith("decimal("):
        return type_.upper()
    return _TYPES.get(type_, "BLOB")


def list_shown_schemas(catalogue: IcebergCatalogue) -> list[str]:
    """Return the schemas of sources."""
    return [name for name in catalogue.list_schemas() if name != PRIVATE_SCHEMA]
