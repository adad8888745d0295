"""Loads rows into Apache Iceberg tables by pyiceberg."""

from treadle.destinations.iceberg.destination import IcebergDestination

__all__ = ["IcebergDestination"]
