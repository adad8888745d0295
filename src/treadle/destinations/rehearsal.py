"""Rehearses a load in a destination: carries it out and undoes it, and says how each phase went."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from treadle.destinations.forecast import forecast_load
from treadle.destinations.priority import LoaderPriority
from treadle.destinations.protocol import AccessDeniedError, Destination, Session
from treadle.destinations.rehearsal_result import (
    CheckPhase,
    PhaseTimer,
    RehearsalResult,
)
from treadle.destinations.retry import open_with_retry
from treadle.errors import OperatorError, RetriableError, TableStoppedError, TreadleError
from treadle.files import find_existing
from treadle.records.message_batch import MessageBatch
from treadle.tables.schema_owner import UNOWNED, SchemaOwner
from treadle.text import make_clause

SCHEMAS_MAX: Final = 20
"""The most schemas in which a load is rehearsed. Each locks the destination for some
milliseconds."""

HOLD_SECONDS_MAX: Final = 1.0
"""Seconds that a rehearsal may keep a destination that only one process can open, before others."""

SECONDS_MAX: Final = 20.0
"""Seconds after which no load in a further schema is begun: one that gives way again and again must
end as well."""

REHEARSAL_TABLE: Final = "treadle_doctor"


@runtime_checkable
class ProbedDestination(Protocol):
    """A destination that is connected to over a network, in several phases."""

    def probe(self, timer: PhaseTimer) -> None:
        """Connect and close again; begin each phase of it at a timer.

        Raises:
            DestinationUnavailableError, AccessDeniedError: as `Destination.open`.
        """


@dataclass(slots=True)
class LoadRehearsal:
    """One rehearsal.

    Attributes:
        destination: to rehearse in.
        now: microseconds since 1970.
        data: the data folder, which the server makes at its start.
        priority: says when the loader wants a destination that only one process can open; None
            where none runs.
        clock: seconds.
        there: the destination's own time, microseconds since 1970; None where it is not known.
    """

    destination: Destination
    now: int
    data: Path
    priority: LoaderPriority | None = None
    clock: Callable[[], float] = time.monotonic
    there: int | None = None
    _timer: PhaseTimer = field(default_factory=PhaseTimer)
    _done: list[str] = field(default_factory=list)

    def run(self, schemas: Sequence[tuple[str, SchemaOwner]]) -> RehearsalResult:
        """Carry out a load in each schema and undo it.

        Args:
            schemas: of the sources that load into the destination, with their owners. One that is
                not its owner's is left out: its tables are stopped, and named among those. Without
                any, a schema of the rehearsal's own is made and undone.
        """
        destination = self.destination
        self._timer = PhaseTimer(self.clock)
        name = destination.identity
        self._timer.begin(CheckPhase.CONNECT)
        if destination.file is not None and not destination.file.exists():
            fault = _explain_unmakeable(destination.file.parent, self.data)
            failed = None if fault is None else CheckPhase.CONNECT
            phases = self._timer.list_results(failed)
            return RehearsalResult(name, (), phases, fault, missing=fault is None)
        try:
            if isinstance(destination, ProbedDestination):
                self._timer.drop(CheckPhase.CONNECT)
                destination.probe(self._timer)
                self._timer.end()
            self._rehearse_all(list(schemas))
        except TreadleError as error:
            failed = judge_phase(self._timer.phase, error)
            return RehearsalResult(
                name,
                tuple(self._done),
                self._timer.list_results(failed),
                make_clause(str(error)),
                isinstance(error, RetriableError),
            )
        return RehearsalResult(name, tuple(self._done), self._timer.list_results())

    def _rehearse_all(self, schemas: list[tuple[str, SchemaOwner]]) -> None:
        """Rehearse in the schemas, and give way to the loader between two of them if it waits."""
        until = self.clock() + SECONDS_MAX
        chosen: list[tuple[str, SchemaOwner]] | None = None
        while chosen is None or (chosen and self.clock() < until):
            with self._open() as (session, gives_way):
                self._timer.begin(CheckPhase.RIGHTS)
                if chosen is None:
                    self.there = session.clock()
                    chosen = _choose_schemas(session, schemas)
                self._timer.begin(CheckPhase.LOAD)
                while chosen:
                    self._rehearse_one(session, *chosen.pop(0))
                    if gives_way():
                        break
                self._timer.end()

    @contextmanager
    def _open(self) -> Iterator[tuple[Session, Callable[[], bool]]]:
        """Open the destination; the function says whether it is time to close it for others."""
        destination = self.destination
        if not isinstance(destination, ProbedDestination):
            self._timer.begin(CheckPhase.CONNECT)
        if not destination.capabilities.exclusive:
            with destination.open() as session:
                yield session, lambda: False
        elif self.priority is None:
            with open_with_retry(destination.open) as session:
                yield session, lambda: False
        else:
            with (
                self.priority.take_turn(destination.identity) as is_wanted,
                open_with_retry(destination.open) as session,
            ):
                close_at = self.clock() + HOLD_SECONDS_MAX
                yield session, lambda: is_wanted() or self.clock() >= close_at

    def _rehearse_one(self, session: Session, schema: str, owner: SchemaOwner) -> None:
        found = forecast_load(
            session,
            [_make_batch()],
            schema=schema,
            profile=self.destination.profile,
            settings={},
            now=self.now,
            rehearse=True,
            owner=owner,
        )
        if found.stopped is not None:
            raise OperatorError(found.stopped)
        self._done.append(schema)


def judge_phase(phase: CheckPhase | None, error: TreadleError) -> CheckPhase:
    """Return the phase that failed: a right is often missed by the load that needs it."""
    if phase is CheckPhase.LOAD and isinstance(error, AccessDeniedError):
        return CheckPhase.RIGHTS
    return phase or CheckPhase.CONNECT


def _choose_schemas(
    session: Session, schemas: Sequence[tuple[str, SchemaOwner]]
) -> list[tuple[str, SchemaOwner]]:
    chosen: list[tuple[str, SchemaOwner]] = []
    for schema, owner in schemas:
        if len(chosen) < SCHEMAS_MAX:
            with suppress(TableStoppedError):
                session.check_owner(schema, owner)
                chosen.append((schema, owner))
    return chosen or [(REHEARSAL_TABLE, UNOWNED)]


def _explain_unmakeable(folder: Path, data: Path) -> str | None:
    """Return why a file cannot be made in a folder. The server's start makes the data folder."""
    if not folder.exists() and folder != data.resolve():
        return f"there is no folder {folder}"
    return None if os.access(find_existing(folder), os.W_OK) else f"{folder} cannot be written to"


def _make_batch() -> MessageBatch:
    return MessageBatch(
        REHEARSAL_TABLE, ("id",), "json", b"", (), [1], 0, None, [], b'[{"id":1,"text":"a"}]'
    )
