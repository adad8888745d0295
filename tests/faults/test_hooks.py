"""The short form of `python -m tests.faults.hooks`."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.hooks import cycles

SERVERS, KILLS = 2, 2
"""Before a release; `tests/acceptance/test_hooks.py` kills the courier with each change."""


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("seed", range(SERVERS))
def test_kills_lose_no_delivery_and_keep_their_ids_and_their_order(
    tmp_path: Path, seed: int
) -> None:
    tally = Tally("hooks")
    cycles(tmp_path, None, KILLS, 3 + seed, tally, "hooks")
    assert tally.violations == []
    assert tally.passed == KILLS
    assert tally.counts["deliveries"] > 0
