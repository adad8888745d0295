"""A destination hangs: nobody waits for it, and what takes its place does not load things twice."""

import asyncio
import gc
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.faults.calls import LOADS, Fault, WatchedDestination, WatchedStore, batch, made
from tests.faults.hang import Stall, compare, stall
from tests.servers.treadle import eventually

from treadle.destinations.protocol import Destination, DestinationUnavailableError
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError, RetriableError
from treadle.loader import commit_recovery
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import LogReader, NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

LOOKS = 5
"""How often a loader looks for changes until it has surely acted on one."""

Entries = list[tuple[int, str, int]]
"""Source, table and number of entries, of five records each."""


@dataclass
class Stage:
    """Two sources of two accounts; the destination of the first hangs at its first load."""

    folder: Path
    url: str
    held: Stall = field(default_factory=lambda: stall(1, only=LOADS))
    store: Store = field(init=False)
    sources: list[int] = field(init=False)
    accounts: list[int] = field(init=False)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    opened: int = 0
    closed: int = 0

    def __post_init__(self) -> None:
        made(self.folder / "store.sqlite")
        self.store = Store.open(
            f"sqlite:///{self.folder / 'store.sqlite'}", SecretCipher(bytes(32))
        )
        [first], [source] = self.store.accounts.list_accounts(), self.store.sources.list_sources()
        second, _ = self.store.accounts.create_account("b")
        self.accounts = [first.id, second.id]
        self.sources = [source.id, self.another(second.id, "other")]
        self.go_to(first.id, self.url)
        self.go_to(second.id, self.place("well"))

    def another(self, account_id: int, name: str) -> int:
        return self.store.sources.create_source(
            account_id, type="import_api", display_name=name, name=name, bootstrap_token=False
        ).id

    def place(self, name: str) -> str:
        return f"duckdb://{self.folder / name}.duckdb"

    def go_to(self, account_id: int, url: str) -> None:
        kind = url.split(":")[0].replace("postgresql", "postgres")
        self.store.destinations.set_default_destination(
            account_id, kind, url, make_destination(url).identity
        )

    def accept(self, entries: Entries) -> None:
        async def append() -> None:
            log = SqliteAppender(self.folder / "log.sqlite")
            for source, table, number in entries:
                await log.append(
                    [NewEntry(source, table, 1, 5, encode_batch(batch(table, number)))]
                )
            await log.aclose()

        asyncio.run(append())

    def entries(self, url: str, schema: str, table: str) -> list[int]:
        """The entry of each row there is."""
        try:
            with make_destination(url).open(read_only=True) as session:
                found = session.query(f'select entry from "{schema}"."{table}" order by 1').rows
        except (DestinationUnavailableError, OperatorError):
            return []
        return [row[0] for row in found]

    def loader(self, patience: float = 100.0, store: Store | None = None) -> LoaderSupervisor:
        stage = self

        class Counted(SqliteReader):
            def close(self) -> None:
                super().close()
                stage.closed += 1

        def open_reader() -> LogReader:
            stage.opened += 1
            return Counted(self.folder / "log.sqlite")

        def open_destination(url: str) -> Destination:
            opened = make_destination(url)
            watched = cast(Destination, WatchedDestination(opened, self.held))
            return watched if url == self.url else opened

        return LoaderSupervisor(
            store=store or self.store,
            open_reader=open_reader,
            open_destination=open_destination,
            flush_policy=FlushPolicy(age_us=0),
            retention_us=10**15,
            clock=lambda: time.time_ns() // 1000,
            new_id=lambda: f"load-{next(self.numbers)}",
            stop_timeout_seconds=patience,
        )

    @contextmanager
    def running(self, loader: LoaderSupervisor) -> Iterator[threading.Thread]:
        stop = threading.Event()
        thread = threading.Thread(target=lambda: loader.run(stop, lambda: None))
        thread.start()
        try:
            yield thread
        finally:
            stop.set()
            thread.join(300)
            gc.enable()  # a loader has a process of its own, in which it is off
            assert not thread.is_alive()


