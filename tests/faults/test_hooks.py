"""The short form of `python -m tests.faults.hooks`."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.hooks import cycles

KILLS = 4


@pytest.mark.slow
def test_kills_lose_no_delivery_and_keep_their_ids_and_their_order(tmp_path: Path) -> None:
    tally = Tally("hooks")
    cycles(tmp_path, None, KILLS, 3, tally, "hooks")
    assert tally.violations == []
    assert tally.passed == KILLS
    assert tally.counts["deliveries"] > 0
