"""Rejected records by cause: counted, paged, sent again, forgotten; on both databases."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from tests.integration.store.test_loads import wait_for_a_lock
from tests.loads import load

from treadle.errors import OperatorError
from treadle.store import loads, rejects
from treadle.store.database import StoreTransaction
from treadle.store.model import EntryOutcome, LoadReport, RecordRejection
from treadle.store.operations import ResendProgress
from treadle.store.rejects import (
    CAUSES_MAX,
    RejectCause,
    RejectQuery,
    ResentRecord,
    _CauseList,
)
from treadle.store.store import Store
from treadle.tables.rejection_reason import RejectionCode
from treadle.tracking.rejects import (
    RejectFilter,
    RejectPlace,
    find_rejects,
    get_reject,
    list_rejects,
)

RANGE = RejectionCode.INTEGER_OUT_OF_RANGE
COLLISION = RejectionCode.FIELD_COLLISION
SUFFIX = RejectionCode.RESERVED_SUFFIX


def bad(index: int, code: RejectionCode = RANGE, field: str | None = "n") -> RecordRejection:
    return RecordRejection(index, f"{code.value} on {index}", code, field)


class Shop:
    """Two accounts with sources, and what their loads rejected."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.use_log("log")
        self.one, _ = store.accounts.create_account("one")
        self.two, _ = store.accounts.create_account("two")
        self.a = self._make_source(self.one.id, "a")
        self.b = self._make_source(self.one.id, "b")
        self.c = self._make_source(self.two.id, "c")

    def _make_source(self, account_id: int, name: str) -> int:
        return self.store.sources.create_source(
            account_id, type="import_api", display_name=name, name=name, bootstrap_token=False
        ).id

    def reject(
        self,
        source_id: int,
        table: str,
        position: int,
        rejected: Sequence[RecordRejection],
        *,
        at: int | None = None,
        superseded: int = 0,
    ) -> LoadReport:
        report = load(source_id, table, position, (position if at is None else at) * 10)
        outcome = EntryOutcome(position, source_id, table, superseded, tuple(rejected))
        self.store.loads.record_load(report, [outcome])
        return report

    def ids(self, reason: str | None = None, **wanted: object) -> list[str]:
        query = RejectQuery(**wanted)  # type: ignore[arg-type]  # the names are the fields
        return [one.id for one in list_rejects(self.store, RejectFilter(query, reason))]

    def causes(self, **wanted: object) -> list[RejectCause]:
        return self.store.rejects.list_causes(RejectQuery(**wanted))  # type: ignore[arg-type]

    def counts(self, **wanted: object) -> list[tuple[str, str | None, int, int]]:
        return [
            (each.code.value, each.field, each.records, each.resent)
            for each in self.causes(**wanted)
        ]


@pytest.fixture
def shop(store: Store) -> Shop:
    found = Shop(store)
    found.reject(found.a, "orders", 4, [bad(0, COLLISION, "id"), bad(7)])
    found.reject(found.b, "orders", 9, [bad(2)], superseded=3)
    found.reject(found.a, "people", 12, [bad(1, COLLISION, "id")])
    found.reject(found.c, "orders", 13, [bad(0, SUFFIX, "a__st"), bad(1, SUFFIX, "a__st")])
    return found


def test_which_are_meant(shop: Shop) -> None:
    assert shop.ids() == ["13.1", "13.0", "12.1", "9.2", "4.7", "4.0"]
    assert shop.ids(account_id=shop.one.id) == ["12.1", "9.2", "4.7", "4.0"]
    assert shop.ids(source_id=shop.a) == ["12.1", "4.7", "4.0"]
    assert shop.ids(account_id=shop.two.id, source_id=shop.a) == []
    assert shop.ids(table_name="orders") == ["13.1", "13.0", "9.2", "4.7", "4.0"]
    assert shop.ids(table_name="orders", source_id=shop.a) == ["4.7", "4.0"]
    assert shop.ids(table_name="none") == shop.ids(table_name="none", source_id=shop.a) == []
    assert shop.ids(code=COLLISION.value) == ["12.1", "4.0"]
    assert shop.ids(field="n") == ["9.2", "4.7"]
    assert shop.ids(field="n", source_id=shop.a) == ["4.7"]
    assert shop.ids(since=90) == ["13.1", "13.0", "12.1", "9.2"]
    assert shop.ids(until=90) == ["4.7", "4.0"]
    assert shop.ids(reason="COLLISION") == ["12.1", "4.0"]
    assert shop.ids(reason="100%") == []
    [cause] = shop.causes(source_id=shop.a, table_name="orders", code=RANGE.value)
    assert shop.ids(cause_id=cause.id) == ["4.7"]
    assert shop.ids(cause_id=cause.id, account_id=shop.two.id) == []


