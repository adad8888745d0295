"""A destination that is a SQL database."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from treadle.destinations.capabilities import Capabilities
from treadle.destinations.protocol import Session
from treadle.tables.profile import DestinationProfile


class SqlDestination(ABC):
    """One database; see `Destination`."""

    kind: ClassVar[str]
    profile: ClassVar[DestinationProfile]
    capabilities: ClassVar[Capabilities]

    @property
    @abstractmethod
    def identity(self) -> str:
        """The same text for the same database, whatever the credentials."""

    @property
    def file(self) -> Path | None:
        """No file: a server has to be there."""
        return None

    @abstractmethod
    def open(self, *, read_only: bool = False) -> Session:
        """Connect; see `Destination.open`."""

    def preview(self) -> Session:
        """Connect for reading; see `Destination.preview`."""
        return self.open(read_only=True)
