"""The short form of `python -m tests.faults.outage`: what may happen once each."""

import argparse

import pytest
from tests.faults.command import Tally
from tests.faults.outage import KINDS, run

DAILY = 3
"""The first kinds: a server that is killed, stopped or away."""


@pytest.mark.slow
@pytest.mark.parametrize("count", [DAILY, pytest.param(len(KINDS), marks=pytest.mark.release)])
def test_each_outage_once_loses_and_doubles_nothing(count: int) -> None:
    tally = Tally("outage")
    run(argparse.Namespace(cycles=count, seed=5, destination=["postgres"]), tally)
    assert tally.violations == []
    assert tally.passed == count
