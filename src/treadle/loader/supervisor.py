"""The loader's main loop: looks what waits, hands it to a thread per destination, trims the log."""

import gc
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from treadle.destinations.protocol import Destination
from treadle.errors import RetriableError
from treadle.loader.commands import POLL_SECONDS
from treadle.loader.destination_loader import DestinationLoader, LoaderDependencies
from treadle.loader.lease import DestinationLease
from treadle.loader.schedule import FlushPolicy, TableKey, exclude_claimed, group_by_destination
from treadle.log.protocol import LogReader, ReadLimits
from treadle.log.quota import LogQuota
from treadle.store.model import Source
from treadle.store.store import Store

logger = logging.getLogger("treadle.loader")

TRIM_INTERVAL_US = 600 * 1_000_000
QUOTA_CHECK_INTERVAL_US = 500_000
"""How often the log is asked whether it is full."""
REPORT_RETENTION_US = 60 * 86_400 * 1_000_000
"""How long load reports stay: the longest of the documented times (loading.md 11.2)."""

KEY_RETENTION_US = 3_600 * 1_000_000
"""How long a request with a key is at least known: longer than anybody goes on sending it."""

STOP_SECONDS_MAX = 100.0
"""For the loads that are under way at the end, less than the supervisor has for the loader. What is
not committed by then is loaded after the next start."""


