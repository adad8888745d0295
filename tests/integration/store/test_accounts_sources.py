import threading
from collections.abc import Callable
from typing import Any

import pytest

from treadle.store.errors import (
    AccountTakenError,
    NameTakenError,
    NotFoundError,
    TokenLimitError,
    TokenTakenError,
)
from treadle.store.model import AccessToken, Source
from treadle.store.secrets import hash_token
from treadle.store.store import Store
from treadle.store.token_rules import TokenRequest
from treadle.store.tokens import TokenFilter

OpenStore = Callable[[], Store]

OLD_TOKEN = "at_0ld1mport5ecret98765"


def make_source(store: Store, account_id: int, name: str = "shop", **others: Any) -> Source:
    others = {"bootstrap_token": False, "display_name": name.title(), **others}
    return store.sources.create_source(account_id, type="import_api", name=name, **others)


def secret_of(token: AccessToken) -> str:
    assert token.secret is not None
    return token.secret


# Accounts


def test_accounts_get_ids_from_one_on_or_the_one_asked_for(store: Store) -> None:
    first, _ = store.accounts.create_account("first")
    moved, _ = store.accounts.create_account("moved", client_id=116078)
    third, _ = store.accounts.create_account("third")
    assert [first.id, moved.id, third.id] == [1, 116078, 116079]
    assert store.accounts.list_accounts() == [first, moved, third]
    for taken in (1, 116078, 0, -1):
        with pytest.raises(AccountTakenError, match=str(taken)):
            store.accounts.create_account("again", client_id=taken)


def test_an_account_is_found_by_its_tokens_until_they_are_revoked(store: Store) -> None:
    account, first = store.accounts.create_account("a")
    other, others = store.accounts.create_account("b")
    asked = TokenRequest("account", "CI")
    second = secret_of(store.tokens.issue_token(asked, account_id=account.id))
    assert first.startswith("ac_")
    assert len(first) == 67
    assert store.accounts.find_account_by_token(first) == account
    assert store.accounts.find_account_by_token(second) == account
    assert store.accounts.find_account_by_token(others) == other
    for unknown in ("", "ac_", first[:-1], first + "0", first.upper(), "\ud800", "\0"):
        assert store.accounts.find_account_by_token(unknown) is None
    ours = TokenFilter(("account",), account.id)
    rows = store.tokens.find_tokens(ours)
    assert [(row.last_four, row.description) for row in rows] == [
        (first[-4:], ""),
        (second[-4:], "CI"),
    ]
    store.tokens.end_token(ours, rows[0].id)
    with pytest.raises(NotFoundError):
        store.tokens.end_token(ours, rows[0].id)
    assert store.accounts.find_account_by_token(first) is None
    assert store.accounts.find_account_by_token(second) == account
    with pytest.raises(NotFoundError):
        store.tokens.end_token(TokenFilter(("account",), other.id), rows[1].id)
    with pytest.raises(NotFoundError):
        store.tokens.issue_token(asked, account_id=77)


# Sources


def test_a_source_is_kept_as_it_was_made(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id, "shop", display_name="Shop \0 \x1a Ünïcode 🧵")
    assert source.id == 1
    assert source.created_at == source.updated_at
    assert source.settings == {}
    assert source.active
    assert store.sources.get_source(account.id, source.id) == source
    assert store.sources.get_source(None, source.id) == source
    assert store.sources.list_sources(account.id) == store.sources.list_sources() == [source]
    assert store.tokens.list_tokens(source.id) == []


def test_an_account_sees_only_its_own_sources(store: Store) -> None:
    ours, _ = store.accounts.create_account("ours")
    theirs, _ = store.accounts.create_account("theirs")
    source = make_source(store, theirs.id)
    token = store.tokens.create_token(theirs.id, source.id)
    assert store.sources.list_sources(ours.id) == []
    assert store.sources.get_source(ours.id, source.id) is None
    assert store.sources.update_source(ours.id, source.id, display_name="x") is None
    assert store.sources.update_source(ours.id, source.id) is None
    assert store.sources.delete_source(ours.id, source.id) is None
    with pytest.raises(NotFoundError, match="source not found"):
        store.tokens.create_token(ours.id, source.id)
    with pytest.raises(NotFoundError):
        store.tokens.revoke_token(ours.id, source.id, token.id)
    with pytest.raises(NotFoundError):
        make_source(store, 99)


