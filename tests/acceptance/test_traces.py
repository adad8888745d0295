"""What a running server remembers and tells of itself."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TreadleServer]:
    settings = {"load_age_seconds": "0.2"}
    with TreadleServer(tmp_path / "data", settings=settings) as running:
        yield running


@pytest.fixture
def client(server: TreadleServer) -> Client:
    return Client(server, *server.account())


def push(client: Client, token: str, number: int = 1) -> int:
    message = {
        "client_id": client.client_id,
        "table_name": "orders",
        "sequence": number,
        "action": "upsert",
        "key_names": ["id"],
        "data": {"id": number},
    }
    answer = httpx.post(
        f"{client.server.url}/v2/import/push",
        json=[message],
        headers={"Authorization": f"Bearer {token}"},
        timeout=PATIENCE_SECONDS,
    )
    return answer.status_code


def get(client: Client, path: str) -> Any:
    answer = httpx.get(
        f"{client.server.url}{path}", headers=client.account, timeout=PATIENCE_SECONDS
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_refusals_are_told_and_outlive_their_worker(client: Client) -> None:
    source, token = client.create_source()
    assert push(client, token) == 201
    made = httpx.post(
        f"{client.server.url}/v4/sources/{source}/tokens", headers=client.account, timeout=60
    ).json()
    url = f"{client.server.url}/v4/sources/{source}/tokens/{made['id']}"
    httpx.delete(url, headers=client.account, timeout=60)
    assert push(client, made["access_token"]) == 401
    assert push(client, "at_nobody_knows_this") == 401

    def told() -> list[tuple[int | None, int | None, bool]]:
        page = get(client, "/v1/refusals?endpoint=push")
        assert made["access_token"] not in json.dumps(page)
        assert "at_nobody" not in json.dumps(page)
        return [(one["source_id"], one["token_id"], one["is_stranger"]) for one in page["refusals"]]

    expected = [(None, None, True), (source, made["id"], False)]
    eventually(lambda: told() == expected)
    [worker] = [one for one in get(client, "/v1/health")["processes"] if "worker" in one["name"]]
    os.kill(worker["pid"], signal.SIGKILL)

    def told_again() -> Any:
        try:
            return told()
        except httpx.HTTPError:
            return None

    eventually(lambda: told_again() == expected)
    restarted = [one for one in get(client, "/v1/health")["processes"] if "worker" in one["name"]]
    assert [one["restarts"] for one in restarted] == [1]
    states = [one["state"] for one in get(client, "/v1/requests")["requests"]]
    assert sorted(set(states) - {"waiting", "loaded"}) == ["refused"]
    assert get(client, "/v1/status")["totals"]["accepted"] == 1


def test_open_streams_hold_up_no_stop_and_lose_no_request(client: Client) -> None:
    _, token = client.create_source()
    heard: list[str] = []
    ended = threading.Barrier(6)
    opened = threading.Semaphore(0)

    def listen() -> None:
        url = f"{client.server.url}/v1/events?topics=request,status"
        with httpx.stream("GET", url, headers=client.account, timeout=PATIENCE_SECONDS) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            opened.release()
            for line in stream.iter_lines():
                heard.append(line)  # noqa: PERF402 - as it comes
        ended.wait(PATIENCE_SECONDS)

    threads = [threading.Thread(target=listen) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert opened.acquire(timeout=PATIENCE_SECONDS)
    assert push(client, token) == 201
    eventually(lambda: heard.count("event: request") >= 5)
    began = time.monotonic()
    client.server.stop()
    took = time.monotonic() - began
    ended.wait(PATIENCE_SECONDS)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert took < 60  # it waited for the end of streams before: four minutes
