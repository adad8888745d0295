"""The loader's main loop: looks what waits, hands it to a thread per destination, trims the log."""

import gc
import logging
import queue
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from treadle.destinations.protocol import Destination
from treadle.errors import TreadleError, TryLater
from treadle.loader.due import Key, Trigger, by_destination
from treadle.loader.lease import Lease
from treadle.loader.worker import DestinationLoader, Surroundings
from treadle.log.protocol import Reader
from treadle.log.room import Room
from treadle.store.model import DestinationRow, Source
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")

LOOK_SECONDS = 0.05
"""How often the log is asked what waits: a twentieth of the default age of a load."""
TRIM_EVERY_US = 600 * 1_000_000
ROOM_LOOK_US = 500_000
"""How often the log is asked whether it is full."""
REPORTS_KEPT_US = 60 * 86_400 * 1_000_000
"""How long load reports stay: the longest of the documented times (loading.md 11.2)."""


@dataclass(slots=True)
class Loader:
    """Loads everything that waits into wherever its source loads.

    Attributes:
        open_reader: a reader of the log, one per thread.
        open_destination: the destination of a URL; raises OperatorFault for one that is none.
        retention_us: how long entries stay in the log after their load, microseconds.
        clock: microseconds since 1970.
        place: where it runs (`lease.Lease.place`).
        room: bounds of the log; where they are reached, what was loaded is removed at once.
    """

    store: Store
    open_reader: Callable[[], Reader]
    open_destination: Callable[[str], Destination]
    trigger: Trigger
    retention_us: int
    clock: Callable[[], int]
    new_id: Callable[[], str]
    place: str = "here"
    room: Room = field(default_factory=Room)
    _holder: str = field(default_factory=lambda: str(uuid.uuid4()))
    _threads: dict[int, tuple[DestinationRow, DestinationLoader, Reader]] = field(
        default_factory=dict
    )
    _marks: "queue.SimpleQueue[tuple[Key, int]]" = field(default_factory=queue.SimpleQueue)
    _sources: dict[int, Source] = field(default_factory=dict)
    _destination_of: dict[int, int] = field(default_factory=dict)
    _revision: int | None = None
    _trimmed_at: int = 0
    _looked_at: int = 0
    _outage: bool = False

    def run(self, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Load until `stop` is set; then finish the loads that are under way."""
        # A collection while 100,000 records are held costs more than decoding them; what a load
        # makes is freed by reference counts, and cycles are collected after each round.
        gc.freeze()
        gc.disable()
        # Arrow's own allocator keeps what was freed, about 40 MB after a load of 100,000 records.
        pa.set_memory_pool(pa.system_memory_pool())
        reader = self.open_reader()
        self.store.use_log(reader.log_id)
        try:
            self._refresh()
            ready()
            while not stop.is_set():
                self._turn(reader)
                stop.wait(LOOK_SECONDS)
        finally:
            self._stop_threads()
            self._note_marks(reader)
            reader.close()

    def _turn(self, reader: Reader) -> None:
        """Look once; what may pass by itself is looked at again the next time."""
        try:
            self._refresh()
            self._note_marks(reader)
            waiting = by_destination(reader.backlog(), self._destination_of)
            for row_id, (_, thread, _) in self._threads.items():
                thread.offer(waiting.get(row_id, ()), self._sources)
                thread.look()
            self._trim(reader)
        except TryLater as error:
            if not self._outage:
                logger.warning("the loader waits: %s", error)
            self._outage = True
        else:
            if self._outage:
                logger.info("the loader goes on")
            self._outage = False

    def once(self) -> None:
        """Load everything that waits now, each table once, in this thread.

        Failures are recorded as in `run`: in the store, and in the log lines.
        """
        self._refresh(threads=False)
        reader = self.open_reader()
        self.store.use_log(reader.log_id)
        try:
            waiting = by_destination(reader.backlog(), self._destination_of)
            for row_id, backlogs in waiting.items():
                _, thread, _ = self._threads[row_id]
                thread.once(backlogs, self._sources)
            self._note_marks(reader)
        finally:
            reader.close()

    def close(self) -> None:
        """Let go of what `once` opened."""
        self._stop_threads()

    def _refresh(self, *, threads: bool = True) -> None:
        """Follow changes of sources and destinations."""
        revision = self.store.revision()
        if revision == self._revision:
            return
        rows = {row.id: row for row in self.store.destinations() if row.deleted_at is None}
        self._sources = {source.id: source for source in self.store.sources()}
        self._destination_of = dict(self.store.destination_ids())
        for row_id in list(self._threads):
            if row_id not in rows or rows[row_id].url != self._threads[row_id][0].url:
                self._stop_thread(row_id)
        for row in rows.values():
            if row.id not in self._threads:
                self._add_thread(row, start=threads)
        self._revision = revision  # last: what failed half way is done again

    def _add_thread(self, row: DestinationRow, *, start: bool) -> None:
        try:
            destination = self.open_destination(row.url)
        except TreadleError as error:
            logger.error("destination %d cannot be used: %s", row.id, error)  # noqa: TRY400 - for people
            self.store.destination_trouble(row.id, str(error))
            return
        reader = self.open_reader()
        outside = Surroundings(
            reader=reader,
            store=self.store,
            trigger=self.trigger,
            clock=self.clock,
            new_id=self.new_id,
            marked=lambda key, position: self._marks.put((key, position)),
            lease=Lease(self.store, row.id, self.place, self._holder, self.clock),
        )
        thread = DestinationLoader(row.id, destination, outside)
        self._threads[row.id] = (row, thread, reader)
        if start:
            thread.start()
        logger.info("loading into %s", destination.identity)

    def _stop_thread(self, row_id: int) -> None:
        _, thread, reader = self._threads.pop(row_id)
        thread.stop()
        if thread.is_alive():
            thread.join()
        reader.close()

    def _stop_threads(self) -> None:
        for _, thread, _ in self._threads.values():
            thread.stop()
        for row_id in list(self._threads):
            self._stop_thread(row_id)

    def _note_marks(self, reader: Reader) -> None:
        noted: dict[Key, int] = {}
        while True:
            try:
                key, position = self._marks.get_nowait()
            except queue.Empty:
                break
            noted[key] = position
        for key, position in list(noted.items()):
            try:
                reader.mark(*key, position)
            except TryLater:
                for left, its in noted.items():
                    self._marks.put((left, its))
                raise
            del noted[key]

    def _trim(self, reader: Reader) -> None:
        now = self.clock()
        retention_us = self.retention_us
        if now - self._trimmed_at < TRIM_EVERY_US:
            if now - self._looked_at < ROOM_LOOK_US:
                return
            self._looked_at = now
            if self.room.lacking(reader.space()) is None:
                return
            retention_us = 0  # accepting records matters more than keeping loaded ones
        else:
            self._trimmed_at = now
        for source_id, table_name, position in self.store.loaded_before(now - retention_us):
            gone = reader.trim(source_id, table_name, position)
            if gone:
                logger.info("trimmed %d entries of %r of source %d", gone, table_name, source_id)
        self.store.delete_loads_before(now - max(self.retention_us, REPORTS_KEPT_US))
        self.store.delete_idempotency_before(now - self.retention_us)
