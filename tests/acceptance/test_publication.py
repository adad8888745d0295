"""Readers of DuckDB: they hold the copy for ever, and the file itself for a bounded time."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pytest
from tests.integration.destinations.test_file_check import reader
from tests.servers.treadle import Client, TreadleServer, eventually

ORDERS = "/v1/tables/orders/records?key=id"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    folder = tmp_path_factory.mktemp("published")
    settings = {
        "publish": str(folder / "bi.duckdb"),
        "publish_seconds": "1",
        "held_seconds": "3",
        "load_age_seconds": "0.2",
    }
    with TreadleServer(folder / "data", settings=settings) as server:
        yield server


@pytest.fixture(scope="module")
def pusher(server: TreadleServer) -> Iterator[httpx.Client]:
    _, token = Client(server, *server.account()).create_source("Shop")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=300) as http:
        yield http


def count(file: Path) -> int:
    """Rows of all orders, as somebody sees who opens the file now."""
    if not file.exists():
        return 0
    with duckdb.connect(str(file), read_only=True) as connection:
        statement = "SELECT schema_name FROM duckdb_tables() WHERE table_name = 'orders'"
        found = connection.execute(statement).fetchone()
        if found is None:
            return 0
        row = connection.execute(f'SELECT count(*) FROM "{found[0]}".orders').fetchone()
        assert row is not None
        return int(row[0])


def test_a_reader_that_holds_the_copy_sees_new_rows_at_its_next_open(
    server: TreadleServer, pusher: httpx.Client
) -> None:
    copy = Path(server.settings["publish"])
    assert pusher.post(ORDERS, json=[{"id": 1}]).status_code == 201
    eventually(lambda: count(copy) == 1, 60)
    assert copy.stat().st_mode & 0o777 == 0o640
    with reader(copy):
        answer = pusher.post(ORDERS, json=[{"id": 2}], headers={"Prefer": "ack=loaded, wait=60"})
        assert answer.headers.get("Preference-Applied") == "ack=loaded"
        eventually(lambda: count(copy) == 2, 60)
    assert f"published     {copy}: rows as they were " in server.treadle("status")


def test_a_reader_that_holds_the_file_itself_is_named_and_keeps_loading_for_a_bounded_time(
    server: TreadleServer, pusher: httpx.Client
) -> None:
    file = server.data / "warehouse.duckdb"
    assert pusher.post(ORDERS, json=[{"id": 3}]).status_code == 201
    eventually(lambda: count(Path(server.settings["publish"])) == 3, 60)
    with reader(file) as pid:
        receipt = pusher.post(ORDERS, json=[{"id": 4}]).headers["treadle-receipt"]
        errors: list[str] = []

        def is_loaded() -> bool:
            status = pusher.get(f"/v1/receipts/{receipt}").json()
            errors.extend(table["error"] for table in status["tables"] if table["error"])
            return bool(status["status"] == "loaded")

        eventually(is_loaded, 120)
        assert any(f"(PID {pid})" in error for error in errors), errors
        assert count(file) == 4
    assert "loading goes on in a copy under its name" in server.log.read_text()
