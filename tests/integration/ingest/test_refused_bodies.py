"""A refused body is let go of with its answer, and not when the garbage collector comes."""

import gc
import gzip
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import httpx
import pytest
from tests.servers.ingest import ImportServer

from treadle.errors import RequestRefusedError

MANY = b"[" + b"null," * 1_500_000 + b"null]"


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeakSet[RequestRefusedError]]:
    """The refusals that are in memory, while the collector is off."""
    found: WeakSet[RequestRefusedError] = WeakSet()
    begin = RequestRefusedError.__init__

    def note(self: RequestRefusedError, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        found.add(self)

    monkeypatch.setattr(RequestRefusedError, "__init__", note)
    gc.disable()
    yield found
    gc.enable()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v2/import/push", MANY, {}),
        ("/v2/import/push", MANY, {"Content-Type": "application/transit+json"}),
        ("/v2/import/push", gzip.compress(MANY), {"Content-Encoding": "gzip"}),
        ("/v2/import/push", gzip.compress(MANY)[:-9], {"Content-Encoding": "gzip"}),
        ("/v2/import/batch", MANY, {}),
        ("/v2/import/batch", b'{"table_name":"t","messages":' + MANY + b"}", {}),
        ("/v1/tables/t/records", MANY, {}),
        ("/v1/clients/1/token/{token}", MANY, {}),
        ("/v2/import/push?dry_run=1", MANY, {}),
    ],
)
def test_a_refused_body_is_let_go_of(
    server: ImportServer,
    refusals: WeakSet[RequestRefusedError],
    path: str,
    body: bytes,
    headers: dict[str, str],
) -> None:
    for _ in range(3):
        answer = httpx.post(
            f"http://127.0.0.1:{server.port}{path.format(token=server.token)}",
            content=body,
            headers={
                "Authorization": f"Bearer {server.token}",
                "Content-Type": "application/json",
                **headers,
            },
            timeout=120,
        )
        assert 400 <= answer.status_code < 500
    until = time.monotonic() + 10  # the last one may just be on its way
    while refusals and time.monotonic() < until:
        time.sleep(0.01)
    assert not refusals
