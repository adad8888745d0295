"""What came ahead is taken in the order in which it was sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.ingest.fastpath.ahead_queue import AHEAD_PIECE_BYTES, AheadQueue


def test_what_came_with_a_request_is_taken_before_what_came_later() -> None:
    queue = AheadQueue()
    queue.add(b"later")
    queue.put_back(b"first ")
    assert queue.size == len(b"first later")
    assert queue.take() == b"first later"
    assert not queue
    assert queue.size == 0
    assert not queue.is_cut


@pytest.mark.parametrize("count", [AHEAD_PIECE_BYTES, AHEAD_PIECE_BYTES + 1, 100_000])
def test_much_is_taken_in_pieces(count: int) -> None:
    queue = AheadQueue()
    sent = bytes(range(256)) * (count // 256) + b"x" * (count % 256)
    queue.put_back(sent)
    taken = []
    while queue:
        taken.append(queue.take())
        assert 0 < len(taken[-1]) <= AHEAD_PIECE_BYTES
    assert b"".join(taken) == sent


def test_what_is_dropped_is_noted() -> None:
    queue = AheadQueue()
    queue.drop()
    assert not queue.is_cut  # there was nothing
    queue.add(b"GET ")
    queue.drop()
    assert queue.is_cut
    assert (len(queue), queue.size) == (0, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "put_back", "take"]), st.binary(min_size=1, max_size=9))
    )
)
def test_the_size_is_that_of_all_pieces(steps: list[tuple[str, bytes]]) -> None:
    queue = AheadQueue()
    expected = b""
    for step, data in steps:
        if step == "add":
            queue.add(data)
            expected += data
        elif step == "put_back":
            queue.put_back(data)
            expected = data + expected
        elif queue:
            taken = queue.take()
            assert expected.startswith(taken)
            expected = expected[len(taken) :]
        assert queue.size == len(b"".join(queue)) == len(expected)
