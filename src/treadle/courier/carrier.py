"""Runs carriers, each in a thread of its own, until the process is to stop."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, runtime_checkable

from treadle.errors import TreadleError

logger = logging.getLogger("treadle.courier")

PAUSE_SECONDS_MAX: Final = 60.0
TROUBLE_PAUSE_SECONDS: Final = 1.0
"""The pause after an error that may pass by itself, such as a store that is not available."""

FAULT_PAUSE_SECONDS: Final = 10.0
"""The pause after an error that nobody expected."""


class Carrier(Protocol):
    """Brings something out of the store to others: deliveries of hooks, or mails."""

    def run_once(self, now_us: int) -> float:
        """Do what is due; return the seconds until it wants to run again.

        It is always called in the same thread. It may take about a second, and waits for nobody
        longer than that.
        """


@runtime_checkable
class FinishingCarrier(Carrier, Protocol):
    """A carrier that goes on with what it began when the process is to stop."""

    def finish(self, seconds: float) -> None:
        """Wait for what is under way, and give up what is not done by then; the last call."""


def run_carriers(
    carriers: Sequence[Carrier],
    stop: threading.Event,
    clock: Callable[[], int],
    *,
    finish_seconds: float,
) -> None:
    """Run carriers until `stop` is set, and then wait for what they are at.

    Args:
        carriers: each gets a thread.
        stop: set by somebody else.
        clock: microseconds since 1970.
        finish_seconds: for what is under way at the end. The threads have twice that long, and do
            not keep the process from ending.
    """
    threads = [
        threading.Thread(
            target=_run_carrier,
            args=(carrier, stop, clock, finish_seconds),
            name=type(carrier).__name__,
            daemon=True,
        )
        for carrier in carriers
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    until = time.monotonic() + 2 * finish_seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _run_carrier(
    carrier: Carrier, stop: threading.Event, clock: Callable[[], int], finish_seconds: float
) -> None:
    """Run one carrier. What goes wrong is logged once, until it went well again."""
    is_in_trouble = False
    while not stop.is_set():
        try:
            pause = carrier.run_once(clock())
        except TreadleError as error:
            if not is_in_trouble:
                logger.warning("%s waits: %s", type(carrier).__name__, error)
            is_in_trouble = True
            pause = TROUBLE_PAUSE_SECONDS
        except Exception:
            logger.exception("%s met an error that was not expected", type(carrier).__name__)
            pause = FAULT_PAUSE_SECONDS
        else:
            if is_in_trouble:
                logger.info("%s goes on", type(carrier).__name__)
            is_in_trouble = False
        stop.wait(min(max(pause, 0.0), PAUSE_SECONDS_MAX))
    if isinstance(carrier, FinishingCarrier):
        try:
            carrier.finish(finish_seconds)
        except TreadleError as error:
            logger.warning("%s could not note its last work: %s", type(carrier).__name__, error)
