import threading
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import event
from tests.loads import load as plain

from treadle.errors import InternalError
from treadle.store import tables as store_tables
from treadle.store.model import (
    EntryOutcome,
    KeptColumn,
    KeptColumns,
    KeptRelation,
    LoadReport,
    PushedTable,
    RecordRejection,
    TableCondition,
    TableLoadStatus,
    TableTotals,
)
from treadle.store.recent_loads import LoadFilter
from treadle.store.report_order import KEYS
from treadle.store.store import Store
from treadle.tables.rejection_reason import RejectionCode
from treadle.text import digest_text

OpenStore = Callable[[], Store]

ODD_NAMES = (
    "orders",
    "Orders",
    "ORDERS ",
    "a\0b",
    "\x1a0",
    "ü🧵",
    "x" * 10_000,
    "'; DROP TABLE loads",
)


def make_source(store: Store, name: str = "shop") -> int:
    account = (
        next(iter(store.accounts.list_accounts()), None) or store.accounts.create_account("a")[0]
    )
    source = store.sources.create_source(
        account.id, type="import_api", display_name=name, name=name, bootstrap_token=False
    )
    return source.id


def load(
    source_id: int, first: int, last: int, *, table: str = "orders", error: str | None = None
) -> LoadReport:
    return plain(
        source_id,
        table,
        last,
        last * 10,
        id=f"{source_id}-{hash(table)}-{first}-{last}-{error}",
        first=first,
        finished_at=last * 10 + 5,
        rows_received=10,
        rows_loaded=7,
        rows_discarded=2,
        rows_rejected=1,
        tables={table: 7},
        details={"columns_added": ["ü\0"], "table_version": None},
        error=error,
    )


NO_KEY = RecordRejection(0, "no \0 key", RejectionCode.KEY_MISSING, "id")
TOO_BIG = RecordRejection(7, "too big", RejectionCode.ROW_TOO_BIG)


def outcome(source_id: int, position: int, table: str = "orders") -> EntryOutcome:
    return EntryOutcome(position, source_id, table, 2, (NO_KEY, TOO_BIG))


def wait_for_a_lock(url: str, of: threading.Thread) -> None:
    """Wait until a session of a store on PostgreSQL waits for another one, or a thread ends."""
    asked = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 60
    with psycopg.connect(url, autocommit=True) as connection:
        while of.is_alive() and connection.execute(asked).fetchone() is None:
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.01)


def test_a_load_is_kept_as_it_was_reported(store: Store) -> None:
    source = make_source(store)
    for number, name in enumerate(ODD_NAMES, start=1):
        report = load(source, number * 10, number * 10 + 5, table=name)
        found = [outcome(source, number * 10 + n, name) for n in (3, 0)]
        store.loads.record_load(report, found)
        assert store.loads.list_loads(table_name=name) == [report]
        assert store.loads.find_covering_load(source, name, number * 10 + 1) == report
        assert store.outcomes.list_outcomes(0, [number * 10, number * 10 + 3]) == found[::-1]
    assert {status.table_name for status in store.tables.list_statuses(source)} == set(ODD_NAMES)
    assert len(store.loads.list_loads()) == len(ODD_NAMES)


def test_a_load_reported_again_stands_as_it_was(store: Store) -> None:
    source = make_source(store)
    report = load(source, 1, 5)
    store.loads.record_load(report, [outcome(source, 2)])
    store.loads.record_load(report, [outcome(source, 2)])
    again = replace(report, id="another", rows_loaded=0, finished_at=999)
    store.loads.record_load(again, [outcome(source, 3)])
    assert store.loads.list_loads() == [report]
    assert store.outcomes.list_outcomes(0, [1, 2, 3]) == [outcome(source, 2)]
    # Only of records that the entry has.
    assert store.outcomes.find_rejected_records(0, {1: 9, 2: 7}) == {(2, 0): NO_KEY[1:]}
    assert store.outcomes.find_rejected_records(0, {2: 8}) == {
        (2, 0): NO_KEY[1:],
        (2, 7): TOO_BIG[1:],
    }


