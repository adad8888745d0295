"""A DuckDB file as a destination.

One process at a time may write a DuckDB file, so a session holds the file only while it is open,
and it should be open only for a load. Inside one process sessions share the file, and loads into
it follow one another.
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final

import duckdb

from treadle.destinations.asking import AskedSession
from treadle.destinations.capabilities import Capabilities
from treadle.destinations.duckdb.asking import DuckDBAsking
from treadle.destinations.duckdb.attach import name_catalog, open_attached, use
from treadle.destinations.duckdb.connection import DuckDBConnection
from treadle.destinations.duckdb.dialect import DuckDBSchemaStatements
from treadle.destinations.duckdb.errors import translate, translate_open
from treadle.destinations.duckdb.memory import GATHERED_BYTES_MAX, MemoryWatch
from treadle.destinations.duckdb.transactions import DuckDBTransactions
from treadle.destinations.engine_asking import ASKING_CONFIG
from treadle.destinations.protocol import Session
from treadle.destinations.sql.session import SqlSession
from treadle.destinations.statement_asking import open_asking
from treadle.tables.profiles import DUCKDB

CONFIG: Final[Mapping[str, str]] = {
    # A statement of an operator reads and writes this file and no other, and fetches nothing.
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # What DuckDB freed goes back to the system at once, not when 128 MB of it have come together.
    "allocator_flush_threshold": "1MB",
    "allocator_bulk_deallocation_flush_threshold": "1MB",
    # Of a file that is made now; one that is there keeps its own. A small table takes two blocks,
    # which are 256 KB each if nothing is said.
    "default_block_size": "65536",
    # No COMMIT makes a checkpoint; a session does, between loads (memory.py).
    "checkpoint_threshold": "1TB",
}
"""Settings of the file; one process must open it with the same ones everywhere."""

_turns: dict[str, threading.Lock] = {}
_turns_guard = threading.Lock()


class DuckDBDestination:
    """One file.

    Args:
        path: of the file; its directory must exist, the file need not.
        gathered_max: bytes that DuckDB may have gathered before it has to let go of them.
    """

    kind = "duckdb"
    profile = DUCKDB
    capabilities = Capabilities(exclusive=True)

    def __init__(self, path: Path, gathered_max: int = GATHERED_BYTES_MAX) -> None:
        self._path = path.absolute()
        self._gathered_max = gathered_max

    @property
    def file(self) -> Path:
        """The file, which the first load makes."""
        return self._path.resolve()

    @property
    def identity(self) -> str:
        """The file's absolute path, links resolved."""
        return f"duckdb://{self._path.resolve()}"

    def open(self, *, read_only: bool = False) -> Session:
        """Open the file; see `Destination.open`."""
        path = str(self._path.resolve())
        with _turns_guard:
            turn = _turns.setdefault(path, threading.Lock())
        return DuckDBSession(
            DuckDBTransactions(
                partial(self._opened, path, read_only),
                turn,
                MemoryWatch(self._gathered_max),
                read_only=read_only,
                path=None if read_only else Path(path),
            )
        )

    def preview(self) -> Session:
        """Open the file for reading; one that is missing reads as empty. See `Destination`."""
        if self._path.exists():
            return self.open(read_only=True)
        return DuckDBSession(
            DuckDBTransactions(
                partial(self._imagined, name_catalog(str(self._path.resolve()))),
                threading.Lock(),
                MemoryWatch(None),
                read_only=False,
                path=None,
            )
        )

    @staticmethod
    def _imagined(called: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config=dict(CONFIG))
        # Called as DuckDB would call the file, so that statements name it so.
        if called.lower() != "memory":
            connection.execute(f"ATTACH ':memory:' AS {duckdb.col(called)}")
            use(connection, called)
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def ask(self, seconds: float) -> AbstractContextManager[AskedSession]:
        """Open the file for one question; see `AskedDestination`."""
        path = str(self._path.resolve())
        driver = _open_file(path, {**CONFIG, **ASKING_CONFIG}, read_only=True)
        return open_asking(DuckDBAsking(DuckDBConnection(driver, read_only=True), seconds))

    def _opened(self, path: str, read_only: bool) -> duckdb.DuckDBPyConnection:
        return _open_file(path, CONFIG, read_only=read_only)


def _open_file(
    path: str, config: Mapping[str, str], *, read_only: bool
) -> duckdb.DuckDBPyConnection:
    try:
        connection = open_attached(path, config, read_only=read_only)
    except duckdb.Error as error:
        raise translate_open(error, path) from error
    try:
        connection.execute("SET TimeZone = 'UTC'")
        # A name that is not there is no mistake to us: no search for one that is like it.
        connection.execute("SET catalog_error_max_schemas = 0")
    except duckdb.Error as error:
        connection.close()
        raise translate(error) from error
    return connection


class DuckDBSession(SqlSession):
    """One connection at a time; see `Session`."""

    schema_statements = DuckDBSchemaStatements
