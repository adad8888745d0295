"""Loaders that share tables: each unit has one; who was overtaken commits nothing."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import delete, update
from tests.faults.calls import Fault, WatchedDestination, batch, made
from tests.kinds import some_at_release

from treadle.destinations.protocol import Destination
from treadle.destinations.registry import make_destination
from treadle.errors import RetriableError
from treadle.loader.schedule import FlushPolicy
from treadle.loader.share import list_log_units
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.schema import fences, leases, units
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

    def loader(
        self,
        place: str,
        before_load: Callable[[], None] | None = None,
        *,
        beats: bool = False,
    ) -> LoaderSupervisor:
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
            beats=beats,
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
            return [row[0] for row in session.query("select entry from web.events").rows]


@pytest.fixture(
    params=["duckdb", "postgres", *some_at_release("mariadb", "clickhouse", "redshift")]
)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    url = f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
    elif request.param in ("clickhouse", "mariadb", "redshift"):
        url = request.getfixturevalue(f"{request.param}_url")
    made_stage = Stage(tmp_path, url)
    yield made_stage
    made_stage.store.close()


def run(coroutine: Any) -> None:
    asyncio.run(coroutine)


def lose(stage: Stage, loader: LoaderSupervisor) -> None:
    """The others take a loader for lost, though it runs."""
    stage.store.members.beat(loader.units.member_id, {}, lasts_us=0)


def test_a_second_loader_loads_nothing_until_the_first_is_lost(stage: Stage) -> None:
    first, second = stage.loader("a"), stage.loader("b")
    run(stage.append(1))
    first.load_once()
    assert stage.entries() == [1] * 5
    run(stage.append(2))
    second.load_once()
    assert stage.entries() == [1] * 5
    lose(stage, first)
    second.units.beat()
    second.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    first.close()
    second.close()


def test_the_next_loader_of_the_same_place_takes_over_at_once(stage: Stage) -> None:
    first, second = stage.loader("a"), stage.loader("a")
    run(stage.append(1))
    first.load_once()
    run(stage.append(2))
    second.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    with pytest.raises(RetriableError, match="another process is loader of a"):
        first.load_once()
    assert len(stage.entries()) == 10
    first.close()
    second.close()


def test_a_loader_that_was_overtaken_in_its_sleep_commits_nothing(stage: Stage) -> None:
    if stage.url.startswith("duckdb"):
        pytest.skip("one process at a time has a DuckDB file open")
    run(stage.append(1))
    second = stage.loader("b")

    def sleep() -> None:
        lose(stage, first)
        second.load_once()
        run(stage.append(2))

    first = stage.loader("a", sleep)
    first.load_once()
    # The second ended the session of the first, and loaded the first entry.
    assert stage.entries() == [1] * 5
    first.load_once()
    assert stage.entries() == [1] * 5
    lose(stage, first)
    second.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    first.close()
    second.close()


def test_a_store_that_was_brought_back_gives_fences_above_those_of_the_destination(
    stage: Stage,
) -> None:
    stage.store.units.leave_fences_out(100)
    loader = stage.loader("a")
    run(stage.append(1))
    loader.load_once()
    before = dict(loader.units.fences)
    with stage.store._database.write() as tx:  # as if the store had forgotten what came since
        tx.connection.execute(update(fences).values(last=0))
        tx.connection.execute(update(units).values(fence=0))
        tx.connection.execute(delete(leases))
    again = stage.loader("a")
    run(stage.append(2))
    again.load_once()
    assert stage.entries() == [1] * 5
    again.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    assert max(again.units.fences.values()) > max(before.values())
    loader.close()
    again.close()


def test_who_gives_up_leaves_nothing_to_wait_for(stage: Stage) -> None:
    first, second = stage.loader("a"), stage.loader("b")
    run(stage.append(1))
    first.load_once()
    assert first.close()
    first.units.leave()
    run(stage.append(2))
    second.load_once()
    assert sorted(stage.entries()) == [1] * 5 + [2] * 5
    assert second.units.lost == ()
    second.close()


def test_two_loaders_agree_which_tables_are_whose(stage: Stage) -> None:
    first, second = stage.loader("a", beats=True), stage.loader("b", beats=True)
    for loader in (first, second):
        loader._open_logs().close()
        loader._refresh(start=False)
        loader.units.beat()
    assert not second.units.fences
    first.units.beat()
    assert first.units.leaving
    assert first.units.get_fence(next(iter(first.units.leaving))) is None
    first.units.release(first.units.leaving, frozenset())
    second.units.beat()
    both = [*first.units.fences, *second.units.fences]
    assert len(both) == len(set(both))
    assert {unit for unit in both if unit.startswith("log")} == set(list_log_units(0))
    assert len(second.units.fences) > 16
    first.close()
    second.close()
