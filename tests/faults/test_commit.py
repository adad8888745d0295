"""The short form of `python -m tests.faults.commit`."""

from pathlib import Path

from tests.faults.command import Tally
from tests.faults.commit import cuts


def test_a_cut_at_the_commit_loses_and_doubles_nothing(
    tmp_path: Path, postgres_database: str
) -> None:
    tally = Tally("commit")
    cuts(tmp_path, postgres_database, 18, 1, tally)
    assert tally.violations == []
    assert tally.counts == {
        "cut before": 6,
        "cut sent": 6,
        "cut answered": 6,
        "first loads": 12,
    }
