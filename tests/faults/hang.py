"""`python -m tests.faults.hang`: the n-th call hangs, for every n, at the disk and a destination.

A cycle is one call that does not return for a while. While a statement of the log's disk hangs,
nothing that waits for it is acknowledged, the event loop goes on, and the log can be read. While a
call of a destination hangs, records are accepted, another destination is loaded, and the operator
is told. Afterwards the call is done, or fails before or after it was done, and every record is in
its table once.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from tests.faults.calls import LOADS, TABLES, Fault, WatchedDestination, batch, made, watched_disk
from tests.faults.command import Tally, command, destinations, folder

from treadle.destinations.protocol import (
    CommitUnknownError,
    Destination,
    DestinationUnavailableError,
)
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError
from treadle.loader import reporting
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

SECONDS_MAX = 300.0
"""For anything to happen."""

ENDINGS = ("done", "failed before", "failed after")


@dataclass
class Stall(Fault):
    """Holds the n-th call until it is let go of."""

    ending: str = "done"
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        """Make a call, later."""
        if self.only and name not in self.only:
            return call()
        self.calls += 1
        if self.calls != self.at:
            return call()
        self.called = name
        self.reached.set()
        self.released.wait(SECONDS_MAX)
        if self.ending == "failed before":
            raise self.make()
        found = call()
        if self.ending == "failed after":
            raise CommitUnknownError("cut (injected)") if name in LOADS else self.make()
        return found


def stall(at: int, ending: str = "done", only: tuple[str, ...] = ()) -> Stall:
    """A call that hangs."""
    return Stall(
        at, lambda: DestinationUnavailableError("gone (injected)"), only=only, ending=ending
    )


def entry(source_id: int, number: int) -> NewEntry:
    """One entry of five records."""
    table = list(TABLES)[number % 2]
    return NewEntry(source_id, table, 1_700_000_000_000_000, 5, encode_batch(batch(table, number)))


# --- the disk -------------------------------------------------------------------------------------


async def disk(path: Path, held: Stall) -> list[str]:
    """Append while a statement of the log hangs; what is wrong."""
    log = path / "log.sqlite"
    reader = SqliteReader(log)
    found: list[str] = []

    async def write() -> list[int]:
        appender = await asyncio.to_thread(SqliteAppender, log, connect=watched_disk(held))
        try:
            first = await appender.append([entry(1, 0)])
            return [first, await appender.append([entry(1, 1), entry(1, 2)])]
        finally:
            await appender.aclose()

    writing = asyncio.ensure_future(write())
    reached = asyncio.ensure_future(asyncio.to_thread(held.reached.wait, SECONDS_MAX))
    await asyncio.wait({writing, reached}, return_when=asyncio.FIRST_COMPLETED)
    if not writing.done():
        entries = await asyncio.wait_for(asyncio.to_thread(_sound, reader), SECONDS_MAX)
        if entries not in ([], [1]) or writing.done():
            found.append(f"entries {entries} are there while the disk hangs")
        held.released.set()
    held.reached.set()
    if await asyncio.wait_for(writing, SECONDS_MAX) != [1, 2]:
        found.append("other positions than were promised")
    await reached
    if await asyncio.to_thread(_sound, reader) != [1, 2, 3]:
        found.append("not every entry is in the log once")
    await asyncio.to_thread(reader.close)
    return found


def _sound(reader: SqliteReader) -> list[int]:
    return sorted(one.position for name in TABLES for one in reader.read(1, name, 0, 10**6, 10**9))


# --- a destination --------------------------------------------------------------------------------


@dataclass
class Scene:
    """Two sources, each with a destination of its own; one of these hangs."""

    path: Path
    url: str
    held: Stall
    store: Store = field(init=False)
    sources: list[int] = field(default_factory=list)
    last: dict[tuple[int, str], int] = field(default_factory=dict)
    sent: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made(self.path / "store.sqlite")
        self.store = Store.open(f"sqlite:///{self.path / 'store.sqlite'}", SecretCipher(bytes(32)))
        [first], [source] = self.store.accounts.list_accounts(), self.store.sources.list_sources()
        second, _ = self.store.accounts.create_account("b")
        for account, url in ((first, self.url), (second, self.well)):
            destination = make_destination(url)
            self.store.destinations.set_default_destination(
                account.id, destination.kind, url, destination.identity
            )
        # Two sources have one name only where they load into different places.
        other = self.store.sources.create_source(
            second.id, type="import_api", display_name="web", name="web", bootstrap_token=False
        )
        self.sources = [source.id, other.id]

    @property
    def well(self) -> str:
        """URL of the destination that answers."""
        return f"duckdb://{self.path / 'well.duckdb'}"

    def run(self) -> list[str]:
        """Load, hang, accept, load elsewhere, go on; what is wrong."""
        stop = threading.Event()
        loader = self._loader()
        running = threading.Thread(target=lambda: loader.run(stop, lambda: None))
        found: list[str] = []
        # told of as soon as it is looked at
        silent, reporting.SILENCE_US_MAX = reporting.SILENCE_US_MAX, 0
        try:
            self.accept(2)
            running.start()
            wait(lambda: self.held.reached.is_set() or self.loaded(self.sources[0]))
            if self.held.reached.is_set():
                self.accept(2)
                found += wait(lambda: self.loaded(self.sources[1]), "the other is not loaded")
                found += wait(lambda: self.trouble("has not answered for"), "nobody is told")
            self.held.released.set()
            found += wait(lambda: self.loaded(self.sources[0]), "it is not loaded afterwards")
            found += wait(lambda: not self.trouble(""), "it stays in trouble")
        finally:
            self.held.released.set()
            stop.set()
            running.join(SECONDS_MAX)
            reporting.SILENCE_US_MAX = silent
            gc.enable()  # a loader has a process of its own, in which it is off
            self.store.close()
        if running.is_alive():
            found.append("the loader does not stop")
        return found + [
            f"{url.split(':')[0]}, {problem}"
            for source, url in zip(self.sources, (self.url, self.well), strict=True)
            for problem in compare(url, self.sent[source])
        ]

    def _loader(self) -> LoaderSupervisor:
        numbers = itertools.count()

        def open_destination(url: str) -> Destination:
            opened = make_destination(url)
            return (
                cast(Destination, WatchedDestination(opened, self.held))
                if url == self.url
                else opened
            )

        return LoaderSupervisor(
            store=self.store,
            open_reader=lambda: SqliteReader(self.path / "log.sqlite"),
            open_destination=open_destination,
            flush_policy=FlushPolicy(age_us=0, records=12),
            retention_us=10**15,
            clock=lambda: time.time_ns() // 1000,
            new_id=lambda: f"load-{next(numbers)}",
        )

    def accept(self, count: int) -> None:
        """Some entries for each source."""

        async def append() -> None:
            log = SqliteAppender(self.path / "log.sqlite")
            for source, _ in itertools.product(self.sources, range(count)):
                number = self.sent.get(source, 0)
                one = entry(source, number)
                self.last[source, one.table_name] = await log.append([one])
                self.sent[source] = number + 1
            await log.aclose()

        asyncio.run(append())

    def trouble(self, text: str) -> bool:
        """Whether the operator is told of a destination in such words."""
        return any(
            row.trouble and text in row.trouble
            for row in self.store.destinations.list_destinations()
        )

    def loaded(self, source_id: int) -> bool:
        """Whether everything of a source is."""
        there = {s.table_name: s.loaded for s in self.store.tables.list_statuses(source_id)}
        return all(
            there.get(table, 0) >= last
            for (source, table), last in self.last.items()
            if source == source_id
        )


def wait(condition: Callable[[], bool], otherwise: str = "") -> list[str]:
    """Wait until something is so; says so when it does not come."""
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            return [otherwise]
        time.sleep(0.01)
    return []


def compare(url: str, count: int) -> Iterator[str]:
    """How the rows differ from the first entries."""
    for table, key in TABLES.items():
        expected: dict[int, list[int]] = {}
        for number in range(count):
            if list(TABLES)[number % 2] == table:
                for one in msgspec.json.decode(batch(table, number).data):
                    expected.setdefault(one["id"], []).append(number)
        if key:
            expected = {one: [max(numbers)] for one, numbers in expected.items()}
        there: dict[int, list[int]] = {}
        # What is missing as a whole was never loaded.
        with (
            contextlib.suppress(DestinationUnavailableError, OperatorError),
            make_destination(url).open(read_only=True) as session,
        ):
            for one, number in session.query(f'select id, entry from "web"."{table}"').rows:
                there.setdefault(one, []).append(number)
        for one in sorted(expected.keys() | there.keys()):
            if sorted(there.get(one, [])) != sorted(expected.get(one, [])):
                yield f"{table}, id {one}: found {there.get(one)}, expected {expected.get(one)}"


# --- all of them ----------------------------------------------------------------------------------


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Every n of both."""
    logging.getLogger("treadle").setLevel(logging.CRITICAL)
    for n in itertools.count(1):
        held = stall(n)
        with folder() as path:
            found = asyncio.run(disk(path, held))
        if not held.called or tally.passed + tally.failed >= arguments.cycles:
            break
        tally.note(f"disk, call {n} ({held.called})", found)
        tally.add(**{"at the disk": 1})
    with destinations(arguments.destination) as fresh:
        for kind, ending in itertools.product(arguments.destination, ENDINGS):
            for n in itertools.count(1):
                if tally.passed + tally.failed >= arguments.cycles:
                    return
                called, found = attempt(partial(fresh, kind), stall(n, ending))
                if not called:
                    break
                tally.note(f"{kind}, call {n} ({called}), {ending}", found)
                tally.add(**{f"at {kind}, {ending}": 1})


def attempt(fresh: Callable[[], str | None], held: Stall) -> tuple[str, list[str]]:
    """One scenario in a folder of its own."""
    with folder() as path:
        url = fresh() or f"duckdb://{path / 'warehouse.duckdb'}"
        found = Scene(path, url, held).run()
        return held.called, found


if __name__ == "__main__":
    sys.exit(command("hang", str(__doc__), run, cycles=10_000))
