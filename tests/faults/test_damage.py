"""The short form of `python -m tests.faults.damage`."""

import argparse

from tests.faults.command import Tally
from tests.faults.damage import run


def test_flipped_bytes_and_cut_files_never_pass_for_sound() -> None:
    tally = Tally("damage")
    run(argparse.Namespace(cycles=240, seed=3), tally)
    assert tally.violations == []
    assert tally.passed >= 240
