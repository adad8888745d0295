"""MySQL and MariaDB as a destination: a dialect of `destinations.sql`, and LOAD DATA."""

from treadle.destinations.mysql.destination import MysqlDestination

__all__ = ["MysqlDestination"]
