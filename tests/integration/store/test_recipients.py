"""Recipients, notices and mails, on both databases."""

import pytest
from tests.loads import load

from treadle.store.errors import AddressRuleError, NotFoundError, RecipientLimitError
from treadle.store.model import NewMail, NewNotice, RejectionTimes
from treadle.store.recipients import RECIPIENTS_MAX, is_mail_address
from treadle.store.store import Store


@pytest.fixture
def account_id(store: Store) -> int:
    account, _ = store.accounts.create_account("first")
    return account.id


NOTICE = {"kind": "table_stopped", "key": "table 5 ab", "named": "o\0rders of shop", "began_at": 3}


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("a@b.c", True),
        ("first.last+tag@mail.example.com", True),
        ("o'neil@example.com", True),
        ("grüße@example.com", True),
        ("a" * 250 + "@b.c", True),
        ("a" * 251 + "@b.c", False),
        ("", False),
        ("a@b", False),
        ("a.b@c", False),
        ("a@b@c.d", False),
        ("@b.c", False),
        ("a@.c", False),
        ("a@b.", False),
        ("a b@c.d", False),
        ("a@b.c\n", False),
        ("a\r\n@b.c", False),
        ("a@b.c\u2028", False),
        ("a\x00@b.c", False),
        ("a\ud800@b.c", False),
        ('"a"@b.c', False),
        ("a,b@c.d", False),
        ("a:b@c.d;", False),
        ("<a@b.c>", False),
        ("a@[127.0.0.1]", False),
        ("a(x)@b.c", False),
        ("a\\b@c.d", False),
    ],
)
def test_the_rule_of_addresses(address: str, is_one: bool) -> None:
    assert is_mail_address(address) == is_one


def test_recipients_belong_to_an_account(store: Store, account_id: int) -> None:
    other, _ = store.accounts.create_account("second")
    mine = store.recipients.add_recipient(account_id, "a@example.com")
    theirs = store.recipients.add_recipient(other.id, "a@example.com")
    assert store.recipients.list_recipients(account_id) == [mine]
    assert store.recipients.list_recipients() == [mine, theirs]
    assert store.recipients.set_disabled(account_id, theirs.id, 5) is None
    assert not store.recipients.remove_recipient(account_id, theirs.id)
    assert store.recipients.remove_recipient(other.id, theirs.id)
    assert store.recipients.list_recipients() == [mine]
    again = store.recipients.add_recipient(other.id, "a@example.com")
    assert again.id > theirs.id


def test_what_is_refused(store: Store, account_id: int) -> None:
    with pytest.raises(AddressRuleError, match="one @ with a dot behind it"):
        store.recipients.add_recipient(account_id, "nobody")
    with pytest.raises(NotFoundError):
        store.recipients.add_recipient(account_id + 1, "a@example.com")
    for number in range(RECIPIENTS_MAX):
        store.recipients.add_recipient(account_id, f"a{number}@example.com")
    with pytest.raises(RecipientLimitError, match="maximum of 10 recipients; remove one first"):
        store.recipients.add_recipient(account_id, "one@more.com")
    assert store.recipients.add_recipient(account_id, "a1@EXAMPLE.com").address == "a1@example.com"


def test_the_same_state_again_changes_nothing(store: Store, account_id: int) -> None:
    made = store.recipients.add_recipient(account_id, "a@example.com")
    events = store.trail.list_events()
    assert store.recipients.add_recipient(account_id, "a@example.com") == made
    assert store.recipients.set_disabled(account_id, made.id, None) == made
    assert store.trail.list_events() == events
    changed = store.recipients.set_disabled(account_id, made.id, 5)
    assert changed is not None
    assert changed.disabled_at == 5


def test_a_problem_is_noted_once_while_it_is_open(store: Store, account_id: int) -> None:
    notice = NewNotice(account_id, **NOTICE)  # type: ignore[arg-type]
    store.notices.record_notices(10, begun=[notice])
    [opened] = store.notices.list_open_notices()
    assert (opened.kind, opened.key, opened.named) == tuple(list(NOTICE.values())[:3])
    assert (opened.began_at, opened.gone_at) == (3, None)
    with pytest.raises(Exception, match="refused a statement"):
        store.notices.record_notices(11, begun=[notice], written=[NewMail(1, "a@b.c", "s", "b")])
    assert store.notices.list_due_mails(20, 10) == []
    store.notices.record_notices(12, gone={opened.id: 12})
    assert store.notices.list_open_notices()[0].gone_at == 12
    store.notices.record_notices(13, gone={opened.id: None})
    assert store.notices.list_open_notices() == [opened]
    store.notices.record_notices(14, ended=[opened.id])
    assert store.notices.list_open_notices() == []
    store.notices.record_notices(15, begun=[notice])
    assert store.notices.list_open_notices()[0].id > opened.id