def test_loads_of_many_tables_are_kept(store: Store) -> None:
    one, two = make_source(store, "one"), make_source(store, "two")
    before = load(two, 1, 5, table="b")
    store.loads.record_load(before, [])
    store.loads.record_failure(load(one, 6, 9, table="c", error="no rights"), stopped=True)
    reports = [load(one, 10, 11, table=name) for name in ODD_NAMES]
    reports += [load(two, 6, 8, table="b"), load(one, 6, 7, table="c")]
    for report, found in [
        (replace(before, id="again", rows_loaded=0), [outcome(two, 3, "b")]),
        *((report, [outcome(one, 10, report.table_name)]) for report in reports[:1]),
        *((report, []) for report in reports[1:-2]),
        (reports[-1], [outcome(one, 7, "c")]),
        (reports[-2], []),
    ]:
        store.loads.record_load(report, found)
    assert {report.id for report in store.loads.list_loads()} == {
        *(report.id for report in (before, *reports)),
        load(one, 6, 9, table="c", error="no rights").id,
    }
    assert [
        (each.position, each.table_name) for each in store.outcomes.list_outcomes(0, [3, 7, 10])
    ] == [
        (7, "c"),
        (10, ODD_NAMES[0]),
    ]
    standing = {(each.source_id, each.table_name): each for each in store.tables.list_statuses()}
    assert standing[two, "b"] == TableLoadStatus(two, "b", 8, 85, None, None, False, began=1)
    assert standing[one, "c"] == TableLoadStatus(one, "c", 7, 75, None, None, False, began=6)
    counts = {(each.source_id, each.table_name): each for each in store.tables.list_totals()}
    assert (counts[two, "b"].loads, counts[two, "b"].loaded) == (2, 14)
    assert (counts[one, "c"].loads, counts[one, "c"].failures) == (1, 1)
    assert all(counts[one, name].received == 10 for name in ODD_NAMES)


def test_loads_are_listed_newest_first_in_pages(store: Store) -> None:
    one, two = make_source(store, "one"), make_source(store, "two")
    reports = [load(source, n, n, table=t) for n in (1, 2) for source in (one, two) for t in "ab"]
    for report in reports:
        store.loads.record_load(report, [])
    reports.reverse()
    assert store.loads.list_loads() == reports
    assert store.loads.list_loads(limit=3) == reports[:3]
    assert store.loads.list_loads(limit=3, before=reports[2].id) == reports[3:6]
    assert store.loads.list_loads(before=reports[-1].id) == []
    assert store.loads.list_loads(before="\0") == []
    assert store.loads.find_load(None, "\0") is None
    assert store.loads.find_load(None, reports[2].id) == reports[2]
    assert store.loads.list_loads(source_id=one) == [r for r in reports if r.source_id == one]
    assert store.loads.list_loads(source_id=one, table_name="a") == [
        r for r in reports if (r.source_id, r.table_name) == (one, "a")
    ]
    account = store.accounts.list_accounts()[0].id
    assert store.loads.list_loads(account_id=account) == reports
    assert store.loads.list_loads(account_id=account + 1) == []


def test_of_many_tables_with_one_name_only_the_answered_reports_are_read(store: Store) -> None:
    sources = [make_source(store, name) for name in "abcd"]
    turns = [sources[n * n % 7 % 4] for n in range(40)]  # not one after another
    for last, source in enumerate(turns, start=1):
        # Some finish at the same time: then the one that was recorded later comes first.
        report = replace(load(source, last, last, table="data"), finished_at=last // 3)
        store.loads.record_load(report, [])
    store.loads.record_load(load(sources[0], 50, 50, table="other"), [])
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *others: object) -> None:
        asked.append(statement)

    event.listen(store._database.engine, "before_cursor_execute", note)
    found: list[LoadReport] = []
    account = next(iter(store.accounts.list_accounts())).id
    while page := store.loads.list_loads(
        account_id=account, table_name="data", limit=7, before=found[-1].id if found else None
    ):
        found += page
    assert [report.last for report in found] == list(range(40, 0, -1))
    assert sum("details" in statement for statement in asked) == 6 + 1  # one a page, the last empty
    few = store.loads.list_loads(table_name="data", chosen=LoadFilter(since=10, until=12))
    assert [report.last for report in few] == [35, 34, 33, 32, 31, 30]
    assert store.loads.list_loads(account_id=account, table_name="none") == []
    assert store.loads.list_loads(account_id=account + 1, table_name="data") == []


