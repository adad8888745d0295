"""PostgreSQL as a destination: `destination` holds the connection, `load` carries plans out."""

from treadle.destinations.postgres.destination import PostgresDestination

__all__ = ["PostgresDestination"]
