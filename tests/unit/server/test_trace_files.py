"""Looks at logs on servers are kept for a while."""

import pytest

from treadle.errors import RetriableError
from treadle.log.quota import LogLook, LogSpace
from treadle.server.trace_files import KeptLook


class Logs:
    """Logs that are looked at, and a clock."""

    def __init__(self) -> None:
        self.now = 50.0
        self.looks = 0
        self.is_away = False

    def look(self) -> LogLook:
        if self.is_away:
            raise RetriableError("away")
        self.looks += 1
        return LogLook(LogSpace(self.looks, None), None)

    def read_clock(self) -> float:
        return self.now


def test_a_look_counts_for_some_seconds() -> None:
    logs = Logs()
    kept = KeptLook(logs.look, 10.0, logs.read_clock)
    assert kept.read() is kept.read()
    logs.now += 9
    kept.read()
    assert logs.looks == 1
    logs.now += 1
    found = kept.read()
    assert found is not None
    assert found.space.used_bytes == 2


def test_a_failed_look_is_not_kept() -> None:
    logs = Logs()
    kept = KeptLook(logs.look, 10.0, logs.read_clock)
    logs.is_away = True
    with pytest.raises(RetriableError):
        kept.read()
    logs.is_away = False
    assert kept.read() is not None
    logs.is_away = True
    assert kept.read() is not None  # within the ten seconds nobody asks
    logs.now += 10
    with pytest.raises(RetriableError):
        kept.read()


def test_a_file_is_looked_at_each_time() -> None:
    logs = Logs()
    kept = KeptLook(logs.look, 0.0, logs.read_clock)
    kept.read()
    kept.read()
    assert logs.looks == 2
