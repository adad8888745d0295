"""Problems from their beginning to their end."""

from dataclasses import replace
from pathlib import Path

from treadle.loader.spell_recorder import LOOK_SECONDS, SpellRecorder
from treadle.tracking.problem_kinds import FoundProblem
from treadle.tracking.problem_spells import (
    KEPT_US,
    RETURN_US,
    SPELLS_MAX,
    advance_spells,
    list_ended_spells,
    read_spells,
    write_spells,
)

NOW = 1_800_000_000_000_000
DOWN = FoundProblem(1, "destination_unavailable", "destination 7", "destination 7", NOW - 5)
STOPPED = replace(DOWN, kind="table_stopped", key="table 1", named="orders of shop", since=NOW - 9)


def test_a_problem_begins_and_ends() -> None:
    spells = advance_spells([], [DOWN, STOPPED], NOW)
    assert [(one.kind, one.began, one.ended) for one in spells] == [
        ("destination_unavailable", NOW - 5, None),
        ("table_stopped", NOW - 9, None),
    ]
    assert advance_spells(spells, [DOWN, STOPPED], NOW + 1) == spells
    spells = advance_spells(spells, [STOPPED], NOW + 2)
    assert [one.ended for one in spells] == [NOW + 2, None]
    assert [one.named for one in list_ended_spells(spells, NOW)] == ["destination 7"]
    assert list_ended_spells(spells, NOW + 3) == []


def test_a_problem_that_comes_back_at_once_has_not_ended() -> None:
    ended = advance_spells(advance_spells([], [DOWN], NOW), [], NOW + 1)
    [again] = advance_spells(ended, [DOWN], NOW + RETURN_US)
    assert (again.began, again.ended) == (DOWN.since, None)
    later = replace(DOWN, since=NOW + 2 * RETURN_US)
    spells = advance_spells(ended, [later], NOW + 2 * RETURN_US)
    assert [one.ended for one in spells] == [None, NOW + 1]


def test_what_is_over_is_kept_for_some_days_and_bounded() -> None:
    ended = advance_spells(advance_spells([], [DOWN], NOW), [], NOW)
    assert advance_spells(ended, [], NOW + KEPT_US - 1) == ended
    assert advance_spells(ended, [], NOW + KEPT_US) == []
    many = [replace(DOWN, key=f"table {number}") for number in range(SPELLS_MAX + 5)]
    assert len(advance_spells([], many, NOW)) == SPELLS_MAX


def test_a_recorder_goes_on_with_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    path = tmp_path / "problems"
    found = [DOWN]
    recorder = SpellRecorder(lambda now: found, path, lambda: NOW, lambda: 0.0)
    assert recorder.run_once(NOW) == LOOK_SECONDS
    found.clear()
    SpellRecorder(lambda now: found, path, lambda: NOW).run_once(NOW + 7)
    [spell] = read_spells(path)
    assert (spell.named, spell.ended) == ("destination 7", NOW + 7)
    write_spells(path, [])
    assert read_spells(path) == []
    path.write_text("{")
    assert read_spells(path) == []
