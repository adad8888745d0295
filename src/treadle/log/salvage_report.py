"""Values for the repair of a damaged log: what is known of it, and the report of a repair."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from treadle.counting import count_noun

SalvagedTable = tuple[int, str]


@dataclass(frozen=True, slots=True)
class KnownLog:
    """The name and the loaded positions of a log, as the store remembers them.

    Attributes:
        log_id: its name; None for a log nobody knows.
        loaded_positions: (source id, table name) -> position up to which a load was noted.
    """

    log_id: str | None = None
    loaded_positions: Mapping[SalvagedTable, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SalvageReport:
    """The result of a repair.

    Attributes:
        reason: the damage that was found; empty where it was asked for without any.
        damaged_path: where the damaged file is now.
        entries_kept: sound entries that were carried over.
        damaged_positions: of the entries that are damaged, by table; "" for unknown tables.
    """

    reason: str
    damaged_path: Path
    entries_kept: int
    damaged_positions: dict[SalvagedTable, list[int]]

    def describe(self) -> str:
        """Write the report as one sentence for the operator."""
        count = sum(len(positions) for positions in self.damaged_positions.values())
        names = "; ".join(
            f"{name!r} of source {source}: {', '.join(map(str, positions[:20]))}"
            f"{' ...' if len(positions) > 20 else ''}"
            for (source, name), positions in sorted(self.damaged_positions.items())
        )
        why = f"was damaged ({self.reason})" if self.reason else "was rewritten, as --anyway asked"
        carried = "was" if self.entries_kept == 1 else "were"
        return (
            f"the log {why}; the former file is kept as {self.damaged_path}, "
            f"{count_noun(self.entries_kept, 'entry', 'entries')} {carried} carried over, "
            f"{count} {'is' if count == 1 else 'are'} damaged{': ' + names if names else ''}"
        )
