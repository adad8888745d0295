"""Keeps the logs on PostgreSQL, and looks whether their servers still keep what they take.

One process does it for a log at a time. Two do no harm: each step is a transaction.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treadle import clock
from treadle.config import Config
from treadle.errors import TreadleError
from treadle.log.protocol import LogInfo
from treadle.log.registry import list_remote_logs
from treadle.log.remote_registry import (
    RemoteKeeper,
    RemoteKeepers,
    ServerFaults,
    find_remote_faults,
    name_remote_place,
)
from treadle.store.store import Store
from treadle.traces.log_server_note import (
    LogServerNote,
    LogServerSight,
    LogServerTrouble,
    write_log_servers,
)

logger = logging.getLogger("treadle.log")

KEEP_SECONDS: Final = 10.0
"""How often a log is kept."""

LOOK_SECONDS: Final = 30.0
"""How often the servers of logs are looked at."""

TROUBLE_US: Final = 60_000_000
"""How long something is wrong with a server before it is shown: a failover takes as long."""


@dataclass
class LogKeeping:
    """Keeps the logs that this process is to keep.

    Attributes:
        list_logs: returns the logs on PostgreSQL.
        make_keeper: makes what keeps a log.
        close: closes the connections of keepers.
        is_held: whether this process keeps a log, by its number.
    """

    list_logs: Callable[[], Sequence[LogInfo]]
    make_keeper: Callable[[LogInfo], RemoteKeeper]
    close: Callable[[], None]
    is_held: Callable[[int], bool] = lambda number: True
    _keepers: dict[int, RemoteKeeper] = field(default_factory=dict)
    _failed: dict[int, str] = field(default_factory=dict)

    def keep_all(self) -> None:
        """Keep each log once; what fails is said once, and tried again the next time."""
        for log in self.list_logs():
            if not self.is_held(log.number):
                self._keepers.pop(log.number, None)
                continue
            keeper = self._keepers.get(log.number)
            if keeper is None:
                keeper = self._keepers[log.number] = self.make_keeper(log)
            try:
                keeper.keep()
            except TreadleError as error:
                if self._failed.get(log.number) != str(error):
                    logger.warning("log %d is not kept now: %s", log.number, error)
                self._failed[log.number] = str(error)
            else:
                self._failed.pop(log.number, None)


@dataclass
class LogServerWatch:
    """Looks at the servers of logs, and notes what is wrong with them for a minute already.

    Attributes:
        list_logs: returns the logs on PostgreSQL.
        find_faults: the URL of a log -> what is wrong with its server.
        folder: of the note.
        clock: microseconds since 1970.
        durability: the setting `log_durability`.
    """

    list_logs: Callable[[], Sequence[LogInfo]]
    find_faults: Callable[[str], ServerFaults]
    folder: Path
    clock: Callable[[], int] = clock.read_clock
    durability: str = "replicated"
    _seen: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(place, what is wrong) -> since when."""
    _shown: frozenset[tuple[str, str]] = frozenset()

    def look(self) -> None:
        """Look at each server once, and write the note."""
        now = self.clock()
        found: dict[tuple[str, str], int] = {}
        sights: list[LogServerSight] = []
        for url in dict.fromkeys(one.url for one in self.list_logs()):
            place = name_remote_place(url)
            try:
                its = self.find_faults(url)
            except TreadleError as error:
                its = ServerFaults(troubles=(str(error),))
            else:
                sights.append(LogServerSight(place, self.durability, its.waits_for, its.standbys))
            for said in its.troubles:
                found[place, said] = self._seen.get((place, said), now)
        self._seen = found
        shown = frozenset(key for key, since in found.items() if now - since >= TROUBLE_US)
        for place, said in sorted(shown - self._shown):
            logger.error("%s: %s", place, said)
        for place, said in sorted(self._shown - shown):
            logger.info("%s is well again; it was: %s", place, said)
        self._shown = shown
        troubles = tuple(LogServerTrouble(*key, found[key]) for key in sorted(shown))
        try:
            write_log_servers(self.folder, LogServerNote(now, troubles, tuple(sights)))
        except OSError as error:
            logger.warning("what is wrong with servers of logs cannot be noted: %s", error)


def run_keeping(keeping: LogKeeping, stop: threading.Event) -> None:
    """Keep logs until `stop` is set."""
    try:
        _repeat(keeping.keep_all, KEEP_SECONDS, stop)
    finally:
        keeping.close()


def run_watch(watch: LogServerWatch, stop: threading.Event) -> None:
    """Look at the servers of logs until `stop` is set.

    It has a thread of its own: who keeps logs waits while no standby takes what it writes.
    """
    _repeat(watch.look, LOOK_SECONDS, stop)


def _repeat(work: Callable[[], None], seconds: float, stop: threading.Event) -> None:
    said = ""
    while True:
        try:
            work()
            said = ""
        except TreadleError as error:  # the store does not say which logs there are
            if str(error) != said:
                logger.warning("logs are not kept now: %s", error)
            said = str(error)
        if stop.wait(seconds):
            return


def make_keeping(
    config: Config, store: Store, is_held: Callable[[int], bool] = lambda number: True
) -> LogKeeping:
    """Make what keeps the logs on PostgreSQL.

    Args:
        config: the settings.
        store: knows the logs; the caller closes it.
        is_held: whether this process keeps a log, by its number.
    """
    keepers = RemoteKeepers(int(config.retention_days * 86_400_000_000), config.log_bytes)
    return LogKeeping(
        lambda: list_remote_logs(config, store.logs), keepers.make_keeper, keepers.close, is_held
    )


def make_server_watch(config: Config, store: Store) -> LogServerWatch:
    """Make what looks at the servers of logs; see `make_keeping`."""
    return LogServerWatch(
        lambda: list_remote_logs(config, store.logs),
        lambda url: find_remote_faults(url, config.log_durability),
        config.counters_path,
        durability=config.log_durability,
    )


def start_server_watch(config: Config, store: Store, stop: threading.Event) -> threading.Thread:
    """Look at the servers of logs in a thread until `stop` is set; see `make_keeping`."""
    thread = threading.Thread(
        target=run_watch,
        args=(make_server_watch(config, store), stop),
        name="log servers",
        daemon=True,
    )
    thread.start()
    return thread


def start_keeping(
    config: Config,
    store: Store,
    stop: threading.Event,
    is_held: Callable[[int], bool],
    *,
    watches_servers: bool,
) -> list[threading.Thread]:
    """Keep logs, and look at their servers, in threads until `stop` is set.

    Where the store is a file there is no such log, and no thread.

    Args:
        config: the settings.
        store: knows the logs.
        stop: ends them.
        is_held: whether this process keeps a log, by its number.
        watches_servers: it also looks at the servers of logs, as one process of a machine does.
    """
    if config.store is None:
        return []
    keeper = threading.Thread(
        target=run_keeping,
        args=(make_keeping(config, store, is_held), stop),
        name="keeper",
        daemon=True,
    )
    keeper.start()
    if not watches_servers:
        return [keeper]
    return [keeper, start_server_watch(config, store, stop)]
