"""The ways out of a stop: what somebody can do about a table that is not loaded. Pure."""

from dataclasses import dataclass
from typing import Final

from treadle.tables.prepare.key_mismatch import KEY_TYPE_DIFFERS, KEYS_DIFFER

_FROZEN: Final = "which is frozen"
"""What the sentence about a contract has in it."""

_CONTRACTS: Final = {
    "Table": "contract.tables",
    "Column": "contract.columns",
    "Type": "contract.types",
}
"""First word of that sentence -> the option."""


@dataclass(frozen=True, slots=True)
class TableRemedy:
    """A way out.

    Attributes:
        title: what it does.
        text: a sentence about what becomes of the records.
        option: to set for the table, with its value; None where nothing is set.
        drops: the table is to be dropped in the destination first, by hand.
    """

    title: str
    text: str
    option: tuple[str, str] | None = None
    drops: bool = False

    @property
    def words(self) -> str:
        """Return the option as it is written in a command; empty for none."""
        return "" if self.option is None else "=".join(self.option)


def list_remedies(error: str) -> tuple[TableRemedy, ...]:
    """Return the ways out of a stop, the one that loses nothing first.

    Args:
        error: the sentence of the loader.
    """
    if error.startswith(KEYS_DIFFER):
        return (
            TableRemedy(
                "Append from now on",
                "The table keeps its rows, loses the constraint on its key, and every record "
                "becomes a row.",
                ("key_change", "append"),
            ),
            TableRemedy(
                "Make it anew with the new key",
                "Drop the table in the destination, then try again: it is made with the key of "
                "the records that wait. Rebuild it from the log afterwards for what was in it.",
                drops=True,
            ),
        )
    if error.startswith(KEY_TYPE_DIFFERS):
        return (
            TableRemedy(
                "Reject such records",
                "The table keeps its rows and its key. Records with another type of key are "
                "rejected, and can be edited and sent again.",
                ("key_types", "reject"),
            ),
            TableRemedy(
                "Make it anew with the new type",
                "Drop the table in the destination, then try again: it is made with the type of "
                "the records that wait. Rebuild it from the log afterwards for what was in it.",
                drops=True,
            ),
        )
    if _FROZEN in error:
        kind = error.partition(" ")[0]
        name = _CONTRACTS.get(kind, "contract.columns")
        return (
            TableRemedy(
                "Let the table evolve",
                "New columns and types are made as the records bring them.",
                (name, "evolve"),
            ),
            TableRemedy(
                "Reject such records",
                "The table stays as it is. Such records are rejected, and can be sent again.",
                (name, "discard_row"),
            ),
        )
    return ()
