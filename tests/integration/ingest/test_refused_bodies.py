"""A refused body is let go of with its answer, and not when the garbage collector comes."""

import gc
import gzip
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.servers.ingest import ImportServer

from treadle.errors import RequestRefusedError

MANY = b"[" + b"null," * 1_500_000 + b"null]"


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def count_refusals() -> int:
    return sum(isinstance(one, RequestRefusedError) for one in gc.get_objects())


@pytest.mark.usefixtures("_no_collector")
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
    server: ImportServer, path: str, body: bytes, headers: dict[str, str]
) -> None:
    before = count_refusals()
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
    while count_refusals() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert count_refusals() == before