def test_one_by_its_id(shop: Shop) -> None:
    found = get_reject(shop.store, "4.7")
    assert (found.position, found.index, found.source_id, found.table_name) == (
        4,
        7,
        shop.a,
        "orders",
    )
    assert (found.code, found.field, found.reason) == (RANGE, "n", "integer_out_of_range on 7")
    assert (found.rejected_at, found.resent) == (40, None)
    assert get_reject(shop.store, "4.7", shop.one.id) == found
    for name in ("4.1", "5.0", "3.0"):
        with pytest.raises(OperatorError, match=f"no rejected record {name}"):
            get_reject(shop.store, name)
    with pytest.raises(OperatorError, match="no rejected record"):
        get_reject(shop.store, "4.7", shop.two.id)


def test_causes_are_counted_by_table_code_and_field(shop: Shop) -> None:
    shop.reject(shop.a, "orders", 20, [bad(0), bad(1), bad(2, RANGE, "m")])
    assert shop.counts(source_id=shop.a, table_name="orders") == [
        ("integer_out_of_range", "m", 1, 0),
        ("integer_out_of_range", "n", 3, 0),
        ("field_collision", "id", 1, 0),
    ]
    [_, cause, _] = shop.causes(source_id=shop.a, table_name="orders")
    assert (cause.source_id, cause.table_name) == (shop.a, "orders")
    assert (cause.first_at, cause.last_at) == (40, 200)
    assert (cause.example_position, cause.example_index) == (20, 1)
    assert cause.example == "integer_out_of_range on 1"
    assert [each.code for each in shop.causes(account_id=shop.two.id)] == [SUFFIX]


def test_causes_have_pages(shop: Shop) -> None:
    seen: list[int] = []
    before = None
    while page := shop.store.rejects.list_causes(RejectQuery(), before=before, limit=2):
        seen += [each.id for each in page]
        before = (page[-1].last_at, page[-1].id)
    assert len(seen) == len(set(seen)) == 5


def test_pages_go_on_inside_of_an_entry(shop: Shop) -> None:
    many = [bad(n, RANGE, f"f{n % 3}") for n in range(250)]
    shop.reject(shop.a, "orders", 30, many)
    expected = [f"30.{n}" for n in range(249, -1, -1)] + ["12.1", "4.7", "4.0"]
    found: list[str] = []
    before = None
    while True:
        wanted = RejectFilter(RejectQuery(source_id=shop.a))
        page = find_rejects(shop.store, wanted, before, 100)
        found += [each.id for each in page.rejects]
        if page.next is None:
            break
        before = page.next
    assert found == expected
    assert shop.ids(field="f1", source_id=shop.a) == [
        f"30.{n}" for n in range(249, -1, -1) if n % 3 == 1
    ]