@dataclass(slots=True)
class LoaderSupervisor:
    """Loads everything that waits into wherever its source loads.

    Attributes:
        open_reader: a reader of the log, one per thread.
        open_destination: the destination of a URL; raises OperatorFault for one that is none.
        retention_us: how long entries stay in the log after their load, microseconds.
        clock: microseconds since 1970.
        place: where it runs (`lease.Lease.place`).
        room: bounds of the log; where they are reached, what was loaded is removed at once.
        patience: seconds for the loads that are under way at the end of `run`.
    """

    store: Store
    open_reader: Callable[[], LogReader]
    open_destination: Callable[[str], Destination]
    flush_policy: FlushPolicy
    retention_us: int
    clock: Callable[[], int]
    new_id: Callable[[], str]
    place: str = "here"
    log_quota: LogQuota = field(default_factory=LogQuota)
    stop_timeout_seconds: float = STOP_SECONDS_MAX
    _holder: str = field(default_factory=lambda: str(uuid.uuid4()))
    _threads: dict[int, tuple[str, DestinationLoader]] = field(default_factory=dict)
    """By the id of the destination: its URL, and the thread."""
    _sources: dict[int, Mapping[int, Source]] = field(default_factory=dict)
    """Those that load into each destination."""
    _leaving: list[DestinationLoader] = field(default_factory=list)
    """Those that were asked to end and did not yet: nobody waits for a destination that hangs."""
    _marks: "queue.SimpleQueue[tuple[TableKey, int]]" = field(default_factory=queue.SimpleQueue)
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
                stop.wait(POLL_SECONDS)
        finally:
            self._stop_threads()
            self._note_marks(reader)
            reader.close()

    def _turn(self, reader: LogReader) -> None:
        """Look once; what may pass by itself is looked at again the next time."""
        try:
            self._refresh()
            self._dismiss()
            # In this order: what a thread committed before it was seen to be at no table is noted,
            # and so known to whoever is offered what waits of that table.
            claims = [(thread, thread.claimed_tables) for thread in self._everyone()]
            self._note_marks(reader)
            waiting = group_by_destination(reader.list_backlogs(), self._destination_of)
            for row_id, (_, thread) in self._threads.items():
                taken = {key for other, keys in claims if other is not thread for key in keys}
                offered = exclude_claimed(
                    waiting.get(row_id, ()), taken, self._sources.get(row_id, ())
                )
                if offered is not None:
                    thread.set_backlog(offered)
                thread.report_silence()
            self._trim(reader)
        except RetriableError as error:
            if not self._outage:
                logger.warning("the loader waits: %s", error)
            self._outage = True
        else:
            if self._outage:
                logger.info("the loader goes on")
            self._outage = False

    def load_once(self) -> None:
        """Load everything that waits now, each table once, in this thread.

        Failures are recorded as in `run`: in the store, and in the log lines.
        """
        self._refresh(start=False)
        reader = self.open_reader()
        self.store.use_log(reader.log_id)
        try:
            waiting = group_by_destination(reader.list_backlogs(), self._destination_of)
            for row_id, backlogs in waiting.items():
                _, thread = self._threads[row_id]
                thread.load_once(backlogs)
            self._note_marks(reader)
        finally:
            reader.close()

    def close(self) -> None:
        """Let go of what `load_once` opened."""
        self._stop_threads()

    def _refresh(self, *, start: bool = True) -> None:
        """Follow changes of sources and destinations."""
        revision = self.store.get_revision()
        if revision == self._revision:
            return
        urls = {
            row.id: row.url
            for row in self.store.destinations.list_destinations()
            if row.deleted_at is None
        }
        sources = self.store.sources.list_sources()
        self._destination_of = dict(self.store.destinations.list_ids_by_source())
        for row_id, (url, thread) in list(self._threads.items()):
            if urls.get(row_id) != url:
                del self._threads[row_id]
                self._sources.pop(row_id, None)
                self._leaving.append(thread)
                logger.info("leaving %s after the load it is in", thread.identity)
                thread.retire()
        for row_id, url in urls.items():
            if row_id not in self._threads:
                self._threads[row_id] = url, self._thread(row_id, url)
                if start:
                    self._threads[row_id][1].start()
        for row_id, (_, thread) in self._threads.items():
            its = {one.id: one for one in sources if self._destination_of.get(one.id) == row_id}
            self._sources[row_id] = its
            thread.assign_sources(its)
        self._revision = revision  # last: what failed half way is done again

    def _thread(self, row_id: int, url: str) -> DestinationLoader:
        policy = self.flush_policy
        dependencies = LoaderDependencies(
            open_reader=self.open_reader,
            open_destination=partial(self.open_destination, url),
            store=self.store,
            flush_policy=policy,
            read_limits=ReadLimits.within_memory(policy.records, policy.size),
            clock=self.clock,
            new_id=self.new_id,
            report_position=lambda key, position: self._marks.put((key, position)),
            lease=DestinationLease(self.store, row_id, self.place, self._holder, self.clock),
        )
        return DestinationLoader(row_id, dependencies)

    def _everyone(self) -> list[DestinationLoader]:
        return [*self._leaving, *(thread for _, thread in self._threads.values())]

    def _dismiss(self) -> None:
        """Forget threads that were to end and did."""
        for thread in [thread for thread in self._leaving if not thread.is_alive()]:
            self._leaving.remove(thread)
            logger.info("no longer loading into %s", thread.identity)

    def _stop_threads(self) -> None:
        """Let every thread end after the load it is in, as far as patience goes."""
        everyone = self._everyone()
        for thread in everyone:
            thread.stop()
        until = time.monotonic() + self.stop_timeout_seconds
        for thread in everyone:
            if not thread.is_alive():
                thread.close()
                continue
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                logger.error(
                    "%s does not answer, and is left in the middle of a load; unless that is "
                    "committed after all, it is done again after the next start",
                    thread.identity,
                )
        self._threads.clear()
        self._leaving.clear()

    def _note_marks(self, reader: LogReader) -> None:
        noted: dict[TableKey, int] = {}
        while True:
            try:
                key, position = self._marks.get_nowait()
            except queue.Empty:
                break
            noted[key] = position
        for key, position in list(noted.items()):
            try:
                reader.mark_loaded(*key, position)
            except RetriableError:
                for left, its in noted.items():
                    self._marks.put((left, its))
                raise
            del noted[key]

    def _trim(self, reader: LogReader) -> None:
        now = self.clock()
        retention_us = self.retention_us
        if now - self._trimmed_at < TRIM_INTERVAL_US:
            if now - self._looked_at < QUOTA_CHECK_INTERVAL_US:
                return
            self._looked_at = now
            if self.log_quota.find_shortage(reader.statistics.measure_space()) is None:
                return
            retention_us = 0  # accepting records matters more than keeping loaded ones
        else:
            self._trimmed_at = now
        for source_id, table_name, position in self.store.loads.list_loaded_before(
            now - retention_us
        ):
            gone = reader.trim(source_id, table_name, position)
            if gone:
                logger.info("trimmed %d entries of %r of source %d", gone, table_name, source_id)
        self.store.loads.delete_loads_before(now - max(self.retention_us, REPORT_RETENTION_US))
        reader.statistics.forget_keys(now - max(self.retention_us, KEY_RETENTION_US))
