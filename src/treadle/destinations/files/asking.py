"""Questions to files: read only, in bounded memory, with nothing outside of the tables."""

from collections.abc import Mapping

from treadle.destinations.engine_asking import ASKING_CONFIG
from treadle.destinations.files.errors import FAULTS, translate
from treadle.destinations.files.object_store import ObjectStore
from treadle.destinations.files.record_chain import RecordChain
from treadle.destinations.files.session import FilesSession
from treadle.destinations.files.stored_tables import AskedTables
from treadle.destinations.files.table_record import OwnerRecord, TableRecord
from treadle.destinations.protocol import LoadSession
from treadle.destinations.scanned_asking import ScannedAsking
from treadle.destinations.scanned_engine import ScannedEngine
from treadle.tables.schema_owner import SchemaOwner


class FilesAsking(ScannedAsking):
    """A session for one question; see `AskedSession`.

    Args:
        store: of the files.
        seconds: after which a statement is ended.
    """

    def __init__(self, store: ObjectStore, seconds: float) -> None:
        self._store = store
        self._owners = RecordChain(store, OwnerRecord)
        self._stored = AskedTables(store, RecordChain(store, TableRecord), self._owners)
        super().__init__(ScannedEngine(self._stored, ASKING_CONFIG), seconds)

    @property
    def look_up(self) -> LoadSession:
        """The same store, for treadle's own questions."""
        return FilesSession(self._store, read_only=True)

    def list_readable_schemas(self) -> frozenset[str]:
        """Return the schemas of sources: all of them can be read."""
        try:
            return frozenset(self._stored.list_schemas())
        except FAULTS as error:
            raise translate(error) from error

    def read_owners(self) -> Mapping[str, SchemaOwner] | None:
        """Return the owners that treadle recorded beside the files."""
        try:
            return self._stored.read_owners()
        except FAULTS as error:
            raise translate(error) from error

    def _show_tables(self, statement: str) -> None:
        try:
            self._engine.attach_for(statement)
        except FAULTS as error:
            raise translate(error) from error

    def close(self) -> None:
        """Let go of the engine and the store."""
        super().close()
        self._store.close()
