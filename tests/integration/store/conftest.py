"""The same store tests on SQLite and on PostgreSQL."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest
from tests.servers.postgres import PostgresServer

from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

KEY = hashlib.sha256(b"a key for tests").digest()

OUTLINE: Final = """
SELECT md5(string_agg(concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull), ','
                      ORDER BY attrelid, attnum))
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace
"""
"""One value for the columns of all tables and indexes; another one where a test changed them."""

SIZE: Final = """
SELECT coalesce(sum(pg_relation_size(oid)), 0) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""
"""Bytes of all tables."""

EMPTY_TABLES: Final = """
DO $$
DECLARE it record;
BEGIN
  PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  SET LOCAL session_replication_role = replica; -- foreign keys are not looked at
  FOR it IN SELECT oid::regclass AS name FROM pg_class
      WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0 LOOP
    EXECUTE format('DELETE FROM %s', it.name);
  END LOOP;
  PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
END $$
"""
"""Leaves a store as a new one is: its tables, and nothing in them."""

DEAD_BYTES_MAX: Final = 4 * 1024 * 1024
"""What deleted rows may take before a database is given up for a new one."""


class StorePool:
    """PostgreSQL databases with the tables of a store, each used by one test after another.

    To make the tables takes longer than most tests of them.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._free: list[tuple[str, str]] = []
        """The URL, and the outline of the tables as they were made."""
        self._lent: dict[str, str] = {}

    def lend_store(self) -> str:
        """The URL of a store with nothing in it; for `take_back`."""
        if self._free:
            url, outline = self._free.pop()
        else:
            url = self._server.lend_database()
            Store.open(url, SecretCipher(KEY)).close()
            with psycopg.connect(url, autocommit=True) as connection:
                outline = _read_outline(connection)
                connection.execute(EMPTY_TABLES)
        self._lent[url] = outline
        return url

    def take_back(self, url: str) -> None:
        """Empty the tables; a database whose tables are others now is emptied as a whole."""
        outline = self._lent.pop(url)
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(SIZE).fetchone()
            is_small = row is not None and int(row[0]) < DEAD_BYTES_MAX
            can_be_used_again = is_small and _read_outline(connection) == outline
            if can_be_used_again:
                connection.execute(EMPTY_TABLES)
        if can_be_used_again:
            self._free.append((url, outline))
        else:
            self._server.take_back(url)


def _read_outline(connection: psycopg.Connection) -> str:
    row = connection.execute(OUTLINE).fetchone()
    return "" if row is None else str(row[0])


@pytest.fixture(scope="session")
def store_pool(postgres_server: PostgresServer) -> StorePool:
    return StorePool(postgres_server)


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where no store was made yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    url: str = request.getfixturevalue("postgres_database")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store with nothing in it, or the place of a new one."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    pool: StorePool = request.getfixturevalue("store_pool")
    url = pool.lend_store()
    yield url
    pool.take_back(url)


OpenStore = Callable[[], Store]


@pytest.fixture
def open_store(store_url: str) -> Iterator[OpenStore]:
    """Opens the store once more, as another process would; its clock ticks once a transaction."""
    opened: list[Store] = []
    ticks = itertools.count(1_000_000)

    def open_one_more() -> Store:
        store = Store.open(store_url, SecretCipher(KEY), clock=lambda: next(ticks))
        opened.append(store)
        return store

    yield open_one_more
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store()
