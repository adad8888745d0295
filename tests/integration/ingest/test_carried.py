"""Requests with a key that an earlier treadle noted in the store, repeated across the upgrade."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.servers.cases import OK, compare, rec
from tests.servers.ingest import Answer, ImportServer

from treadle.config import Config
from treadle.errors import RetriableError
from treadle.server.startup import carry_requests

KEY = {"Idempotency-Key": "order 17"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path, secret_key="00" * 32)


def push(server: ImportServer, *records: dict[str, Any]) -> Answer:
    return server.post("/v2/import/push", list(records), headers=KEY)


def earlier(config: Config, source_id: int) -> None:
    """Make the data folder what an earlier treadle would have left: its notes are in the store."""
    with closing(sqlite3.connect(config.log_path)) as log:
        [(digest, first, at)] = log.execute("SELECT digest, first, at FROM requests").fetchall()
        log.execute("DELETE FROM requests")
        log.commit()
    notes = {"try 0": {"at": at, "above": 0}, "done": {"first": first}}
    with closing(sqlite3.connect(config.store_path)) as store:
        for what, note in notes.items():
            scope = f"source {source_id} {what}".encode()
            name = hashlib.sha256(len(scope).to_bytes(8, "big") + scope + b"order 17").digest()
            values = (name, digest, msgspec.msgpack.encode(note), at)
            store.execute("INSERT INTO idempotency_keys VALUES (?, ?, ?, ?)", values)
        store.commit()


def noted(config: Config) -> int:
    with closing(sqlite3.connect(config.store_path)) as store:
        [(count,)] = store.execute("SELECT count(*) FROM idempotency_keys").fetchall()
        return int(count)


def test_a_request_that_was_stored_before_the_upgrade_is_not_stored_again(
    server: ImportServer, config: Config
) -> None:
    first = push(server, rec())
    earlier(config, server.source_id)
    carry_requests(config)
    assert noted(config) == 0
    second = push(server, rec())
    compare(second, 201, OK)
    assert second.header("idempotency-replayed") == "true"
    assert second.header("treadle-receipt") == first.header("treadle-receipt")
    assert server.accepted() == 1
    assert push(server, rec(sequence=2)).status == 422
    carry_requests(config)  # nothing is left to do
    assert server.accepted() == 1


def test_it_goes_on_after_a_crash(
    server: ImportServer, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(server, rec())
    earlier(config, server.source_id)

    def away(*_: object) -> None:
        raise RetriableError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr("treadle.store.store.Store.forget_up_to", away)
        with pytest.raises(RetriableError):
            carry_requests(config)
    assert noted(config) == 2
    carry_requests(config)
    assert noted(config) == 0
    assert push(server, rec()).header("idempotency-replayed") == "true"
    assert server.accepted() == 1
