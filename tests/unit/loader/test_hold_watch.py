import logging
from pathlib import Path

import pytest

from treadle.destinations.protocol import DestinationHeldError, DestinationUnavailableError
from treadle.errors import RetriableError
from treadle.loader.hold_watch import HoldWatch

FILE = Path("/data/warehouse.duckdb")
HELD = DestinationHeldError("/data/warehouse.duckdb is held by python3.11 (PID 4711)")
SECOND = 1_000_000


class Watched:
    """A watch over a file that a reader holds, with a clock."""

    def __init__(self, held_us: int = 60 * SECOND) -> None:
        self.now = 1_000 * SECOND
        self.released: list[Path] = []
        self.refusal: Exception | None = None
        self.watch = HoldWatch(held_us, self.release, lambda: self.now)

    def release(self, file: Path) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.released.append(file)

    def fail(self, seconds: int, error: Exception = HELD, *, is_asked: bool = False) -> bool:
        self.now += seconds * SECOND
        return self.watch.note_failure(error, FILE, is_asked=is_asked)


def test_a_reader_is_waited_for_so_long_and_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    its = Watched()
    assert [its.fail(1), its.fail(59)] == [False, False]
    assert its.released == []
    with caplog.at_level(logging.WARNING, "treadle.loader"):
        assert its.fail(1)
    assert its.released == [FILE]
    assert "held by python3.11 (PID 4711): loading goes on in a copy under its name" in caplog.text
    assert not its.fail(1)  # whoever holds the new one is waited for anew


def test_a_reader_that_let_go_meanwhile_begins_anew() -> None:
    its = Watched()
    its.fail(0)
    its.watch.note_success()
    assert not its.fail(100)
    its.fail(0, DestinationUnavailableError("the disk fails"))
    assert not its.fail(100)
    assert its.released == []


def test_for_ever_where_that_is_set() -> None:
    its = Watched(0)
    assert not any(its.fail(3_600) for _ in range(5))


def test_a_question_of_the_server_itself_is_waited_for() -> None:
    its = Watched()
    its.fail(0)
    assert not its.fail(100, is_asked=True)
    assert its.fail(1)


def test_a_file_that_is_written_to_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    its = Watched()
    its.fail(0)
    its.refusal = RetriableError("it is being written to")
    assert not its.fail(100)
    assert "cannot be taken from its reader: it is being written to" in caplog.text
    its.refusal = None
    assert its.fail(1)


def test_a_server_has_no_file() -> None:
    its = Watched()
    assert not its.watch.note_failure(HELD, None)


def test_a_clock_that_is_set_back_takes_no_file_early() -> None:
    its = Watched()
    its.fail(0)
    assert not its.fail(-500)
    assert not its.fail(59)
