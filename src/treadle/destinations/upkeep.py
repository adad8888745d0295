"""Tables of a destination that have come to more files than they should."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class CrowdedTable:
    """A table that readers have to open many files for.

    Attributes:
        name: schema and name of the table.
        files: data files, and files of deletes.
    """

    name: str
    files: int


@runtime_checkable
class KeptDestination(Protocol):
    """A destination whose tables are files, which somebody has to keep few."""

    def find_crowded(self) -> Sequence[CrowdedTable]:
        """Return the tables with many more files than the compaction leaves, those with most first.

        Raises:
            DestinationUnavailableError, AccessDeniedError: as `Destination.open`.
        """
