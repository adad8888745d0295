"""What an operator watches: probes, log lines as JSON in a file that is rotated, refusals."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.treadle import TreadleServer, eventually

METRICS_TOKEN = "a-metrics-token-of-the-settings"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    folder = tmp_path_factory.mktemp("watching")
    settings = {"log_format": "json", "log_file": str(folder / "logs" / "treadle.log")}
    environment = {"TREADLE_METRICS_TOKEN": METRICS_TOKEN}
    with TreadleServer(folder / "data", settings=settings, environment=environment) as server:
        yield server


def log_file(server: TreadleServer) -> Path:
    return Path(server.settings["log_file"])


def lines(path: Path) -> list[dict[str, Any]]:
    """All lines; each of them is a JSON object."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def find(path: Path, start: str) -> dict[str, Any] | None:
    return next((one for one in lines(path) if one["message"].startswith(start)), None)


def test_probes_need_no_token_and_show_no_name_without_one(server: TreadleServer) -> None:
    with httpx.Client(base_url=server.url) as http:
        for path in ("/healthz", "/readyz"):
            assert http.get(path).status_code == 200
            head = http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["cache-control"] == "no-store"
            assert http.post(path).status_code == 405
        assert http.get("/readyz").json().keys() == {"status", "reason", "loading"}
        seen = http.get("/readyz", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}).json()
        assert seen["status"] == "ready"
        assert (seen["destinations"], seen["tables"]) == ([], [])
        metrics = http.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}).text
    assert 'treadle_http_requests_total{endpoint="health",status="200"}' in metrics
    assert 'treadle_http_request_duration_seconds_count{endpoint="health"}' in metrics
    for process in ("supervisor", "worker 1", "loader"):
        assert f'treadle_process_resident_memory_bytes{{process="{process}"}}' in metrics


def test_every_line_is_json_with_names_and_a_rotated_file_is_opened_anew(
    server: TreadleServer,
) -> None:
    path = log_file(server)
    said = json.loads(server.said)
    assert said["address"] == server.url
    assert Path(said["token_file"]).is_file()
    account = {"Authorization": f"Bearer {Path(said['token_file']).read_text().strip()}"}
    with httpx.Client(base_url=server.url) as http:
        body = {"type": "import_api", "display_name": "Shop", "name": "shop"}
        made = http.post("/v4/sources", json=body, headers=account).json()
        url = f"/v4/sources/{made['id']}/tokens"
        token = http.post(url, headers=account).json()["access_token"]
        pusher = {"Authorization": f"Bearer {token}"}
        orders = "/v1/tables/orders/records?key=id"

        refused = http.post(orders, json=[{"nr": 1}], headers=pusher)
        assert refused.status_code == 422
        eventually(lambda: find(path, "refused 1 request of shop: 422") is not None, 60)
        line = find(path, "refused 1 request of shop: 422")
        assert line is not None
        assert (line["level"], line["source"], line["status"]) == ("warning", "shop", 422)
        assert line["request"].startswith("1-")

        assert http.post(orders, json=[{"id": 1}, {"id": 2}], headers=pusher).status_code == 201
        eventually(lambda: find(path, "loaded shop.orders: 2 rows, ") is not None, 60)
        line = find(path, "loaded shop.orders: 2 rows, ")
        assert line is not None
        assert (line["source"], line["table"], line["rows"]) == ("shop", "orders", 2)
        assert line["seconds"] > 0

        moved = path.with_name("treadle.log.1")
        path.rename(moved)
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: find(path, "SIGHUP: ") is not None, 60)
        assert http.post(orders, json=[{"id": 3}], headers=pusher).status_code == 201
        eventually(lambda: find(path, "loaded shop.orders: 1 row, ") is not None, 60)
    assert server.process.poll() is None
    assert find(moved, "treadle listens at ") is not None
    assert {one["role"] for one in lines(moved)} >= {"server", "loader", "worker"}
