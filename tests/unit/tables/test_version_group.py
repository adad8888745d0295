"""Records of a table version, and where they came from."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from treadle.tables.prepare.frame import Frame
from treadle.tables.prepare.version_group import VersionGroup

PLACES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, unique=True)


def make_group(places: Sequence[tuple[int, int]]) -> VersionGroup:
    entries, indexes = zip(*places, strict=True)
    zeros = [0] * len(places)
    frame = Frame((), "t", len(places))
    return VersionGroup(0, 0, (), [frame], list(entries), list(indexes), zeros, zeros)


@given(PLACES, st.data())
def test_the_record_that_came_first_is_of_the_lowest_entry(
    places: list[tuple[int, int]], data: st.DataObject
) -> None:
    group = make_group(places)
    assert group.find_first_ref(range(len(places))) == min(places)
    rows = data.draw(st.lists(st.integers(0, len(places) - 1), min_size=1))
    assert group.find_first_ref(rows) == min(places[row] for row in rows)
