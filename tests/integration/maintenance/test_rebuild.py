"""A table built again from the log, over a real log and store and both destinations."""

import asyncio
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from tests.faults.calls import Fault, WatchedDestination
from tests.kinds import some_at_release

from treadle.destinations.protocol import Destination, RowDiff
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError, TableStoppedError
from treadle.load_locks import FolderLocks, use_locks
from treadle.loader.schedule import FlushPolicy
from treadle.loader.supervisor import LoaderSupervisor
from treadle.log.protocol import NewEntry, ReadLimits, TrimPoint
from treadle.log.sqlite.log import SqliteAppender, SqliteReader
from treadle.maintenance import rebuild as replaying
from treadle.maintenance.rebuild import TableRebuild, TimeWindow, find_doubts
from treadle.records import batch as batches
from treadle.records import push
from treadle.records.message_batch import MessageBatch, encode_batch
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.tables.options import make_options_patch
from treadle.tables.schema_owner import make_operator

BAD = 10**30
Rows = list[tuple[Any, ...]]


class Site:
    """A source `shop` with a log, a store, a loader and a destination."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.log_path = folder / "log.sqlite"
        self.ticks = itertools.count(1_700_000_000_000_000, 1_000)
        self.store = Store.open(f"sqlite:///{folder / 'store.sqlite'}", SecretCipher(bytes(32)))
        account, _ = self.store.accounts.create_account("a")
        self.use(url)
        source = self.store.sources.create_source(
            account.id, type="import_api", display_name="shop", name="shop", bootstrap_token=False
        )
        self.account_id, self.source_id = account.id, source.id

    def use(self, url: str) -> None:
        [account] = self.store.accounts.list_accounts()
        kind = "postgres" if url.startswith("postgres") else "duckdb"
        self.store.destinations.set_default_destination(
            account.id, kind, url, make_destination(url).identity
        )
        self.url = url

    def clock(self) -> int:
        return next(self.ticks)

    def options(self, **options: Any) -> None:
        settings = make_options_patch(None, options)
        self.store.sources.update_source(self.account_id, self.source_id, settings=settings)

    # --- pushing and loading ---

    def push(self, table: str, *records: dict[str, Any], keys: Sequence[str] = ("id",)) -> None:
        """Accept a request; a record may name its sequence and version as `s` and `v`."""
        body = [
            {
                "client_id": 1,
                "table_name": table,
                "sequence": record.pop("s", number),
                "action": "upsert",
                "key_names": list(keys),
                "table_version": record.pop("v", 0),
                "data": record,
            }
            for number, record in enumerate(records, 1)
        ]
        self.accept(push.check_body(push.decode_body(json.dumps(body).encode(), transit=False), 1))

    def send(self, table: str, rows: Sequence[int], version: int, *, activate: bool) -> None:
        """Accept a batch of a table version."""
        messages: list[dict[str, Any]] = [
            {"action": "upsert", "sequence": n, "data": {"id": n}} for n in rows
        ]
        if activate:
            messages.append({"action": "activate_version", "sequence": 99})
        body = {
            "table_name": table,
            "key_names": ["id"],
            "schema": {"type": "object", "properties": {"id": {"type": "integer"}}},
            "table_version": version,
            "messages": messages,
        }
        self.accept(batches.check_body(batches.decode_body(json.dumps(body).encode())))

    def accept(self, found: Sequence[MessageBatch]) -> None:
        async def run() -> None:
            log = SqliteAppender(self.log_path)
            try:
                entries = [
                    NewEntry(
                        self.source_id, one.table_name, self.clock(), len(one), encode_batch(one)
                    )
                    for one in found
                ]
                await log.append(entries)
            finally:
                await log.aclose()

        asyncio.run(run())

    def loader(self, before_load: Callable[[], None] | None = None) -> LoaderSupervisor:
        class Interrupted(Fault):
            def around(self, name: str, call: Callable[[], Any]) -> Any:
                if name == "load" and before_load is not None:
                    before_load()
                return call()

        return LoaderSupervisor(
            store=self.store,
            open_reader=lambda: SqliteReader(self.log_path),
            open_destination=lambda url: cast(
                Destination, WatchedDestination(make_destination(url), Interrupted(0, RuntimeError))
            ),
            flush_policy=FlushPolicy(age_us=0),
            retention_us=10**18,
            clock=self.clock,
            new_id=lambda: str(uuid.uuid4()),
        )

    def load(self, before_load: Callable[[], None] | None = None) -> None:
        loader = self.loader(before_load)
        loader.load_once()
        loader.close()
        failed = [load.error for load in self.store.loads.list_loads() if load.error is not None]
        assert not failed, failed

    # --- looking ---

    def query(self, sql: str) -> Rows:
        statements = [sql]
        if self.url.startswith("clickhouse"):
            from tests.servers.clickhouse import spell_by_hand

            statements = spell_by_hand(sql)
        with make_destination(self.url).open() as session:
            return [session.query(statement) for statement in statements][-1].rows

    def replay(
        self, table: str = "orders", window: TimeWindow | None = None, records: int = 3
    ) -> TableRebuild:
        reader = SqliteReader(self.log_path)
        self.readers.append(reader)
        source = self.store.sources.get_source(None, self.source_id)
        assert source is not None
        return TableRebuild(
            store=self.store,
            reader=reader,
            destination=make_destination(self.url),
            source=source,
            table_name=table,
            schema="again",
            window=window or TimeWindow(),
            limits=ReadLimits(records=records),
            clock=self.clock,
        )

    readers: list[SqliteReader]

    def built(self, table: str = "orders", **how: Any) -> TableRebuild:
        replay = self.replay(table, **how)
        replay.build()
        return replay


def parted(replay: TableRebuild) -> dict[str, RowDiff]:
    return {each.relation: each.diff for each in replay.compare()}


def lacks(replay: TableRebuild) -> list[str]:
    return find_doubts(replay.progress, replay.find_status(), replay.window)


SAME = RowDiff(0, 0, 0)


@pytest.fixture(
    params=["duckdb", *some_at_release("postgres", "mariadb", "clickhouse", "redshift")]
)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = f"duckdb://{tmp_path / 'warehouse.duckdb'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_database")
    elif request.param in ("clickhouse", "mariadb", "redshift"):
        url = request.getfixturevalue(f"{request.param}_url")
    site = Site(tmp_path, url)
    site.readers = []
    yield site
    for reader in site.readers:
        reader.close()
    site.store.close()


def orders(site: Site) -> None:
    """Loads with a split column, subtables, superseded and rejected records."""
    site.push("orders", {"id": 1, "n": 1, "x": [1, 2]}, {"id": 2, "n": 2.5, "y": None})
    site.load()
    site.push("orders", {"id": 3, "n": "many", "x": [{"a": 1}], "s": 7})
    site.push("orders", {"id": 4, "n": BAD}, {"id": 5, "o": {"p": True}})
    site.load()
    site.push("orders", {"id": 1, "n": 9, "x": [3], "s": 5}, {"id": 3, "late": 1, "s": 6})
    site.load()


def test_the_same_is_found_the_same(site: Site) -> None:
    orders(site)
    # All at once, where a record that lost adds no column.
    for records in (1, 100):
        replay = site.built(records=records)
        assert parted(replay) == {"orders": SAME, "orders__x": SAME}
        assert (replay.progress.records, lacks(replay)) == (7, [])
    replay.remove()
    assert "again" not in str(
        site.query("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
    )
    assert site.query("SELECT count(*) FROM _treadle.catalogue WHERE schema_name = 'again'") == [
        (0,)
    ]
    assert site.query("SELECT count(*) FROM _treadle.positions") == [(1,)]


def test_what_was_changed_by_hand_is_found_and_put_right(site: Site) -> None:
    orders(site)
    columns = "id, _sdc_sequence, _sdc_received_at, o__p"
    before = site.query(f"SELECT {columns} FROM shop.orders ORDER BY id")
    items = "SELECT _sdc_source_key_id, _sdc_level_0_id, value FROM shop.orders__x ORDER BY 1, 2"
    children = site.query(items)
    position = site.query("SELECT position, report, result FROM _treadle.positions")
    site.query("DELETE FROM shop.orders WHERE id = 2")
    site.query("UPDATE shop.orders SET o__p = false WHERE id = 5")
    site.query("UPDATE shop.orders SET id = 77 WHERE id = 3")
    site.query("DELETE FROM shop.orders__x WHERE _sdc_source_key_id = 1")
    replay = site.built()
    assert parted(replay) == {"orders": RowDiff(1, 2, 1), "orders__x": RowDiff(0, 1, 0)}
    replay.swap()
    replay.remove()
    assert site.query(f"SELECT {columns} FROM shop.orders ORDER BY id") == before
    assert site.query(items) == children
    assert site.query("SELECT position, report, result FROM _treadle.positions") == position
    status = replay.find_status()
    assert status is not None
    assert status.rebuilt_at is not None

    # Loading goes on from where it stood.
    site.push("orders", {"id": 1, "n": 10, "s": 6}, {"id": 2, "n": 1, "s": 1}, {"id": 6})
    site.load()
    found = site.query("SELECT id, _sdc_sequence FROM shop.orders ORDER BY id")
    assert found == [(1, 6), (2, 2), (3, 7), (5, 2), (6, 3)]
    assert parted(site.built()) == {"orders": SAME, "orders__x": SAME}


def test_a_swap_is_noted_before_it_is_done(site: Site) -> None:
    """After a crash in between, no audit takes the rows that are there for those of older loads."""

    class Cut(Fault):
        def around(self, name: str, call: Callable[[], Any]) -> Any:
            if name == "load":
                raise InterruptedError
            return call()

    orders(site)
    replay = site.built()
    watched = WatchedDestination(make_destination(site.url), Cut(0, RuntimeError))
    replay.destination = cast(Destination, watched)
    with pytest.raises(InterruptedError):
        replay.swap()
    status = replay.find_status()
    assert status is not None
    assert status.rebuilt_at is not None
    assert parted(site.built()) == {"orders": SAME, "orders__x": SAME}


def test_a_table_without_a_key_gets_the_keys_it_had(site: Site) -> None:
    site.push("events", {"n": 1, "x": [1]}, {"n": 1}, {"n": BAD}, keys=[])
    site.load()
    site.push("events", {"n": 1}, keys=[])
    site.load()
    before = site.query("SELECT __sdc_primary_key, n FROM shop.events ORDER BY 1")
    site.query("DELETE FROM shop.events")
    replay = site.built("events")
    assert parted(replay) == {"events": RowDiff(0, 3, 0), "events__x": SAME}
    replay.swap()
    assert site.query("SELECT __sdc_primary_key, n FROM shop.events ORDER BY 1") == before


def test_loads_that_come_in_between_are_in_the_swap(site: Site) -> None:
    orders(site)
    replay = site.built()
    site.push("orders", {"id": 8, "n": 8})
    site.load()
    assert parted(replay)["orders"] == SAME
    site.push("orders", {"id": 9, "n": 9, "new": 1})
    site.load()
    site.query("DELETE FROM shop.orders WHERE id < 9")
    replay.swap()
    assert site.query("SELECT id FROM shop.orders ORDER BY id") == [
        (n,) for n in (1, 2, 3, 5, 8, 9)
    ]


def test_one_replay_at_a_time_builds_in_a_schema(site: Site) -> None:
    site.push("orders", {"id": 1})
    site.push("orders", {"id": 2})
    site.load()
    site.query("DELETE FROM shop.orders")
    replay, other = site.replay(), site.replay(records=1)
    locks = FolderLocks(site.folder / "turns")
    use_locks(locks)
    try:
        with (
            locks.hold([f"{make_destination(site.url).identity}\nreplay into again"], 0.0),
            pytest.raises(OperatorError, match="another replay is at work in the schema again"),
        ):
            replay.carry_out(swaps=True, force=False)
    finally:
        use_locks(None)
    compare = TableRebuild.compare

    def compare_late(found: TableRebuild) -> Any:
        """Compare, before another process that has lost its lock builds a part."""
        outcome = compare(found)
        with pytest.MonkeyPatch.context() as part:
            part.setattr(TableRebuild, "_find_loaded_position", lambda self, session: 1)
            other.build()
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TableRebuild, "compare", compare_late)
        with pytest.raises(OperatorError, match="again does not hold what was built of orders"):
            replay.carry_out(swaps=True, force=False)
    with pytest.raises(OperatorError, match="Nothing was swapped"):
        replay.compare()
    assert site.query("SELECT id FROM shop.orders") == []
    assert site.query("SELECT id FROM again.orders") == [(1,)]  # left to the other one


def test_a_load_that_was_planned_before_the_swap_is_planned_again(site: Site) -> None:
    orders(site)
    replay = site.built()
    site.query("DELETE FROM shop.orders WHERE id = 1")
    site.push("orders", {"id": 1, "n": 0, "s": 1}, {"id": 8})
    pending: list[Callable[[], None]] = [replay.swap]
    site.load(lambda: pending.pop()() if pending else None)
    assert not pending
    # Had it not been planned anew, the record of a lower sequence would be the row.
    found = site.query("SELECT id, _sdc_sequence FROM shop.orders ORDER BY id")
    assert found == [(1, 5), (2, 2), (3, 7), (5, 2), (8, 2)]


def test_a_table_that_was_dropped_is_made_again(site: Site) -> None:
    orders(site)
    for name in ("orders__x", "orders"):
        site.query(f"DROP TABLE shop.{name}")
    replay = site.built()
    assert parted(replay) == {"orders": RowDiff(0, 4, 0), "orders__x": RowDiff(0, 2, 0)}
    replay.swap()
    replay.remove()
    site.push("orders", {"id": 9})
    site.load()
    assert site.query("SELECT id FROM shop.orders ORDER BY id") == [(n,) for n in (1, 2, 3, 5, 9)]
    assert site.query("SELECT count(*) FROM shop.orders__x") == [(2,)]


@pytest.mark.parametrize("dropped", ["orders", "orders__x"])
def test_a_table_of_which_a_part_was_dropped_is_made_whole(site: Site, dropped: str) -> None:
    orders(site)
    site.query(f"DROP TABLE shop.{dropped}")
    replay = site.built()
    replay.swap()
    assert set(parted(replay).values()) == {SAME}
    replay.remove()
    assert site.query("SELECT count(*) FROM shop.orders") == [(4,)]
    assert site.query("SELECT count(*) FROM shop.orders__x") == [(2,)]


def test_what_a_dropped_table_left_goes_with_the_next_record(site: Site) -> None:
    site.push("orders", {"id": 1, "x": [1, 2]}, {"id": 2, "x": [3]})
    site.load()
    site.query("DROP TABLE shop.orders")
    site.push("orders", {"id": 1, "x": [7], "s": 5})
    site.load()
    assert site.query("SELECT id FROM shop.orders") == [(1,)]
    found = site.query("SELECT _sdc_source_key_id, _sdc_level_0_id, value FROM shop.orders__x")
    assert found == [(1, 0, 7)]


def test_what_a_dropped_table_left_goes_with_the_activation_of_a_version(site: Site) -> None:
    site.push("orders", {"id": 1, "x": [1, 2], "v": 1}, {"id": 2, "x": [1], "v": 1})
    site.load()
    site.push("orders", {"id": 1, "x": [3], "v": 2})
    site.load()
    site.query("DROP TABLE shop.orders")
    site.send("orders", [], 2, activate=True)
    site.load()
    assert site.query("SELECT id, _sdc_table_version FROM shop.orders") == [(1, 2)]
    found = site.query("SELECT _sdc_source_key_id, _sdc_level_0_id, value FROM shop.orders__x")
    assert found == [(1, 0, 3)]


def test_versions_and_what_waits_for_its_activation(site: Site) -> None:
    site.send("orders", [1, 2], 100, activate=False)
    site.load()
    site.send("orders", [3], 200, activate=True)
    site.load()
    site.send("orders", [4], 300, activate=False)
    site.load()
    site.query("DELETE FROM shop.orders")
    replay = site.built()
    assert parted(replay) == {"orders": RowDiff(0, 1, 0)}
    replay.swap()
    replay.remove()
    assert site.query("SELECT id, _sdc_table_version FROM shop.orders") == [(3, 200)]
    site.send("orders", [5], 300, activate=True)
    site.load()
    found = site.query("SELECT id, _sdc_table_version FROM shop.orders ORDER BY id")
    assert found == [(4, 300), (5, 300)]


def test_deleted_rows_stay_deleted(site: Site) -> None:
    site.options(hard_delete=True)
    site.push("orders", {"id": 1, "s": 1}, {"id": 2, "s": 1})
    site.load()
    site.push("orders", {"id": 1, "_sdc_deleted_at": "2024-01-01T00:00:00Z", "s": 5})
    site.load()
    replay = site.built()
    replay.swap()
    replay.remove()
    site.push("orders", {"id": 1, "s": 4})
    site.load()
    assert site.query("SELECT id FROM shop.orders") == [(2,)]


def test_another_destination_gets_what_was_loaded_before(site: Site, tmp_path: Path) -> None:
    orders(site)
    before = site.query("SELECT id, _sdc_sequence FROM shop.orders ORDER BY id")
    site.use(f"duckdb://{tmp_path / 'other.duckdb'}")
    replay = site.built()
    assert parted(replay) == {"orders": RowDiff(0, 4, 0), "orders__x": RowDiff(0, 2, 0)}
    replay.swap()
    replay.remove()
    assert site.query("SELECT id, _sdc_sequence FROM shop.orders ORDER BY id") == before
    site.push("orders", {"id": 9})
    site.load()
    assert site.query("SELECT count(*) FROM shop.orders") == [(5,)]
    assert parted(site.built()) == {"orders": SAME, "orders__x": SAME}


def test_a_log_that_no_longer_reaches_back_says_so(site: Site) -> None:
    orders(site)
    reader = SqliteReader(site.log_path)
    reader.trim([TrimPoint(site.source_id, "orders", 1)])
    reader.close()
    replay = site.built()
    [lack] = lacks(replay)
    assert lack.startswith("the log no longer reaches back to the table's beginning")
    assert lack.endswith("that was at position 1, and the first it holds is 2")
    assert parted(replay)["orders"] == RowDiff(1, 0, 0)


def test_a_part_of_the_log(site: Site) -> None:
    orders(site)
    times = site.query("SELECT max(_sdc_received_at), min(_sdc_received_at) FROM shop.orders")
    last = int(times[0][0].timestamp() * 1e6 + 0.5)
    replay = site.built(window=TimeWindow(until=last))
    assert lacks(replay) == ["only a part of the log was taken, by the times that were given"]
    assert parted(replay)["orders"] == RowDiff(0, 0, 1)
    first = int(times[0][1].timestamp() * 1e6 + 0.5)
    assert parted(site.built(window=TimeWindow(since=first + 1)))["orders"].only_here == 1


def test_records_that_are_rejected_now_are_told_and_kept(site: Site) -> None:
    site.push("orders", {"id": 1, "n": "a\0b"}, {"id": 2})
    site.load()
    site.options(nul_characters="reject")
    replay = site.built()
    [lack] = lacks(replay)
    assert lack.startswith("1 record that was loaded before is rejected now: NUL")
    assert parted(replay) == {"orders": RowDiff(1, 0, 0)}
    replay.swap()
    assert site.query("SELECT id FROM shop.orders") == [(2,)]
    assert site.query("SELECT table_name FROM shop._sdc_rejected") == [("orders",)]


def test_records_that_were_rejected_stay_so(site: Site) -> None:
    """They may have been sent again, and a table without a key would hold them twice."""
    site.options(nul_characters="reject")
    site.push("events", {"n": "a\0b"}, {"n": "c"}, keys=[])
    site.load()
    site.options(nul_characters="remove")
    replay = site.built("events")
    assert parted(replay) == {"events": SAME}
    assert lacks(replay) == []


def test_nested_values_in_one_column(site: Site) -> None:
    site.options(nested="json")
    site.push("orders", {"id": 1, "o": {"a": [1]}}, {"id": 2, "o": {"a": None}})
    site.load()
    site.query("""UPDATE shop.orders SET o = '{"a":7}' WHERE id = 2""")
    replay = site.built()
    assert parted(replay) == {"orders": RowDiff(0, 0, 1)}
    replay.swap()
    assert parted(site.built()) == {"orders": SAME}


def test_another_shape_by_other_options_is_told(site: Site) -> None:
    site.push("orders", {"id": 1, "x": [1, 2]}, {"id": 1, "x": [3], "s": 9})
    site.load()
    site.options(nested="json", loading_behavior="append")
    replay = site.built()
    replay.compare()
    assert lacks(replay) == [
        "the table keeps one row for a key, and by the options it has now it appends every record",
        "the subtable orders__x holds 1 row, and none such was built",
    ]


def test_entries_that_go_while_they_are_to_be_read_are_missed(site: Site) -> None:
    orders(site)
    trimmer = SqliteReader(site.log_path)
    site.readers.append(trimmer)
    replay = site.replay(records=1)
    opened = iter([2])

    def trim() -> int:
        for position in opened:
            trimmer.trim([TrimPoint(site.source_id, "orders", position)])
        return site.clock()

    replay.clock = trim  # which is asked once the first entry was read
    replay.build()
    assert lacks(replay) == ["the log was trimmed while it was read"]


def test_what_others_have_in_the_schema_is_left_alone(site: Site) -> None:
    orders(site)
    site.query("CREATE SCHEMA again")
    site.query("CREATE TABLE again.orders (id bigint PRIMARY KEY)")
    replay = site.replay()
    with pytest.raises(OperatorError, match="the schema again holds orders, which is not from"):
        replay.build()
    replay.remove()
    assert site.query("SELECT count(*) FROM again.orders") == [(0,)]
    # And a table of a source of another installation, loaded by treadle.
    site.query("DROP TABLE again.orders")
    replay.build()
    site.query("UPDATE _treadle.positions SET log_id = 'theirs' WHERE report = ''")
    with pytest.raises(OperatorError, match="again holds _sdc_rejected, orders, orders__x, which"):
        replay.build()
    replay.remove()
    assert site.query("SELECT count(*) FROM again.orders") == [(4,)]


def test_a_swap_cannot_reject_any_number(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "REJECTIONS_MAX", 1)
    site.push("orders", {"id": 1, "n": "a\0b"}, {"id": 2, "n": "c\0d"}, {"id": 3})
    site.load()
    site.options(nul_characters="reject")
    replay = site.built()
    assert len(replay.progress.rejections) == 1
    with pytest.raises(OperatorError, match="2 records that were loaded before are rejected now"):
        replay.swap()
    assert site.query("SELECT count(*) FROM shop.orders") == [(3,)]


def test_what_cannot_be_built(site: Site) -> None:
    site.push("orders", {"id": 1})
    with pytest.raises(OperatorError, match="nothing of the table 'orders' was loaded yet"):
        site.built()
    if site.url.startswith("clickhouse"):
        return  # two names are two tables there
    other = "ord-ers" if site.url.startswith("postgres") else "Orders"
    site.push(other, {"id": 1})
    site.load()
    with pytest.raises(OperatorError, match=f"'{other}', 'orders' are loaded into one table"):
        site.built()


def test_a_stop_on_the_way_is_told_with_its_place(site: Site) -> None:
    site.push("orders", {"id": 1})
    site.load()
    site.query("DROP TABLE shop.orders")
    site.push("orders", {"nr": "a"}, keys=["nr"])
    site.load()
    with pytest.raises(TableStoppedError, match="cannot be built beyond position 2"):
        site.built(records=1)


COPIED = """
    CREATE TABLE again._sdc_rejected AS
    SELECT 'r' AS record, 'why' AS reason, 'orders' AS table_name, now() AS _sdc_rejected_at
