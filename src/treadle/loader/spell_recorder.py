"""Looks for problems now and then, and notes when each began and ended."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treadle.errors import TreadleError
from treadle.tracking.problem_kinds import FoundProblem
from treadle.tracking.problem_spells import (
    ProblemSpell,
    advance_spells,
    read_spells,
    write_spells,
)

logger = logging.getLogger("treadle.loader")

LOOK_SECONDS: Final = 10.0
"""Least time between two looks."""

LOOK_FACTOR: Final = 200
"""And so many times as long as a look took, so that looks take half a percent of a processor."""

FAULT_PAUSE_SECONDS: Final = 60.0
"""The pause after an error that nobody expected."""


@dataclass(slots=True)
class SpellRecorder:
    """Notes the beginning and the end of problems; one thread uses it.

    Attributes:
        find: returns all problems that there are at a time.
        path: of the file.
        clock: microseconds since 1970.
        monotonic: seconds.
    """

    find: Callable[[int], Sequence[FoundProblem]]
    path: Path
    clock: Callable[[], int]
    monotonic: Callable[[], float] = time.monotonic
    _spells: list[ProblemSpell] | None = None
    _is_failing: bool = field(default=False)

    def run(self, stop: threading.Event) -> None:
        """Look now and then until `stop` is set; blocks."""
        pause = LOOK_SECONDS
        is_in_trouble = False
        while not stop.wait(pause):
            try:
                pause = self.run_once(self.clock())
            except TreadleError as error:
                if not is_in_trouble:
                    logger.warning("problems are not looked for: %s", error)
                is_in_trouble = True
            except Exception:
                logger.exception("problems cannot be looked for")
                pause = FAULT_PAUSE_SECONDS
            else:
                is_in_trouble = False

    def run_once(self, now_us: int) -> float:
        """Look once; return the seconds until the next look.

        Raises:
            TreadleError: the store or the log is not available now.
        """
        began = self.monotonic()
        if self._spells is None:
            self._spells = read_spells(self.path)
        advanced = advance_spells(self._spells, self.find(now_us), now_us)
        if advanced != self._spells:
            self._write(advanced)
        return max(LOOK_SECONDS, LOOK_FACTOR * (self.monotonic() - began))

    def _write(self, spells: list[ProblemSpell]) -> None:
        try:
            write_spells(self.path, spells)
        except OSError as error:
            if not self._is_failing:
                logger.warning("when problems began and ended cannot be noted: %s", error)
            self._is_failing = True
        else:
            self._spells, self._is_failing = spells, False
