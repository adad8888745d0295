"""What comes while a table is being loaded: much is loaded next, in one session; little waits."""

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.faults.calls import WatchedDestination, batch, made
from tests.faults.hang import Stall
from tests.servers.treadle import eventually

from treadle.destinations.protocol import Destination, DestinationUnavailableError
from treadle.destinations.registry import make_destination
from treadle.loader import destination_loader, supervisor
from treadle.loader.commands import choose_pause
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry, TableBacklog
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

NEVER_US = 10**15
"""An age that nothing reaches: what is loaded is loaded because of how much it is."""


@dataclass
class Recorded(Stall):
    """Holds the first load, and remembers the loads and openings that were asked for."""

    asked: list[str] = field(default_factory=list)
    began: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def around(self, name: str, call: Any) -> Any:
        if name in ("open", "load", "close"):
            self.asked.append(name)
            self.began.append(time.monotonic())
            try:
                return super().around(name, call)
            finally:
                self.ended.append(time.monotonic())
        return super().around(name, call)


class Place:
    """A log, a store with one source, and a loader whose first load hangs; the clock stands."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        made(folder / "store.sqlite")
        self.folder = folder
        self.store = Store.open(f"sqlite:///{folder / 'store.sqlite'}", SecretCipher(bytes(32)))
        [account], [source] = self.store.accounts.list_accounts(), self.store.sources.list_sources()
        self.source = source.id
        self.url = url or f"duckdb://{folder / 'there.duckdb'}"
        destination = make_destination(self.url)
        self.store.destinations.set_default_destination(
            account.id, destination.kind, self.url, destination.identity
        )
        self.calls = Recorded(1, lambda: DestinationUnavailableError("gone"), only=("load",))
        self.looks = 0
        self._entries = itertools.count()

    def accept(self, entries: int) -> None:
        """Append entries of five records each, so that nobody sees some of them."""
        batches = [batch("orders", next(self._entries)) for _ in range(entries)]

        async def append() -> None:
            log = SqliteAppender(self.folder / "log.sqlite")
            await log.append(
                [NewEntry(self.source, "orders", 1, 5, encode_batch(each)) for each in batches]
            )
            await log.aclose()

        asyncio.run(append())

    def look(self) -> None:
        """Wait until the loader has looked at the log, and said what it found."""
        seen = self.looks
        # The first look from now on was told of when the second begins.
        eventually(lambda: self.looks >= seen + 2, 300)

    def waiting(self) -> int:
        """Records that were not loaded."""
        reader = SqliteReader(self.folder / "log.sqlite")
        try:
            return sum(backlog.records for backlog in reader.list_backlogs())
        finally:
            reader.close()

    @contextmanager
    def loading(self, trigger: FlushPolicy) -> Iterator[None]:
        place = self

        class Counted(SqliteReader):
            def list_backlogs(self) -> list[TableBacklog]:
                place.looks += 1
                return super().list_backlogs()

        numbers = itertools.count()
        loader = LoaderSupervisor(
            store=self.store,
            open_reader=lambda: Counted(self.folder / "log.sqlite"),
            open_destination=lambda url: cast(
                Destination, WatchedDestination(make_destination(url), self.calls)
            ),
            flush_policy=trigger,
            retention_us=10**15,
            clock=lambda: 10**6,
            new_id=lambda: f"load-{next(numbers)}",
        )
        stop = threading.Event()
        thread = threading.Thread(target=lambda: loader.run(stop, lambda: None))
        thread.start()
        try:
            yield
        finally:
            self.calls.released.set()
            stop.set()
            thread.join(300)
            gc.enable()  # a loader has a process of its own, in which it is off
            assert not thread.is_alive()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    there = Place(tmp_path)
    yield there
    there.store.close()


def test_much_that_came_meanwhile_is_loaded_next_in_the_same_session(place: Place) -> None:
    place.accept(8)
    with place.loading(FlushPolicy(age_us=NEVER_US, records=40)):
        assert place.calls.reached.wait(300)
        place.accept(3)
        place.look()
        place.calls.released.set()
        eventually(lambda: place.waiting() == 0, 300)
        assert place.calls.asked.count("load") == 2
        assert place.calls.asked.count("open") == 1


def test_a_long_round_is_followed_by_time_for_who_waits_for_the_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destination_loader, "ROUND_US_MAX", 0)  # each is as long, and none goes on
    monkeypatch.setattr(destination_loader, "ROUND_PAUSE_SECONDS", 1.0)
    place.accept(8)
    with place.loading(FlushPolicy(age_us=NEVER_US, records=40)):
        assert place.calls.reached.wait(300)
        place.accept(8)
        place.look()
        place.calls.released.set()
        eventually(lambda: place.waiting() == 0, 300)
    calls = place.calls
    assert calls.asked == ["open", "load", "open", "load"]
    assert calls.began[2] - calls.ended[1] >= destination_loader.ROUND_PAUSE_SECONDS


def test_a_long_round_into_postgresql_is_followed_by_the_next_one_at_once(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destination_loader, "ROUND_US_MAX", 0)
    # longer than is waited below
    monkeypatch.setattr(destination_loader, "ROUND_PAUSE_SECONDS", 3600.0)
    place = Place(tmp_path, postgres_database)
    place.calls.released.set()
    place.accept(24)
    with closing(place.store), place.loading(FlushPolicy(age_us=NEVER_US, records=40)):
        eventually(lambda: place.waiting() == 0, 300)
    # Before them, it may have been tried once whether the database can be used.
    assert place.calls.asked[-6:] == ["open", "load"] * 3


def test_a_long_backlog_is_loaded_in_several_rounds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destination_loader, "ROUND_US_MAX", 0)
    place.accept(24)
    place.calls.released.set()
    with place.loading(FlushPolicy(age_us=NEVER_US, records=40)):
        eventually(lambda: place.waiting() == 0, 300)
    # Before them, it may have been tried once whether the database can be used.
    assert place.calls.asked[-6:] == ["open", "load"] * 3


def test_little_that_came_meanwhile_waits_and_is_not_counted_with_what_was_loaded(
    place: Place,
) -> None:
    place.accept(8)
    # 45 records close a load, and six are worth one while the table is being loaded.
    with place.loading(FlushPolicy(age_us=NEVER_US, records=45)):
        assert place.calls.reached.wait(300)
        place.accept(1)
        place.look()
        place.calls.released.set()
        eventually(lambda: place.waiting() == 5, 300)
        place.look()
        assert place.waiting() == 5
        assert place.calls.asked.count("load") == 1
        place.accept(8)  # with the one they close a load
        eventually(lambda: place.waiting() == 0, 300)
        assert place.calls.asked.count("load") == 2


def test_what_is_appended_while_nothing_waits_ends_the_pause(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(age_us: int, *, is_busy: bool) -> float:
        return choose_pause(age_us, is_busy=True) if is_busy else 3600.0

    monkeypatch.setattr(supervisor, "choose_pause", pause)
    place.calls.released.set()
    with place.loading(FlushPolicy(age_us=NEVER_US, records=40)):
        eventually(lambda: place.looks >= 1, 300)
        place.accept(8)
        eventually(lambda: place.waiting() == 0, 300)
