"""Plots are SVG that can be read without seeing them."""

import re
from xml.etree import ElementTree

import pytest

from treadle.console.plot import (
    HEIGHT,
    WIDTH,
    PlotSeries,
    describe_plot,
    draw_plot,
    format_axis,
    round_up,
)


def draw(*series: PlotSeries) -> ElementTree.Element:
    text = draw_plot("<Records>", series, begin="12:00", end="13:00", unit="a second")
    assert "style=" not in text  # the pages allow no style but their sheet
    return ElementTree.fromstring(text)  # noqa: S314 - our own


def test_a_plot_has_a_title_and_a_description() -> None:
    svg = draw(PlotSeries("accepted", [1, 2, 4]))
    title, description = svg[0], svg[1]
    assert (title.tag, title.text) == ("title", "<Records>")
    assert description.text == "accepted: last 4 a second, most 4 a second"
    assert svg.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"


def test_all_points_are_inside() -> None:
    svg = draw(PlotSeries("a", [0, 7.5, 1000, 3]), PlotSeries("b", [1000] * 4))
    for path in svg.iter("path"):
        for x, y in re.findall(r"([0-9.]+) ([0-9.]+)", path.attrib["d"]):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT


def test_what_is_not_known_is_a_gap() -> None:
    svg = draw(PlotSeries("a", [1, 2, None, 3, None]))
    whole, lone = svg.iter("path")
    assert "lone" not in whole.attrib["class"]
    assert "lone" in lone.attrib["class"]  # a line of no length is drawn as a dot
    assert len(list(draw(PlotSeries("a", [None, None])).iter("path"))) == 0
    assert describe_plot([PlotSeries("a", [None])], "") == "a: nothing is known"


@pytest.mark.parametrize(
    ("value", "end"),
    [(0, 1), (0.3, 1), (1, 1), (1.1, 2), (2, 2), (4.2, 5), (51, 100), (10**7, 10**7)],
)
def test_an_axis_ends_at_a_round_number(value: float, end: float) -> None:
    assert round_up(value) == end


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.5, "0.5"), (12, "12"), (1500, "1.5k"), (2e7, "20M"), (3e9, "3G")],
)
def test_values_of_an_axis_are_short(value: float, text: str) -> None:
    assert format_axis(value) == text