"""
"""As another installation has it."""


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (COPIED, "_sdc_rejected"),
        ("CREATE TABLE again._sdc_rejected (note varchar(9))", "_sdc_rejected"),
        ("CREATE TABLE again.customers (id bigint)", "customers"),
        ("CREATE VIEW again.customers AS SELECT 1 AS id", "customers"),
        ("CREATE SEQUENCE again.numbers", "numbers"),
    ],
)
def test_a_schema_of_others_is_not_built_in(site: Site, made: str, told: str) -> None:
    if site.url.startswith(("clickhouse", "redshift")) and "SEQUENCE" in made:
        pytest.skip("there are no sequences")
    orders(site)
    site.query("CREATE SCHEMA again")
    site.query(made)
    before = dump(site)
    replay = site.replay()
    for _ in range(2):
        with pytest.raises(OperatorError) as raised:
            replay.build()
        assert str(raised.value) == (
            f"the schema again holds {told}, which is not from an earlier replay of orders; a "
            "table is built in a schema that is missing, empty, or holds nothing but what replays "
            "built there. Nothing was changed: drop what nobody needs there, or name another "
            "schema with --into"
        )
        replay.remove()
        assert dump(site) == before


def dump(site: Site) -> list[tuple[str, Rows]]:
    """Every table of the schema and what treadle keeps, with its rows."""
    found = site.query(
        "SELECT table_schema, table_name FROM information_schema.tables"
        " WHERE table_schema IN ('again', '_treadle') ORDER BY 1, 2"
    )
    return [
        (f"{schema}.{table}", sorted(site.query(f'SELECT * FROM "{schema}"."{table}"'), key=str))
        for schema, table in found
    ]


def test_what_others_made_of_what_was_built_is_named(site: Site) -> None:
    if not site.url.startswith(("postgres", "redshift")):
        pytest.skip("others drop a table beneath a view")
    orders(site)
    site.built()
    site.query("CREATE VIEW public.seen AS SELECT id FROM again.orders")
    with pytest.raises(OperatorError) as raised:
        site.built()
    assert str(raised.value) == (
        "ERROR: cannot drop table again.orders because other objects depend on it (view seen "
        "depends on table again.orders); nothing was changed, drop those first"
    )
    assert site.query("SELECT count(*) FROM public.seen") == [(4,)]


def test_replays_of_several_tables_share_a_schema(site: Site) -> None:
    orders(site)
    site.push("events", {"id": 1, "n": "a\0b"}, {"id": BAD})
    site.load()
    for _ in range(2):
        for table in ("orders", "events"):
            site.built(table)
    rejected = "SELECT table_name, count(*) FROM again._sdc_rejected GROUP BY 1 ORDER BY 1"
    assert site.query(rejected) == [("events", 1), ("orders", 1)]
    site.replay("events").remove()
    assert site.query(rejected) == [("orders", 1)]
    # Dropped by hand, and made by somebody else: the marks of the former say nothing of it.
    site.query("DROP SCHEMA again" + ("" if site.url.startswith("mysql") else " CASCADE"))
    site.query("CREATE SCHEMA again")
    site.query("CREATE TABLE again._sdc_rejected AS SELECT 'orders' AS table_name")
    with pytest.raises(OperatorError, match="the schema again holds _sdc_rejected"):
        site.built()
    assert site.query("SELECT * FROM again._sdc_rejected") == [("orders",)]


def test_a_replay_that_was_killed_at_its_beginning_is_in_nobodys_way(site: Site) -> None:
    orders(site)
    with make_destination(site.url).open() as session:
        session.prepare("again", make_operator(site.store.installation_id))
    assert site.query("SELECT count(*) FROM again._sdc_rejected") == [(0,)]
    replay = site.built()
    assert parted(replay)["orders"] == SAME
    replay.remove()
    assert site.query("SELECT 1 FROM information_schema.schemata WHERE schema_name = 'again'") == []


def test_files_are_built_beside_and_not_swapped(tmp_path: Path) -> None:
    site = Site(tmp_path, f"files://{tmp_path / 'lake'}")
    site.readers = []
    site.push("orders", {"id": 1, "x": [1, 2]}, {"id": 2})
    site.load()
    site.push("orders", {"id": 1, "x": [3], "s": 5})
    site.load()
    with pytest.raises(OperatorError, match="only adds rows"):
        site.replay().carry_out(swaps=True, force=True)
    # As many records at once as the loads had: of one load, the newest row of a key is added.
    outcome = site.replay(records=2).carry_out(swaps=False, force=False)
    assert {each.relation: each.diff for each in outcome.found} == {
        "orders": SAME,
        "orders__x": SAME,
    }
    assert not (tmp_path / "lake/again").exists()
    for reader in site.readers:
        reader.close()
    site.store.close()