def test_mails_wait_in_order_until_they_are_sent_or_fail(store: Store) -> None:
    mails = [NewMail(n, f"a{n}@b.c", "s\0\n", "b\ud800") for n in (1, 2, 1)]
    store.notices.record_notices(10, written=mails)
    first, second, third = store.notices.list_due_mails(10, 10)
    assert (first.address, first.subject, first.body) == ("a1@b.c", "s\0\n", "b\ufffd")
    assert (first.created_at, first.tries) == (10, 0)
    assert store.notices.list_due_mails(9, 10) == []
    assert store.notices.list_due_mails(10, 1) == [first]
    store.notices.record_try(first.id, "no\nroute " + "x" * 1000, next_at=50)
    store.notices.record_try(second.id, "no route", next_at=40)
    # The third one is due, and the first one to the same recipient goes before it.
    assert [one.id for one in store.notices.list_due_mails(10, 10)] == [first.id, third.id]
    store.notices.record_sent(third.id, 11)
    assert store.notices.list_due_mails(39, 10) == []
    assert store.notices.find_next_mail_time() == 40
    waiting, failed, why = store.notices.find_mail_counts()
    assert (waiting, failed, why) == (2, 0, "no route")
    assert [one.tries for one in store.notices.list_due_mails(50, 10)] == [1, 1]
    store.notices.record_failed(second.id, "550", 50)
    store.notices.record_sent(first.id, 60)
    assert store.notices.find_next_mail_time() is None
    assert store.notices.find_mail_counts() == (0, 1, "550")
    assert store.notices.delete_notices_before(60) == 2
    assert store.notices.find_mail_counts() == (0, 0, None)


def test_mails_that_wait_go_with_their_recipient(store: Store, account_id: int) -> None:
    one = store.recipients.add_recipient(account_id, "a@example.com")
    two = store.recipients.add_recipient(account_id, "b@example.com")
    written = [NewMail(who.id, who.address, "s", "b") for who in (one, two)]
    store.notices.record_notices(10, written=written)
    store.recipients.set_disabled(account_id, one.id, 11)
    assert [mail.address for mail in store.notices.list_due_mails(20, 9)] == ["b@example.com"]
    store.recipients.remove_recipient(account_id, two.id)
    assert store.notices.list_due_mails(20, 9) == []


def test_trouble_says_whether_somebody_has_to_act(store: Store, account_id: int) -> None:
    made = store.destinations.set_default_destination(account_id, "duckdb", "duckdb:///x", "x")

    def find() -> tuple[str | None, str | None, bool]:
        [row] = store.destinations.list_destinations()
        return row.trouble, row.trouble_kind, row.trouble_since is not None

    assert find() == (None, None, False)
    store.destinations.set_trouble(made.id, "down")
    assert find() == ("down", "unavailable", True)
    store.destinations.set_trouble(made.id, "down", denied=True)
    assert find() == ("down", "denied", True)
    store.destinations.set_trouble(made.id, None)
    assert find() == (None, None, False)


def test_loads_that_rejected_records_are_found_by_time(store: Store, account_id: int) -> None:
    source = store.sources.create_source(
        account_id, type="import_api", display_name="S", name="s", bootstrap_token=False
    )
    store.use_log("a-log")
    damaged = {"damaged_entries": 2}
    for table, last, at, changes in (
        ("orders", 1, 100, {"rows_rejected": 1}),
        ("orders", 2, 200, {"rows_rejected": 3}),
        ("orders", 3, 300, {}),
        ("orders", 4, 400, {"rows_rejected": 5, "details": damaged}),
        ("well", 5, 500, {}),
        ("early", 6, 50, {"rows_rejected": 1}),
        ("damaged", 7, 700, {"rows_rejected": 1, "details": damaged}),
    ):
        store.loads.record_load(load(source.id, table, last, at, **changes), ())
    failed = load(source.id, "well", 8, 800, rows_rejected=1, error="no")
    store.loads.record_failure(failed, stopped=False)
    assert store.loads.list_rejection_times(100) == [
        RejectionTimes(source.id, "orders", 100, 200, 400, 400),
        RejectionTimes(source.id, "damaged", None, None, 700, 700),
    ]
    assert store.loads.list_rejection_times(701) == []


@pytest.mark.parametrize(
    "name", ["items\0", "half \ud800", '"damaged_entries": 1', "damaged_entries"]
)
@pytest.mark.parametrize("is_damaged", [False, True])
def test_names_of_clients_do_not_keep_rejections_from_being_found(
    store: Store, account_id: int, name: str, is_damaged: bool
) -> None:
    source = store.sources.create_source(
        account_id, type="import_api", display_name="S", name="s", bootstrap_token=False
    )
    store.use_log("a-log")
    details = {
        "relations": [[name, "t__items"]],
        "primary_keys": {name: ["id"], name.upper(): ["id"], "t": [name]},
        "columns_added": [[name, name]],
        **({"damaged_entries": 12} if is_damaged else {}),
    }
    rejecting = load(source.id, "t", 1, 100, rows_rejected=1, details=details)
    store.loads.record_load(rejecting, ())
    [found] = store.loads.list_rejection_times(0)
    times = (None, None, 100, 100) if is_damaged else (100, 100, None, None)
    assert found == RejectionTimes(source.id, "t", *times)
