"""The short form of `python -m tests.faults.outage`: each of what may happen once."""

import argparse

import pytest
from tests.faults.command import Tally
from tests.faults.outage import KINDS, run


@pytest.mark.slow
def test_each_outage_once_loses_and_doubles_nothing() -> None:
    tally = Tally("outage")
    run(argparse.Namespace(cycles=len(KINDS), seed=5), tally)
    assert tally.violations == []
    assert tally.passed == len(KINDS)