def test_the_status_of_a_table_follows_its_loads(store: Store) -> None:
    source = make_source(store)
    assert store.tables.list_statuses() == []
    store.loads.record_load(load(source, 1, 5), [])
    at_five = TableLoadStatus(source, "orders", 5, 55, None, None, False, began=1)
    assert store.tables.list_statuses() == [at_five]
    failed = load(source, 6, 7, error="no rights")
    store.loads.record_failure(failed, stopped=False)
    store.loads.record_failure(
        replace(failed, id="later", finished_at=90, error="none"), stopped=True
    )
    assert store.tables.list_statuses(source) == [
        replace(at_five, error="none", error_since=75, stopped=True)
    ]
    store.loads.record_load(load(source, 6, 7), [])
    assert store.tables.list_statuses(source) == [replace(at_five, loaded=7, loaded_at=75)]
    assert store.tables.list_statuses(source + 1) == []


def test_a_table_knows_where_its_last_load_went(store: Store) -> None:
    source = make_source(store)
    places = [((1, 5), "a"), ((6, 7), "b"), ((1, 4), "c"), ((6, 7), "c"), ((8, 9), "")]
    known = []
    for (first, last), place in places:
        store.loads.record_load(load(source, first, last), [], place=place)
        known.append(store.tables.list_statuses()[0].place_sha256)
    a, b = digest_text("a"), digest_text("b")
    # An older load that is noted late says nothing of the last one, nor one that was noted already.
    assert known == [a, b, b, b, None]


def test_what_a_database_said_is_kept_with_its_nul_escaped(store: Store) -> None:
    source = make_source(store)
    failed = replace(load(source, 6, 7), error="no \0 here, nor \udc00")
    store.loads.record_failure(failed, stopped=True)
    [status] = store.tables.list_statuses()
    assert status.error == "no \\x00 here, nor ?"
    [report] = store.loads.list_loads()
    assert report.error == status.error


def test_all_tables_are_read_some_at_a_time(store: Store) -> None:
    shop, crm = make_source(store), make_source(store, "crm")
    for source in (shop, crm):
        for name in ODD_NAMES:
            store.loads.record_load(load(source, 1, 5, table=name), [])
    store.loads.record_failure(load(crm, 6, 9, error="the key differs"), stopped=True)
    [account] = store.accounts.list_accounts()
    conditions = [*store.tables.read_conditions()]
    keys = {(one.source_id, one.table_name) for one in conditions}
    assert keys == {(source, name) for source in (shop, crm) for name in ODD_NAMES}
    assert len(conditions) == len(keys)
    [failing] = [one for one in conditions if one.error is not None]
    assert failing == TableCondition(
        crm, "orders", 5, 10, 7, 2, 1, 55, stopped=True, error="the key differs", trouble=None
    )
    overviews = {
        source: [*found] for source, found in store.tables.read_account_overviews(account.id)
    }
    assert {key: sorted(found) for key, found in overviews.items()} == {
        source: sorted(store.tables.list_overviews(source)) for source in (shop, crm)
    }
    assert [*store.tables.read_account_overviews(account.id + 1)] == []


def test_tables_that_are_not_well_or_wait_are_found_among_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(store)
    for name in ODD_NAMES:
        store.loads.record_load(load(source, 1, 5, table=name), [])
    assert store.tables.list_noted_statuses([]) == []
    store.loads.record_failure(load(source, 6, 9, error="the key differs"), stopped=False)
    every = store.tables.list_statuses()
    noted = store.tables.list_noted_statuses([(source, "a\0b"), (source, "new")])
    assert noted == [one for one in every if one.table_name in ("orders", "a\0b")]
    monkeypatch.setattr(store_tables, "NOTED_MAX", 1)
    assert store.tables.list_noted_statuses([(source, "a\0b"), (source, "new")]) == every


def test_of_tries_from_one_position_the_last_is_kept(store: Store) -> None:
    source = make_source(store)
    for number in range(5):
        failed = load(source, 1, 3 + number, error=f"try {number}")
        store.loads.record_failure(failed, stopped=False)
    assert store.loads.list_loads() == [failed]
    assert store.loads.find_covering_load(source, "orders", 1) is None
    assert store.loads.list_loaded_before(10**9) == []
    other = load(source, 4, 9, error="elsewhere")
    store.loads.record_failure(other, stopped=False)
    done = load(source, 1, 7)
    store.loads.record_load(done, [])
    assert store.loads.list_loads() == [other, done, failed]  # by the time of their end