@pytest.fixture(params=["duckdb", "postgres"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    url = f"duckdb://{tmp_path / 'first.duckdb'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
    made_stage = Stage(tmp_path, url)
    yield made_stage
    made_stage.held.released.set()
    made_stage.store.close()


@pytest.mark.parametrize("ending", ["done", "failed before", "failed after"])
def test_a_destination_is_replaced_while_it_hangs(stage: Stage, ending: str) -> None:
    stage.held.ending = ending
    first, second = stage.sources
    new, well = stage.place("new"), stage.place("well")
    stage.accept([(first, "orders", 0)])
    with stage.running(stage.loader()):
        assert stage.held.reached.wait(300)
        stage.accept([(first, "orders", 1), (first, "events", 0), (second, "events", 0)])
        eventually(lambda: stage.entries(well, "other", "events") == [0] * 5)

        stage.go_to(stage.accounts[0], new)
        third = stage.another(stage.accounts[1], "third")
        stage.accept([(third, "events", 0), (first, "events", 1)])
        # All but the table that may still be committed is loaded, and what is new is known.
        eventually(lambda: stage.entries(new, "web", "events") == [0] * 5 + [1] * 5)
        eventually(lambda: stage.entries(well, "third", "events") == [0] * 5)
        assert stage.entries(new, "web", "orders") == []

        stage.held.released.set()
        orders = [0] * 3 + [1] * 5 if ending == "failed before" else [1] * 5
        eventually(lambda: stage.entries(new, "web", "orders") == orders)
        eventually(lambda: stage.closed == 1)
        # What the former thread met is not said of the place that took over.
        eventually(
            lambda: not any(row.trouble for row in stage.store.destinations.list_destinations())
        )
    assert stage.opened == stage.closed == 5  # of the main loop, three threads and the trimmer
    assert stage.entries(stage.url, "web", "orders") == (
        [] if ending == "failed before" else [0] * 5
    )
    loads = stage.store.loads.list_loads(limit=1000)
    assert [load.error for load in loads if load.error is not None] == []
    assert sum(load.rows_received for load in loads) == 6 * 5
    with closing(SqliteReader(stage.folder / "log.sqlite")) as reader:
        assert reader.list_backlogs() == []


def test_a_table_does_not_wait_for_ever_for_what_its_former_place_says(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(commit_recovery, "UNCERTAIN_US_MAX", 0)
    stage.held.ending = "failed after"
    first, _ = stage.sources
    new = stage.place("new")
    stage.accept([(first, "orders", 0)])
    with stage.running(stage.loader()):
        assert stage.held.reached.wait(300)
        stage.go_to(stage.accounts[0], new)
        # Known to the loader when what waits for the new place is loaded there.
        stage.accept([(first, "events", 0)])
        eventually(lambda: stage.entries(new, "web", "events") == [0] * 5)
        assert stage.entries(new, "web", "orders") == []
        stage.held.released.set()
        eventually(lambda: stage.entries(new, "web", "orders") == [0] * 5)
    assert stage.entries(stage.url, "web", "orders") == [0] * 5
    said = (
        f"{make_destination(stage.url).identity} does not say whether it committed the last load of"
    )
    assert f"{said} 'orders' of source {first}, records up to entry 1: " in caplog.text


@dataclass
class Refusing(Fault):
    """The store of a loader: it takes no reports of loads until the loader found a change it made.

    Attributes:
        change: made when the first report comes.
        looks: how often the loader looked for a change since.
    """

    change: Callable[[], None] = lambda: None
    looks: int = -1

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        if name == "record_loads":
            if self.looks < 0:
                self.change()
                self.looks = 0
            if self.looks < LOOKS:
                raise self.make()
        if name == "get_revision" and self.looks >= 0:
            self.looks += 1
        return call()


@pytest.mark.parametrize("known", [False, True])
def test_what_was_loaded_and_not_noted_is_not_loaded_at_the_next_place(
    stage: Stage, known: bool
) -> None:
    stage.held.released.set()
    first, _ = stage.sources
    new = stage.place("new")
    before = []
    if known:  # the table has an offset and a report already
        before = [0] * 5
        stage.accept([(first, "events", 0)])
        loader = stage.loader()
        loader.load_once()
        loader.close()
    refusing = Refusing(
        0,
        lambda: RetriableError("locked (injected)"),
        change=lambda: stage.go_to(stage.accounts[0], new),
    )
    stage.accept([(first, "events", 1)])
    with stage.running(stage.loader(store=cast(Store, WatchedStore(stage.store, refusing)))):
        eventually(lambda: refusing.looks >= LOOKS, 300)
        stage.accept([(first, "events", 2)])
        eventually(lambda: 2 in stage.entries(new, "web", "events"), 300)
    assert stage.entries(new, "web", "events") == [2] * 5
    there = [*before, *[1] * 5]
    assert stage.entries(stage.url, "web", "events") == there
    loads = stage.store.loads.list_loads(limit=1000)
    assert sum(load.rows_received for load in loads) == len(there) + 5
    with closing(SqliteReader(stage.folder / "log.sqlite")) as reader:
        assert reader.list_backlogs() == []


def test_the_end_does_not_wait_for_ever(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    [first, second] = stage.sources
    stage.accept([(first, "orders", 0)])
    caplog.set_level(logging.INFO, "treadle")
    # Long enough for the thread that is well to end on a busy machine.
    with stage.running(stage.loader(patience=5.0)):
        assert stage.held.reached.wait(300)
        stage.accept([(second, "events", 0)])
        eventually(lambda: stage.entries(stage.place("well"), "other", "events") == [0] * 5)
    assert f"{make_destination(stage.url).identity} does not answer, and is left" in caplog.text
    assert stage.closed == 3  # all but that of the thread that hangs
    # The next one begins in the same place. What the load came to is known when that is told.
    stage.held.released.set()
    eventually(lambda: stage.closed == 4)
    loader = stage.loader()
    loader.load_once()
    loader.close()
    assert list(compare(stage.url, 1)) == []
    assert sum(load.rows_received for load in stage.store.loads.list_loads(limit=1000)) == 2 * 5


def test_trouble_that_another_loader_noted_ends_with_the_first_load(stage: Stage) -> None:
    [first, _] = stage.sources
    stage.held.ending = "failed before"
    stage.held.released.set()
    stage.accept([(first, "orders", 0)])
    before = stage.loader()
    before.load_once()
    before.close()
    assert "gone (injected)" in str(stage.store.destinations.list_destinations()[0].trouble)
    after = stage.loader()
    after.load_once()
    after.close()
    assert stage.store.destinations.list_destinations()[0].trouble is None
    assert stage.entries(stage.url, "web", "orders") == [0] * 5
