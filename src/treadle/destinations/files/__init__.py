"""Parquet files in a folder or a bucket as a destination: append only."""

from treadle.destinations.files.destination import FilesDestination

__all__ = ["FilesDestination"]