def test_a_late_report_of_an_earlier_load_does_not_move_a_table_back(store: Store) -> None:
    source = make_source(store)
    store.loads.record_load(load(source, 6, 9), [])
    store.loads.record_load(load(source, 1, 5), [])
    assert [(status.began, status.loaded) for status in store.tables.list_statuses()] == [(1, 9)]


def test_a_late_report_says_nothing_of_what_came_up_after_the_load(store: Store) -> None:
    source_id = make_source(store)
    for late in (load(source_id, 11, 20), load(source_id, 1, 10)):
        store.loads.record_load(load(source_id, 11, 20), [])
        store.loads.record_failure(load(source_id, 21, 30, error="no space"), stopped=True)
        [before] = store.tables.list_statuses(source_id)
        store.loads.record_load(late, [])
        assert store.tables.list_statuses(source_id) == [replace(before, began=late.first)]
    store.loads.record_load(load(source_id, 21, 30), [])
    [status] = store.tables.list_statuses(source_id)
    assert (status.loaded, status.error, status.stopped) == (30, None, False)


def test_the_load_of_a_position(store: Store) -> None:
    source, other = make_source(store, "one"), make_source(store, "two")
    first, second = load(source, 1, 5), load(source, 8, 9)
    for report in (first, second, load(source, 6, 7, table="items"), load(other, 1, 100)):
        store.loads.record_load(report, [])
    expected = {0: None, 1: first, 5: first, 6: None, 7: None, 8: second, 9: second, 10: None}
    assert {n: store.loads.find_covering_load(source, "orders", n) for n in expected} == expected


def test_what_may_be_trimmed(store: Store) -> None:
    one, two = make_source(store, "one"), make_source(store, "two")
    for report in (load(one, 1, 5), load(one, 6, 9), load(two, 2, 3, table="a\0"), load(two, 8, 8)):
        store.loads.record_load(report, [])
    assert store.loads.list_loaded_before(0) == []
    assert store.loads.list_loaded_before(35) == [(two, "a\0", 3)]
    assert store.loads.list_loaded_before(55) == [(one, "orders", 5), (two, "a\0", 3)]
    assert sorted(store.loads.list_loaded_before(95)) == [
        (one, "orders", 9),
        (two, "a\0", 3),
        (two, "orders", 8),
    ]


def test_old_loads_are_forgotten_but_the_newest_of_each_table(store: Store) -> None:
    source = make_source(store)
    kept = load(source, 4, 6)
    for report in (load(source, 1, 3), kept, load(source, 11, 12, table="items")):
        store.loads.record_load(report, [outcome(source, report.first, report.table_name)])
    store.loads.record_failure(load(source, 7, 8, error="down"), stopped=False)
    assert store.loads.delete_loads_before(30) == 0
    assert store.loads.delete_loads_before(36) == 1
    assert store.loads.delete_loads_before(10**9) == 1
    assert [report.last for report in store.loads.list_loads()] == [12, 6]
    assert [o.position for o in store.outcomes.list_outcomes(0, range(20))] == [4, 11]


def test_many_outcomes_at_once(store: Store) -> None:
    source = make_source(store)
    store.loads.record_load(
        load(source, 1, 25_000), [outcome(source, n) for n in range(1, 25_001, 5)]
    )
    found = store.outcomes.list_outcomes(0, range(1, 25_001))
    assert [o.position for o in found] == list(range(1, 25_001, 5))
    assert store.outcomes.list_outcomes(0, []) == []


def test_positions_of_an_earlier_log_count_for_nothing(store: Store) -> None:
    source = make_source(store)
    old = load(source, 1, 50)
    store.loads.record_load(old, [outcome(source, 3)])
    store.use_log("first")  # names the log there was
    assert store.loads.find_covering_load(source, "orders", 3) == old
    store.use_log("second")
    assert store.loads.find_covering_load(source, "orders", 3) is None
    assert store.outcomes.list_outcomes(0, [3]) == []
    assert store.loads.list_loaded_before(10**9) == []
    assert [status.loaded for status in store.tables.list_statuses()] == [0]
    new = replace(load(source, 1, 50), id="new")
    store.loads.record_load(new, [outcome(source, 4)])
    assert store.loads.find_covering_load(source, "orders", 3) == new
    assert [o.position for o in store.outcomes.list_outcomes(0, range(10))] == [4]
    assert [status.loaded for status in store.tables.list_statuses()] == [50]
    assert store.loads.list_loads() == [new, old]


