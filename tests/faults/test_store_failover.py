"""The short form of `python -m tests.faults.store_failover`."""

import argparse

import pytest
from tests.faults.command import Tally
from tests.faults.store_failover import run


@pytest.mark.slow
@pytest.mark.release
def test_a_failover_of_the_store_loses_doubles_and_brings_back_nothing() -> None:
    tally = Tally("store_failover")
    run(argparse.Namespace(cycles=3, seed=7), tally)
    assert tally.violations == []
    assert tally.passed == 3
    assert tally.counts["tokens revoked"] > 0
    assert tally.counts["tracebacks in the log"] == 0
