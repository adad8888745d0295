"""A body is let go of with its answer, and not when the garbage collector comes."""

import gc
import gzip
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import httpx
import pytest
from tests.kinds import some_at_release
from tests.servers.ingest import CLIENT, ImportServer

from treadle.errors import RequestRefusedError
from treadle.ingest.body_threads import BodyTask

MANY = b"[" + b"null," * 400_000 + b"null]"
TRANSIT = {"Content-Type": "application/transit+json"}


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeakSet[Any]]:
    """The refusals and the work on bodies that are in memory, while the collector is off."""
    found: WeakSet[Any] = WeakSet()

    def watch(kind: type[Any]) -> None:
        begin = kind.__init__

        def note(self: Any, *args: Any, **kwargs: Any) -> None:
            begin(self, *args, **kwargs)
            found.add(self)

        monkeypatch.setattr(kind, "__init__", note)

    watch(RequestRefusedError)
    watch(BodyTask)
    gc.disable()
    yield found
    gc.enable()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v2/import/push", MANY, {}),
        ("/v2/import/push", MANY, TRANSIT),
        ("/v2/import/push", gzip.compress(MANY), {"Content-Encoding": "gzip"}),
        ("/v2/import/push", gzip.compress(MANY)[:-9], {"Content-Encoding": "gzip"}),
        ("/v2/import/batch", MANY, {}),
        pytest.param(
            "/v2/import/batch",
            b'{"table_name":"t","messages":' + MANY + b"}",
            {},
            marks=pytest.mark.release,
        ),
        ("/v1/tables/t/records", MANY, {}),
        ("/v1/clients/1/token/{token}", MANY, {}),
        ("/v2/import/push?dry_run=1", MANY, {}),
    ],
)
def test_a_refused_body_is_let_go_of(
    server: ImportServer,
    in_memory: WeakSet[Any],
    path: str,
    body: bytes,
    headers: dict[str, str],
) -> None:
    for _ in range(3):
        assert 400 <= send(server, path.format(token=server.token), body, headers) < 500
    assert is_let_go(in_memory)


@pytest.mark.parametrize("headers", [{}, TRANSIT])
@pytest.mark.parametrize("value", ["0", '[1,{"a":2}]', *some_at_release('"~m1"')])
@pytest.mark.parametrize("count", [9_000, 1_500_000])
def test_the_work_on_a_body_is_let_go_of(
    server: ImportServer,
    in_memory: WeakSet[Any],
    headers: dict[str, str],
    value: str,
    count: int,
) -> None:
    """Whether its records are accepted or one has too many values."""
    data = f'{{"id":1,"v":[{",".join([value] * (count // len(value)))}]}}'
    record = (
        f'{{"client_id":{CLIENT},"table_name":"t","sequence":1,"action":"upsert",'
        f'"key_names":["id"],"data":{data}}}'
    )
    records = ",".join([record] * max(1, 1_500_000 // len(record)))
    for _ in range(3):
        assert send(server, "/v2/import/push", f"[{records}]".encode(), headers) in (201, 400, 422)
    assert is_let_go(in_memory)


def send(server: ImportServer, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Post a body; return the status of the answer."""
    return httpx.post(
        f"http://127.0.0.1:{server.port}{path}",
        content=body,
        headers={
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json",
            **headers,
        },
        timeout=120,
    ).status_code


def is_let_go(in_memory: WeakSet[Any]) -> bool:
    """Return whether nothing is left soon: the last one may just be on its way."""
    until = time.monotonic() + 60
    while in_memory and time.monotonic() < until:
        time.sleep(0.01)
    return not in_memory
