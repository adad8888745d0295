"""The history of tables, and what else the store keeps of them with the reports of loads."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import event
from tests.integration.store.test_loads import load, make_columns, make_source

from treadle.store.model import LoadReport
from treadle.store.recent_loads import LoadFilter
from treadle.store.schema_event import EVENTS_MAX, SchemaEvent
from treadle.store.store import Store

OpenStore = Callable[[], Store]

ADDED = {"kind": "column_added", "relation": "orders", "column": "ü\0"}


def changing(source_id: int, last: int, *changes: dict[str, Any], **more: Any) -> LoadReport:
    details = {"schema_changes": list(changes), "mode": "upsert", "table_version": 0, **more}
    return replace(load(source_id, last, last), details=details)


def history(store: Store, source_id: int) -> list[SchemaEvent]:
    return store.schema_events.list_events(source_id=source_id, table_name="orders")


def test_the_changes_of_one_load_are_one_event(store: Store) -> None:
    source_id = make_source(store)
    first = changing(source_id, 1, {"kind": "table_added", "relation": "orders"}, ADDED)
    second = changing(source_id, 2, ADDED, ADDED)
    for report in (first, second, load(source_id, 3, 3), second):
        store.loads.record_load(report, [])
    newest, oldest = history(store, source_id)
    assert (oldest.kind, oldest.load_id, oldest.at) == ("table_added", first.id, first.finished_at)
    assert (newest.kind, newest.load_id) == ("schema_changed", second.id)
    assert newest.changes == (ADDED, ADDED)
    assert history(store, source_id + 1) == []


def test_a_switched_version_tells_the_one_before(store: Store) -> None:
    source_id = make_source(store)
    store.loads.record_load(changing(source_id, 1, table_version=7), [])
    switch = {"kind": "version_switched", "version": 9}
    store.loads.record_load(changing(source_id, 2, switch, table_version=9), [])
    [only] = history(store, source_id)
    assert only.changes == ({**switch, "from": 7},)


def test_a_table_that_stops_and_goes_on_has_one_event_of_each(store: Store) -> None:
    source_id = make_source(store)
    failed = load(source_id, 1, 1, error="The key changed.")
    store.loads.record_failure(replace(failed, error="not now"), stopped=False)
    for _ in range(3):
        store.loads.record_failure(failed, stopped=True)
    store.loads.record_failure(replace(failed, error="Another key."), stopped=True)
    store.loads.record_load(load(source_id, 1, 1), [])
    store.loads.record_load(load(source_id, 2, 2), [])
    store.tables.record_rebuilt(source_id, "orders", 77)
    assert [(each.kind, each.reason) for each in history(store, source_id)] == [
        ("table_rebuilt", None),
        ("table_resumed", None),
        ("table_stopped", "Another key."),
        ("table_stopped", "The key changed."),
    ]


def test_a_left_out_field_is_told_once(store: Store) -> None:
    source_id = make_source(store)
    note = {"table": "orders", "field": "long", "reason": "too long", "total": 3, "runs": None}
    columns = make_columns("id")
    for last in (1, 2):
        report = changing(source_id, last, left_out=[note])
        store.loads.record_load(replace(report, columns=columns), [])
    [only] = history(store, source_id)
    assert only.changes == (
        {"kind": "field_left_out", "relation": "orders", "field": "long", "reason": "too long"},
    )
    grown = replace(changing(source_id, 3), columns=make_columns("id", "long"))
    store.loads.record_load(grown, [])
    store.loads.record_load(replace(changing(source_id, 4, left_out=[note]), columns=columns), [])
    assert len(history(store, source_id)) == 2


def test_the_newest_events_are_kept_and_paged(store: Store) -> None:
    source_id = make_source(store)
    store.loads.record_load(changing(source_id, 1, ADDED), [])
    for at in range(2, EVENTS_MAX + 3):
        store.tables.record_rebuilt(source_id, "orders", at)
    found = store.schema_events.list_events(
        source_id=source_id, table_name="orders", limit=EVENTS_MAX + 5
    )
    assert [each.at for each in found] == list(range(EVENTS_MAX + 2, 2, -1))
    page = store.schema_events.list_events(
        source_id=source_id, table_name="orders", limit=2, before=found[1].id
    )
    assert page == found[2:4]
    [account] = store.accounts.list_accounts()
    assert store.schema_events.list_events(account_id=account.id, limit=1) == found[:1]
    assert store.schema_events.list_events(account_id=account.id + 1) == []


def test_loads_are_chosen_by_what_became_of_them_and_by_time(store: Store) -> None:
    one, two = make_source(store), make_source(store, "two")
    quiet, changed = load(one, 1, 1), changing(one, 2, ADDED)
    failed, other = load(one, 3, 3, error="no"), load(two, 4, 4)
    for report in (quiet, changed, other):
        store.loads.record_load(report, [])
    store.loads.record_failure(failed, stopped=False)

    def ids(chosen: LoadFilter, **more: Any) -> list[int]:
        return [each.last for each in store.loads.list_loads(chosen=chosen, **more)]

    assert ids(LoadFilter()) == [4, 3, 2, 1]
    assert ids(LoadFilter(failed=True)) == [3]
    assert ids(LoadFilter(failed=False)) == [4, 2, 1]
    assert ids(LoadFilter(changed=True)) == [2]
    assert ids(LoadFilter(changed=False), source_id=one) == [3, 1]
    assert ids(LoadFilter(since=quiet.finished_at + 1, until=other.finished_at)) == [3, 2]
    [account] = store.accounts.list_accounts()
    assert ids(LoadFilter(), account_id=account.id, table_name="orders", limit=3) == [4, 3, 2]
    assert ids(LoadFilter(), account_id=account.id, source_id=two) == [4]
    assert ids(LoadFilter(), account_id=account.id + 1, source_id=two) == []
    assert ids(LoadFilter(), account_id=account.id + 1, table_name="orders") == []
    assert ids(LoadFilter(failed=True), source_id=two) == []
    assert ids(LoadFilter(), before="unknown") == []
    assert store.loads.find_load(account.id, changed.id) == changed
    assert store.loads.find_load(account.id + 1, changed.id) is None


def test_recent_loads_are_summed(store: Store) -> None:
    one, two = make_source(store), make_source(store, "two")
    for report in (load(one, 1, 1), load(one, 2, 2), load(one, 3, 3, table="b"), load(two, 4, 4)):
        store.loads.record_load(report, [])
    found = store.loads.sum_recent(source_id=one, since=20)
    assert (found.since, found.loads, found.received, found.loaded) == (20, 2, 20, 14)
    found = store.loads.sum_recent(source_id=one, table_name="orders", since=0, loads_max=2)
    assert (found.since, found.loads, found.rows) == (15, 2, {"orders": 14})
    assert store.loads.sum_recent(source_id=two, table_name="none", since=0).loads == 0


LISTS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"account_id": 1}, "ix_loads_by_account"),
    ({"source_id": 1}, "ix_loads_by_source"),
    ({"account_id": 1, "source_id": 1}, "ix_loads_by_source"),
    ({"source_id": 1, "table_name": "orders"}, "ix_loads_by_table"),
    ({"account_id": 1, "chosen": LoadFilter(failed=True)}, "ix_loads_failed_by_account"),
    ({"source_id": 1, "chosen": LoadFilter(failed=True)}, "ix_loads_failed_by_source"),
    ({"account_id": 1, "chosen": LoadFilter(changed=True)}, "ix_loads_changed_by_account"),
    (
        {"source_id": 1, "table_name": "orders", "chosen": LoadFilter(changed=True)},
        "ix_loads_changed_by_table",
    ),
    ({"account_id": 1, "chosen": LoadFilter(since=5, until=9)}, "ix_loads_by_account"),
)


def test_every_list_of_loads_goes_by_an_index(open_store: OpenStore, store_url: str) -> None:
    """However many reports there are, a page reads only its own (SQLite's plans are stable)."""
    if not store_url.startswith("sqlite"):
        return
    store = open_store()
    source_id = make_source(store)
    for last in range(1, 4):
        store.loads.record_load(changing(source_id, last, ADDED), [])
    place = store.loads.list_loads()[0].id
    seen: list[tuple[str, Any]] = []
    engine = store._database.engine
    event.listen(
        engine,
        "before_cursor_execute",
        lambda c, cursor, statement, values, *_: seen.append((statement, values)),
    )
    for asked, index in LISTS:
        for before in (None, place):
            seen.clear()
            store.loads.list_loads(**asked, before=before)
            statement, values = seen[-1]
            with engine.connect() as connection:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                plan = [row.detail for row in rows]
            assert any(f"loads USING INDEX {index} " in line for line in plan), (asked, plan)
            assert not any("TEMP B-TREE" in line or line.startswith("SCAN") for line in plan), plan
