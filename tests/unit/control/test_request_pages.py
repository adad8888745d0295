"""Pages of the latest requests out of several logs: each once, the newest first."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.event_readings import EventCursor, decode_cursor
from treadle.control.request_operations import (
    REQUESTS_MAX,
    RequestPlace,
    _merge_pages,
    parse_request_place,
)
from treadle.errors import RequestRefusedError
from treadle.tracking.receipts import ReceiptCodec
from treadle.tracking.request_tail import AcceptedRequest, RequestTail

CODEC = ReceiptCodec("installation", "log")
POSITIONS = st.integers(0, 10**17)
BELOW = st.dictionaries(st.integers(0, 99), POSITIONS, max_size=5)


def look(log: int, times: list[int], below: int | None, limit: int) -> RequestTail:
    """What a look at a log finds, whose requests have positions 1, 2, ..."""
    last = len(times) if below is None else below - 1
    first = max(1, last - limit + 1)
    found = [
        AcceptedRequest(at, 1, log, times[at - 1], {}, 1, 1, log=log)
        for at in range(last, first - 1, -1)
    ]
    if first > 1:
        return RequestTail(found, first, found[-1].received_at)
    return RequestTail(found, None, found[-1].received_at if found else None)


@given(
    st.lists(st.lists(st.integers(0, 2000), max_size=150).map(sorted), min_size=1, max_size=4),
    st.integers(REQUESTS_MAX, REQUESTS_MAX + 20),
)
def test_pages_have_each_request_once_and_the_newest_first(
    logs: list[list[int]], limit: int
) -> None:
    told: list[AcceptedRequest] = []
    place = RequestPlace()
    while True:
        tails: Mapping[int, RequestTail] = {
            log: look(log, times, place.below.get(log), limit)
            for log, times in enumerate(logs)
            if place.below.get(log) != 0
        }
        page = _merge_pages(tails, [], place, CODEC)
        told += [one for one in page.requests if isinstance(one, AcceptedRequest)]
        if page.next is None:
            break
        assert page.requests  # a page goes on
        place = parse_request_place(page.next.encode())
        assert place == page.next
    assert len(told) == sum(map(len, logs))
    assert len({(one.log, one.first) for one in told}) == len(told)
    assert [one.received_at for one in told] == sorted(
        (one.received_at for one in told), reverse=True
    )


@given(BELOW)
def test_a_place_is_read_back(below: dict[int, int]) -> None:
    place = RequestPlace(below)
    assert parse_request_place(place.encode()) == place


@pytest.mark.parametrize(
    ("text", "below"), [(",", {}), ("0,", {0: 0}), ("1042,", {0: 1042}), ("7_2-0,", {0: 7, 2: 0})]
)
def test_places_of_one_log_are_as_ever(text: str, below: dict[int, int]) -> None:
    assert parse_request_place(text) == RequestPlace(below)


@pytest.mark.parametrize("text", ["", "x,", "1_x,", "1_1,", "-1,", "1_,", "1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(RequestRefusedError):
        parse_request_place(text)


@given(POSITIONS, POSITIONS, POSITIONS, BELOW)
def test_a_cursor_is_read_back(
    load: int, position: int, refused: int, others: dict[int, int]
) -> None:
    cursor = EventCursor(load, 0, refused).at_position(0, position)
    for log, at in others.items():
        cursor = cursor.at_position(log, at)
    assert decode_cursor(cursor.encode()) == cursor
    assert cursor.get_position(0) == others.get(0, position)
    assert all(cursor.get_position(log) == at for log, at in others.items())
    if not others.keys() - {0}:
        assert cursor.encode() == f"{load}-{others.get(0, position)}-{refused}"
