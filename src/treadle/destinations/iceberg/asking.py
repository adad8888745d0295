"""Questions to Iceberg tables: read only, in bounded memory, with nothing outside of the tables."""

from collections.abc import Mapping

from treadle.destinations.engine_asking import ASKING_CONFIG
from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.compaction import CompactionRule
from treadle.destinations.iceberg.errors import ERRORS, translate
from treadle.destinations.iceberg.session import IcebergSession
from treadle.destinations.iceberg.statement_engine import (
    StatementEngine,
    list_shown_schemas,
)
from treadle.destinations.iceberg.table_record import (
    OWNER,
    OWNER_PREFIX,
    SCHEMA,
    decode_owner,
)
from treadle.destinations.layout import PRIVATE_SCHEMA
from treadle.destinations.protocol import LoadSession
from treadle.destinations.scanned_asking import ScannedAsking
from treadle.tables.schema_owner import SchemaOwner


class IcebergAsking(ScannedAsking):
    """A session for one question; see `AskedSession`.

    Args:
        catalogue: of the tables.
        seconds: after which a statement is ended.
    """

    def __init__(self, catalogue: IcebergCatalogue, seconds: float) -> None:
        super().__init__(StatementEngine(catalogue, ASKING_CONFIG), seconds)
        self._catalogue = catalogue

    @property
    def look_up(self) -> LoadSession:
        """The same catalogue, for treadle's own questions."""
        return IcebergSession(self._catalogue, CompactionRule(), read_only=True)

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the schemas of sources: all of them can be read."""
        try:
            return frozenset(
                name
                for name in list_shown_schemas(self._catalogue)
                if self._catalogue.list_tables(name)
            )
        except ERRORS as error:
            raise translate(error) from error

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that treadle recorded beside the tables."""
        found: dict[str, SchemaOwner] = {}
        try:
            for name in self._catalogue.list_tables(PRIVATE_SCHEMA):
                if name.startswith(OWNER_PREFIX):
                    noted = self._catalogue.load(PRIVATE_SCHEMA, name)
                    if noted is not None and OWNER in noted.properties:
                        owner = decode_owner(noted.properties[OWNER])
                        found[noted.properties[SCHEMA]] = owner
        except ERRORS as error:
            raise translate(error) from error
        return found

    def _show_tables(self, statement: str) -> None:
        try:
            self._engine.attach_for(statement)
        except ERRORS as error:
            raise translate(error) from error

    def close(self) -> None:
        """Let go of the engine and the catalogue."""
        super().close()
        self._catalogue.close()
