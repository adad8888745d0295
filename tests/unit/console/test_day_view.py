"""A day of loads as a picture."""

import re
from xml.etree import ElementTree

from tests.loads import load as make_load

from treadle.console.day_view import (
    MARKS_MAX,
    describe_day,
    describe_mark,
    draw_day,
    plan_marks,
)
from treadle.console.pages.table import choose_day, name_day
from treadle.console.view import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from treadle.store.model import LoadReport

MIDNIGHT = 1_800_000_000_000_000 // DAY_US * DAY_US
EVIL = "<script>alert(1)</script>\u202e"


def make_attempt(at: int, took: int, error: str | None = None) -> LoadReport:
    began = MIDNIGHT + at
    return make_load(1, "t", 1, 0, started_at=began, finished_at=began + took, error=error)


def test_each_attempt_is_a_mark_with_start_duration_and_error() -> None:
    loads = [make_attempt(2 * HOUR_US, 3 * SECOND_US, EVIL), make_attempt(HOUR_US, SECOND_US)]
    marks = plan_marks(loads, MIDNIGHT)
    assert [(mark.start, mark.duration, mark.failed) for mark in marks] == [
        (HOUR_US, SECOND_US, 0),
        (2 * HOUR_US, 3 * SECOND_US, 1),
    ]
    assert describe_mark(marks[0]) == "01:00:00, 1.0 s"
    assert describe_mark(marks[1]).startswith("02:00:00, 3.0 s, failed: <script>")
    assert describe_day(marks) == "2 attempts, 1 failed; the longest took 3.0 s."
    drawn = draw_day(marks, title=EVIL)
    assert "<script>" not in drawn
    assert "\u202e" not in drawn.replace(EVIL[-1], "", 1)  # the title is the caller's
    found = ElementTree.fromstring(drawn)  # noqa: S314 - ours
    assert len(found.findall("rect")) == 2
    assert [one.get("class") for one in found.findall("rect")] == ["mark good", "mark bad"]


def test_many_attempts_share_marks() -> None:
    loads = [make_attempt(number * MINUTE_US, SECOND_US) for number in range(24 * 60)]
    loads[700] = make_attempt(700 * MINUTE_US, 9 * SECOND_US, "no room")
    marks = plan_marks(loads, MIDNIGHT)
    assert len(marks) == 96 <= MARKS_MAX
    assert sum(mark.attempts for mark in marks) == 24 * 60
    [bad] = [mark for mark in marks if mark.failed]
    assert describe_mark(bad) == "11:30:00: 15 attempts, 1 failed, the longest 9.0 s: no room"
    assert len(draw_day(marks, title="t")) < 25_000


def test_an_attempt_that_began_the_day_before_is_at_the_edge() -> None:
    [mark] = plan_marks([make_attempt(-HOUR_US, 2 * HOUR_US)], MIDNIGHT)
    assert mark.start == 0
    assert re.search(r'x="8\.0"', draw_day([mark], title="t"))
    assert describe_day([]) == "No attempt."


def test_a_url_names_a_day() -> None:
    now = MIDNIGHT + HOUR_US
    today = name_day(MIDNIGHT)
    assert choose_day(today, now) == MIDNIGHT
    assert choose_day("2020-02-29", now) == choose_day("2020-02-29", now) // DAY_US * DAY_US
    assert name_day(choose_day("2020-02-29", now)) == "2020-02-29"
    for text in ("", "2020-02-30", "9999-12-31", "yesterday", "2020-02-29T10:00"):
        assert choose_day(text, now) == MIDNIGHT
