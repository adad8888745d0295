"""Questions to a DuckDB file: read only, in bounded memory, with nothing outside of the file."""

import duckdb

from treadle.destinations.duckdb.connection import DuckDBConnection
from treadle.destinations.engine_asking import EngineAsking
from treadle.destinations.sql.asking import SqlAsking
from treadle.destinations.sql.text import Quoted


class DuckDBAsking(EngineAsking, SqlAsking):
    """A session for one question; see `AskedSession`."""

    _connection: DuckDBConnection
    readable = Quoted(
        """
        SELECT schema_name FROM duckdb_tables()
        WHERE database_name = current_database() AND NOT internal AND lower(schema_name) <> $1
        UNION SELECT schema_name FROM duckdb_views()
        WHERE database_name = current_database() AND NOT internal AND lower(schema_name) <> $1
        """
    )

    @property
    def _driver(self) -> duckdb.DuckDBPyConnection:
        return self._connection.driver
