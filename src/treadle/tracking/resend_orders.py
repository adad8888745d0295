"""Which rejected records a resend is about, and how they are edited, as the store keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from treadle.records.edit import RecordEdit
from treadle.store.logs import FIRST_LOG
from treadle.store.rejects import RejectQuery


@dataclass(frozen=True, slots=True)
class ResendOrder:
    """A resend that somebody asked for.

    Attributes:
        edit: of every record.
        query: which records; None where `ids` names them.
        newest: the number of a log -> the position of the newest entry that is meant; later ones
            are not.
        ids: of the records; empty where `query` chooses them.
    """

    edit: RecordEdit
    query: RejectQuery | None = None
    newest: Mapping[int, int] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    def encode(self) -> dict[str, Any]:
        """Return the order as JSON."""
        record = self.edit.record
        return {
            "query": None if self.query is None else asdict(self.query),
            "newest": {str(log): position for log, position in self.newest.items()},
            "ids": list(self.ids),
            "record": None if record is None else record.decode(),
            "set": {name: text.decode() for name, text in self.edit.put.items()},
            "unset": sorted(self.edit.drop),
        }


def decode_order(detail: Mapping[str, Any]) -> ResendOrder:
    """Return the order that `ResendOrder.encode` encoded."""
    record, query = detail["record"], detail["query"]
    edit = RecordEdit(
        None if record is None else record.encode(),
        {name: text.encode() for name, text in detail["set"].items()},
        frozenset(detail["unset"]),
    )
    return ResendOrder(
        edit,
        None if query is None else RejectQuery(**query),
        _decode_newest(detail["newest"]),
        tuple(detail["ids"]),
    )


def _decode_newest(found: Mapping[str, int] | int) -> Mapping[int, int]:
    """Return the positions by log; an order of an earlier release has that of the only log."""
    if isinstance(found, int):
        return {FIRST_LOG: found}
    return {int(log): position for log, position in found.items()}