def test_an_update_changes_what_is_given(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id)
    paused = store.sources.update_source(account.id, source.id, paused_at=5)
    assert paused is not None
    assert (paused.paused_at, paused.display_name, paused.active) == (5, "Shop", False)
    assert paused.updated_at > source.updated_at
    renamed = store.sources.update_source(
        account.id, source.id, paused_at=None, display_name="Other"
    )
    assert renamed is not None
    assert (renamed.paused_at, renamed.display_name, renamed.name) == (None, "Other", "shop")
    store.sources.update_source(account.id, source.id, settings={"a": {"x": 1, "y": 2}, "b": 3})
    store.sources.update_source(
        account.id, source.id, settings={"a": {"y": None, "z": [4]}, "b": None}
    )
    assert store.sources.get_settings(source.id) == {"a": {"x": 1, "z": [4]}}
    assert store.sources.get_settings(99) == {}


def test_an_update_with_nothing_changes_nothing(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id)
    revision = store.get_revision()
    assert store.sources.update_source(account.id, source.id) == source
    assert store.get_revision() == revision


def test_a_deleted_source_stays_readable_and_cannot_be_changed(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id, bootstrap_token=True)
    (token,) = store.tokens.list_tokens(source.id)
    deleted = store.sources.delete_source(account.id, source.id)
    assert deleted is not None
    assert deleted.deleted_at == deleted.updated_at
    assert not deleted.active
    assert store.sources.get_source(account.id, source.id) == deleted
    assert store.sources.list_sources(account.id) == [deleted]
    assert store.sources.delete_source(account.id, source.id) is None
    assert store.sources.update_source(account.id, source.id, display_name="x") is None
    for change in (
        lambda: store.tokens.create_token(account.id, source.id),
        lambda: store.tokens.revoke_token(account.id, source.id, token.id),
        lambda: store.tokens.adopt_token(source.id, OLD_TOKEN),
    ):
        with pytest.raises(NotFoundError):
            change()
    pusher = store.tokens.find_owner(hash_token(secret_of(token)))
    assert pusher is not None
    assert not pusher.active


# Names