def test_loads_do_not_move_the_revision(store: Store) -> None:
    source = make_source(store)
    revision = store.get_revision()
    store.loads.record_load(load(source, 1, 2), [outcome(source, 1)])
    store.loads.record_failure(load(source, 3, 3, error="x"), stopped=True)
    store.tokens.record_uses({1: (1, 1)})
    assert store.get_revision() == revision


def test_every_change_of_who_may_push_moves_the_revision(store: Store) -> None:
    seen = [store.get_revision()]

    def moved() -> bool:
        seen.append(store.get_revision())
        return seen[-1] > seen[-2]

    account, _ = store.accounts.create_account("a")
    assert moved()
    source = store.sources.create_source(
        account.id, type="import_api", display_name="x", name="x", bootstrap_token=True
    )
    assert moved()
    token = store.tokens.create_token(account.id, source.id)
    assert moved()
    store.tokens.record_first_use(token.id, 1)
    assert moved()
    store.tokens.record_first_use(token.id, 2)
    assert not moved()
    store.sources.update_source(account.id, source.id, paused_at=1)
    assert moved()
    store.tokens.revoke_token(account.id, source.id, token.id)
    assert moved()
    store.tokens.adopt_token(source.id, "at_0ld1mport5ecret98765")
    assert moved()
    store.destinations.set_default_destination(account.id, "duckdb", "duckdb:///x", "x")
    assert moved()
    store.sources.delete_source(account.id, source.id)
    assert moved()


