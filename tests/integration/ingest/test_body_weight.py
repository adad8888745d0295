"""What is decided by the weight of a body: whether it is checked beside other requests."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.servers.cases import rec
from tests.servers.ingest import ImportServer

from treadle.ingest import push_endpoint, records_endpoint
from treadle.ingest.body_executor import INLINE_BYTES_MAX, weigh_body

TRANSIT = "application/transit+json"


@pytest.mark.parametrize(
    "body",
    [
        b"{}\n" * 20_000,
        b"[" + b",".join([b'{"client_id":4321}'] * 20_000) + b"]",
        b"[" + b",".join([b"0"] * 20_000) + b"]",
        b"[" + b",".join([b"{}"] * 2_000) + b"]",
    ],
)
def test_many_records_are_heavy(body: bytes) -> None:
    assert len(body) <= INLINE_BYTES_MAX < weigh_body(body)


def test_many_records_of_transit_are_heavy() -> None:
    assert weigh_body(b"[" + b",".join([b'["^ "]'] * 2_000) + b"]", b"[") > INLINE_BYTES_MAX


def test_usual_bodies_are_as_heavy_as_they_are_long() -> None:
    wide = {f"field {number}": f"a value of {number}" for number in range(20)}
    for records in (1, 10, 300):
        body = json.dumps([rec(data=wide | {"id": n}) for n in range(records)]).encode()
        assert weigh_body(body) <= INLINE_BYTES_MAX
    assert weigh_body(b"x" * 600_000) == 600_000


@pytest.mark.parametrize(
    ("module", "name", "path", "body", "content_type"),
    [
        (push_endpoint, "check_push", "/v2/import/push", b"[" + b"{}," * 5_000 + b"{}]", None),
        (push_endpoint, "check_push", "/v2/import/validate", b"[" + b"0," * 9_000 + b"0]", None),
        (push_endpoint, "check_push", "/v2/import/push", b"[" + b"[]," * 2_000 + b"[]]", TRANSIT),
        (records_endpoint, "check_records", "/v1/tables/t/records?key=id", b"{}\n" * 5_000, None),
        (
            records_endpoint,
            "parse_records",
            "/v1/tables/t/records",
            b'{"id":1}\n' * 5_000,
            None,
        ),
    ],
)
def test_a_heavy_body_is_checked_in_a_thread(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    path: str,
    body: bytes,
    content_type: str | None,
) -> None:
    found: list[bool] = []
    check: Callable[..., Any] = getattr(module, name)

    def watch(*args: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            found.append(threading.current_thread().name.startswith("body"))
        else:
            found.append(False)
        return check(*args)

    monkeypatch.setattr(module, name, watch)
    server = ImportServer(tmp_path)
    with server.running():
        server.post(path, body, content_type=content_type or "application/json")
        assert found == [True]
        server.post(path, b'[{"id":1}]')
    server.store.close()
    assert found == [True, False]
