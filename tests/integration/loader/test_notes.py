"""Reports of small loads into new tables are noted together, and none is lost on the way."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from tests.faults.calls import TABLES, Watched, batch, made, never

from treadle.destinations.protocol import (
    Destination,
    DestinationUnavailableError,
    LoadResult,
    Session,
)
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError, RetriableError
from treadle.loader import worker
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
SECONDS_MAX = 60
ARRIVED = 1_600_000_000_000_000


class Executor(ThreadPoolExecutor):
    """Tells which step is being prepared."""

    latest: "Future[Any]"

    def submit(self, *args: Any, **kwargs: Any) -> "Future[Any]":
        Executor.latest = super().submit(*args, **kwargs)
        return Executor.latest


@dataclass
class Scene:
    """A loader whose every load lasts until the next one is prepared, but the last one's.

    Attributes:
        groups: the tables of each call that notes loads.
        at: the tables that the loader said to be at during each load.
        fails: what a load of a table raises instead.
        dies: the next call that notes loads raises this instead.
    """

    path: Path
    store: Store
    source_id: int
    account_id: int
    stack: ExitStack
    last: str = ""
    groups: list[list[str]] = field(default_factory=list)
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
            def record_loads(
                self, found: Sequence[tuple[LoadReport, Sequence[EntryOutcome]]]
            ) -> None:
                if scene.dies is not None:
                    error, scene.dies = scene.dies, None
                    raise error
                scene.groups.append([load.table_name for load, _ in found])
                scene.store.loads.record_loads(found)

        class NotingStore(Watched):
            loads = Noting(self.store.loads, never())

        class Slow(Watched):
            def load(self, plan: LoadPlan, **options: Any) -> LoadResult:
                table = plan.offset.table_name
                scene.at += [thread.at for _, thread in scene.loader._threads.values()]
                if table in scene.fails:
                    raise scene.fails.pop(table)
                found: LoadResult = self._inner.load(plan, **options)
                if table != scene.last:
                    assert wait([Executor.latest], SECONDS_MAX).done
                return found

        class Slowly(Watched):
            def open(self, **options: Any) -> Session:
                return cast(Session, Slow(self._inner.open(**options), never()))

        numbers = itertools.count()
        self.loader = LoaderSupervisor(
            store=cast(Store, NotingStore(self.store, never())),
            open_reader=lambda: SqliteReader(self.path / "log.sqlite"),
            open_destination=lambda url: cast(Destination, Slowly(make_destination(url), never())),
            flush_policy=FlushPolicy(age_us=0, records=RECORDS),
            retention_us=10**15,
            clock=itertools.count(1_700_000_000_000_000).__next__,
            new_id=lambda: f"load-{id(self.loader)}-{next(numbers)}",
        )
        self.stack.callback(self.loader.close)

    def accept(self, *tables: str) -> None:
        """Append an entry of five records for each of these; the last load is of the last one."""
        self.last = tables[-1]

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
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(worker, "ThreadPoolExecutor", Executor)
    store = Store.open(f"sqlite:///{made(tmp_path / 'store.sqlite')}", SecretCipher(bytes(32)))
    with ExitStack() as stack:
        stack.callback(store.close)
        [account], [source] = store.accounts.list_accounts(), store.sources.list_sources()
        yield Scene(tmp_path, store, source.id, account.id, stack)


def test_new_tables_are_noted_together(scene: Scene) -> None:
    scene.accept("a", "b", "c", "d")
    scene.loader.load_once()
    assert scene.groups == [["a", "b", "c", "d"]]
    assert scene.noted() == dict.fromkeys("abcd", RECORDS)
    assert scene.marked() == set("abcd")
    # Nobody else is to load what is not noted yet.
    keys = [(scene.source_id, table) for table in "abcd"]
    assert scene.at == [frozenset(keys[: number + 1]) for number in range(4)]


def test_no_two_loads_of_a_table_are_unnoted_at_once(scene: Scene) -> None:
    scene.accept("a", "b", "b", "c", "d")
    scene.loader.load_once()
    assert scene.groups == [["a", "b"], ["b"], ["c", "d"]]
    assert scene.noted() == {**dict.fromkeys("acd", RECORDS), "b": 2 * RECORDS}


def test_all_that_waits_is_loaded_at_once_however_long_that_takes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "ROUND_US_MAX", 0)
    scene.accept("a", "b", "b", "c")
    scene.loader.load_once()
    assert scene.noted() == {"a": RECORDS, "b": 2 * RECORDS, "c": RECORDS}


def test_a_table_that_is_known_is_noted_by_itself(scene: Scene) -> None:
    scene.accept("a", "b")
    scene.fails["a"] = OperatorError("not yours (injected)")
    scene.loader.load_once()
    assert scene.groups == [["b"]]
    scene.accept("b", "c", "d")
    scene.loader.load_once()
    assert scene.groups == [["b"], ["a"], ["b"], ["c", "d"]]
    assert scene.noted() == {**dict.fromkeys("acd", RECORDS), "b": 2 * RECORDS}


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
    assert (scene.groups, scene.noted(), scene.marked()) == ([], {}, set())
    assert [scene.rows(table) for table in "abc"] == [RECORDS] * 3
    if restarts:
        scene.loader.close()
        scene.start()
    # More of a table whose report was lost: that is found before the destination forgets it.
    scene.accept("b", "d")
    scene.loader.load_once()
    scene.loader.load_once()
    assert scene.noted() == {"a": RECORDS, "b": 2 * RECORDS, "c": RECORDS, "d": RECORDS}
    assert scene.marked() == set("abcd")
    if not restarts:  # the loader itself still has the reports
        assert scene.groups == [["a", "b", "c"], ["b"], ["d"]]
    assert {table: scene.rows(table) for table in "abcd"} == scene.noted()


def test_a_round_that_fails_notes_what_it_loaded(scene: Scene) -> None:
    scene.accept("a", "b", "c", "d")
    scene.fails["c"] = DestinationUnavailableError("gone (injected)")
    scene.loader.load_once()
    assert scene.groups == [["a", "b"]]
    assert scene.marked() == set("ab")
    scene.loader.load_once()
    assert scene.noted() == dict.fromkeys("abcd", RECORDS)
