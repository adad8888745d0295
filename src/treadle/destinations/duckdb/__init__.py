"""DuckDB as a destination: `destination` holds the file, `load` carries plans out."""

from treadle.destinations.duckdb.destination import DuckDBDestination

__all__ = ["DuckDBDestination"]
