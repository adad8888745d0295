"""Steps become points, rows and words."""

from xml.etree import ElementTree

import pytest

from treadle.console.series_view import RANGES, find_range, join_steps, show_plots, write_begin

HOUR, DAY, WEEK, QUARTER = RANGES
NOW = 1_800_000_000


def test_a_range_is_found_by_its_name() -> None:
    assert find_range("7d") is WEEK
    assert find_range("<script>") is HOUR
    assert write_begin(NOW, HOUR) == "2027-01-15T07:00:00Z"


def test_counts_become_rates_and_what_is_not_known_a_gap() -> None:
    values = [10, 20, 30, None, None, None, 30, None, None]
    points = list(join_steps(values, "rate", HOUR, NOW - 90, NOW - 90, NOW))
    assert points == [(NOW - 90, 2.0), (NOW - 60, None), (NOW - 30, 3.0)]


def test_the_present_step_is_as_long_as_it_lasts() -> None:
    [(_, value)] = join_steps([60], "rate", WEEK, NOW - 60, NOW - 60, NOW)
    assert value == 1  # sixty records in a minute, of an hour of which a minute is over


@pytest.mark.parametrize(("joining", "value"), [("most", 9), ("last", 2)])
def test_what_waits_and_sizes_are_not_summed(joining: str, value: float) -> None:
    at = NOW // 30 * 30
    points = list(join_steps([1, 9, 2], joining, HOUR, at, at, at + 30))  # type: ignore[arg-type]
    assert points == [(at, value)]


@pytest.mark.parametrize("shown", RANGES, ids=lambda shown: shown.name)
def test_every_range_has_plots_and_tables_of_a_bounded_size(shown: object) -> None:
    assert isinstance(shown, type(HOUR))
    steps = shown.seconds // shown.step
    columns = dict.fromkeys(
        ("accepted", "loaded", "rejected", "waiting", "freshness_p50_seconds",
         "freshness_p99_seconds", "requests_2xx", "requests_3xx", "requests_4xx", "requests_5xx",
         "log_bytes"),
        [1234.5] * steps,
    )  # fmt: skip
    plots = show_plots(columns, shown, NOW - shown.seconds, NOW)
    assert [one.name for one in plots] == ["records", "waiting", "freshness", "requests", "log"]
    for one in plots:
        svg = ElementTree.fromstring(one.svg)  # noqa: S314 - our own
        assert len(list(svg.iter("path"))) == len(one.lines)
        assert 20 <= len(one.rows) <= 33
    assert sum(len(one.svg) for one in plots) < 30_000
    assert [line.last for line in plots[4].lines] == ["1.2 kB"]


def test_a_source_has_no_plots_of_the_server() -> None:
    plots = show_plots({"waiting": [1.0, None]}, HOUR, NOW - 20, NOW)
    assert [(one.name, one.lines[0].last) for one in plots] == [("waiting", "1")]
    assert show_plots({}, HOUR, NOW, NOW) == []
