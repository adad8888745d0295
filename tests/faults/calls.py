"""`python -m tests.faults.calls`: the n-th call fails, for every n, at each interface.

The interfaces are the log's disk (every statement), the destination (every call of a session,
before it is done and after), and the store (every call of the loader). A cycle is one call that
fails once, in a fixed scenario. The scenario goes on, as a server would, until everything is
loaded; then each record is where it has to be, once.
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import msgspec
from tests.faults.command import Tally, command, destinations, folder

from treadle.destinations.protocol import (
    AccessDeniedError,
    CommitUnknownError,
    Destination,
    DestinationUnavailableError,
    PlanOutdatedError,
    Session,
)
from treadle.destinations.registry import make_destination
from treadle.errors import (
    InternalError,
    OperatorError,
    RetriableError,
    TableStoppedError,
    TreadleError,
)
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.log.sqlite.log_file import open_sqlite as connect_soundly
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.database import StoreRepository
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

ANSWER_SECONDS_MAX = 120.0
ROUNDS_MAX = 12
"""Rounds of loading after which everything has to be loaded."""

TABLES = {"orders": ("id",), "events": ()}
ENTRIES = 6


@dataclass
class Fault:
    """Raises at the n-th call, once.

    Attributes:
        at: number of the call, from 1; 0 for none.
        make: the error.
        after: the call is done before it is raised.
        only: names of calls that count; all when empty.
    """

    at: int
    make: Callable[[], BaseException]
    after: bool = False
    only: tuple[str, ...] = ()
    calls: int = 0
    called: str = ""

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        """Make a call, or fail at it."""
        if self.only and name not in self.only:
            return call()
        self.calls += 1
        if self.calls != self.at:
            return call()
        self.called = name
        if self.after:
            call()
        raise self.make()


class Watched:
    """Another object, whose methods go through a fault."""

    def __init__(self, inner: Any, fault: Fault, passed: tuple[str, ...] = ()) -> None:
        self._inner = inner
        self._fault = fault
        self._passed = passed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name in self._passed:
            return found
        return lambda *args, **kwargs: self._fault.around(name, lambda: found(*args, **kwargs))

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._inner.__exit__(*exc)


class WatchedStore(Watched):
    """A store, and its repositories, whose calls go through a fault."""

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        return Watched(found, self._fault) if isinstance(found, StoreRepository) else found


class WatchedDestination(Watched):
    """A destination, and its sessions, whose calls go through a fault."""

    def open(self, *, read_only: bool = False) -> Session:
        session = self._fault.around("open", lambda: self._inner.open(read_only=read_only))
        return cast(Session, Watched(session, self._fault, ("close",)))


def disk_error(code: int, text: str) -> Callable[[], BaseException]:
    """An error as SQLite's driver raises it."""

    def make() -> BaseException:
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        return error

    return make


