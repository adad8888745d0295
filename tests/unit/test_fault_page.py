"""The published page of fault runs is what its runs make, without a line taken away by hand."""

import json
from pathlib import Path

from tests.faults.page import page

EXPLANATION = Path(__file__).parents[2] / "docs" / "explanation"
RUNS = [json.loads(line) for line in (EXPLANATION / "fault-runs.jsonl").read_text().splitlines()]


def test_the_page_is_what_the_runs_make() -> None:
    assert (EXPLANATION / "fault-runs.md").read_text() == page(RUNS)


def test_every_violation_that_was_counted_is_named() -> None:
    for run in RUNS:
        assert bool(run["failed"]) == bool(run["violations"])
