"""Settles moves of sources to other destinations, in the order in which nothing can double.

First the former destination is asked what it has committed of the source: a load that was committed
and not noted is recorded then, and the log is told where the tables stand. Then the new destination
is asked where it stands: it may have loaded the source before, or `treadle destination move` has
copied what the log keeps. Then the move is settled, and the source is loaded there.

The supervisor's thread uses this. It decides from values alone, and asks nobody itself.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from treadle.loader.commands import MoveKey
from treadle.loader.commit_recovery import UNCERTAIN_US_MAX
from treadle.store.model import SourceMove

logger = logging.getLogger("treadle.loader")


def make_key(move: SourceMove) -> MoveKey:
    """Return the key of a move."""
    return move.source_id, move.moved_at


@dataclass(slots=True)
class MoveSettlement:
    """The open moves of all sources.

    Attributes:
        clock: microseconds since 1970.
        open_moves: those that are not settled.
    """

    clock: Callable[[], int]
    open_moves: Sequence[SourceMove] = ()
    _given_up: set[MoveKey] = field(default_factory=set)
    """Moves whose former destination did not answer in time."""

    @property
    def held_sources(self) -> frozenset[int]:
        """Return the sources of which nothing may be loaded or trimmed yet."""
        return frozenset(move.source_id for move in self.open_moves)

    def choose_questions(
        self, answered: Mapping[int, Collection[MoveKey]]
    ) -> Mapping[int, frozenset[MoveKey]]:
        """Return destination id -> the moves that it is to answer.

        Args:
            answered: by the id of each destination that is loaded into, the moves that it has
                answered.
        """
        questions: dict[int, set[MoveKey]] = {destination_id: set() for destination_id in answered}
        for move in self.open_moves:
            former_id = move.former_id
            if (
                former_id is not None
                and former_id in answered
                and make_key(move) not in self._given_up
            ):
                questions[former_id].add(make_key(move))
            if move.destination_id in answered and self._is_left(move, answered):
                questions[move.destination_id].add(make_key(move))
        return {destination_id: frozenset(keys) for destination_id, keys in questions.items()}

    def find_settled(self, answered: Mapping[int, Collection[MoveKey]]) -> list[SourceMove]:
        """Return the open moves that may be settled, once the log has all positions."""
        return [
            move
            for move in self.open_moves
            if self._is_left(move, answered)
            and make_key(move) in answered.get(move.destination_id, ())
        ]

    def forget_moves(self, moves: Collection[SourceMove]) -> None:
        """Take moves off the list that are settled."""
        self.open_moves = [move for move in self.open_moves if move not in moves]

    def _is_left(self, move: SourceMove, answered: Mapping[int, Collection[MoveKey]]) -> bool:
        """Return whether the former destination has said all, or nobody can or may wait for it."""
        key, former_id = make_key(move), move.former_id
        if former_id is None or former_id not in answered or former_id == move.destination_id:
            return True
        if key in answered[former_id] or key in self._given_up:
            return True
        if move.destination_id not in answered:  # nobody waits for this one
            return False
        if self.clock() - move.moved_at < UNCERTAIN_US_MAX:
            return False
        self._given_up.add(key)
        logger.error(
            "destination %d does not say what it has committed of source %d: destination %d gets "
            "all that is not noted as loaded, so the records of one load may be in both",
            former_id,
            move.source_id,
            move.destination_id,
        )
        return True
