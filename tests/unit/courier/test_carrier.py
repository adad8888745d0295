"""Carriers run in threads of their own until they are to stop."""

import logging
import threading

import pytest

from treadle.courier import carrier as module
from treadle.courier.carrier import run_carriers
from treadle.errors import RetriableError


class PlainCarrier:
    """Does what it is told, and says when it was called."""

    def __init__(self, *steps: BaseException | float) -> None:
        self.steps = list(steps)
        self.times: list[int] = []
        self.threads: set[int] = set()
        self.done = threading.Event()

    def run_once(self, now_us: int) -> float:
        self.times.append(now_us)
        self.threads.add(threading.get_ident())
        if not self.steps:
            self.done.set()
            return 3600.0
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


class ThoroughCarrier(PlainCarrier):
    """Has something to finish."""

    finished: float | None = None

    def finish(self, seconds: float) -> None:
        self.finished = seconds
        self.threads.add(threading.get_ident())


def run(*carriers: PlainCarrier) -> None:
    stop = threading.Event()
    runner = threading.Thread(
        target=run_carriers, args=(carriers, stop, lambda: 7), kwargs={"finish_seconds": 5.0}
    )
    runner.start()
    for one in carriers:
        assert one.done.wait(60)
    stop.set()
    runner.join(60)
    assert not runner.is_alive()


def test_each_carrier_has_a_thread_of_its_own_and_finishes_in_it() -> None:
    plain, thorough = PlainCarrier(0.0, 0.0), ThoroughCarrier(0.0)
    run(plain, thorough)
    assert plain.times == [7, 7, 7]
    assert thorough.finished == 5.0
    assert len(plain.threads) == len(thorough.threads) == 1
    assert plain.threads != thorough.threads


def test_trouble_is_told_once_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "TROUBLE_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(module, "FAULT_PAUSE_SECONDS", 0.0)
    with caplog.at_level(logging.INFO, "treadle.courier"):
        run(PlainCarrier(RetriableError("locked"), RetriableError("locked"), 0.0, ValueError("?")))
    assert [record.getMessage() for record in caplog.records] == [
        "PlainCarrier waits: locked",
        "PlainCarrier goes on",
        "PlainCarrier met an error that was not expected",
    ]
