"""The order in which a move is settled: the former destination, the new one, then the source."""

import logging
from collections.abc import Collection, Mapping

import pytest

from treadle.loader.commands import MoveKey
from treadle.loader.commit_recovery import UNCERTAIN_US_MAX
from treadle.loader.move_settlement import MoveSettlement, make_key
from treadle.store.model import SourceMove

FORMER, NEW, OTHER = 10, 20, 30
MOVED_AT = 1_700_000_000_000_000
MOVE = SourceMove(1, FORMER, NEW, MOVED_AT, None)
KEY = make_key(MOVE)
NOTHING: Mapping[int, Collection[MoveKey]] = {FORMER: (), NEW: (), OTHER: ()}


def settlement(move: SourceMove = MOVE, now: int = MOVED_AT) -> MoveSettlement:
    return MoveSettlement(lambda: now, [move])


def test_the_former_destination_is_asked_before_the_new_one() -> None:
    moves = settlement()
    assert moves.held_sources == {1}
    asked = moves.choose_questions(NOTHING)
    assert asked == {FORMER: {KEY}, NEW: frozenset(), OTHER: frozenset()}
    assert moves.find_settled(NOTHING) == []

    said = {**NOTHING, FORMER: {KEY}}
    assert moves.choose_questions(said)[NEW] == {KEY}
    assert moves.find_settled(said) == []
    # An answer of the new one alone may be older than what the former one told of.
    assert moves.find_settled({**NOTHING, NEW: {KEY}}) == []

    said[NEW] = {KEY}
    assert moves.find_settled(said) == [MOVE]
    moves.forget_moves([MOVE])
    assert moves.held_sources == frozenset()


@pytest.mark.parametrize("former", [None, 99, NEW])
def test_a_former_destination_that_is_not_there_is_not_waited_for(former: int | None) -> None:
    moves = settlement(SourceMove(1, former, NEW, MOVED_AT, None))
    assert moves.choose_questions(NOTHING)[NEW] == {KEY}
    assert moves.find_settled({**NOTHING, NEW: {KEY}}) == moves.open_moves


def test_an_answer_about_an_earlier_move_of_the_source_counts_for_nothing() -> None:
    earlier = {(1, MOVED_AT - 1)}
    moves = settlement()
    assert moves.find_settled({FORMER: earlier, NEW: earlier}) == []
    assert moves.choose_questions({FORMER: earlier, NEW: earlier})[NEW] == frozenset()


def test_a_former_destination_that_is_silent_is_waited_for_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    now = [MOVED_AT + UNCERTAIN_US_MAX - 1]
    moves = MoveSettlement(lambda: now[0], [MOVE])
    assert moves.choose_questions(NOTHING)[NEW] == frozenset()
    now[0] += 1
    # Nobody waits for it while the new one cannot be loaded into.
    assert moves.choose_questions({FORMER: ()}) == {FORMER: {KEY}}
    assert caplog.records == []
    assert moves.choose_questions(NOTHING)[NEW] == {KEY}
    assert moves.choose_questions(NOTHING)[FORMER] == frozenset()
    assert moves.find_settled({**NOTHING, NEW: {KEY}}) == [MOVE]
    [said] = caplog.messages
    assert said.startswith("destination 10 does not say what it has committed of source 1:")