@pytest.mark.parametrize("tables", [1, 8])
def test_loads_of_several_processes_at_once(open_store: OpenStore, tables: int) -> None:
    stores = [open_store() for _ in range(4)]
    source = make_source(stores[0])

    def run(store: Store, share: int) -> None:
        for n in range(10):
            last = n * 4 + share + 1
            store.loads.record_load(load(source, last, last, table=f"t{last % tables}"), [])

    threads = [
        threading.Thread(target=run, args=pair) for pair in zip(stores, range(4), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(report.last for report in stores[0].loads.list_loads()) == list(range(1, 41))
    assert max(status.loaded for status in stores[0].tables.list_statuses()) == 40
    assert len(stores[0].tables.list_statuses()) == tables


def test_what_became_of_records_is_counted_for_ever(store: Store, open_store: OpenStore) -> None:
    source = make_source(store)
    assert store.tables.list_totals() == []
    store.use_log("one")
    store.loads.record_load(load(source, 1, 5), [outcome(source, 3)])
    store.loads.record_load(load(source, 1, 5), [])  # told again after a crash
    damaged = load(source, 6, 9)
    store.loads.record_load(replace(damaged, details={"damaged_entries": 2}), [])
    store.loads.record_failure(load(source, 10, 11, error="no"), stopped=False)
    store.loads.record_failure(load(source, 10, 12, error="no"), stopped=True)
    counts = (20, 14, 4, 2, 2, 2, 2)
    assert store.tables.list_totals() == [
        TableTotals(source, "orders", 9, *counts, error=True, stopped=True)
    ]
    store.loads.delete_loads_before(10**18)
    store.use_log("two")
    assert store.tables.list_totals() == [
        TableTotals(source, "orders", 0, *counts, error=True, stopped=True)
    ]


def test_totals_begin_with_the_table_that_was_loaded_first(store: Store) -> None:
    sources = [make_source(store, name) for name in ("web", "app")]
    for at, (source, table) in enumerate(zip([*sources, sources[0]], "bca", strict=True), 1):
        store.loads.record_load(load(source, at, at, table=table), [])
    store.loads.record_load(load(sources[0], 9, 9, table="b"), [])
    assert [one.table_name for one in store.tables.list_totals()] == ["b", "c", "a"]


def test_where_a_table_begins_and_when_it_was_rebuilt(store: Store) -> None:
    source = make_source(store)

    def status() -> TableLoadStatus:
        [found] = store.tables.list_statuses()
        return found

    store.use_log("log one")
    store.loads.record_failure(load(source, 3, 4, error="down"), stopped=False)
    assert status().began is None
    store.loads.record_load(load(source, 3, 5), [])
    store.loads.record_load(load(source, 6, 9), [])
    assert (status().began, status().rebuilt_at) == (3, None)
    store.tables.record_rebuilt(source, "orders", 77)
    assert (status().began, status().rebuilt_at) == (3, 77)
    # Its beginning is in a log that is gone.
    store.use_log("log two")
    assert status().began is None
    store.loads.record_load(load(source, 1, 2), [])
    store.loads.record_load(load(source, 3, 4), [])
    assert (status().began, status().loaded) == (None, 4)


def make_columns(*names: str, key: tuple[str, ...] = ("id",)) -> KeptColumns:
    columns = (KeptColumn(n, n, "bigint", nullable=n != "id", system=False) for n in names)
    return KeptColumns(key, (KeptRelation((), "orders", tuple(columns)),))


def test_the_columns_of_a_table_are_those_of_its_last_load_that_had_some(store: Store) -> None:
    source_id = make_source(store)
    first, second = make_columns("id", "ü🧵"), make_columns("id", "b", key=("b",))
    store.loads.record_load(replace(load(source_id, 1, 5), columns=first), [])
    [table] = store.tables.list_pushed_tables(source_id)
    assert table == PushedTable(table.id, "orders", ("id",))
    assert store.tables.get_kept_columns(table.id) == first
    store.loads.record_load(load(source_id, 6, 7), [])
    assert store.tables.get_kept_columns(table.id) == first
    store.loads.record_load(replace(load(source_id, 8, 9), columns=second), [])
    assert store.tables.get_kept_columns(table.id) == second
    assert store.tables.find_pushed_table(source_id, table.id) == replace(table, key_fields=("b",))
    for late in (load(source_id, 8, 9), load(source_id, 2, 3)):
        store.loads.record_load(replace(late, columns=first), [])
    assert store.tables.get_kept_columns(table.id) == second
    assert [one.columns for one in store.loads.list_loads()] == [None] * 4


def test_tables_of_a_source_are_listed_once_they_were_tried(store: Store) -> None:
    mine, other = make_source(store), make_source(store, "other")
    for table in ODD_NAMES:
        store.loads.record_failure(load(mine, 1, 5, table=table, error="no"), stopped=False)
    found = store.tables.list_pushed_tables(mine)
    assert [(table.name, table.key_fields) for table in found] == [(one, ()) for one in ODD_NAMES]
    assert store.tables.list_pushed_tables(other) == []
    assert store.tables.find_pushed_table(other, found[0].id) is None
    assert store.tables.find_pushed_table(mine, found[-1].id + 1) is None
    assert store.tables.get_kept_columns(found[0].id) == KeptColumns((), ())


HOUR = 3_600_000_000


def fold_all(store: Store, before: int, loads_max: int = 1_000) -> int:
    hours = 0
    while store.loads.fold_loads(before, loads_max=loads_max):
        hours += 1
    return hours


@pytest.mark.parametrize("loads_max", [1, 1_000])
def test_the_reports_of_an_hour_are_folded(store: Store, loads_max: int) -> None:
    source = make_source(store)
    relations = {"relations": [["orders", "orders"]], "table_version": 0}

    def record(last: int, at: int, table: str = "orders", **changes: object) -> None:
        details = relations | {"batched_at": at}
        name = f"{table} {last} {changes.get('error')}"
        one = plain(source, table, last, at, id=name, details=details, **changes)
        if one.error is None:
            store.loads.record_load(one, [outcome(source, last)] if one.rows_rejected else [])
        else:
            store.loads.record_failure(one, stopped=False)

    for table, begins in (("orders", 0), ("events", 100)):
        for n in range(1, 5):
            record(begins + n, HOUR + n, table)
    record(5, HOUR + 5, rows_rejected=1)
    record(6, HOUR + 6, error="down")
    record(6, HOUR + 7)
    record(7, HOUR + 8)
    for n in (8, 9):
        record(n, 3 * HOUR + n)
    before = store.tables.list_totals()
    assert fold_all(store, 2 * HOUR - 1, loads_max) == 0
    assert fold_all(store, 3 * HOUR, loads_max) == 1
    kept = [(one.table_name, one.first, one.last) for one in store.loads.list_loads()]
    assert sorted(kept) == [
        ("events", 101, 104),
        ("orders", 1, 4),
        ("orders", 5, 5),
        ("orders", 6, 6),  # the try that failed
        ("orders", 6, 7),
        ("orders", 8, 8),
        ("orders", 9, 9),
    ]
    assert store.tables.list_totals() == before
    for position in range(1, 10):
        found = store.loads.find_covering_load(source, "orders", position)
        assert found is not None
        assert found.first <= position <= found.last
    assert [o.position for o in store.outcomes.list_outcomes(0, range(10))] == [5]
    # The last report may come again, after a loader died before it told the log.
    record(9, 3 * HOUR + 9)
    assert fold_all(store, 3 * HOUR, loads_max) == 0
    assert fold_all(store, 4 * HOUR, loads_max) == 1
    assert store.tables.list_totals() == before
    assert len(store.loads.list_loads()) == 6
    assert store.loads.list_loaded_before(10**18) == [
        (source, "orders", 9),
        (source, "events", 104),
    ]


def test_the_waits_of_loads_are_read_from_a_number_on(store: Store) -> None:
    source_id = make_source(store)
    for last in (1, 2):
        store.loads.record_load(
            replace(load(source_id, last, last), waited_p50_us=last, waited_max_us=10 * last), []
        )
    store.loads.record_load(replace(load(source_id, 3, 3), waited_p50_us=None), [])
    found = store.loads.list_waits_after(0)
    assert [(one.source_id, one.records, one.median_us, one.longest_us) for one in found] == [
        (source_id, 10, 1, 10),
        (source_id, 10, 2, 20),
    ]
    assert store.loads.list_waits_after(found[0].number) == found[1:]


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)  # a file has one writer
@pytest.mark.parametrize("first", [1, KEYS - 1, 3 * KEYS + 1])
def test_a_reader_passes_no_load_that_is_committed_late(
    store_url: str, open_store: OpenStore, first: int
) -> None:
    store, second = open_store(), open_store()
    source = make_source(store)
    with psycopg.connect(store_url) as connection:
        name = "pg_get_serial_sequence('loads', 'number')"
        connection.execute(f"SELECT setval({name}, {first}, false)".encode())
    store.loads.record_load(load(source, 1, 1, table="held"), [])
    begin = store.loads.get_last_number()
    both = [(load(source, 1, 1, table="late"), ()), (load(source, 2, 2, table="held"), ())]
    failed = load(source, 1, 1, table="failed", error="no")
    late = threading.Thread(target=store.loads.record_loads, args=(both,))
    with psycopg.connect(store_url) as holder:
        holder.execute("SELECT id FROM tables WHERE name = 'held' FOR UPDATE")
        late.start()
        wait_for_a_lock(store_url, late)  # the first of both has its number
        for done in (load(source, 1, 1, table="soon"), load(source, 2, 2, table="soon")):
            second.loads.record_load(replace(done, waited_p50_us=1), [])
        assert second.loads.list_loads_after(begin, 9) == []
        assert second.loads.list_waits_after(begin) == []
        assert second.loads.get_last_number() == begin
        undone = [(load(source, 1, 1, table="gone"), ()), (load(source + 99, 1, 1), ())]
        with pytest.raises(InternalError):  # the number of the first one never comes
            second.loads.record_loads(undone)
    late.join(60)
    second.loads.record_failure(failed, stopped=False)
    found = second.loads.list_loads_after(begin, 9)
    assert [one.table_name for _, one in found] == ["late", "soon", "soon", "held", "failed"]
    assert len(second.loads.list_waits_after(begin)) == 2
    assert second.loads.get_last_number() == found[-1][0]


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_a_reader_passes_no_try_that_is_committed_late(
    store_url: str, open_store: OpenStore
) -> None:
    store, second = open_store(), open_store()
    source = make_source(store)
    failed = load(source, 1, 1, table="late", error="no")
    late = threading.Thread(
        target=store.loads.record_failure, args=(failed,), kwargs={"stopped": True}
    )
    with psycopg.connect(store_url) as holder:
        # That a table stopped is the last that is noted of a try.
        holder.execute("LOCK TABLE schema_events IN EXCLUSIVE MODE")
        late.start()
        wait_for_a_lock(store_url, late)
        second.loads.record_load(load(source, 1, 1, table="soon"), [])
        assert second.loads.list_loads_after(0, 9) == []
        assert second.loads.get_last_number() == 0
    late.join(60)
    found = second.loads.list_loads_after(0, 9)
    assert [one.table_name for _, one in found] == ["late", "soon"]
