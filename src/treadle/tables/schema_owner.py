"""The source that a schema of a destination was made for."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class SchemaOwner:
    """The owner of a schema, as the destination records it.

    Attributes:
        installation_id: of the treadle whose store knows the source (`Store.installation_id`).
        account_id: of the source; 0 for a schema of the operator's, in which tables are rebuilt.
        source_id: of the source; 0 for a schema of the operator's.
    """

    installation_id: str
    account_id: int
    source_id: int

    def may_use(self, other: "SchemaOwner") -> bool:
        """Return whether this owner may write into a schema that is recorded for another one.

        Names are unique among the sources of an account, but the name of a deleted source may be
        used again (connect-api.md 4.1). So two sources of one account with one schema are a deleted
        one and its successor.
        """
        return (self.installation_id, self.account_id) == (other.installation_id, other.account_id)

    def succeeds(self, other: "SchemaOwner") -> bool:
        """Return whether this owner's source is a later one than the recorded one's."""
        return self.may_use(other) and self.source_id > other.source_id


UNOWNED: Final = SchemaOwner("", 0, 0)
"""The owner where nobody is told apart: in tests of destinations, and in a rehearsal of nothing."""


def make_operator(installation_id: str) -> SchemaOwner:
    """Return the owner of the schemas in which an operator has tables rebuilt."""
    return SchemaOwner(installation_id, 0, 0)
