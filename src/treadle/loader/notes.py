"""Reports of loads that are committed and not noted yet: which of them wait for others.

To note a report takes a transaction of the store, 1 ms of processor time, and to note fifty takes
hardly more. Only reports of small loads into tables that are new wait, and only while another such
load comes next: they are done in milliseconds, nobody but treadle can lock their tables, and a
destination, which keeps the last report of each table, keeps the only one. So a loader that dies
leaves nothing behind that is not found again, and nobody waits noticeably longer for a receipt.

A report that could not be noted waits as well, of whatever load it is, until that is done.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from treadle.loader.schedule import TableKey
from treadle.store.model import EntryOutcome, LoadReport

REPORTS_MAX: Final = 64
"""How many wait at most."""

WAIT_US: Final = 50_000
"""How long the first one waits at most while the next load has not begun, microseconds."""

SMALL_BYTES_MAX: Final = 256_000
"""Bytes of the log up to which a load is small."""


def gathers(after: int, size: int) -> bool:
    """Whether the report of a load may wait for those of other tables.

    Args:
        after: the position that its table had before, negative for none.
        size: its bytes in the log.
    """
    return after < 0 and size <= SMALL_BYTES_MAX


class Note(NamedTuple):
    """What is to be noted of a load: where it ends, the report, the outcomes of entries."""

    key: TableKey
    position: int
    load: LoadReport
    outcomes: Sequence[EntryOutcome]


@dataclass(slots=True)
class Notes:
    """Reports that wait, in order; none of a table that has one already.

    Attributes:
        are_late: noting them failed; it comes before anything else.
    """

    are_late: bool = False
    _waiting: dict[TableKey, Note] = field(default_factory=dict)
    _since: int = 0

    @property
    def waiting(self) -> list[Note]:
        """All of them."""
        return list(self._waiting.values())

    @property
    def keys(self) -> Collection[TableKey]:
        """Their tables, as they are now: another thread may ask."""
        return tuple(self._waiting)

    def add(self, note: Note, now: int) -> None:
        """Let a report wait.

        Raises:
            ValueError: an earlier one of the table is not noted. The destination no longer has
                that, so it would be lost with this process.
        """
        if note.key in self._waiting:
            raise ValueError(f"{note.key} was loaded again before its load was noted")
        if not self._waiting:
            self._since = now
        self._waiting[note.key] = note

    def are_due(self, now: int) -> bool:
        """Whether they have to be noted before the next load, whatever that is."""
        return bool(self._waiting) and (
            len(self._waiting) >= REPORTS_MAX or now - self._since >= WAIT_US
        )

    def clear(self) -> None:
        """Forget them: they are noted."""
        self._waiting.clear()
        self.are_late = False
