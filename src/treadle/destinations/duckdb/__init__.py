"""DuckDB as a destination: a dialect of `destinations.sql`, and rows sent as Arrow tables."""

from treadle.destinations.duckdb.destination import DuckDBDestination

__all__ = ["DuckDBDestination"]
