"""Schemas of tables in the store, and that whoever pushes is known to have some."""

import pytest

from treadle.store import table_schemas
from treadle.store.errors import NotFoundError, TableSchemaLimitError
from treadle.store.model import Source
from treadle.store.secrets import hash_token
from treadle.store.store import Store


@pytest.fixture
def source(store: Store) -> Source:
    account, _ = store.accounts.create_account("a")
    return make_source(store, account.id, "shop")


def make_source(store: Store, account_id: int, name: str) -> Source:
    return store.sources.create_source(
        account_id, type="import_api", display_name=name, name=name, bootstrap_token=False
    )


def test_a_schema_is_kept_as_it_was_sent(store: Store, source: Source) -> None:
    document = b'{ "properties": {"a":  {"const": "\xc3\xa9"}} }'
    made = store.table_schemas.set_schema(source, "a\0b/\u202e", document)
    assert made.document == document
    assert store.table_schemas.find_schema(source.id, "a\0b/\u202e") == made
    assert store.table_schemas.list_schemas(source.id) == [made]
    replaced = store.table_schemas.set_schema(source, "a\0b/\u202e", b"{}")
    assert store.table_schemas.list_schemas(source.id) == [replaced]
    assert replaced.updated_at > made.updated_at
    event = store.trail.list_events(limit=1)[0]
    assert (event.target.id, event.detail) == (str(source.id), {"replaced": True})
    assert store.table_schemas.remove_schema(source, "a\0b/\u202e") == replaced
    assert store.table_schemas.remove_schema(source, "a\0b/\u202e") is None


def test_who_pushes_is_known_to_have_schemas(store: Store, source: Source) -> None:
    other = make_source(store, source.account_id, "other")
    secrets = [store.tokens.create_token(None, one.id).secret or "" for one in (source, other)]

    def known() -> list[bool]:
        found = store.tokens.list_senders()
        listed = [found[hash_token(secret)].has_schemas for secret in secrets]
        asked = [store.tokens.find_sender(hash_token(secret)) for secret in secrets]
        assert listed == [one is not None and one.has_schemas for one in asked]
        return listed

    assert known() == [False, False]
    revision = store.get_revision()
    store.table_schemas.set_schema(source, "t", b"{}")
    assert known() == [True, False]
    assert store.get_revision() > revision
    store.table_schemas.remove_schema(source, "t")
    assert known() == [False, False]


def test_a_source_has_so_many_and_no_more(
    store: Store, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_schemas, "TABLE_SCHEMAS_MAX", 2)
    monkeypatch.setattr(table_schemas, "TABLE_SCHEMA_BYTES_MAX", 100)
    store.table_schemas.set_schema(source, "a", b"{}" + b" " * 58)
    for document in (b"{}" + b" " * 39, b"{}" + b" " * 200):
        with pytest.raises(TableSchemaLimitError, match="2 table schemas of 100 bytes"):
            store.table_schemas.set_schema(source, "b", document)
    store.table_schemas.set_schema(source, "b", b"{}")
    with pytest.raises(TableSchemaLimitError):
        store.table_schemas.set_schema(source, "c", b"{}")
    store.table_schemas.set_schema(source, "a", b"{}")
    assert [one.table_name for one in store.table_schemas.list_schemas(source.id)] == ["a", "b"]


def test_a_deleted_source_gets_none(store: Store, source: Source) -> None:
    store.sources.delete_source(None, source.id)
    with pytest.raises(NotFoundError):
        store.table_schemas.set_schema(source, "t", b"{}")
