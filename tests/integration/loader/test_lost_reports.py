"""Each load is reported once, whatever becomes of its report on the way."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from tests.faults.calls import TABLES, Watched, batch, made, never

from treadle.destinations.capabilities import Capabilities
from treadle.destinations.protocol import (
    Destination,
    DestinationUnavailableError,
    LoadResult,
    Session,
)
from treadle.destinations.registry import make_destination
from treadle.errors import RetriableError
from treadle.loader import destination_loader
from treadle.loader.schedule import FlushPolicy, TableKey
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.model import EntryOutcome, LoadReport
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.tables.model import LoadPlan

KEYLESS = next(name for name, key in TABLES.items() if not key)  # a record twice is two rows
RECORDS = 5  # of an entry
ARRIVED = 1_600_000_000_000_000


@dataclass
class Scene:
    """A loader and what it does.

    Attributes:
        recorded: the table of each call that records a load.
        at: the tables that the loader said to be at during each load.
        fails: what a load of a table raises instead.
        dies: the next call that records a load raises this instead.
    """

    path: Path
    store: Store
    source_id: int
    account_id: int
    stack: ExitStack
    recorded: list[str] = field(default_factory=list)
    at: list[frozenset[TableKey]] = field(default_factory=list)
    fails: dict[str, BaseException] = field(default_factory=dict)
    dies: BaseException | None = None
    loader: LoaderSupervisor = field(init=False)

    def __post_init__(self) -> None:
        url = f"duckdb://{self.path / 'warehouse.duckdb'}"
        self.store.destinations.set_default_destination(
            self.account_id, "duckdb", url, make_destination(url).identity
        )
        self.start()

    def start(self) -> None:
        """A loader that knows nothing of one before."""
        scene = self

        class Noting(Watched):
            def record_load(
                self,
                load: LoadReport,
                outcomes: Sequence[EntryOutcome],
                *,
                destination_id: int,
                place: str,
            ) -> None:
                self.record_loads([(load, outcomes)], destination_id=destination_id, place=place)

            def record_loads(
                self,
                committed: Sequence[tuple[LoadReport, Sequence[EntryOutcome]]],
                *,
                destination_id: int,
                place: str,
            ) -> None:
                if scene.dies is not None:
                    error, scene.dies = scene.dies, None
                    raise error
                scene.recorded += [load.table_name for load, _ in committed]
                scene.store.loads.record_loads(
                    committed, destination_id=destination_id, place=place
                )

        class NotingStore(Watched):
            loads = Noting(self.store.loads, never())

        class Failing(Watched):
            def load(self, plan: LoadPlan, **options: Any) -> LoadResult:
                table = plan.offset.table_name
                scene.at += [one.claimed_tables for _, one in scene.loader._loaders.values()]
                if table in scene.fails:
                    raise scene.fails.pop(table)
                found: LoadResult = self._inner.load(plan, **options)
                return found

        class Opening(Watched):
            capabilities = Capabilities(
                multi_table_transaction=False, exclusive=True
            )  # loads one by one

            def open(self, **options: Any) -> Session:
                return cast(Session, Failing(self._inner.open(**options), never()))

        numbers = itertools.count()
        self.loader = LoaderSupervisor(
            store=cast(Store, NotingStore(self.store, never())),
            open_reader=lambda: SqliteReader(self.path / "log.sqlite"),
            open_destination=lambda url: cast(Destination, Opening(make_destination(url), never())),
            flush_policy=FlushPolicy(age_us=0, records=RECORDS),
            retention_us=10**15,
            clock=itertools.count(1_700_000_000_000_000).__next__,
            new_id=lambda: f"load-{id(self.loader)}-{next(numbers)}",
        )
        self.stack.callback(self.loader.close)

    def accept(self, *tables: str) -> None:
        """Append an entry of five records for each of these."""

        async def append() -> None:
            log = SqliteAppender(self.path / "log.sqlite")
            for number, table in enumerate(tables):
                its = encode_batch(replace(batch(KEYLESS, number), table_name=table))
                entry = NewEntry(self.source_id, table, ARRIVED, RECORDS, its)
                await log.append([entry])
            await log.aclose()

        asyncio.run(append())

    def marked(self) -> set[str]:
        """Tables of which the log knows that all is loaded."""
        reader = SqliteReader(self.path / "log.sqlite")
        waiting = {one.table_name for one in reader.list_backlogs()}
        reader.close()
        return self.noted().keys() - waiting

    def noted(self) -> dict[str, int]:
        """Records of each table that are reported as loaded, once for each report."""
        return {
            one.table_name: one.received for one in self.store.tables.list_totals() if one.loads
        }

    def rows(self, table: str) -> int:
        with make_destination(f"duckdb://{self.path / 'warehouse.duckdb'}").open(
            read_only=True
        ) as session:
            return int(session.query(f'SELECT count(*) FROM "web"."{table}"').rows[0][0])


@pytest.fixture
def scene(tmp_path: Path) -> Any:
    store = Store.open(f"sqlite:///{made(tmp_path / 'store.sqlite')}", SecretCipher(bytes(32)))
    with ExitStack() as stack:
        stack.callback(store.close)
        [account], [source] = store.accounts.list_accounts(), store.sources.list_sources()
        yield Scene(tmp_path, store, source.id, account.id, stack)


def test_nobody_else_is_to_load_what_is_being_loaded(scene: Scene) -> None:
    scene.accept("a", "b", "c", "d")
    scene.loader.load_once()
    assert scene.recorded == ["a", "b", "c", "d"]
    assert scene.noted() == dict.fromkeys("abcd", RECORDS)
    assert scene.marked() == set("abcd")
    assert scene.at == [frozenset([(scene.source_id, table)]) for table in "abcd"]


def test_all_that_waits_is_loaded_at_once_however_long_that_takes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destination_loader, "ROUND_US_MAX", 0)
    scene.accept("a", "b", "b", "c")
    scene.loader.load_once()
    assert scene.noted() == {"a": RECORDS, "b": 2 * RECORDS, "c": RECORDS}


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    "make",
    [lambda: RetriableError("locked (injected)"), lambda: RuntimeError("a fault (injected)")],
)
def test_what_was_not_noted_is_found_in_the_destination(
    scene: Scene, make: Callable[[], BaseException], restarts: bool
) -> None:
    scene.accept("a", "b", "c")
    scene.dies = make()
    scene.loader.load_once()
    assert (scene.recorded, scene.noted(), scene.marked()) == ([], {}, set())
    assert scene.rows("a") == RECORDS
    if restarts:
        scene.loader.close()
        scene.start()
    # More of a table whose report was lost: that is found before the destination forgets it.
    scene.accept("a", "d")
    scene.loader.load_once()
    scene.loader.load_once()
    assert scene.noted() == {"a": 2 * RECORDS, "b": RECORDS, "c": RECORDS, "d": RECORDS}
    assert scene.marked() == set("abcd")
    assert scene.recorded == ["a", "a", "b", "c", "d"]
    assert {table: scene.rows(table) for table in "abcd"} == scene.noted()


def test_a_round_that_fails_notes_what_it_loaded(scene: Scene) -> None:
    scene.accept("a", "b", "c", "d")
    scene.fails["c"] = DestinationUnavailableError("gone (injected)")
    scene.loader.load_once()
    assert scene.recorded == ["a", "b"]
    assert scene.marked() == set("ab")
    scene.loader.load_once()
    assert scene.noted() == dict.fromkeys("abcd", RECORDS)
