"""Sentences that were hard to read once stay away: each whole kind of them."""

import re
from pathlib import Path

import pytest

from treadle.log.salvage_report import SalvageReport
from treadle.maintenance.doctor.findings import summarize_levels

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(ROOT / "src" / "treadle").rglob("*.py"),
    *(ROOT / "src" / "treadle").rglob("*.html"),
    *(ROOT / "src" / "treadle").rglob("*.template"),
    *(ROOT / "docs" / "how-to").glob("*.md"),
    *(ROOT / "docs" / "tutorial").glob("*.md"),
    *(ROOT / "docs" / "reference").glob("*.md"),
    ROOT / "README.md",
]


@pytest.mark.parametrize(
    "phrase",
    [
        "is to be followed by",
        "hold no surprise",
        "What was built is in",
        "written anew by hand",
        "least level",
        "requests under way at the same time",
        "say where they part",
        "A name that is none",
        "carry the load out",
        "does not lead to",
        "nobody reads the output",
        "Set it in every start",
        r"The log holds \{[a-z_.]+\} bytes",
        r"\} good, \{",
    ],
)
def test_no_text_has_the_phrase(phrase: str) -> None:
    found = [
        path.relative_to(ROOT)
        for path in TEXTS
        if re.search(phrase, path.read_text(), re.IGNORECASE)
    ]
    assert found == []


COUNTED = re.compile(
    r"f['\"].*\{(?!limit\})[a-z][^{}]*\} "
    r"(?:records|rows|entries|deliveries|mails|columns|recipients|loads|days|tables|requests)\b"
    r"(?!/| into|\.json)"
)
"""A count before a noun in the plural, which is wrong where it is 1."""
SEVERAL = {
    'these = f"{conflict.records} records, {record} the first" if several else',
    'told = [f"{count} loads"] if count > 1 else []',
    'said = f"all {count} records of the last load were rejected; the first, "',
    'f"{found.waiting} deliveries of hook {found.id} wait"',
}
"""Lines that are reached with more than one only."""


def test_a_count_of_one_has_its_noun_in_the_singular() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "src" / "treadle").rglob("*.py")
        for line in path.read_text().splitlines()
        if COUNTED.search(line) and not any(line.strip().startswith(one) for one in SEVERAL)
    ]
    assert found == []


def test_levels_are_counted_with_their_plurals() -> None:
    assert summarize_levels([]) == "0 ok, 0 warnings, 0 problems"
    assert summarize_levels(["good", "bad", "odd"]) == "1 ok, 1 warning, 1 problem"
    assert summarize_levels((*("good",) * 16, "odd", "odd")) == "16 ok, 2 warnings, 0 problems"


def test_a_log_that_was_rewritten_by_wish_was_not_damaged() -> None:
    told = SalvageReport("", Path("/log.damaged"), 1, {}).describe()
    assert told == (
        "the log was rewritten, as --anyway asked; the former file is kept as /log.damaged, "
        "1 entry was carried over, 0 are damaged"
    )
    told = SalvageReport("a page", Path("/log.damaged"), 2, {(1, "t"): [7]}).describe()
    assert told == (
        "the log was damaged (a page); the former file is kept as /log.damaged, 2 entries were "
        "carried over, 1 is damaged: 't' of source 1: 7"
    )
