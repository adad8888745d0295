import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from treadle.destinations.record_bisection import find_refused


@given(st.integers(1, 400), st.data())
def test_every_bad_record_is_found_and_no_other_in_bounded_rehearsals(
    count: int, data: st.DataObject
) -> None:
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=5))
    rehearsals = 0

    def rehearse(records: Sequence[int]) -> str | None:
        nonlocal rehearsals
        rehearsals += 1
        hit = [record for record in records if record in bad]
        return f"record {hit[0]} is bad" if hit else None

    found = find_refused(list(range(count)), rehearse)
    assert found == {record: f"record {record} is bad" for record in bad}
    assert rehearsals <= 1 + 2 * len(bad) * (1 + math.ceil(math.log2(count + 1)))
