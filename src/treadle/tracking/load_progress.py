"""The progress of loading, for requests that wait until their records are loaded."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from treadle.log.joined import choose_reader
from treadle.log.protocol import DamagedEntry, LogEntry, LogReader
from treadle.store.model import TableLoadStatus
from treadle.store.store import Store

POLL_SECONDS = 0.1
"""How often the store is asked for the tables of a source while a request waits for them."""

TablePosition = tuple[str, int]
"""A table as sent, and a position in the log."""

T = TypeVar("T")


class LoadProgress:
    """Reads the log and the store for an event loop, in a thread of its own.

    Attributes:
        store: for functions that `run_in_thread` runs.
    """

    def __init__(
        self,
        store: Store,
        open_reader: Callable[[], LogReader],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet: the log is opened by the first question.

        Args:
            store: has load reports and outcomes.
            open_reader: opens the log; called in the thread that reads it.
            monotonic: seconds since any moment.
        """
        self.store = store
        self._open_reader = open_reader
        self._reader: LogReader | None = None
        self._monotonic = monotonic
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="progress")
        self._asking: dict[int, asyncio.Task[dict[str, TableLoadStatus]]] = {}

    async def aclose(self) -> None:
        """Close the log."""
        await self.run_in_thread(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    async def run_in_thread(self, do: Callable[[], T]) -> T:
        """Run a function in the thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)

    async def read_entries(
        self, source_id: int, first: int, count: int
    ) -> list[LogEntry | DamagedEntry]:
        """Return entries that the log of a source still keeps.

        Args:
            source_id: the source.
            first: the first position.
            count: of positions.
        """
        return await self.run_in_thread(
            lambda: choose_reader(self._open_once(), source_id).find_entries(first, count)
        )

    def find_keys(self, source_id: int, names: Sequence[bytes]) -> dict[bytes, int]:
        """Find idempotency keys in the log of a source; called inside `run_in_thread`."""
        return choose_reader(self._open_once(), source_id).statistics.find_keys(names)

    def _open_once(self) -> LogReader:
        if self._reader is None:
            self._reader = self._open_reader()
        return self._reader

    async def get_statuses(self, source_id: int) -> dict[str, TableLoadStatus]:
        """Return the load status of the tables of a source, by name.

        Requests that ask at the same moment share one question to the store.
        """
        task = self._asking.get(source_id)
        if task is None:

            def look() -> dict[str, TableLoadStatus]:
                found = self.store.tables.list_statuses(source_id)
                return {status.table_name: status for status in found}

            task = asyncio.create_task(self.run_in_thread(look))
            self._asking[source_id] = task
            task.add_done_callback(lambda _: self._asking.pop(source_id))
        return await asyncio.shield(task)

    async def wait_until_loaded(
        self, source_id: int, places: Iterable[TablePosition], seconds: float
    ) -> bool:
        """Wait until all places are loaded, or the time is up, or only stopped tables are left.

        Args:
            source_id: the source of all places.
            places: tables and positions.
            seconds: to wait at most.

        Returns:
            Whether all are loaded.
        """
        deadline = self._monotonic() + seconds
        waiting = dict[str, int]()
        for table_name, position in places:
            waiting[table_name] = max(position, waiting.get(table_name, 0))
        while True:
            statuses = await self.get_statuses(source_id)
            waiting = select_waiting(waiting, statuses)
            going_on = [name for name in waiting if not is_stopped(statuses.get(name))]
            if not going_on or self._monotonic() >= deadline:
                return not waiting
            # All that wait look at the same moments, so that one question serves all of them.
            await asyncio.sleep(POLL_SECONDS - self._monotonic() % POLL_SECONDS)


def select_waiting(
    waiting: Mapping[str, int], statuses: Mapping[str, TableLoadStatus]
) -> dict[str, int]:
    """Return those of the tables that are not loaded up to the position waited for."""
    return {
        name: position
        for name, position in waiting.items()
        if name not in statuses or statuses[name].loaded < position
    }


def is_stopped(status: TableLoadStatus | None) -> bool:
    """Return whether a table is stopped until somebody acts."""
    return status is not None and status.stopped
