"""The short form of `python -m tests.faults.hooks`."""

from pathlib import Path

import pytest
from tests.faults.command import Tally
from tests.faults.hooks import cycles

SERVERS, KILLS = 2, 2
DAILY = 1
"""One kill on every change, four more before a release."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "kills"),
    [
        (0, DAILY),
        *(pytest.param(seed, KILLS, marks=pytest.mark.release) for seed in range(SERVERS)),
    ],
)
def test_kills_lose_no_delivery_and_keep_their_ids_and_their_order(
    tmp_path: Path, seed: int, kills: int
) -> None:
    tally = Tally("hooks")
    cycles(tmp_path, None, kills, 3 + seed, tally, "hooks")
    assert tally.violations == []
    assert tally.passed == kills
    assert tally.counts["deliveries"] > 0
