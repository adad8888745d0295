"""PostgreSQL as a destination: a dialect of `destinations.sql`, and COPY in its binary form."""

from treadle.destinations.postgres.destination import PostgresDestination

__all__ = ["PostgresDestination"]
