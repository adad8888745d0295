"""Notes of a load about fields: kept short, and told to each request for itself."""

from treadle.tables.model import FieldNote
from treadle.tracking.field_notes import (
    RUNS_MAX,
    TEXT_MAX,
    encode_notes,
    find_runs,
    render_left_out,
    render_rounded,
    select_notes,
)

POSITIONS = [3, 5, 9, 10, 40]


def test_entries_that_follow_each_other_with_one_number_are_a_run() -> None:
    assert find_runs({0: 1, 1: 1, 2: 1}, POSITIONS) == [(3, 9, 1)]
    assert find_runs({0: 1, 1: 2, 2: 2, 4: 2}, POSITIONS) == [(3, 3, 1), (5, 9, 2), (40, 40, 2)]
    assert find_runs({}, POSITIONS) == []


def test_each_request_is_told_of_its_own_records() -> None:
    notes = encode_notes(
        [
            FieldNote("t", "long", {0: 2, 2: 2}, "Column name long is too long"),
            FieldNote("t__x", "value", {3: 1}),
        ],
        POSITIONS,
    )
    assert render_left_out(select_notes(notes[:1], 3)) == [
        {"table": "t", "field": "long", "reason": "Column name long is too long", "records": 2}
    ]
    assert select_notes(notes, 5) == []
    assert render_rounded(select_notes(notes, 10)) == [
        {"table": "t__x", "field": "value", "values": 1}
    ]
    assert render_left_out(notes)[0]["records"] == 4


def test_a_note_stays_short_whatever_a_load_holds() -> None:
    positions = list(range(4 * RUNS_MAX))
    scattered = dict.fromkeys(positions[::2], 1)
    [note] = encode_notes([FieldNote("t", "f" * 10_000, scattered, "r" * 10_000)], positions)
    assert len(note["field"]) == len(note["reason"]) == TEXT_MAX
    assert note["runs"] is None
    assert note["total"] == 2 * RUNS_MAX
    [told] = select_notes([note], 7)
    assert told["total"] is None
