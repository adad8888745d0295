"""The result of a rehearsed load, phase by phase, and what it says to a person.

Values and functions of values; a rehearsal itself is in `rehearsal`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from treadle.text import end_sentence


class CheckPhase(StrEnum):
    """The phases of a rehearsed load, in order. A destination that is a file has no first ones."""

    NAME = "name"
    """The addresses of the host are looked up."""
    CONNECT = "connect"
    """A connection is made, or a file is opened, once it is free."""
    TLS = "TLS"
    LOG_IN = "log in"
    RIGHTS = "rights"
    """The owners of the schemas are compared; and what the database answers about rights."""
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """One phase that was begun.

    Attributes:
        milliseconds: that it took.
        failed: it did not end well, so that it is the last one.
    """

    phase: CheckPhase
    milliseconds: float
    failed: bool = False


@dataclass(slots=True)
class PhaseTimer:
    """Measures phases: each ends when the next one begins, and one may be begun again.

    Attributes:
        clock: seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _seconds: dict[CheckPhase, float] = field(default_factory=dict)
    _phase: CheckPhase | None = None
    _began: float | None = None

    @property
    def phase(self) -> CheckPhase | None:
        """The phase that was begun last."""
        return self._phase

    def begin(self, phase: CheckPhase) -> None:
        """End the phase that was begun last, and begin another one."""
        self.end()
        self._phase, self._began = phase, self.clock()
        self._seconds.setdefault(phase, 0.0)

    def end(self) -> None:
        """End the phase that was begun last; what follows is not counted."""
        if self._phase is not None and self._began is not None:
            self._seconds[self._phase] += self.clock() - self._began
        self._began = None

    def drop(self, phase: CheckPhase) -> None:
        """Forget a phase that turned out to be none."""
        if phase is self._phase:
            self._phase = self._began = None
        self._seconds.pop(phase, None)

    def list_results(self, failed: CheckPhase | None = None) -> tuple[PhaseResult, ...]:
        """End the last phase and return all; nothing behind the one that failed."""
        self.end()
        found = []
        for phase in CheckPhase:
            if phase in self._seconds or phase is failed:
                took = self._seconds.get(phase, 0.0) * 1000
                found.append(PhaseResult(phase, round(took, 1), failed=phase is failed))
            if phase is failed:
                break
        return tuple(found)


@dataclass(frozen=True, slots=True)
class RehearsalResult:
    """The result of a load that was carried out in a destination and undone.

    Attributes:
        name: of the database, without its password.
        schemas: in which a table was made, filled and undone.
        phases: that were begun, in order.
        fault: why the load failed; None if it did not. `may_pass`: it may pass by itself.
        missing: the database is a file that the first load makes.
    """

    name: str
    schemas: tuple[str, ...]
    phases: tuple[PhaseResult, ...] = ()
    fault: str | None = None
    may_pass: bool = False
    missing: bool = False

    @property
    def milliseconds(self) -> float:
        """How long it took to connect."""
        return sum(
            each.milliseconds
            for each in self.phases
            if each.phase not in (CheckPhase.RIGHTS, CheckPhase.LOAD)
        )


def describe_rehearsal(found: RehearsalResult) -> str:
    """Return what was found, in one or two sentences."""
    if found.missing:
        return f"{found.name} is made by the first load."
    if found.fault is None:
        said = (
            f"{found.name} answers in {found.milliseconds:.0f} ms, and a load was rehearsed in "
            f"{', '.join(found.schemas)}."
        )
    elif found.may_pass:
        said = end_sentence(f"{found.name} cannot be used now: {found.fault}")
    else:
        said = end_sentence(f"{found.name} refuses a load: {found.fault}")
    return f"{said} Phases: {describe_phases(found.phases)}." if found.phases else said


def describe_phases(phases: Sequence[PhaseResult]) -> str:
    """Return phases with their times: `name 0 ms, connect 1 ms, log in failed after 12 ms`."""
    return ", ".join(
        f"{each.phase} {'failed after ' if each.failed else ''}{each.milliseconds:.0f} ms"
        for each in phases
    )