def watched_disk(fault: Fault) -> Callable[[Path], sqlite3.Connection]:
    """A `open_sqlite` for the log, whose statements go through a fault."""

    class Connection(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = fault.around(
                str(arguments[0]).split()[0], lambda: sqlite3.Connection.execute(self, *arguments)
            )
            return cursor

        def executemany(self, *arguments: Any) -> sqlite3.Cursor:
            cursor: sqlite3.Cursor = fault.around(
                "many", lambda: sqlite3.Connection.executemany(self, *arguments)
            )
            return cursor

    return lambda path: sqlite3.connect(
        path, timeout=30, isolation_level=None, check_same_thread=False, factory=Connection
    )


def batch(table: str, number: int) -> MessageBatch:
    """Five records; the keyed ones share keys with the entry before."""
    first = number * (3 if TABLES[table] else 5)
    ids = range(first, first + 5)
    return MessageBatch(
        table,
        TABLES[table],
        "json",
        b"",
        (),
        [number * 10 + one for one in range(5)],
        0,
        None,
        [],
        msgspec.json.encode([{"id": one, "entry": number} for one in ids]),
    )


@dataclass
class Scene:
    """A store, a log and a loader in this process.

    Attributes:
        store: a file to begin with, with an account and a source.
        disk, calls, notes: faults of the log, the destination and the store.
    """

    path: Path
    url: str
    store: Path
    disk: Fault
    calls: Fault
    notes: Fault
    accepted: list[tuple[str, int]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Append and load by turns; what is wrong at the end."""
        shutil.copy(self.store, self.path / "store.sqlite")
        store = Store.open(f"sqlite:///{self.path / 'store.sqlite'}", SecretCipher(bytes(32)))
        try:
            [account] = store.accounts.list_accounts()
            [source] = store.sources.list_sources()
            destination = make_destination(self.url)
            store.destinations.set_default_destination(
                account.id, destination.kind, self.url, destination.identity
            )
            found = self._walk(store, source.id)
        finally:
            store.close()
        return found + self._compare()

    def _walk(self, store: Store, source_id: int) -> list[str]:
        found: list[str] = []
        numbers = itertools.count()
        loader = LoaderSupervisor(
            store=cast(Store, WatchedStore(store, self.notes)),
            open_reader=lambda: SqliteReader(
                self.path / "log.sqlite", connect=watched_disk(self.disk)
            ),
            open_destination=lambda url: cast(
                Destination, WatchedDestination(make_destination(url), self.calls)
            ),
            flush_policy=FlushPolicy(age_us=0, records=12),
            retention_us=10**15,
            clock=itertools.count(1_700_000_000_000_000, 1_000_000).__next__,
            new_id=lambda: f"load-{next(numbers)}",
        )
        for number in range(ENTRIES):
            found += asyncio.run(self._append(source_id, number))
            self._once(loader, found)
        for _ in range(ROUNDS_MAX):
            if self._all_loaded(store):
                break
            self._once(loader, found)
        loader.close()
        reader = SqliteReader(self.path / "log.sqlite", connect=connect_soundly)
        waiting = reader.list_backlogs()
        reader.close()
        # The last marks are hints and may be missing: the store has the truth about loads.
        noted = {status.table_name: status.loaded for status in store.tables.list_statuses()}
        found += [
            f"{one.entries} entries of {one.table_name} wait for ever"
            for one in waiting
            if noted.get(one.table_name, 0) < one.last
        ]
        found += [
            f"{status.table_name} shows an error after all went well: {status.error}"
            for status in store.tables.list_statuses()
            if status.error is not None
        ]
        loads = [load for load in store.loads.list_loads(limit=1000) if load.error is None]
        reported = sum(load.rows_received for load in loads)
        if reported != 5 * len(self.accepted):
            found.append(f"{reported} records are reported, of {5 * len(self.accepted)} accepted")
        return found

    def _all_loaded(self, store: Store) -> bool:
        reader = SqliteReader(self.path / "log.sqlite", connect=connect_soundly)
        last = {one.table_name: one.last for one in reader.list_backlogs()}
        reader.close()
        statuses = {status.table_name: status for status in store.tables.list_statuses()}
        return all(
            name in statuses and statuses[name].loaded >= position and not statuses[name].error
            for name, position in last.items()
        )

    def _once(self, loader: LoaderSupervisor, found: list[str]) -> None:
        try:
            loader.load_once()
        except TreadleError as error:
            self.said.append(str(error))
        except Exception as error:  # noqa: BLE001 - the scenario says what it was
            if "injected" not in str(error):
                found.append(f"an error that says nothing: {error!r}")

    async def _append(self, source_id: int, number: int) -> list[str]:
        table = list(TABLES)[number % 2]
        entry = NewEntry(
            source_id, table, 1_700_000_000_000_000, 5, encode_batch(batch(table, number))
        )
        try:
            log = SqliteAppender(self.path / "log.sqlite", connect=watched_disk(self.disk))
        except (RetriableError, OperatorError) as error:
            self.said.append(str(error))
            log = SqliteAppender(self.path / "log.sqlite", connect=watched_disk(self.disk))
        found: list[str] = []
        try:
            for _ in range(2):  # as a client that is answered 503 does
                try:
                    await asyncio.wait_for(log.append([entry]), ANSWER_SECONDS_MAX)
                except RetriableError as error:
                    self.said.append(str(error))
                except TimeoutError:
                    found.append("no answer")
                else:
                    self.accepted.append((table, number))
                    break
        finally:
            await log.aclose()
        return found

    def _compare(self) -> list[str]:
        found: list[str] = []
        for table, key in TABLES.items():
            expected: dict[int, list[int]] = {}
            for name, number in self.accepted:
                if name == table:
                    for one in msgspec.json.decode(batch(table, number).data):
                        expected.setdefault(one["id"], []).append(number)
            rows: list[tuple[Any, ...]] = []
            # What is missing as a whole was never loaded.
            with (
                contextlib.suppress(DestinationUnavailableError, OperatorError),
                make_destination(self.url).open(read_only=True) as session,
            ):
                rows = session.query(f'select id, entry from "web"."{table}"').rows
            there: dict[int, list[int]] = {}
            for one, number in rows:
                there.setdefault(one, []).append(number)
            if key:
                expected = {one: [max(numbers)] for one, numbers in expected.items()}
            found += [
                f"{table}, id {one}: found {there.get(one)}, expected {expected.get(one)}"
                for one in sorted(expected.keys() | there.keys())
                if sorted(there.get(one, [])) != sorted(expected.get(one, []))
            ]
        if any(not said.strip() for said in self.said):
            found.append("an error without a message")
        return found


def never() -> Fault:
    """A fault that does not come."""
    return Fault(0, RuntimeError)


DISK: Mapping[str, Callable[[], BaseException]] = {
    "EIO": disk_error(sqlite3.SQLITE_IOERR, "disk I/O error (injected)"),
    "ENOSPC": disk_error(sqlite3.SQLITE_FULL, "database or disk is full (injected)"),
}
LOADS = ("load", "load_group")
CALLS: Mapping[str, tuple[Callable[[], BaseException], bool, tuple[str, ...]]] = {
    "unavailable": (lambda: DestinationUnavailableError("gone (injected)"), False, ()),
    "gone after it was done": (lambda: DestinationUnavailableError("gone (injected)"), True, ()),
    "cut during COMMIT, before": (lambda: CommitUnknownError("cut (injected)"), False, LOADS),
    "cut during COMMIT, after": (lambda: CommitUnknownError("cut (injected)"), True, LOADS),
    "forbidden": (lambda: AccessDeniedError("not yours (injected)"), False, ()),
    "outdated": (lambda: PlanOutdatedError("changed (injected)"), False, (*LOADS, "state")),
    "stopped": (lambda: TableStoppedError("no (injected)"), False, (*LOADS, "state", "prepare")),
    "a defect, after": (lambda: RuntimeError("injected"), True, ()),
}
NOTES: Mapping[str, tuple[Callable[[], BaseException], bool]] = {
    "the store is away": (lambda: RetriableError("locked (injected)"), False),
    "the store is away, after": (lambda: RetriableError("locked (injected)"), True),
    "the store refuses": (lambda: OperatorError("read-only (injected)"), False),
    "a defect": (lambda: InternalError("injected"), False),
}


def faults() -> Iterator[tuple[str, Callable[[int], tuple[Fault, Fault, Fault]]]]:
    """A title, and the three faults for a number of the call."""
    for name, make in DISK.items():
        yield f"disk, {name}", lambda n, make=make: (Fault(n, make), never(), never())  # type: ignore[misc]  # bound now
    for name, (make, after, only) in CALLS.items():
        yield (
            f"destination, {name}",
            lambda n, make=make, after=after, only=only: (  # type: ignore[misc]  # bound now
                never(),
                Fault(n, make, after, only),
                never(),
            ),
        )
    for name, (make, after) in NOTES.items():
        yield (
            f"store, {name}",
            lambda n, make=make, after=after: (never(), never(), Fault(n, make, after)),  # type: ignore[misc]  # bound now
        )


def run(arguments: argparse.Namespace, tally: Tally) -> None:
    """Every n of every fault; with few cycles, every so manyth."""
    logging.getLogger("treadle").setLevel(logging.CRITICAL)
    with destinations(arguments.destination) as fresh, folder() as path:
        store = made(path / "store.sqlite")
        for kind in arguments.destination:
            numbers = [
                (title, make, most(partial(fresh, kind), store, make)) for title, make in faults()
            ]
            total = sum(last for _, _, last in numbers)
            step = max(1, total // max(1, arguments.cycles // len(arguments.destination)))
            turn = 0
            for title, make, last in numbers:
                for n in range(1, last + 1):
                    turn += 1
                    if turn % step != arguments.seed % step:
                        continue
                    three = make(n)
                    found = attempt(partial(fresh, kind), store, three)
                    called = next((fault.called for fault in three if fault.called), "nothing")
                    tally.note(f"{kind}, {title}, call {n} ({called})", found)
                    if called != "nothing":
                        tally.add(**{f"faults: {title}": 1})


def made(path: Path) -> Path:
    """A store with an account and a source."""
    store = Store.open(f"sqlite:///{path}", SecretCipher(bytes(32)))
    account, _ = store.accounts.create_account("a")
    store.sources.create_source(
        account.id, type="import_api", display_name="web", name="web", bootstrap_token=False
    )
    store.close()
    return path


def most(
    fresh: Callable[[], str | None],
    store: Path,
    make: Callable[[int], tuple[Fault, Fault, Fault]],
) -> int:
    """How many calls of this sort the scenario makes without a fault."""
    three = make(10**9)
    found = attempt(fresh, store, three)
    if found:
        raise AssertionError(f"the scenario fails without a fault: {found}")
    return max(fault.calls for fault in three if fault.at)


def attempt(
    fresh: Callable[[], str | None], store: Path, three: tuple[Fault, Fault, Fault]
) -> list[str]:
    """One scenario in a folder of its own."""
    with folder() as path:
        url = fresh() or f"duckdb://{path / 'warehouse.duckdb'}"
        return Scene(path, url, store, *three).run()


if __name__ == "__main__":
    sys.exit(command("calls", str(__doc__), run, cycles=10_000))
