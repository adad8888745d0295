"""Checks of destinations: asked for, claimed, finished, and what follows from a success."""

import threading

import pytest
from sqlalchemy import text
from tests.checks import add_destination, change_destination, is_usable
from tests.integration.store.conftest import OpenStore
from tests.integration.store.test_loads import wait_for_a_lock

from treadle.store import checks
from treadle.store.checks import CHECKS_KEPT
from treadle.store.database import StoreTransaction
from treadle.store.errands import ErrandKind
from treadle.store.errors import NotFoundError
from treadle.store.model import DestinationCheck
from treadle.store.store import Store

LASTS = 1_000
"""The clock of these stores moves by 1 with each transaction."""

PHASES = [{"phase": "connect", "milliseconds": 1.5, "failed": False}]


def test_a_check_waits_is_claimed_and_finished_once(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    asked = add_destination(store, account.id, "duckdb:///there.duckdb")
    assert asked.name.startswith(f"{account.id}.{asked.destination_id}.check.")
    assert len(asked.name.rpartition(".")[2]) == 36
    assert (asked.status, asked.finished_at) == ("running", None)
    assert store.errands.list_open_kinds() == {ErrandKind.CHECK}

    claimed = store.checks.claim_check("here", "first", LASTS)
    assert claimed is not None
    assert (claimed.id, claimed.claims) == (asked.id, 1)
    assert store.errands.list_open_kinds() == {ErrandKind.CHECK}
    assert store.checks.claim_check("there", "second", LASTS) is None
    assert store.checks.claim_check("here", "first", LASTS) is None

    assert not store.checks.finish_check(asked.id, "second", None, ())
    assert store.checks.finish_check(asked.id, "first", None, PHASES)
    assert not store.checks.finish_check(asked.id, "first", "again", ())
    assert store.errands.list_open_kinds() == set()
    found = store.checks.find_last_check(asked.destination_id)
    assert found is not None
    assert (found.id, found.status, found.error, list(found.phases)) == (
        asked.id,
        "succeeded",
        None,
        PHASES,
    )
    assert store.checks.claim_check("there", "second", LASTS) is None


def test_a_desk_that_died_keeps_no_check(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    asked = add_destination(store, account.id, "duckdb:///there.duckdb")
    assert store.checks.claim_check("here", "first", 10)
    # The next desk of its place takes over at once, one of another place when the time is over.
    again = store.checks.claim_check("here", "second", 10)
    assert again is not None
    assert again.claims == 2
    assert not store.checks.finish_check(asked.id, "first", None, ())
    for _ in range(10):
        store.accounts.list_accounts()  # the clock moves
    late = store.checks.claim_check("there", "third", 10)
    assert late is not None
    assert (late.id, late.claims) == (asked.id, 3)


def test_a_destination_is_loaded_into_from_its_first_success_on(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    asked = add_destination(store, account.id, "duckdb:///there.duckdb")
    its = asked.destination_id
    assert not is_usable(store, its)
    before = store.get_revision()
    store.checks.claim_check("here", "first", LASTS)
    store.checks.finish_check(asked.id, "first", "the password is wrong", ())
    assert not is_usable(store, its)
    assert store.get_revision() == before

    second = change_destination(store, its, "duckdb:///elsewhere.duckdb")
    before = store.get_revision()
    store.checks.claim_check("here", "first", LASTS)
    store.checks.finish_check(second.id, "first", None, ())
    assert is_usable(store, its)
    assert store.get_revision() == before + 1  # so that the loader notices

    third = store.checks.start_check(account.id, its)
    store.checks.claim_check("here", "first", LASTS)
    store.checks.finish_check(third.id, "first", "it is down", ())
    assert is_usable(store, its)
    assert store.get_revision() == before + 1


def test_a_change_forgets_the_check_of_what_was_before(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    old = add_destination(store, account.id, "duckdb:///there.duckdb")
    store.checks.claim_check("here", "first", LASTS)
    new = change_destination(store, old.destination_id, "duckdb:///elsewhere.duckdb")
    assert not store.checks.finish_check(old.id, "first", None, ())
    assert not is_usable(store, old.destination_id)
    found = store.checks.find_last_check(old.destination_id)
    assert found is not None
    assert (found.id, found.status) == (new.id, "running")
    assert store.checks.find_check(old.id) is None


def test_a_check_by_hand_joins_the_one_that_is_open(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    other, _ = store.accounts.create_account("b")
    asked = add_destination(store, account.id, "duckdb:///there.duckdb")
    its = asked.destination_id
    assert store.checks.start_check(account.id, its) == asked
    for whose, what in ((other.id, its), (account.id, its + 100), (None, its + 100)):
        with pytest.raises(NotFoundError):
            store.checks.start_check(whose, what)
    for number in range(CHECKS_KEPT + 5):
        store.checks.claim_check("here", "first", LASTS)
        last = store.checks.find_last_check(its)
        assert last is not None
        store.checks.finish_check(last.id, "first", f"fault {number}", ())
        assert store.checks.start_check(None, its).id == last.id + 1
    with store._database.engine.connect() as connection:
        kept = connection.execute(text("SELECT count(*) FROM destination_checks")).scalar_one()
    assert kept == CHECKS_KEPT


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)  # a file has one writer
@pytest.mark.parametrize("is_change", [False, True])
def test_checks_that_are_asked_for_at_once_are_one(
    store_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, is_change: bool
) -> None:
    store, second = open_store(), open_store()
    account, _ = store.accounts.create_account("a")
    asked = add_destination(store, account.id, "duckdb:///there.duckdb")
    its = asked.destination_id
    store.checks.claim_check("here", "first", LASTS)
    store.checks.finish_check(asked.id, "first", "fault", ())
    request, made, goes_on = checks.request_check, threading.Event(), threading.Event()

    def wait(tx: StoreTransaction, destination_id: int) -> DestinationCheck:
        monkeypatch.undo()
        tx.connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        check = request(tx, destination_id)
        made.set()
        assert goes_on.wait(60)
        return check

    monkeypatch.setattr(checks, "request_check", wait)
    found: dict[int, DestinationCheck] = {}

    def ask() -> None:
        found[0] = store.checks.start_check(account.id, its)

    def ask_too() -> None:
        if is_change:
            found[1] = change_destination(second, its, "duckdb:///elsewhere.duckdb")
        else:
            found[1] = second.checks.start_check(account.id, its)

    threads = [threading.Thread(target=one) for one in (ask, ask_too)]
    threads[0].start()
    assert made.wait(60)
    threads[1].start()
    wait_for_a_lock(store_url, threads[1])
    goes_on.set()
    for thread in threads:
        thread.join(60)
    with store._database.engine.connect() as connection:
        still_open = text("SELECT id FROM destination_checks WHERE finished_at IS NULL")
        assert connection.execute(still_open).scalars().all() == [found[1].id]
    assert (found[0].id == found[1].id) is not is_change
    assert store.checks.find_last_check(its) == found[1]


def test_accounts_take_turns_and_deleted_destinations_none(store: Store) -> None:
    accounts = [store.accounts.create_account(name)[0].id for name in ("a", "b")]
    first, second, third = (
        add_destination(store, account, f"duckdb:///{name}.duckdb")
        for account, name in zip([*accounts, accounts[0]], ("x", "y", "z"), strict=True)
    )
    claimed = store.checks.claim_check("here", "one", LASTS, busy=[accounts[0]])
    assert claimed is not None
    assert claimed.id == second.id
    with store._database.engine.begin() as connection:
        connection.execute(
            text("UPDATE destinations SET deleted_at = 1 WHERE id = :id"),
            {"id": first.destination_id},
        )
    claimed = store.checks.claim_check("here", "one", LASTS)
    assert claimed is not None
    assert claimed.id == third.id
    assert store.checks.claim_check("here", "one", LASTS) is None
    for done in (second, third):
        assert store.checks.finish_check(done.id, "one", None, ())
    assert store.errands.list_open_kinds() == set()  # nobody does the check of what is deleted


def test_what_the_settings_name_needs_no_check(store: Store, open_store: OpenStore) -> None:
    account, _ = store.accounts.create_account("a")
    row = store.destinations.set_default_destination(account.id, "duckdb", "duckdb:///x", "x")
    assert row.usable_since == row.created_at
    later = open_store().destinations.set_default_destination(
        account.id, "duckdb", "duckdb:///y", "y"
    )
    assert later.usable_since == row.usable_since
    assert store.checks.find_last_check(row.id) is None
