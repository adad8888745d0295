"""ClickHouse as a destination: a dialect of `destinations.sql`, without transactions."""

from treadle.destinations.clickhouse.destination import ClickhouseDestination

__all__ = ["ClickhouseDestination"]
