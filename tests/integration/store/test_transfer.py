"""A store in a file is copied into a database: every row, sealed secrets, ids that were given."""

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Table, insert, select
from tests.integration.store.test_accounts_sources import make_source

from treadle.errors import OperatorError
from treadle.store import transfer
from treadle.store.model import DestinationSetter, StoredLog
from treadle.store.schema import kept_columns, leases, members, tables, units
from treadle.store.secrets import SecretCipher
from treadle.store.store import Store
from treadle.store.trail_event import ActorKind, StoreActor
from treadle.store.transfer import copy_store, find_installation, list_differing_tables

KEY = SecretCipher(bytes(32))
ACTOR = StoreActor(ActorKind.COMMAND_LINE, "ann")
LOG = StoredLog(0, "log id", "postgres", "postgresql://user:secret@db/logs", "open")
ODD = "a\0b\x1a ü🧵 'quoted' \\N\t\n"


@pytest.fixture
def source_url(tmp_path: Path) -> str:
    """A store with rows of many kinds, of which some are gone."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    with closing(Store.open(url, KEY)) as store:
        account, _ = store.accounts.create_account(ODD)
        store.destinations.set_default_destination(
            account.id, "duckdb", "duckdb:///a.duckdb", "a", set_by=DestinationSetter.DATA_FOLDER
        )
        kept = make_source(store, account.id, bootstrap_token=True)
        gone = make_source(store, account.id, "gone")
        store.sources.delete_source(account.id, gone.id)
        store.recipients.add_recipient(account.id, "ops@example.com")
        store.table_schemas.set_schema(kept, "orders", b'{"type": "object"}')
        store.use_log(LOG.log_id)
        with store._database.write() as tx:
            table = {
                "source_id": kept.id, "name": ODD, "name_sha256": bytes(32), "log_id": LOG.log_id,
                "loaded": 2**53, "stopped": True, "denied": None,
            }  # fmt: skip
            for number in range(3):
                row = table | {"name_sha256": bytes([number]) * 32}
                tx.connection.execute(insert(tables).values(row))
            tx.connection.execute(tables.delete().where(tables.c.id == 3))
            columns = {"table_id": 1, "key_fields": ["a", "\udc80"], "relations": [], "seen": None}
            tx.connection.execute(insert(kept_columns).values(columns))
            tx.connection.exec_driver_sql("UPDATE kept_columns SET left_out = NULL, relations = 5")
            place = {"place": "here", "holder": "x", "fence": 7, "until": 9}
            tx.connection.execute(insert(leases).values(destination_id=1, **place))
            tx.connection.execute(insert(units).values(unit="u", holder="m", fence=7, taken_at=1))
            member = {"id": "m", "place": "p", "name": "n", "role": "loader", "host": "h"}
            told = {"version": "1", "since": 1, "until": 2, "notes": {}}
            tx.connection.execute(insert(members).values(member | told))
    return url


def copy(source_url: str, url: str) -> int:
    return copy_store(source_url, url, KEY, [LOG], ACTOR).rows


def test_a_copy_has_every_row_and_opens_with_the_same_key(
    source_url: str, postgres_database: str
) -> None:
    assert find_installation(postgres_database) is None
    assert copy(source_url, postgres_database) > 20
    assert list_differing_tables(source_url, postgres_database, KEY) == []
    with (
        closing(Store.open(source_url, KEY)) as old,
        closing(Store.open(postgres_database, KEY)) as new,
    ):
        assert find_installation(postgres_database) == old.installation_id == new.installation_id
        assert new.accounts.list_accounts() == old.accounts.list_accounts()
        assert new.sources.list_sources() == old.sources.list_sources()
        [account] = new.accounts.list_accounts()
        source, gone = new.sources.list_sources()
        tokens = [
            [(one.id, one.secret) for one in store.tokens.list_tokens(source.id)]
            for store in (old, new)
        ]
        assert tokens[0] == tokens[1]
        assert new.logs.list_logs() == [LOG]
        assert b"secret" not in read_bytes(postgres_database, "SELECT url FROM logs")
        [place] = new.destinations.list_destinations()
        assert (place.url, place.set_by) == ("duckdb:///a.duckdb", DestinationSetter.OPERATOR)
        with new._database.read() as tx:
            raw = tx.connection.exec_driver_sql(
                "SELECT relations::text, seen::text, left_out::text FROM kept_columns"
            )
            assert raw.one() == ("5", "null", None)
            assert tx.connection.execute(select(units.c.holder, units.c.fence)).all() == [(None, 7)]
            assert tx.connection.execute(select(leases.c.until, leases.c.fence)).all() == [(0, 7)]
            assert tx.connection.execute(select(members)).all() == []
        newest = new.trail.list_events(limit=1)[0]
        assert (newest.action, newest.actor) == ("import_store", ACTOR)
        # No id that was ever given is given again.
        made = make_source(new, account.id, "new")
        assert made.id == gone.id + 1
        with new._database.write() as tx:
            values = {"source_id": made.id, "name": "t", "name_sha256": bytes(32), "log_id": ""}
            added = insert(tables).values(values | {"loaded": 0, "stopped": False})
            assert tx.connection.execute(added).inserted_primary_key == (4,)
    assert list_differing_tables(source_url, postgres_database, KEY) != []


def read_bytes(url: str, statement: str) -> bytes:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return bytes(row[0])


def test_a_copy_that_fails_leaves_nothing(
    source_url: str, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("treadle.store.transfer._list_differing", lambda *_: ["tables"])
    with pytest.raises(Exception, match=r"not what was sent \(tables\)"):
        copy(source_url, postgres_database)
    assert find_installation(postgres_database) is None
    monkeypatch.undo()
    assert copy(source_url, postgres_database) > 20
    with pytest.raises(OperatorError, match="just made a store"):
        copy(source_url, postgres_database)


def test_the_server_waits_while_a_large_store_is_compared(
    source_url: str, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest_table = transfer._digest_table
    waits: list[str] = []

    def look(connection: Connection, table: Table, *others: Any) -> Any:
        if connection.dialect.name == "postgresql":
            asked = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
            waits.append(asked.scalar_one())
        return digest_table(connection, table, *others)

    monkeypatch.setattr(transfer, "_digest_table", look)
    copy(source_url, postgres_database)
    assert set(waits) == {"1h"}
    waits.clear()
    assert list_differing_tables(source_url, postgres_database, KEY) == []
    assert set(waits) == {"1h"}


def test_tables_of_something_else_are_not_taken_for_a_store(postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE accounts (id int)")
    with pytest.raises(OperatorError, match=r"tables of something else \(accounts\)"):
        find_installation(postgres_database)
