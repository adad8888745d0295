import threading
from pathlib import Path

import pytest

from treadle.destinations.priority import WAIT_SECONDS_MAX, LoaderPriority
from treadle.errors import RetriableError


class SteppedClock:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_dry_run_sees_that_the_loader_wants_the_destination(tmp_path: Path) -> None:
    priority = LoaderPriority(tmp_path / "turns")
    with priority.take_turn("a") as is_wanted:
        assert not is_wanted()
        with priority.claim("a"):
            assert is_wanted()
        assert not is_wanted()
        with priority.claim("another"):
            assert not is_wanted()


@pytest.mark.parametrize("who", ["loader", "dry run"])
def test_a_dry_run_waits_for_the_loader_and_for_other_dry_runs_and_gives_up(
    tmp_path: Path, who: str
) -> None:
    clock = SteppedClock()
    priority = LoaderPriority(tmp_path / "turns")
    stepped = LoaderPriority(tmp_path / "turns", clock.read, clock.sleep)
    first = priority.claim("a") if who == "loader" else priority.take_turn("a")
    with first:
        with pytest.raises(RetriableError, match="a is used by"), stepped.take_turn("a"):
            pytest.fail("it has no turn")
        assert WAIT_SECONDS_MAX <= clock.now < WAIT_SECONDS_MAX + 1
    with stepped.take_turn("a"):
        assert clock.now < WAIT_SECONDS_MAX + 1


def test_a_claim_waits_for_nobody(tmp_path: Path) -> None:
    priority = LoaderPriority(tmp_path / "turns")
    claimed = threading.Event()

    def claim() -> None:
        with priority.claim("a"):
            claimed.set()

    with priority.take_turn("a"):
        thread = threading.Thread(target=claim)
        thread.start()
        thread.join(30)
    assert claimed.is_set()


def test_a_loader_that_can_make_no_claim_goes_on(tmp_path: Path) -> None:
    (tmp_path / "turns").write_text("a file is in the way")
    priority = LoaderPriority(tmp_path / "turns")
    with priority.claim("a"):
        pass
    with pytest.raises(RetriableError, match="cannot be used"), priority.take_turn("a"):
        pytest.fail("it has no turn")
