"""The contract of a place for objects: a folder of this machine, or a bucket.

A key is a path of parts that slashes separate, without one in front. An object is there as a whole,
or not at all.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from treadle.errors import TreadleError


class ObjectExistsError(TreadleError):
    """An object of this name is there."""


class ObjectStore(Protocol):
    """A place for objects.

    Attributes:
        place: what stands before a key and a slash: a folder, or a bucket with a prefix.
    """

    place: str

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write an object that nobody else writes."""

    def put_new(self, key: str, data: bytes) -> None:
        """Write an object if none has its name; of several who do so, one succeeds.

        Raises:
            ObjectExistsError: one has. It may be this call's own, where an answer was lost.
        """

    def get(self, key: str) -> bytes | None:
        """Return what is in an object; None where it is missing."""

    def open(self, key: str) -> Any:
        """Return an object for readers of Parquet files; None where it is missing."""

    def list_keys(self, folder: str) -> list[str]:
        """Return the keys of the objects in a folder and below, in order."""

    def list_folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in a folder, in order."""

    def holds_any(self, folder: str) -> bool:
        """Return whether an object is in a folder or below."""

    def show(self, pending: str, shown: str) -> None:
        """Give an object another name, unless one has that name, or somebody was faster."""

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; what is not there is passed over."""

    def close(self) -> None:
        """Let go of it."""
