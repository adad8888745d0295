"""Pages (connect-api.md 1.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.control.paging import PAGE_ROWS, parse_page_number, render_page

PATH = "/v4/116078/loads"


def _page(total: int, asked: str | None) -> dict[str, object]:
    return render_page(range(total), asked, PATH, lambda row: row)


@pytest.mark.parametrize("asked", [None, "", "0", "-1", "1.0", "x", "+2", " 2", "٢", "9" * 19])
def test_a_page_that_is_no_positive_integer_is_the_first(asked: str | None) -> None:
    assert parse_page_number(asked) == 1


def test_the_second_of_three_pages_has_both_neighbours() -> None:
    assert _page(237, "2") == {
        "data": list(range(100, 200)),
        "page": 2,
        "total": 237,
        "links": {"next": f"{PATH}?page=3", "previous": f"{PATH}?page=1"},
    }


def test_the_first_page_has_no_previous_and_the_last_no_next() -> None:
    assert _page(237, None)["links"] == {"next": f"{PATH}?page=2"}
    assert _page(237, "3")["links"] == {"previous": f"{PATH}?page=2"}


@pytest.mark.parametrize("total", [0, 1, 100])
def test_there_are_no_links_up_to_a_hundred_rows(total: int) -> None:
    assert _page(total, "1") == {"data": list(range(total)), "page": 1, "total": total, "links": {}}


def test_a_page_beyond_the_end_is_empty_and_leads_back() -> None:
    assert _page(3, "7") == {
        "data": [],
        "page": 7,
        "total": 3,
        "links": {"previous": f"{PATH}?page=6"},
    }


@given(st.integers(0, 1_000))
def test_following_next_shows_every_row_once(total: int) -> None:
    shown: list[int] = []
    asked: str | None = "1"
    while asked is not None:
        found = render_page(range(total), asked, PATH, lambda row: row)
        assert len(found["data"]) <= PAGE_ROWS
        shown += found["data"]
        following = found["links"].get("next")
        asked = following.rpartition("=")[2] if following else None
    assert shown == list(range(total))
