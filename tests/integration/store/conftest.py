"""The same store tests on SQLite and on PostgreSQL."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from treadle.store.secrets import SecretCipher
from treadle.store.store import Store

KEY = hashlib.sha256(b"a key for tests").digest()


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    url: str = request.getfixturevalue("postgres_database")
    return url


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
