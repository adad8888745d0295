"""Looks at the databases of a cluster all the time, past every cut: units, fences, loads."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg
from tests.faults.cluster.bounds import TableSample
from tests.faults.cluster.checks import FenceSample, find_lower_fences

LOOK_SECONDS: Final = 0.25
CONNECT_SECONDS_MAX: Final = 2

OFFSETS: Final = "SELECT source_id, table_name, position, fence FROM _treadle.positions"
UNITS: Final = "SELECT unit, holder, fence FROM units WHERE fence > 0"


class ClusterWatch(threading.Thread):
    """Samples of one cluster.

    Args:
        places: URLs of the databases that are loaded into.
        store: URL of the store.
        read_acknowledged: gives the highest position of each table that was acknowledged.
    """

    def __init__(
        self,
        places: Sequence[str],
        store: str,
        read_acknowledged: Callable[[], Mapping[str, int]],
    ) -> None:
        super().__init__(daemon=True, name="watch")
        self._places = places
        self._store = store
        self._read_acknowledged = read_acknowledged
        self._lock = threading.Lock()
        self.tables: dict[str, list[TableSample]] = defaultdict(list)
        self._fences: dict[str, FenceSample] = {}
        self.found: list[str] = []
        self.end = False

    def begin(self) -> None:
        """Forget what was seen of tables."""
        with self._lock:
            self.tables = defaultdict(list)

    def take_found(self) -> list[str]:
        """Return what was wrong with fences since the last call."""
        with self._lock:
            found, self.found = self.found, []
        return found

    def run(self) -> None:
        places: list[psycopg.Connection[Any]] = []
        store: psycopg.Connection[Any] | None = None
        while not self.end:
            try:
                if not places:
                    places = [connect(url) for url in self._places]
                self._look_at_tables(places)
            except psycopg.Error:
                for one in places:
                    close(one)
                places = []
            try:
                if store is None:
                    store = connect(self._store)
                self._look_at_units(store)
            except psycopg.Error:
                close(store)
                store = None
            time.sleep(LOOK_SECONDS)
        for one in places:
            close(one)
        close(store)

    def _look_at_tables(self, places: Sequence[psycopg.Connection[Any]]) -> None:
        acknowledged = self._read_acknowledged()
        loaded: dict[str, int] = {}
        samples: list[FenceSample] = []
        for number, connection in enumerate(places):
            try:
                rows = connection.execute(OFFSETS).fetchall()
            except psycopg.errors.UndefinedTable:
                continue
            now = time.monotonic()
            for source_id, name, position, fence in rows:
                loaded[name] = max(loaded.get(name, 0), position)
                unit = f"offset of {source_id} {name} in place {number}"
                samples.append(FenceSample(now, unit, None, fence))
        now = time.monotonic()
        with self._lock:
            for name, position in acknowledged.items():
                at = loaded.get(name, 0)
                self.tables[name].append(TableSample(now, at, position > at))
            for sample in samples:
                self._compare(sample)

    def _look_at_units(self, connection: psycopg.Connection[Any]) -> None:
        rows = connection.execute(UNITS).fetchall()
        now = time.monotonic()
        with self._lock:
            for unit, holder, fence in rows:
                self._compare(FenceSample(now, unit, holder, fence))

    def _compare(self, sample: FenceSample) -> None:
        """Compare with the last one of the unit: all of them would fill the memory."""
        before = self._fences.get(sample.unit)
        if before is not None:
            self.found += find_lower_fences([before, sample])
        if before is None or sample.holder is not None or sample.fence != before.fence:
            self._fences[sample.unit] = sample


def connect(url: str) -> psycopg.Connection[Any]:
    """Open a connection that gives up soon."""
    return psycopg.connect(
        url, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX, options="-c statement_timeout=5s"
    )


def close(connection: psycopg.Connection[Any] | None) -> None:
    """Close a connection that may be broken."""
    if connection is not None:
        with contextlib.suppress(psycopg.Error):
            connection.close()