def test_a_page_ends_after_many_records_that_do_not_match(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.tracking.rejects.RECORDS_EXAMINED_MAX", 3)
    page = find_rejects(shop.store, RejectFilter(reason="on 7"))
    assert (page.rejects, page.next) == ((), (0, 12, 1))
    page = find_rejects(shop.store, RejectFilter(reason="on 7"), page.next)
    assert [each.id for each in page.rejects] == ["4.7"]
    assert page.next is None


def test_what_was_sent_again_is_not_open(shop: Shop) -> None:
    shop.store.rejects.record_resent([ResentRecord(4, 7, 40), ResentRecord(13, 0, 41)])
    shop.store.rejects.record_resent([ResentRecord(4, 7, 99)])
    assert shop.ids(open_only=True) == ["13.1", "12.1", "9.2", "4.0"]
    assert get_reject(shop.store, "4.7").resent == 40
    assert shop.counts(account_id=shop.two.id) == [("reserved_suffix", "a__st", 2, 1)]
    assert [each.table_name for each in shop.causes(source_id=shop.a, open_only=True)] == [
        "people",
        "orders",
    ]
    assert shop.store.rejects.get_measure(RejectQuery(open_only=True)) == (
        {shop.a: 2, shop.b: 1, shop.c: 1},
        {0: 13},
    )
    assert shop.store.rejects.get_measure(RejectQuery()).total == 6
    assert shop.store.rejects.get_measure(RejectQuery(table_name="none")) == ({}, {})


def test_a_step_of_a_resend_that_is_recorded_twice_counts_once(shop: Shop) -> None:
    """As after a commit of which nobody heard."""
    operations = shop.store.operations
    asked = operations.start_resend(shop.one.id, 5, {}, [shop.a])
    assert operations.claim_operation("here", "desk", 90) is not None
    first = RejectPlace(0, 9, 2)
    steps = [
        ResendProgress(
            [ResentRecord(12, 1, 50), ResentRecord(9, 2, 50)],
            [("4.9", "gone")],
            {"before": first, "finished": False},
        ),
        ResendProgress([ResentRecord(4, 7, 51)], [("4.8", "no")], {"before": None, "finished": 1}),
    ]
    for step in steps:
        for _ in range(3):
            assert operations.record_progress(asked.id, "desk", 90, step)
    assert not operations.record_progress(asked.id, "another", 90, steps[0])
    found = operations.find_operation(shop.one.id, asked.id)
    assert found is not None
    assert (found.done, found.failed) == (3, 2)
    assert found.errors == (("4.9", "gone"), ("4.8", "no"))
    assert found.progress == {"before": None, "finished": 1}
    assert shop.ids(account_id=shop.one.id, open_only=True) == ["4.0"]


def test_a_report_that_comes_again_counts_once(shop: Shop) -> None:
    report = load(shop.a, "orders", 50)
    outcome = EntryOutcome(50, shop.a, "orders", 0, (bad(0),))
    for _ in range(2):
        shop.store.loads.record_load(report, [outcome])
    assert shop.counts(source_id=shop.a, table_name="orders", code=RANGE.value) == [
        ("integer_out_of_range", "n", 2, 0)
    ]


def test_an_entry_that_is_loaded_anew_counts_once(shop: Shop) -> None:
    """As into a destination that was brought back from a copy."""
    shop.store.rejects.record_resent([ResentRecord(4, 7, 40)])
    again = load(shop.a, "orders", 6, 900)
    outcome = EntryOutcome(4, shop.a, "orders", 0, (bad(7), bad(8, COLLISION, "x")))
    shop.store.loads.record_load(again, [outcome])
    assert shop.counts(source_id=shop.a, table_name="orders") == [
        ("field_collision", "x", 1, 0),
        ("integer_out_of_range", "n", 1, 1),
    ]
    assert shop.ids(source_id=shop.a, table_name="orders") == ["4.8", "4.7"]


def test_they_are_forgotten_with_their_loads(shop: Shop) -> None:
    shop.store.rejects.record_resent([ResentRecord(4, 0, 40)])
    newer = shop.reject(shop.a, "orders", 60, [bad(0)])
    assert shop.store.loads.delete_loads_before(newer.finished_at) == 1  # the newest ones stay
    assert shop.ids(source_id=shop.a, table_name="orders") == ["60.0"]
    assert shop.counts(source_id=shop.a, table_name="orders") == [
        ("integer_out_of_range", "n", 1, 0)
    ]
    assert shop.ids(account_id=shop.two.id) == ["13.1", "13.0"]


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)  # a file has one writer
@pytest.mark.parametrize("step", [(_CauseList, "write_counts"), (loads, "add_deliveries")])
def test_a_cause_that_a_load_uses_is_not_forgotten(
    shop: Shop, store_url: str, step: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last record of a cause is forgotten, before or after a load has counted one more."""
    goes_on, is_there = threading.Event(), threading.Event()
    made = getattr(*step)

    def wait(*its: Any) -> None:
        tx = its[0]._tx if isinstance(its[0], _CauseList) else its[0]
        tx.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        is_there.set()
        assert goes_on.wait(60)
        made(*its)

    shop.store.loads.record_load(newer := load(shop.a, "people", 20, 200), [])
    monkeypatch.setattr(*step, wait)
    found: list[int] = []

    def forget() -> None:
        found.append(shop.store.loads.delete_loads_before(newer.finished_at))

    loading = threading.Thread(
        target=shop.reject, args=(shop.a, "people", 30, [bad(0, COLLISION, "id"), bad(1)])
    )
    forgetting = threading.Thread(target=forget)
    loading.start()
    assert is_there.wait(60)
    forgetting.start()
    wait_for_a_lock(store_url, forgetting)
    goes_on.set()
    loading.join(60)
    forgetting.join(60)
    assert found == [1]
    assert shop.ids(source_id=shop.a, table_name="people") == ["30.1", "30.0"]
    assert shop.counts(source_id=shop.a, table_name="people") == [
        ("integer_out_of_range", "n", 1, 0),
        ("field_collision", "id", 1, 0),
    ]
    assert shop.store.rejects.count_open_records(shop.one.id) == 5


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_a_cause_that_was_just_forgotten_is_made_anew(
    shop: Shop, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, is_there = threading.Event(), threading.Event()
    forget = rejects._count_causes

    def wait(tx: StoreTransaction, cause_ids: set[int] | None) -> None:
        forget(tx, cause_ids)
        tx.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        is_there.set()
        assert goes_on.wait(60)

    shop.store.loads.record_load(newer := load(shop.a, "people", 20, 200), [])
    monkeypatch.setattr(rejects, "_count_causes", wait)
    forgetting = threading.Thread(
        target=shop.store.loads.delete_loads_before, args=(newer.finished_at,)
    )
    loading = threading.Thread(
        target=shop.reject, args=(shop.a, "people", 30, [bad(0, COLLISION, "id")])
    )
    forgetting.start()
    assert is_there.wait(60)
    loading.start()
    wait_for_a_lock(store_url, loading)
    goes_on.set()
    loading.join(60)
    forgetting.join(60)
    assert shop.counts(source_id=shop.a, table_name="people") == [("field_collision", "id", 1, 0)]
    assert shop.ids(source_id=shop.a, table_name="people") == ["30.0"]


def test_another_log_begins_anew(shop: Shop) -> None:
    shop.store.use_log("another")
    assert (shop.ids(), shop.causes()) == ([], [])
    shop.reject(shop.a, "orders", 4, [bad(0)])
    assert shop.ids() == ["4.0"]
    shop.store.use_log("log")
    assert len(shop.ids()) == 6


def test_a_client_that_invents_fields_makes_no_causes_without_end(shop: Shop) -> None:
    many = [bad(n, SUFFIX, f"f{n}__st") for n in range(CAUSES_MAX + 50)]
    shop.reject(shop.b, "wide", 70, many)
    found = shop.store.rejects.list_causes(
        RejectQuery(source_id=shop.b, table_name="wide"), limit=CAUSES_MAX * 2
    )
    assert len(found) == CAUSES_MAX + 1
    [rest] = [each for each in found if each.field is None]
    assert rest.records == 50
    assert len(shop.ids(cause_id=rest.id)) == 50


def test_names_of_any_kind(shop: Shop) -> None:
    odd = RecordRejection(0, "why", SUFFIX, "\udc80\0' OR 1=1")
    none = RecordRejection(1, "why", SUFFIX, "")
    shop.reject(shop.b, "odd", 80, [odd, none, bad(2, SUFFIX, None)])
    causes = shop.causes(source_id=shop.b, table_name="odd")
    assert sorted(repr(each.field) for each in causes) == sorted(
        map(repr, ("\ufffd\0' OR 1=1", "", None))
    )
    assert shop.ids(source_id=shop.b, field="") == ["80.1"]


def test_a_page_of_many_takes_no_longer(shop: Shop) -> None:
    """40,000 rejected records, of which one is of another source."""
    for start in range(1_000, 1_020):
        outcomes = [
            EntryOutcome(start * 200 + n, shop.a, "many", 0, tuple(bad(i) for i in range(10)))
            for n in range(200)
        ]
        report = load(shop.a, "many", start * 200 + 199, 10**6 + start)
        shop.store.loads.record_load(report, outcomes)
    began = time.monotonic()
    assert shop.ids(source_id=shop.b) == ["9.2"]
    page = find_rejects(shop.store, RejectFilter(RejectQuery(source_id=shop.a, open_only=True)))
    assert len(page.rejects) == 100
    middle = find_rejects(
        shop.store, RejectFilter(RejectQuery(source_id=shop.a)), RejectPlace(0, 202_000, 5)
    )
    assert middle.rejects[0].id == "202000.4"
    [cause] = shop.causes(source_id=shop.a, table_name="many")
    assert cause.records == 40_000
    assert (
        shop.store.rejects.get_measure(RejectQuery(source_id=shop.a, open_only=True)).total
        == 40_003
    )
    # A tenth of a second. To look at all for each of them would take minutes.
    assert time.monotonic() - began < 60
