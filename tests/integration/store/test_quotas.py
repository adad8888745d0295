"""Quotas that the operator sets, and the number of sources of an account."""

import pytest

from treadle.quotas import QuotaOverrides
from treadle.store.errors import SourceLimitError
from treadle.store.model import Account, Source
from treadle.store.store import Store


def make_source(store: Store, account: Account, name: str, sources_max: int | None = 2) -> Source:
    return store.sources.create_source(
        account.id,
        type="import_api",
        display_name=name,
        name=name,
        bootstrap_token=False,
        sources_max=sources_max,
    )


def test_what_was_set_is_listed_until_it_is_taken_back(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    source = make_source(store, account, "web")
    assert store.quotas.list_overrides() == QuotaOverrides()
    revision = store.get_revision()
    store.quotas.set_source_quotas(source, {"tables": 5, "records": 2**62})
    store.quotas.set_source_quotas(source, {"tables": 0})
    store.quotas.set_account_quotas(account, {"sources": 3})
    assert store.get_revision() > revision
    assert store.quotas.list_overrides() == QuotaOverrides(
        {source.id: {"tables": 0, "records": 2**62}}, {account.id: {"sources": 3}}
    )
    store.quotas.set_source_quotas(source, {"tables": None, "records": None, "bytes": None})
    assert store.quotas.list_overrides() == QuotaOverrides({}, {account.id: {"sources": 3}})


def test_an_account_has_so_many_sources_that_are_not_deleted(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    other, _ = store.accounts.create_account("b")
    first = make_source(store, account, "one")
    make_source(store, account, "two")
    make_source(store, other, "three")
    with pytest.raises(SourceLimitError, match="maximum of 2 sources"):
        make_source(store, account, "four")
    store.sources.delete_source(account.id, first.id)
    make_source(store, account, "four")
    with pytest.raises(SourceLimitError):
        make_source(store, account, "five")
    make_source(store, account, "five", sources_max=0)
    make_source(store, account, "six", sources_max=None)


def test_what_the_operator_set_for_an_account_takes_the_place_of_the_setting(store: Store) -> None:
    account, _ = store.accounts.create_account("a")
    store.quotas.set_account_quotas(account, {"sources": 1})
    make_source(store, account, "one", sources_max=0)
    with pytest.raises(SourceLimitError, match="maximum of 1 sources"):
        make_source(store, account, "two", sources_max=50)
    store.quotas.set_account_quotas(account, {"sources": 0})
    make_source(store, account, "two", sources_max=1)
