"""Who is woken for errands, and when a process that does them rests again. Blocking loops.

The desk and the courier take memory, and the time of a start, on each machine. Most servers have
nothing for them to do for days. So they are started when there is an errand for them, and end when
there was none for a while. The loader looks for errands, because it is always there; a worker that
makes one wakes the desk itself, so that nobody waits for the look.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from treadle.errors import TreadleError
from treadle.store.errands import ErrandKind

logger: Final = logging.getLogger("treadle.server")

LOOK_SECONDS: Final = 1.0
REST_SECONDS: Final = 300.0
"""After this without an errand a process ends."""

CHILD_OF_ERRAND: Final[Mapping[ErrandKind, str]] = {
    ErrandKind.CHECK: "desk",
    ErrandKind.OPERATION: "desk",
    ErrandKind.DELIVERY: "courier",
}


def wake_for_errands(
    list_kinds: Callable[[], set[ErrandKind]],
    wake: Callable[[str], None],
    stop: threading.Event,
    seconds: float = LOOK_SECONDS,
) -> None:
    """Look for errands until `stop` is set, and wake who does them.

    Args:
        list_kinds: returns the kinds of errands that there are.
        wake: is called with the name of a child.
        stop: ends it.
        seconds: between two looks.
    """
    is_in_trouble = False
    while not stop.wait(seconds):
        try:
            kinds = list_kinds()
        except TreadleError as error:
            if not is_in_trouble:
                logger.warning("nobody is woken for errands: %s", error)
            is_in_trouble = True
            continue
        is_in_trouble = False
        _wake_children(kinds, wake)


def wake_after_change(
    list_kinds: Callable[[], set[ErrandKind]], wake: Callable[[str], None]
) -> None:
    """Wake who does the errands that there are; where the store says nothing, the loader will."""
    with suppress(TreadleError):
        _wake_children(list_kinds(), wake)


def _wake_children(kinds: set[ErrandKind], wake: Callable[[str], None]) -> None:
    for child in sorted({CHILD_OF_ERRAND[kind] for kind in kinds}):
        wake(child)


def await_rest(
    has_errands: Callable[[], bool],
    stop: threading.Event,
    rest_seconds: float = REST_SECONDS,
    seconds: float = LOOK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return when there was no errand for a while, or when `stop` is set.

    Args:
        has_errands: whether there is one.
        stop: ends it at once.
        rest_seconds: how long there has to be none.
        seconds: between two looks.
        clock: seconds.
    """
    last = clock()
    while not stop.wait(seconds):
        try:
            busy = has_errands()
        except TreadleError:
            busy = True  # the store says nothing now, so there may be some
        if busy:
            last = clock()
        elif clock() - last >= rest_seconds:
            return
