"""Loads rows into Apache Iceberg tables by pyiceberg."""

import logging

from treadle.destinations.iceberg.destination import IcebergDestination

__all__ = ["IcebergDestination"]

# It has a line for each file that it opens.
logging.getLogger("pyiceberg").setLevel(logging.WARNING)
