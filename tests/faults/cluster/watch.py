"""Looks at the databases of a cluster all the time, past every cut: units, fences, loads."""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
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
        warehouse: URL of the database that is loaded into.
        store: URL of the store.
        read_acknowledged: gives the highest position of each table that was acknowledged.
        has_units: whether the store has the table of units.
    """

    def __init__(
        self,
        warehouse: str,
        store: str,
        read_acknowledged: Callable[[], Mapping[str, int]],
        *,
        has_units: bool,
    ) -> None:
        super().__init__(daemon=True, name="watch")
        self._warehouse = warehouse
        self._store = store
        self._read_acknowledged = read_acknowledged
        self._has_units = has_units
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
        warehouse: psycopg.Connection[Any] | None = None
        store: psycopg.Connection[Any] | None = None
        while not self.end:
            try:
                if warehouse is None:
                    warehouse = connect(self._warehouse)
                self._look_at_tables(warehouse)
            except psycopg.Error:
                close(warehouse)
                warehouse = None
            if self._has_units:
                try:
                    if store is None:
                        store = connect(self._store)
                    self._look_at_units(store)
                except psycopg.Error:
                    close(store)
                    store = None
            time.sleep(LOOK_SECONDS)
        close(warehouse)
        close(store)

    def _look_at_tables(self, connection: psycopg.Connection[Any]) -> None:
        acknowledged = self._read_acknowledged()
        try:
            rows = connection.execute(OFFSETS).fetchall()
        except psycopg.errors.UndefinedTable:
            rows = []
        now = time.monotonic()
        loaded = {name: position for _, name, position, _ in rows}
        with self._lock:
            for name, position in acknowledged.items():
                at = loaded.get(name, 0)
                self.tables[name].append(TableSample(now, at, position > at))
            for source_id, name, _, fence in rows:
                self._compare(FenceSample(now, f"offset of {source_id} {name}", None, fence))

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
