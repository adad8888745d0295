"""How often a worker looks for logs that it has not open."""

import threading
from typing import cast

import pytest

from treadle.errors import OperatorError
from treadle.log.joined import FOLLOW_SECONDS, MISSING_SECONDS, JoinedAppender
from treadle.server.log_watch import follow_logs


class Appender:
    """Lacks a log until it was looked for twice."""

    is_complete = False
    looks = 0

    def open_missing(self) -> None:
        self.looks += 1
        if self.looks == 1:
            raise OperatorError("another installation")
        self.is_complete = self.looks > 2


class Pauses:
    """Is set after so many pauses, which it notes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.noted: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.noted.append(seconds)
        return len(self.noted) > self.count


def test_a_log_that_is_missing_is_tried_each_second(caplog: pytest.LogCaptureFixture) -> None:
    pauses = Pauses(4)
    follow_logs(cast(JoinedAppender, Appender()), cast(threading.Event, pauses))
    assert pauses.noted == [MISSING_SECONDS] * 3 + [FOLLOW_SECONDS] * 2
    assert caplog.text.count("a log cannot be opened: another installation") == 1
