"""What the log keeps of a source, copied into the destination that it is moved to."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.maintenance.test_rebuild import BAD, Rows, Site, orders
from tests.servers.postgres import PostgresServer

from treadle.destinations.registry import make_destination
from treadle.errors import TableStoppedError
from treadle.log.protocol import ReadLimits, TrimPoint
from treadle.log.sqlite.log import SqliteReader
from treadle.maintenance.history import HistoryCopy
from treadle.store.destinations import DestinationPlace
from treadle.store.model import DestinationSetter


class Removal(Site):
    """A site whose source is to be moved to a second destination."""

    def __init__(self, folder: Path, url: str, second: str) -> None:
        super().__init__(folder, url)
        self.first, self.second = url, second
        destination = make_destination(second)
        place = DestinationPlace(
            destination.kind, second, destination.identity, DestinationSetter.OPERATOR
        )
        made = self.store.destinations.create_destination(
            self.account_id, place, takes_sources=False
        )
        check = self.store.checks.claim_check("here", "desk", 10**18)
        assert check is not None
        assert self.store.checks.finish_check(check.id, "desk", None, ())
        self.second_id = made.id

    def copy(self, records: int = 3) -> HistoryCopy:
        reader = SqliteReader(self.log_path)
        self.readers.append(reader)
        source = self.store.sources.get_source(None, self.source_id)
        assert source is not None
        return HistoryCopy(
            store=self.store,
            reader=reader,
            destination=make_destination(self.second),
            source=source,
            schema="shop",
            limits=ReadLimits(records=records),
            clock=self.clock,
        )

    def copied(self, **how: Any) -> HistoryCopy:
        copy = self.copy(**how)
        copy.run()
        return copy

    def move(self) -> None:
        self.store.moves.move_source(self.source_id, self.second_id, schema="shop")

    def rows(self, url: str, sql: str) -> Rows:
        with make_destination(url).open() as session:
            return session.query(sql).rows

    def trim(self, table: str, position: int) -> None:
        with closing(SqliteReader(self.log_path)) as reader:
            assert reader.trim([TrimPoint(self.source_id, table, position)])


@pytest.fixture(params=["duckdb postgres", "postgres duckdb", "postgres postgres"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[Removal]:
    lent: list[str] = []
    urls = []
    for number, kind in enumerate(request.param.split()):
        if kind == "postgres":
            lent.append(postgres_server.lend_database())
            urls.append(lent[-1])
        else:
            urls.append(f"duckdb://{tmp_path / f'{number}.duckdb'}")
    site = Removal(tmp_path, *urls)
    site.readers = []
    yield site
    for reader in site.readers:
        reader.close()
    site.store.close()
    for url in lent:
        postgres_server.take_back(url)


COLUMNS = "id, _sdc_sequence, o__p"
ITEMS = "SELECT _sdc_source_key_id, _sdc_level_0_id, value, a FROM shop.orders__x ORDER BY 1, 2"
ROOTS = f"SELECT {COLUMNS} FROM shop.orders ORDER BY id"


def test_the_history_is_there_and_what_comes_is_added_once(site: Removal) -> None:
    orders(site)
    site.push("orders", {"id": 6, "s": 1})  # waits
    [table] = site.copied().tables.values()
    assert (table.table, table.held, table.copied, table.gone, table.damaged) == (
        "orders", None, 6, 0, 0,
    )  # fmt: skip
    assert table.rejected.total() == 1  # as it was before
    assert site.rows(site.second, "SELECT count(*) FROM shop._sdc_rejected") == [(1,)]

    # The former destination goes on until the source is moved.
    site.push("orders", {"id": 7, "s": 1})
    site.load()
    site.push("orders", {"id": 2, "n": 8, "s": 5})
    site.move()
    site.load()
    site.load()
    expected = site.rows(site.first, ROOTS)
    assert [row[0] for row in expected] == [1, 2, 3, 5, 6, 7]
    found = site.rows(site.second, ROOTS)
    assert [row for row in found if row[0] != 2] == [row for row in expected if row[0] != 2]
    assert [row[1] for row in found if row[0] == 2] == [5]
    assert site.rows(site.second, ITEMS) == site.rows(site.first, ITEMS)
    with closing(SqliteReader(site.log_path)) as reader:
        assert reader.list_backlogs() == []


def test_what_the_log_does_not_hold_is_counted(site: Removal) -> None:
    site.push("orders", {"id": 1}, {"id": 2})
    site.load()
    site.push("orders", {"id": 3})
    site.push("customers", {"id": 1}, keys=())
    site.load()
    site.push("gone", {"id": 1}, {"id": 2}, {"id": 3})
    site.load()
    site.trim("orders", 1)
    site.trim("gone", 4)
    tables = site.copied().tables
    assert {name: (each.copied, each.gone) for name, each in tables.items()} == {
        "customers": (1, 0),
        "gone": (0, 3),
        "orders": (1, 2),
    }
    assert site.rows(site.second, "SELECT id FROM shop.orders") == [(3,)]


def test_a_copy_that_was_stopped_goes_on_where_it_was(
    site: Removal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        site.push("events", {"id": number}, keys=())
    site.load()
    copies = []

    def die(name: str) -> None:
        if name == "move.after-copy":
            copies.append(name)
            if len(copies) == 2:
                raise SystemExit(name)

    monkeypatch.setattr("treadle.failpoint.reach", die)
    with pytest.raises(SystemExit):
        site.copy(records=2).run()
    monkeypatch.undo()
    assert site.rows(site.second, "SELECT count(*) FROM shop.events") == [(4,)]
    [table] = site.copied(records=2).tables.values()
    assert (table.held, table.there, table.copied, table.gone) == (4, 4, 2, 0)
    [again] = site.copied().tables.values()
    assert (again.there, again.copied) == (6, 0)
    site.push("events", {"id": 6}, keys=())
    site.move()
    site.load()
    site.load()
    assert site.rows(site.second, "SELECT id FROM shop.events ORDER BY id") == [
        (number,) for number in range(7)
    ]


def test_a_destination_that_had_the_source_before_goes_on_from_there(site: Removal) -> None:
    site.push("events", {"id": 0}, keys=())
    site.move()
    site.load()
    site.store.sources.update_source(None, site.source_id, destination_id=None)
    site.push("events", {"id": 1}, keys=())
    site.load()
    site.load()
    site.push("events", {"id": 2}, keys=())
    site.load()
    site.trim("events", 2)
    [table] = site.copied().tables.values()
    # Its loader had a lease, so the copy adds nothing: the loader will.
    assert (table.held, table.there, table.copied, table.gone) == (1, 0, 0, 1)
    site.move()
    site.load()
    site.load()
    assert site.rows(site.second, "SELECT id FROM shop.events ORDER BY id") == [(0,), (2,)]


def test_table_versions_are_copied_as_they_were_activated(site: Removal) -> None:
    site.send("items", [1, 2], 1, activate=True)
    site.load()
    site.send("items", [3], 2, activate=True)
    site.send("items", [9], 3, activate=False)
    site.load()
    site.copied(records=1)
    assert site.rows(site.second, "SELECT id FROM shop.items") == [(3,)]
    site.send("items", [10], 3, activate=True)
    site.move()
    site.load()
    site.load()
    assert site.rows(site.second, "SELECT id FROM shop.items ORDER BY id") == [(9,), (10,)]


def test_records_that_the_new_destination_rejects_are_counted_with_reasons(site: Removal) -> None:
    site.push("orders", {"id": 1, "n": 1}, {"id": 2, "n": BAD})
    site.load()
    [table] = site.copied().tables.values()
    assert table.copied == 1
    [(reason, count)] = table.rejected.items()
    assert count == 1
    assert reason


def test_a_schema_of_somebody_else_is_not_touched(site: Removal) -> None:
    site.push("orders", {"id": 1})
    site.load()
    for statement in ("CREATE SCHEMA shop", "CREATE TABLE shop.mine (id int)"):
        site.rows(site.second, statement)
    with pytest.raises(TableStoppedError, match="shop"):
        site.copy().run()
    assert site.store.moves.find_move(site.source_id) is None
