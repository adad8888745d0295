"""A source is moved: what waits is loaded into the new destination once, whatever was killed."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from tests.faults.calls import Fault, WatchedStore, batch
from tests.integration.loader.test_retirement import Stage
from tests.servers.postgres import PostgresServer
from tests.servers.treadle import eventually

from treadle.destinations.registry import make_destination
from treadle.errors import RetriableError
from treadle.loader import move_settlement
from treadle.log.protocol import NewEntry
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.records.message_batch import encode_batch
from treadle.store.destinations import DestinationPlace
from treadle.store.model import DestinationSetter
from treadle.store.store import Store


class Losing(Fault):
    """A store that takes no reports of loads: the loader dies with what it committed."""

    def __init__(self) -> None:
        super().__init__(0, lambda: RetriableError("locked (injected)"))

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        if name == "record_loads":
            raise self.make()
        return call()


class Yard(Stage):
    """A stage whose first account has further destinations that may be loaded into."""

    def add(self, url: str) -> int:
        kind = make_destination(url).kind
        place = DestinationPlace(
            kind, url, make_destination(url).identity, DestinationSetter.OPERATOR
        )
        store = self.store
        made = store.destinations.create_destination(self.accounts[0], place, takes_sources=False)
        check = store.checks.claim_check("here", "desk", 10**9)
        assert check is not None
        assert store.checks.finish_check(check.id, "desk", None, ())
        return made.id

    def move(self, destination_id: int) -> None:
        self.store.moves.move_source(self.sources[0], destination_id)

    def load(self, *, loses: bool = False) -> None:
        """Load all that waits, with a loader that knows nothing of one before."""
        store = cast(Store, WatchedStore(self.store, Losing())) if loses else self.store
        loader = self.loader(store=store)
        loader.load_once()
        loader.close()

    @property
    def is_settled(self) -> bool:
        return not self.store.moves.list_open_moves()

    def accept_events(self, *numbers: int) -> None:
        self.accept([(self.sources[0], "events", number) for number in numbers])

    async def append_to(self, tables: list[str], number: int) -> None:
        log = SqliteAppender(self.folder / "log.sqlite")
        for table in tables:
            messages = encode_batch(replace(batch("events", number), table_name=table))
            await log.append([NewEntry(self.sources[0], table, 1, 5, messages)])
        await log.aclose()

    def events(self, url: str) -> list[int]:
        """The entry of each row, of a table without a key: each entry makes five."""
        return self.entries(url, "web", "events")


@pytest.fixture(params=["duckdb", "postgres"])
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Yard]:
    url = f"duckdb://{tmp_path / 'first.duckdb'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
    made_yard = Yard(tmp_path, url)
    made_yard.held.released.set()  # nothing hangs here
    yield made_yard
    made_yard.store.close()


def test_what_waits_goes_to_the_new_destination(yard: Yard) -> None:
    new = yard.place("new")
    yard.accept_events(0)
    yard.load()
    yard.accept_events(1)
    yard.move(yard.add(new))
    yard.accept_events(2)
    yard.load()
    assert yard.is_settled
    assert yard.events(yard.url) == [0] * 5
    assert yard.events(new) == [1] * 5 + [2] * 5


@pytest.mark.parametrize("known", [False, True])
def test_what_a_killed_loader_committed_is_not_loaded_again_elsewhere(
    yard: Yard, known: bool
) -> None:
    new = yard.place("new")
    before: list[int] = []
    if known:  # the table has an offset and a report already
        before = [0] * 5
        yard.accept_events(0)
        yard.load()
    yard.accept_events(1)
    yard.load(loses=True)
    assert yard.events(yard.url) == before + [1] * 5
    yard.move(yard.add(new))
    yard.accept_events(2)
    yard.load()
    assert yard.events(yard.url) == before + [1] * 5
    assert yard.events(new) == [2] * 5
    loads = yard.store.loads.list_loads(limit=100)
    assert sum(load.rows_received for load in loads) == len(before) + 10
    with closing(SqliteReader(yard.folder / "log.sqlite")) as reader:
        assert reader.list_backlogs() == []


def test_two_moves_in_a_row_ask_who_had_the_source_before(yard: Yard) -> None:
    second, third = yard.place("second"), yard.place("third")
    yard.accept_events(0)
    yard.load(loses=True)
    yard.move(yard.add(second))
    yard.move(yard.add(third))
    yard.accept_events(1)
    yard.load()
    assert (yard.events(yard.url), yard.events(second)) == ([0] * 5, [])
    assert yard.events(third) == [1] * 5
    # Nothing was loaded into the second one, so its file was not made.
    assert not Path(second.removeprefix("duckdb://")).exists()


def test_a_killed_settlement_is_done_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    new = yard.place("new")
    yard.accept_events(0)
    yard.load(loses=True)
    yard.move(yard.add(new))
    yard.accept_events(1)
    for point in ("loader.before-settle", "loader.after-settle"):

        def die(name: str, point: str = point) -> None:
            if name == point:
                raise SystemExit(point)

        monkeypatch.setattr("treadle.failpoint.reach", die)
        loader = yard.loader()
        with pytest.raises(SystemExit):
            loader.load_once()
        monkeypatch.undo()
        loader.close()
        assert yard.events(new) == []
        assert yard.is_settled == (point == "loader.after-settle")
    yard.load()
    assert (yard.events(yard.url), yard.events(new)) == ([0] * 5, [1] * 5)


def test_a_former_destination_that_is_gone_is_not_waited_for_ever(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    new = yard.place("new")
    yard.accept_events(0)
    yard.load()
    yard.accept_events(1)
    # It cannot be opened from now on: nobody knows what an earlier loader did.
    monkeypatch.setattr(yard.held, "around", _refuse_opening)
    yard.move(yard.add(new))
    yard.load()
    assert not yard.is_settled
    assert yard.events(new) == []
    monkeypatch.setattr(move_settlement, "UNCERTAIN_US_MAX", 0)
    with caplog.at_level(logging.ERROR):
        yard.load()
    assert yard.is_settled
    assert yard.events(new) == [1] * 5
    assert "does not say what it has committed of source" in caplog.text


def _refuse_opening(name: str, call: Callable[[], Any]) -> Any:
    if name == "open":
        raise RetriableError("gone (injected)")
    return call()


def test_a_running_loader_moves_a_source_between_loads(yard: Yard) -> None:
    """Records arrive, and the source goes from one destination to the next one."""
    places = [yard.url, *(yard.place(name) for name in ("b", "c", "d"))]
    ids = [yard.add(url) for url in places[1:]]
    number = 0
    loader = yard.loader()
    with yard.running(loader):
        for destination_id in ids:
            for _ in range(3):
                yard.accept_events(number)
                number += 1
            yard.move(destination_id)
            yard.accept_events(number)
            number += 1
            eventually(lambda: yard.is_settled)

        def find_all() -> list[int]:
            return sorted(entry for url in places for entry in yard.events(url))

        eventually(lambda: len(find_all()) >= 5 * number)
        # What comes once the move is settled is in the new place.
        yard.accept_events(number)
        number += 1
        eventually(lambda: number - 1 in yard.events(places[-1]))
        # Nobody is asked any more about a source that has left.
        eventually(lambda: not any(one._asked for _, one in loader._loaders.values()))
    assert find_all() == [entry for entry in range(number) for _ in range(5)]


def test_nothing_is_trimmed_that_a_destination_is_still_to_get(yard: Yard) -> None:
    first = yard.store.destinations.list_ids_by_source()[yard.sources[0]]
    yard.accept_events(0)
    yard.load()
    yard.move(yard.add(yard.place("second")))
    yard.accept_events(1)
    yard.load()
    yard.move(first)  # back again: it is still to get what the second one has
    loader = yard.loader()
    loader.retention_us = 0
    with closing(loader), closing(SqliteReader(yard.folder / "log.sqlite")) as reader:
        loader._refresh(start=False)
        trimmer = loader.make_trimmer()
        trimmer.note_sight(reader.list_backlogs(), loader._moves.held_sources)
        trimmer.trim_due(reader)
        assert reader.statistics.count_records_above(yard.sources[0], "events", 0) == 10
    yard.load()
    yard.load()
    assert yard.events(yard.url) == [0] * 5 + [1] * 5


def test_records_wait_while_the_new_destination_is_not_checked(yard: Yard) -> None:
    url = yard.place("new")
    yard.accept_events(0)
    yard.load(loses=True)
    place = DestinationPlace(
        "duckdb", url, make_destination(url).identity, DestinationSetter.OPERATOR
    )
    made = yard.store.destinations.create_destination(yard.accounts[0], place, takes_sources=False)
    yard.move(made.id)
    yard.accept_events(1)
    yard.load()
    assert not yard.is_settled
    check = yard.store.checks.claim_check("here", "desk", 10**9)
    assert check is not None
    yard.store.checks.finish_check(check.id, "desk", None, ())
    yard.load()
    assert (yard.events(yard.url), yard.events(url)) == ([0] * 5, [1] * 5)


def test_loaders_that_share_a_source_settle_its_move_together(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    yard = Yard(tmp_path, postgres_server.lend_database())
    yard.held.released.set()
    new = postgres_server.lend_database()
    tables = [f"events {number}" for number in range(8)]
    loaders = [yard.loader(), yard.loader()]
    for number, loader in enumerate(loaders):
        loader.name, loader.beats = f"loader {number}", True
        loader.__post_init__()

    def accept(number: int) -> None:
        asyncio.run(yard.append_to(tables, number))

    def count(url: str) -> int:
        return sum(len(yard.entries(url, "web", table)) for table in tables)

    with yard.running(loaders[0]), yard.running(loaders[1]):
        eventually(lambda: all(1 < len(one.units.fences) < 64 for one in loaders))
        accept(0)
        eventually(lambda: count(yard.url) == 40)
        accept(1)
        yard.move(yard.add(new))
        accept(2)
        # A loader may look at the log once more before it hears of the move.
        eventually(lambda: yard.is_settled)
        accept(3)
        eventually(lambda: count(yard.url) + count(new) == 160)
    for table in tables:
        there, here = (yard.entries(url, "web", table) for url in (yard.url, new))
        assert sorted(there) + sorted(here) == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
        assert here[-5:] == [3] * 5
    yard.store.close()
    for url in (yard.url, new):
        postgres_server.take_back(url)
