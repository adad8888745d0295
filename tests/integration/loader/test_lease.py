"""Two loaders and one destination: one at a time; one that was overtaken commits nothing."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.faults.calls import Fault, WatchedDestination, batch, made

from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.loader.lease import LEASE_DURATION_US
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

START = 1_700_000_000_000_000


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now


@dataclass
class Stage:
    """A log, a store, and loaders that share both."""

    folder: Path
    url: str
    clock: Clock = field(default_factory=Clock)
    source_id: int = 0
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        made(self.folder / "store.sqlite")
        self.store = Store.open(
            f"sqlite:///{self.folder / 'store.sqlite'}", SecretCipher(bytes(32)), clock=self.clock
        )
        [account], [source] = self.store.accounts.list_accounts(), self.store.sources.list_sources()
        kind = "postgres" if self.url.startswith("postgres") else "duckdb"
        self.store.destinations.set_default_destination(
            account.id, kind, self.url, make_destination(self.url).identity
        )
        self.source_id = source.id

    def loader(self, place: str, before_load: Callable[[], None] | None = None) -> LoaderSupervisor:
        """A loader; something may happen before each of its loads."""

        class Interrupted(Fault):
            def around(self, name: str, call: Callable[[], Any]) -> Any:
                if name == "load" and before_load is not None:
                    before_load()
                return call()

        return LoaderSupervisor(
            store=self.store,
            open_reader=lambda: SqliteReader(self.folder / "log.sqlite"),
            open_destination=lambda url: cast(
                Destination, WatchedDestination(make_destination(url), Interrupted(0, RuntimeError))
            ),
            flush_policy=FlushPolicy(age_us=0),
            retention_us=10**15,
            clock=self.clock,
            new_id=iter(map(str, range(id(place) * 1000, 10**20))).__next__,
            place=place,
        )

    async def append(self, number: int) -> None:
        log = SqliteAppender(self.folder / "log.sqlite")
        await log.append(
            [NewEntry(self.source_id, "events", 1, 5, encode_batch(batch("events", number)))]
        )
        await log.aclose()

    def entries(self) -> list[int]:
        """The entry of each row there is."""
        with make_destination(self.url).open(read_only=True) as session:
            return [row[0] for row in session.query('select entry from "web"."events"').rows]


@pytest.fixture(params=["duckdb", "postgres"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    url = f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
    made_stage = Stage(tmp_path, url)
    yield made_stage
    made_stage.store.close()


def run(coroutine: Any) -> None:
    asyncio.run(coroutine)


def trouble(stage: Stage) -> str | None:
    return stage.store.destinations.list_destinations()[0].trouble


def test_a_second_loader_waits_until_the_first_says_nothing_for_a_while(stage: Stage) -> None:
    first, second = stage.loader("a"), stage.loader("b")
    run(stage.append(1))
    first.load_once()
    assert stage.entries() == [1] * 5
    run(stage.append(2))
    second.load_once()
    assert stage.entries() == [1] * 5
    assert "another loader loads into it" in str(trouble(stage))
    stage.clock.now += LEASE_DURATION_US + 1
    second.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    assert trouble(stage) is None
    first.close()
    second.close()


def test_the_next_loader_of_the_same_place_takes_over_at_once(stage: Stage) -> None:
    first, second = stage.loader("a"), stage.loader("a")
    run(stage.append(1))
    first.load_once()
    run(stage.append(2))
    second.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    first.close()
    second.close()


def test_a_loader_that_was_overtaken_in_its_sleep_commits_nothing(stage: Stage) -> None:
    if stage.url.startswith("duckdb"):
        pytest.skip("one process at a time has a DuckDB file open")
    run(stage.append(1))
    second = stage.loader("b")

    def sleep() -> None:
        stage.clock.now += LEASE_DURATION_US + 1
        second.load_once()
        run(stage.append(2))
        stage.clock.now += 1

    first = stage.loader("a", sleep)
    first.load_once()
    # The second loaded the first entry; the first one's load of it, and its further ones, failed.
    assert stage.entries() == [1] * 5
    first.load_once()
    assert stage.entries() == [1] * 5
    assert "another loader loads into it" in str(trouble(stage))
    second.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    first.close()
    second.close()


def test_fences_grow_with_each_holder(stage: Stage) -> None:
    store, clock = stage.store, stage.clock
    assert store.leases.take_lease(7, "a", "one", 100) == 1
    assert store.leases.take_lease(7, "a", "one", 100) == 1
    assert store.leases.take_lease(7, "b", "two", 100) is None
    assert store.leases.take_lease(7, "a", "three", 100) == 2
    clock.now += 101
    assert store.leases.take_lease(7, "b", "two", 100) == 3
    assert store.leases.take_lease(7, "a", "three", 100) is None
    assert store.leases.take_lease(8, "a", "three", 100) == 1
