import pytest

from treadle.store.report_order import KEYS, choose_complete_number


@pytest.mark.parametrize(
    ("newest", "begun", "complete"),
    [
        (0, [], 0),
        (7, [], 7),
        (7, [7], 7),  # its first number will be 8 at least
        (7, [6, 3, 5], 3),
        (7, [0], 0),
        (7, [9], 7),  # began after 7 was read
        (7, [9, 6], 6),
        (KEYS + 2, [KEYS - 1, 1], KEYS - 1),  # keys begin anew at a multiple of KEYS
        (KEYS - 1, [0], KEYS - 1),  # which is KEYS
        (5 * KEYS, [KEYS - 3], 5 * KEYS - 3),
    ],
)
def test_reports_are_complete_up_to_where_the_oldest_recording_began(
    newest: int, begun: list[int], complete: int
) -> None:
    assert choose_complete_number(newest, begun) == complete
