"""A process goes by the clock of its store's server, and by its own where the store is a file."""

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from treadle import clock
from treadle.server.factories import follow_store_clock
from treadle.store.clock import use_server_clock

HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def _own_clock() -> Iterator[None]:
    yield
    clock.set_source(clock.read_system_clock)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of threads that would have been started."""
    names: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: names.append(thread.name))
    return names


def make_store(read_time: object) -> Any:
    return SimpleNamespace(read_time=read_time)


def test_the_clock_of_the_server_counts(started: list[str]) -> None:
    read_clock = clock.read_clock  # as modules have it that were imported before
    follow_store_clock(make_store(lambda: clock.read_system_clock() - HOUR_US))
    assert abs(clock.read_system_clock() - HOUR_US - read_clock()) < 60_000_000
    assert started == ["store clock"]


def test_a_command_goes_by_the_clock_of_the_server_while_its_store_is_open() -> None:
    with use_server_clock(lambda: clock.read_system_clock() - HOUR_US):
        assert abs(clock.read_system_clock() - HOUR_US - clock.read_clock()) < 60_000_000
    assert abs(clock.read_system_clock() - clock.read_clock()) < 60_000_000
    with use_server_clock(lambda: None):
        assert abs(clock.read_system_clock() - clock.read_clock()) < 60_000_000


def test_a_file_leaves_the_clock_of_the_machine(started: list[str]) -> None:
    follow_store_clock(make_store(lambda: None))
    assert abs(clock.read_system_clock() - clock.read_clock()) < 60_000_000
    assert started == []
