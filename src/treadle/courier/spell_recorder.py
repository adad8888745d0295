"""Looks for problems now and then, and notes when each began and ended."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treadle.tracking.problem_kinds import FoundProblem
from treadle.tracking.problem_spells import (
    ProblemSpell,
    advance_spells,
    read_spells,
    write_spells,
)

logger = logging.getLogger("treadle.courier")

LOOK_SECONDS: Final = 10.0
"""Least time between two looks."""

LOOK_FACTOR: Final = 200
"""And so many times as long as a look took, so that looks take half a percent of a processor."""


@dataclass(slots=True)
class SpellRecorder:
    """Notes the beginning and the end of problems; one thread uses it.

    Attributes:
        find: returns all problems that there are at a time.
        path: of the file.
        monotonic: seconds.
    """

    find: Callable[[int], Sequence[FoundProblem]]
    path: Path
    monotonic: Callable[[], float] = time.monotonic
    _spells: list[ProblemSpell] | None = None
    _is_failing: bool = field(default=False)

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
