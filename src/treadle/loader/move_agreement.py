"""Settles moves together with the other loaders, which may have loads of the same source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treadle.loader.commit_recovery import UNCERTAIN_US_MAX
from treadle.loader.destination_share import DestinationShare
from treadle.loader.log_shares import LogShares
from treadle.loader.move_settlement import MoveSettlement, make_key
from treadle.loader.share import is_settled, list_log_units
from treadle.store.model import SourceMove

INTERVAL_US: Final = 500_000
"""The time between two looks whether all loaders have settled a move."""


@dataclass(slots=True)
class MoveAgreement:
    """The moves for which nothing is open in this process, and which it may settle for all.

    Attributes:
        logs: of this process.
        moves: the open ones.
    """

    logs: LogShares
    moves: MoveSettlement
    _looked_at: int = 0

    def find_settled(
        self,
        settled: Sequence[SourceMove],
        fences: Mapping[str, int],
        shares: Mapping[int, DestinationShare],
    ) -> list[SourceMove]:
        """Return those moves that this process may settle now.

        That are those of which it has all units itself, and those that the holders of all units
        have settled for themselves, if it keeps the log of the source.

        Args:
            settled: those for which nothing is open here.
            fences: of this process, when that was found out.
            shares: of the destinations, by id.
        """
        if not self.moves.open_moves:
            return []
        units = [self._find_units(move, shares) for move in settled]
        alone = [all(unit in fences for unit in needed) for needed in units]
        if not self.logs.beats or (all(alone) and len(settled) == len(self.moves.open_moves)):
            return [move for move, is_alone in zip(settled, alone, strict=True) if is_alone]
        holder = self.logs.units
        holder.note_settled(fences, [make_key(move) for move in settled])
        now = self.moves.clock()
        ours = [False] * len(settled)
        if not 0 <= now - self._looked_at < INTERVAL_US:
            self._looked_at = now
            store = self.logs.store
            still_open = store.moves.list_open_moves()
            self.moves.forget_moves([one for one in self.moves.open_moves if one not in still_open])
            number_of = self.logs.numbers.get_number
            ours = [
                move in still_open and self.logs.keeps_log(number_of(move.source_id))
                for move in settled
            ]
            holders = store.units.list_holders() if any(ours) else {}
            ours = [
                is_ours and is_settled(make_key(move), needed, holders)
                for is_ours, move, needed in zip(ours, settled, units, strict=True)
            ]
        return [
            move
            for move, is_alone, is_ours in zip(settled, alone, ours, strict=True)
            if is_alone or is_ours
        ]

    def _find_units(self, move: SourceMove, shares: Mapping[int, DestinationShare]) -> list[str]:
        """Return the units whose holders may have loads of the source of a move."""
        concerned = [move.destination_id]
        # Nobody may have the former destination any more, as the file of a machine that is gone.
        if move.former_id is not None and self.moves.clock() - move.moved_at < UNCERTAIN_US_MAX:
            concerned.append(move.former_id)
        found = [shares[one] for one in concerned if one in shares]
        files = [its.name_unit_of((move.source_id, "")) for its in found if its.is_exclusive]
        return list_log_units(self.logs.numbers.get_number(move.source_id)) + files
