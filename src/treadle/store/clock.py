"""The clock of the store's server, as a process reads it without asking each time.

The wall clocks of machines differ, by hours where nobody keeps them. Machines with one store have
to agree on which record came later, and on whether a token has expired. So each of them measures
how far its monotonic clock is from the server's clock, and adds that.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from treadle.clock import read_monotonic, set_source
from treadle.errors import TreadleError

MEASURE_SECONDS: Final = 10.0
"""Time between two measurements."""

ROUND_TRIP_US_MAX: Final = 1_000_000
"""A measurement that took longer says too little, unless it is the first."""

logger = logging.getLogger("treadle.store")


@dataclass(frozen=True, slots=True)
class ClockMeasurement:
    """One question for the server's time; all times in microseconds.

    Attributes:
        asked: of the monotonic clock.
        answered: of the monotonic clock.
        there: the server's time, since 1970.
    """

    asked: int
    answered: int
    there: int

    @property
    def round_trip(self) -> int:
        """How long the answer took."""
        return self.answered - self.asked

    @property
    def time_at_answer(self) -> int:
        """The server's time when the answer came, if it was half of the way there before."""
        return self.there + self.round_trip // 2


class StoreClock:
    """Tells the server's time between measurements, and never goes back.

    Where a measurement says that the clock is ahead, it goes on at half of its speed until the
    server's clock is there, too. Any thread may read it.
    """

    def __init__(self, monotonic: Callable[[], int], first: ClockMeasurement) -> None:
        """Begin with the server's time, whatever the clock of this machine says.

        Args:
            monotonic: microseconds since any moment.
            first: nothing was told before it.
        """
        self._monotonic = monotonic
        # What counts from when on: the monotonic clock, the time that was told, the server's time.
        self._state = first.answered, first.time_at_answer, first.time_at_answer

    def read(self) -> int:
        """Return the time now, microseconds since 1970, UTC."""
        return _tell_time(self._state, self._monotonic())

    def take(self, found: ClockMeasurement) -> None:
        """Follow a measurement from now on, unless it took too long to say much."""
        if found.round_trip > ROUND_TRIP_US_MAX:
            return
        now = self._monotonic()
        told = _tell_time(self._state, now)
        self._state = now, told, found.time_at_answer + now - found.answered


def _tell_time(state: tuple[int, int, int], now: int) -> int:
    at, told, there = state
    passed = max(now - at, 0)
    return max(told + passed // 2, there + passed)


def measure_clock(
    read_time: Callable[[], int | None], monotonic: Callable[[], int] = read_monotonic
) -> ClockMeasurement | None:
    """Ask the server for its time; None where there is no server.

    Args:
        read_time: asks it.
        monotonic: microseconds since any moment.
    """
    asked = monotonic()
    there = read_time()
    return None if there is None else ClockMeasurement(asked, monotonic(), there)


@contextmanager
def use_server_clock(read_time: Callable[[], int | None]) -> Iterator[None]:
    """Let this process go by the server's clock inside of the block; a file has none.

    For what does not take long: the server is asked once.

    Args:
        read_time: asks the server.

    Raises:
        RetriableError: it cannot be asked.
    """
    found = measure_clock(read_time)
    if found is None:
        yield
        return
    former = set_source(StoreClock(read_monotonic, found).read)
    try:
        yield
    finally:
        set_source(former)


def follow_clock(
    store_clock: StoreClock, read_time: Callable[[], int | None], sleep: Callable[[float], None]
) -> None:
    """Measure again and again; without answers the clock goes on by itself. Never returns.

    Args:
        store_clock: follows the measurements.
        read_time: asks the server.
        sleep: waits for so many seconds; what it raises ends this.
    """
    while True:
        sleep(MEASURE_SECONDS)
        try:
            found = measure_clock(read_time)
        except TreadleError as error:
            logger.debug("the store's clock cannot be read: %s", error)
            continue
        if found is not None:
            store_clock.take(found)
