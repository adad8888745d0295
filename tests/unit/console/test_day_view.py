"""A day of loads as a picture."""

from dataclasses import replace
from xml.etree import ElementTree

from tests.loads import load as make_load

from treadle.console.day_view import (
    FOLDED,
    LEAST,
    MARKS_MAX,
    describe_day,
    describe_mark,
    draw_day,
    plan_marks,
)
from treadle.console.pages.table import choose_day, describe_attempt, name_day
from treadle.console.view import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from treadle.store.load_folding import choose_folds
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
    hour = (960 - 16) / 24
    assert f'x="8.0" y="16.0" width="{hour:.1f}"' in draw_day([mark], title="t")
    assert describe_mark(mark) == "23:00:00 of the day before, 120 min 0 s"
    [mark] = plan_marks([make_attempt(-2 * DAY_US, 2 * DAY_US)], MIDNIGHT)
    assert describe_mark(mark).startswith("00:00:00 of an earlier day, ")
    many = [make_attempt(-HOUR_US, 2 * HOUR_US)] * (MARKS_MAX + 1)
    assert [mark.start for mark in plan_marks(many, MIDNIGHT)] == [0]


def test_a_folded_report_counts_each_of_its_loads_and_tells_no_duration() -> None:
    singles = [make_attempt(HOUR_US + at * 30 * SECOND_US, SECOND_US // 5) for at in range(119)]
    numbered = [(at, replace(one, first=at, last=at)) for at, one in enumerate(singles)]
    [fold] = choose_folds(numbered)
    marks = plan_marks([fold.report], MIDNIGHT)
    assert describe_mark(marks[0]) == "01:00:00: 119 attempts, 0 failed"
    assert describe_day(marks) == f"119 attempts, 0 failed. {FOLDED}"
    assert f'height="{LEAST:.1f}"' in draw_day(marks, title="t")
    line = describe_attempt(fold.report)
    assert (line["took"], line["state"].detail) == (None, "119 loads of an hour")
    marks = plan_marks([fold.report, make_attempt(5 * HOUR_US, SECOND_US)], MIDNIGHT)
    told = "120 attempts, 0 failed; the longest that is known took 1.0 s. "
    assert describe_day(marks) == told + FOLDED
    marks = plan_marks([fold.report] * 121, MIDNIGHT)
    assert [(mark.attempts, mark.duration) for mark in marks] == [(121 * 119, None)]
    [alone] = plan_marks(singles[:1], MIDNIGHT)
    assert describe_day([alone]) == "1 attempt, 0 failed; the longest took 200 ms."


def test_no_attempt_is_said() -> None:
    assert describe_day([]) == "No attempt."


def test_a_url_names_a_day() -> None:
    now = MIDNIGHT + HOUR_US
    today = name_day(MIDNIGHT)
    assert choose_day(today, now) == MIDNIGHT
    assert choose_day("2020-02-29", now) == choose_day("2020-02-29", now) // DAY_US * DAY_US
    assert name_day(choose_day("2020-02-29", now)) == "2020-02-29"
    for text in (
        "",
        "2020-02-30",
        "0001-01-01",
        "1969-12-31",
        "9999-12-31",
        "yesterday",
        "2020-02-29T10:00",
    ):
        assert choose_day(text, now) == MIDNIGHT
