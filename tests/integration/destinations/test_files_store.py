"""Files in a bucket of SeaweedFS: who may load, what is refused, and what other programs read."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow.dataset as ds
import pytest
from pyarrow.fs import FileSelector, S3FileSystem
from tests.servers.database_server import free_port

from treadle.destinations.conformance.builders import (
    ITEMS,
    LOG,
    ORDERS,
    TableLoads,
    items,
    table,
    upsert,
)
from treadle.destinations.protocol import AccessDeniedError, DestinationUnavailableError
from treadle.destinations.registry import make_destination
from treadle.destinations.rehearsal import LoadRehearsal
from treadle.destinations.rehearsal_result import RehearsalResult
from treadle.errors import OperatorError
from treadle.tables.model import CreateRelation

if TYPE_CHECKING:
    from tests.servers.iceberg import SeaweedServer

pytestmark = pytest.mark.release


@pytest.fixture
def url(seaweed_server: "SeaweedServer") -> str:
    """A place in the bucket in which nothing is."""
    return seaweed_server.files_url(f"store-{secrets.token_hex(6)}")


def open_bucket(url: str) -> tuple[S3FileSystem, str]:
    """The bucket as another program sees it, and the folder in it."""
    parts = urlsplit(url)
    store = S3FileSystem(
        access_key=parts.username,
        secret_key=parts.password,
        endpoint_override=f"{parts.hostname}:{parts.port}",
        scheme="http",
        region="us-east-1",
    )
    return store, parts.path.strip("/")


def load_twice(url: str) -> None:
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.load(
            table(ORDERS, ITEMS),
            upsert([(1, 1, "x"), (2, 1, "y")], children=[items([(1, 0, 1, "a")])]),
            changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
        )
        loads.load(table(ORDERS, ITEMS), upsert([(1, 2, "z")]))


def rehearse(url: str) -> RehearsalResult:
    return LoadRehearsal(make_destination(url), 1_800_000_000_000_000, Path("/nowhere")).run([])


def test_another_program_reads_the_files_together(url: str) -> None:
    load_twice(url)
    store, folder = open_bucket(url)
    rows = ds.dataset(f"{folder}/web/orders", filesystem=store, format="parquet").to_table()
    found = sorted(zip(rows["id"].to_pylist(), rows["a"].to_pylist(), strict=True))
    assert found == [(1, "x"), (1, "z"), (2, "y")]
    assert {str(field.type) for field in rows.schema if field.name == "_sdc_batched_at"} == {
        "timestamp[us, tz=UTC]"
    }


def test_another_session_goes_on(url: str) -> None:
    load_twice(url)
    with make_destination(url).open() as session:
        assert session.committed(LOG)[7, "orders"].position == 1
        loads = TableLoads(session, position=1, revision=2)
        loads.load(table(ORDERS, ITEMS), upsert([(3, 1, "w")]))
        assert loads.read("SELECT count(*) FROM web.orders") == [(4,)]


def test_a_rehearsal_tries_what_a_load_needs_and_leaves_nothing(url: str) -> None:
    found = rehearse(url)
    assert found.fault is None
    assert [(each.phase.value, each.failed) for each in found.phases] == [
        ("connect", False), ("rights", False), ("load", False),
    ]  # fmt: skip
    with make_destination(url).open(read_only=True) as session:
        assert session.relations("treadle_doctor") == []
    store, folder = open_bucket(url)
    everything = FileSelector(folder, recursive=True, allow_not_found=True)
    assert not [info for info in store.get_file_info(everything) if info.is_file]


def test_a_wrong_secret_is_the_operators(url: str) -> None:
    secret = urlsplit(url).password or ""
    found = rehearse(url.replace(secret, "wrong"))
    assert found.fault is not None
    assert "refuses access" in found.fault
    assert secret not in found.fault
    barred = make_destination(url.replace(secret, "wrong"))
    with barred.open() as session, pytest.raises(AccessDeniedError):
        session.committed(LOG)


def test_a_store_that_is_away_is_unavailable(url: str) -> None:
    port = urlsplit(url).port
    away = url.replace(f":{port}/", f":{free_port()}/") + "&connect-timeout=1&request-timeout=2"
    with make_destination(away).open() as session, pytest.raises(DestinationUnavailableError):
        session.prepare("web")


@contextmanager
def careless_store() -> Iterator[int]:
    """A store that takes every object, whatever the condition is; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def test_a_store_that_knows_no_conditions_is_refused() -> None:
    with careless_store() as port:
        url = f"files+s3://k:s@127.0.0.1:{port}/lake?tls=false"
        careless = make_destination(url)
        with careless.open() as session, pytest.raises(OperatorError, match="If-None-Match"):
            session.prepare("web")
