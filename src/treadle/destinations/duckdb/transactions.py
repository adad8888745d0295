"""Transactions on a DuckDB file: loads in turn, and checkpoints between them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import duckdb

from treadle.destinations.duckdb.connection import DuckDBConnection
from treadle.destinations.duckdb.errors import is_out_of_memory, translate
from treadle.destinations.duckdb.memory import (
    LIMIT_BYTES,
    LOGGED_BYTES_MAX,
    MemoryWatch,
    checkpoint,
    measure_log,
    raise_limit,
    release_memory,
)
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.destinations.sql.transactions import SqlTransactions
from treadle.errors import TreadleError
from treadle.tables.model import CreateRelation, LoadPlan

TURN_SECONDS_MAX: Final = 15.0
"""Longest wait of a load for another load into the same file."""

LITTLE_ROWS_MAX: Final = 1000
"""Rows up to which the first load of a table is a small one."""


class DuckDBTransactions(SqlTransactions):
    """On one connection at a time; it is opened anew when DuckDB keeps too much memory.

    Args:
        connect: opens the file.
        turn: held by who writes to the file in this process.
        gathered: what it gathers in memory.
        read_only: whether the operator's statements may only read.
        path: of the file that it makes checkpoints of; None for none.
    """

    connection: DuckDBConnection

    def __init__(
        self,
        connect: Callable[[], duckdb.DuckDBPyConnection],
        turn: threading.Lock,
        gathered: MemoryWatch,
        *,
        read_only: bool,
        path: Path | None,
    ) -> None:
        super().__init__(DuckDBConnection(connect(), read_only=read_only))
        self._connect = connect
        self._turn = turn
        self._gathered = gathered
        self._read_only = read_only
        self._path = path
        self._limit: int | None = LIMIT_BYTES

    def close(self) -> None:
        """Close the connection; the last one in a process lets go of the file."""
        try:
            # What cannot be written into the file now stays in its write-ahead log.
            with suppress(duckdb.Error, TreadleError, OSError):
                self.connection.use_one_thread(False)
                self._write_down()
        finally:
            super().close()

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Keep other sessions of this process from writing into the file.

        Raises:
            DestinationUnavailableError: another one writes for too long.
        """
        if not self._turn.acquire(timeout=TURN_SECONDS_MAX):
            raise DestinationUnavailableError(
                "another load into the same DuckDB file is still running"
            )
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def loading(self, plans: Sequence[LoadPlan], *, rehearse: bool) -> Iterator[None]:
        """Make room before loads, and keep indexes that may be wrong out of the file."""
        with self.in_turn():
            self._make_room(adds_little=not rehearse and all(map(adds_little, plans)))
            try:
                yield
            except TreadleError as error:
                if is_out_of_memory(error.__cause__):
                    with suppress(duckdb.Error):
                        # Its indexes may be wrong now: they are made anew from the write-ahead log.
                        self.connection.driver.execute("PRAGMA disable_checkpoint_on_shutdown")
                        self._path = None
                raise

    def _make_room(self, *, adds_little: bool) -> None:
        """Make a checkpoint when it is time, and have DuckDB let go of what it gathered.

        Nothing is under way, so nothing is lost.
        """
        try:
            if self._path is not None:
                driver = self.connection.driver
                size = measure_log(self._path)
                much = self._gathered.note_load(driver, size, adds_little=adds_little)
                if much or size >= LOGGED_BYTES_MAX:
                    self._checkpoint()
                if much and not release_memory(self.connection.driver, self._gathered.kept):
                    self._reopen()
            self.connection.use_one_thread(adds_little)
        except duckdb.Error as error:
            raise translate(error) from error

    def _write_down(self) -> None:
        """Make a checkpoint at the end, when nobody else of this process writes."""
        if self._path and measure_log(self._path) and self._turn.acquire(timeout=TURN_SECONDS_MAX):
            try:
                self._checkpoint()
            finally:
                self._turn.release()

    def _checkpoint(self) -> None:
        """Make one; where it meets its limit the file is opened anew and it gets more."""
        while True:
            try:
                checkpoint(self.connection.driver, self._limit)
            except duckdb.Error as error:
                if self._limit is None or not is_out_of_memory(error):
                    raise
                self._limit = raise_limit(self._limit)
                self._reopen()
            else:
                return

    def _reopen(self) -> None:
        with suppress(duckdb.Error):  # after a fatal error it takes no statement
            self.connection.use_one_thread(False)  # other sessions may share the instance
        self.connection.close()
        self.connection = DuckDBConnection(self._connect(), read_only=self._read_only)


def adds_little(plan: LoadPlan) -> bool:
    """Return whether a plan makes a table and gives it few rows, so that it reads none."""
    only_makes = all(isinstance(change, CreateRelation) for change in plan.changes)
    if plan.table_after is None or plan.revision or not plan.changes or not only_makes:
        return False
    rows = (part for write in plan.writes for part in (write.root, *write.children))
    return sum(map(len, rows)) <= LITTLE_ROWS_MAX
