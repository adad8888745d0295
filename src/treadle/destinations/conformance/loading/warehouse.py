"""A destination as the cases look at it: with the database's own driver, not by treadle."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class FoundTable:
    """A table as the engine shows it.

    Attributes:
        columns: in order, with logical types.
        key: as a set; None where the engine knows no keys.
        rows: of it.
    """

    columns: list[tuple[str, str]]
    key: frozenset[str] | None
    rows: list[tuple[Any, ...]]


class Warehouse(Protocol):
    """One schema of one destination."""

    name: str
    display_name: str

    def run(self, statement: str) -> None:
        """Run a statement of the user's."""

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a statement of the user's."""

    def tables(self) -> dict[str, FoundTable]:
        """All tables of the schema; none when there is no schema."""