def test_a_name_is_taken_until_its_source_is_deleted(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    first = make_source(store, account.id)
    with pytest.raises(NameTakenError) as caught:
        make_source(store, account.id)
    assert (caught.value.name, caught.value.elsewhere) == ("shop", False)
    store.sources.update_source(account.id, first.id, paused_at=1)
    with pytest.raises(NameTakenError):
        make_source(store, account.id)
    store.sources.delete_source(account.id, first.id)
    again = make_source(store, account.id)
    assert again.id > first.id
    assert [row.name for row in store.sources.list_sources()] == ["shop", "shop"]


def test_accounts_of_one_database_share_no_schema(store: Store) -> None:
    ours, _ = store.accounts.create_account("ours")
    theirs, _ = store.accounts.create_account("theirs")
    store.destinations.set_default_destination(
        ours.id, "postgres", "postgresql://u:1@h/db", "postgres h db"
    )
    store.destinations.set_default_destination(
        theirs.id, "postgres", "postgresql://v:2@h/db", "postgres h db"
    )
    source = make_source(store, theirs.id)
    assert (source.name, source.schema) == ("shop", "shop")
    mine = make_source(store, ours.id)
    assert (mine.name, mine.schema) == ("shop", "shop2")
    # A schema stays when its source is deleted: the next source of the name in the account has it.
    for account, schema in ((theirs, "shop"), (ours, "shop2")):
        [held] = store.sources.list_sources(account.id)
        store.sources.delete_source(account.id, held.id)
        assert make_source(store, account.id).schema == schema
    # The name of that schema is free, and another's schema.
    assert make_source(store, theirs.id, "shop2").schema == "shop22"
    assert make_source(store, ours.id, "shop22").schema == "shop222"
    assert make_source(store, ours.id, "other").schema == "other"
    held_by: dict[str, set[int]] = {}
    for one in store.sources.list_sources():
        held_by.setdefault(one.schema, set()).add(one.account_id)
    assert all(len(accounts) == 1 for accounts in held_by.values())


def test_a_source_that_moves_to_a_taken_schema_fills_another(store: Store) -> None:
    ours, _ = store.accounts.create_account("ours")
    theirs, _ = store.accounts.create_account("theirs")
    for account in (ours, theirs):
        store.destinations.set_default_destination(account.id, "duckdb", "duckdb:///a", "a")
    taken = make_source(store, theirs.id)
    store.destinations.set_default_destination(ours.id, "duckdb", "duckdb:///b", "b")
    mine = make_source(store, ours.id)
    assert mine.schema == "shop"
    with pytest.raises(NameTakenError) as caught:  # what the operator does is told
        store.destinations.set_default_destination(ours.id, "duckdb", "duckdb:///a", "a")
    assert caught.value.elsewhere
    assert store.sources.get_source(None, mine.id) == mine
    assert store.sources.get_source(None, taken.id) == taken


def test_an_account_made_later_loads_where_the_others_do(store: Store) -> None:
    first, _ = store.accounts.create_account("first")
    assert first.destination_id is None
    store.destinations.set_default_destination(first.id, "duckdb", "duckdb:///a", "a")
    make_source(store, first.id)
    later, _ = store.accounts.create_account("later", client_id=116078)
    assert later.destination_id is not None
    assert store.accounts.list_accounts()[-1] == later
    assert make_source(store, later.id).schema == "shop2"
    row = store.destinations.find_destination_of_source(make_source(store, later.id, "other").id)
    assert row is not None
    assert (row.id, row.account_id, row.url) == (later.destination_id, later.id, "duckdb:///a")

    # Where the others part, nobody can say which of the two is meant.
    store.destinations.set_default_destination(later.id, "duckdb", "duckdb:///b", "b")
    latest, _ = store.accounts.create_account("latest")
    assert latest.destination_id is None


def test_accounts_without_a_destination_share_no_schema(store: Store) -> None:
    ours, _ = store.accounts.create_account("ours")
    theirs, _ = store.accounts.create_account("theirs")
    source = make_source(store, theirs.id)
    assert make_source(store, ours.id).schema == "shop2"
    make_source(store, ours.id, "other")
    # The first start gives both the same destination.
    for account in (ours, theirs):
        store.destinations.set_default_destination(account.id, "duckdb", "duckdb:///a", "a")
    assert store.destinations.find_destination_of_source(source.id) is not None


def test_accounts_of_different_databases_may_use_one_name(store: Store) -> None:
    ours, _ = store.accounts.create_account("ours")
    theirs, _ = store.accounts.create_account("theirs")
    store.destinations.set_default_destination(ours.id, "duckdb", "duckdb:///a", "a")
    store.destinations.set_default_destination(theirs.id, "duckdb", "duckdb:///b", "b")
    make_source(store, ours.id)
    source = make_source(store, theirs.id)
    revision = store.get_revision()
    with pytest.raises(NameTakenError):
        store.destinations.set_default_destination(theirs.id, "duckdb", "duckdb:///a", "a")
    assert [row.url for row in store.destinations.list_destinations(theirs.id)] == ["duckdb:///b"]
    assert store.get_revision() == revision
    where = store.destinations.find_destination_of_source(source.id)
    assert where is not None
    assert where.url == "duckdb:///b"


def test_of_sources_made_at_once_one_gets_the_name(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(4)]
    account, _ = stores[0].accounts.create_account("a")
    made: list[Source] = []
    refused: list[NameTakenError] = []
    start = threading.Barrier(len(stores))

    def run(store: Store) -> None:
        start.wait()
        for number in range(10):
            try:
                made.append(make_source(store, account.id, f"source_{number}"))
            except NameTakenError as error:
                refused.append(error)

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(source.name for source in made) == sorted(f"source_{n}" for n in range(10))
    assert len(refused) == 30
    assert sorted(source.id for source in made) == [
        row.id for row in stores[0].sources.list_sources()
    ]


# Import API tokens


def test_a_source_may_be_born_with_a_token(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id, bootstrap_token=True)
    (token,) = store.tokens.list_tokens(source.id)
    assert token.bootstrap
    assert secret_of(token).startswith("at_")
    assert len(secret_of(token)) == 67
    assert (token.uses, token.first_used_at, token.revoked_at) == (0, None, None)
    assert store.accounts.find_account_by_token(secret_of(token)) is None


def test_two_tokens_are_active_at_most(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id)
    first = store.tokens.create_token(account.id, source.id)
    second = store.tokens.create_token(account.id, source.id)
    assert store.tokens.list_tokens(source.id) == [first, second]
    with pytest.raises(TokenLimitError, match="maximum of 2"):
        store.tokens.create_token(account.id, source.id)
    with pytest.raises(TokenLimitError):
        store.tokens.adopt_token(source.id, OLD_TOKEN)
    assert store.tokens.revoke_token(account.id, source.id, first.id) is not None
    third = store.tokens.create_token(account.id, source.id)
    assert first.id < second.id < third.id
    assert store.tokens.list_tokens(source.id) == [second, third]


def test_the_bootstrap_token_gives_way_while_unused(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id, bootstrap_token=True)
    (born,) = store.tokens.list_tokens(source.id)
    first = store.tokens.create_token(account.id, source.id)
    assert store.tokens.list_tokens(source.id) == [born, first]
    second = store.tokens.create_token(account.id, source.id)
    assert store.tokens.list_tokens(source.id) == [first, second]
    assert store.tokens.find_owner(hash_token(secret_of(born))) is None
    assert store.tokens.record_first_use(born.id, 5) is False
    with pytest.raises(TokenLimitError):
        store.tokens.create_token(account.id, source.id)


def test_the_bootstrap_token_counts_once_used(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id, bootstrap_token=True)
    (born,) = store.tokens.list_tokens(source.id)
    assert store.tokens.record_first_use(born.id, 5) is True
    store.tokens.create_token(account.id, source.id)
    with pytest.raises(TokenLimitError):
        store.tokens.create_token(account.id, source.id)


def test_every_token_change_moves_updated_at(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id)
    token = store.tokens.create_token(account.id, source.id)
    created = store.sources.get_source(account.id, source.id)
    assert created is not None
    assert created.updated_at > source.updated_at
    revoked = store.tokens.revoke_token(account.id, source.id, token.id)
    assert revoked is not None
    assert revoked.updated_at > created.updated_at
    assert store.sources.get_source(account.id, source.id) == revoked
    store.tokens.adopt_token(source.id, OLD_TOKEN)
    imported = store.sources.get_source(account.id, source.id)
    assert imported is not None
    assert imported.updated_at > revoked.updated_at


def test_only_an_active_token_of_the_source_is_revoked(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    one, two = make_source(store, account.id, "one"), make_source(store, account.id, "two")
    token = store.tokens.create_token(account.id, one.id)
    assert store.tokens.revoke_token(account.id, two.id, token.id) is None
    assert store.tokens.revoke_token(account.id, one.id, 999) is None
    assert store.tokens.revoke_token(account.id, one.id, token.id) is not None
    assert store.tokens.revoke_token(account.id, one.id, token.id) is None
    with pytest.raises(NotFoundError):
        store.tokens.revoke_token(account.id, 999, token.id)


def test_a_token_made_elsewhere_is_adopted(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    one = make_source(store, account.id, "one", bootstrap_token=True)
    two = make_source(store, account.id, "two")
    secret = "5f1c0000111122223333444455556666"
    token = store.tokens.adopt_token(one.id, secret)
    assert token.secret == secret
    assert not token.bootstrap
    assert store.tokens.adopt_token(one.id, secret) == token
    pusher = store.tokens.find_owner(hash_token(secret))
    assert pusher is not None
    assert (pusher.source_id, pusher.account_id) == (one.id, account.id)
    with pytest.raises(TokenTakenError, match=f"source {one.id}") as caught:
        store.tokens.adopt_token(two.id, secret)
    assert secret not in str(caught.value)
    store.tokens.adopt_token(one.id, OLD_TOKEN)
    assert [t.secret for t in store.tokens.list_tokens(one.id)] == [secret, OLD_TOKEN]
    store.tokens.revoke_token(account.id, one.id, token.id)
    with pytest.raises(TokenTakenError, match="revoked"):
        store.tokens.adopt_token(one.id, secret)


def test_pushers_tell_who_may_push(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id)
    token = store.tokens.create_token(account.id, source.id)
    key = hash_token(secret_of(token))
    fresh = store.tokens.find_owner(key)
    assert fresh is not None
    assert (fresh.token_id, fresh.source_id, fresh.account_id) == (token.id, source.id, account.id)
    assert fresh.active
    assert fresh.unused
    assert store.tokens.list_senders() == {key: fresh}
    store.tokens.record_first_use(token.id, 5)
    store.sources.update_source(account.id, source.id, paused_at=1)
    paused = store.tokens.find_owner(key)
    assert paused is not None
    assert not paused.active
    assert not paused.unused
    assert store.tokens.list_senders() == {key: paused}
    store.tokens.revoke_token(account.id, source.id, token.id)
    assert store.tokens.find_owner(key) is None
    assert store.tokens.list_senders() == {}
    assert store.tokens.find_owner(hash_token("at_unknown")) is None


def test_uses_are_counted(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id)
    one, two = (store.tokens.create_token(account.id, source.id) for _ in range(2))
    assert store.tokens.record_first_use(one.id, 50) is True
    assert store.tokens.record_first_use(one.id, 60) is True
    assert store.tokens.record_first_use(999, 60) is False
    store.tokens.record_uses({one.id: (3, 70), two.id: (1, 40), 999: (1, 1)})
    store.tokens.record_uses({one.id: (2, 65)})
    store.tokens.record_uses({})
    found = store.tokens.list_tokens(source.id)
    assert [(t.uses, t.first_used_at, t.last_used_at) for t in found] == [(5, 50, 70), (1, 40, 40)]


def test_tokens_of_several_sources(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    ids = [make_source(store, account.id, f"s{n}", bootstrap_token=n != 1).id for n in range(3)]
    found = store.tokens.list_tokens_by_source([*ids, 999])
    assert list(found) == [*ids, 999]
    assert [len(tokens) for tokens in found.values()] == [1, 0, 1, 0]
    assert store.tokens.list_tokens_by_source([]) == {}


def test_of_tokens_asked_for_at_once_two_are_made(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(4)]
    account, _ = stores[0].accounts.create_account("a")
    source = make_source(stores[0], account.id)
    made: list[AccessToken] = []

    def run(store: Store) -> None:
        for _ in range(3):
            try:
                made.append(store.tokens.create_token(account.id, source.id))
            except TokenLimitError:
                continue

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(token.id for token in made) == [
        t.id for t in stores[0].tokens.list_tokens(source.id)
    ]
    assert len(made) == 2


# Destinations


def test_destinations_and_sources_share_their_ids(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    one = make_source(store, account.id, "one")
    destination = store.destinations.set_default_destination(
        account.id, "duckdb", "duckdb:///x", "x"
    )
    two = make_source(store, account.id, "two", destination_id=destination.id)
    assert (one.id, destination.id, two.id) == (1, 2, 3)
    assert store.accounts.list_accounts()[0].destination_id == destination.id
    assert (
        store.destinations.find_destination_of_source(one.id)
        == store.destinations.find_destination_of_source(two.id)
        == destination
    )
    assert store.destinations.list_ids_by_source() == {
        one.id: destination.id,
        two.id: destination.id,
    }
    assert store.destinations.find_destination_of_source(999) is None


def test_the_default_destination_is_changed_in_place(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account.id)
    assert store.destinations.find_destination_of_source(source.id) is None
    assert store.destinations.list_ids_by_source() == {}
    first = store.destinations.set_default_destination(
        account.id, "postgres", "postgresql://u:p@h/d", "h d"
    )
    revision = store.get_revision()
    same = store.destinations.set_default_destination(
        account.id, "postgres", "postgresql://u:p@h/d", "h d"
    )
    assert same == first
    assert store.get_revision() == revision
    changed = store.destinations.set_default_destination(
        account.id, "postgres", "postgresql://u:q@h/d", "h d"
    )
    assert changed.id == first.id
    assert changed.url == "postgresql://u:q@h/d"
    assert changed.updated_at > first.updated_at
    assert store.get_revision() > revision
    assert (
        store.destinations.list_destinations()
        == store.destinations.list_destinations(account.id)
        == [changed]
    )
    with pytest.raises(NotFoundError):
        store.destinations.set_default_destination(99, "duckdb", "duckdb:///x", "x")


def test_a_destination_of_another_account_is_not_found(store: Store) -> None:
    ours, _ = store.accounts.create_account("ours")
    theirs, _ = store.accounts.create_account("theirs")
    destination = store.destinations.set_default_destination(
        theirs.id, "duckdb", "duckdb:///x", "x"
    )
    with pytest.raises(NotFoundError, match="no destination"):
        make_source(store, ours.id, destination_id=destination.id)
    source = make_source(store, ours.id)
    with pytest.raises(NotFoundError):
        store.sources.update_source(ours.id, source.id, destination_id=destination.id)
    assert store.sources.get_source(ours.id, source.id) == source


def test_trouble_keeps_its_beginning(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    destination = store.destinations.set_default_destination(
        account.id, "duckdb", "duckdb:///x", "x"
    )
    store.destinations.set_trouble(destination.id, "cannot connect")
    (first,) = store.destinations.list_destinations()
    store.destinations.set_trouble(destination.id, "still cannot")
    (second,) = store.destinations.list_destinations()
    assert first.trouble_since is not None
    assert (first.trouble, second.trouble) == ("cannot connect", "still cannot")
    assert second.trouble_since == first.trouble_since
    store.destinations.set_trouble(destination.id, None)
    (third,) = store.destinations.list_destinations()
    assert (third.trouble, third.trouble_since) == (None, None)
