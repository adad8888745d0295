"""Rows, statements and the doctor over the API of a running server, whatever is killed."""

import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.servers.treadle import Client, TreadleServer, eventually

from treadle.questions.channel import SOCKET_NAME

SLOW = "SELECT count(*) FROM range(10000000) a, range(10000000) b, range(10000000) c"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TreadleServer]:
    settings = {"load_age_seconds": "0.2", "query_seconds": "60"}
    with TreadleServer(tmp_path / "data", settings=settings) as running:
        yield running


def test_questions_to_a_running_server(server: TreadleServer, client: Client) -> None:
    source_id, token = client.create_source("Shop")
    assert client.push(token, [{"id": 1}, {"id": 2}], table="orders").status_code == 201
    path = f"/v1/sources/{source_id}/tables/orders/rows"

    def newest() -> httpx.Response:
        return client.http.get(path, headers=client.account)

    def ask(statement: str) -> httpx.Response:
        return client.http.post("/v1/query", json={"sql": statement}, headers=client.account)

    eventually(lambda: newest().status_code == 200)
    assert newest().json()["row_count"] == 2
    assert ask("SELECT count(*) FROM shop.orders").json()["rows"] == [[2]]
    assert stat.S_IMODE((server.data / SOCKET_NAME).stat().st_mode) == 0o600
    assert client.http.post("/v1/query", json={"sql": "SELECT 1"}).status_code == 401

    # The desk is killed in the middle of a question: the question fails with words, the worker and
    # the loader go on, and the next question is answered.
    found: list[httpx.Response] = []
    worker = server.processes()["worker 1"]
    slow = threading.Thread(target=lambda: found.append(ask(SLOW)))
    slow.start()
    answers = server.data / "answers"
    eventually(lambda: any(answers.iterdir()))
    os.kill(server.processes()["desk"], signal.SIGKILL)
    slow.join(60)
    assert found[0].status_code == 503
    assert "ended before it was done" in found[0].json()["data"]["message"]
    eventually(lambda: ask("SELECT 1").status_code == 200)
    assert server.processes()["worker 1"] == worker
    assert list(answers.iterdir()) == []
    assert client.push(token, [{"id": 3}], table="more").status_code == 201
    more = path.replace("orders", "more")
    eventually(lambda: client.http.get(more, headers=client.account).status_code == 200)

    # The doctor says over the API what it says on the command line.
    answer = client.http.post("/v1/doctor", headers=client.account)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    said = json.loads(server.treadle("doctor", "--quick", "--json", check=False))
    assert {one["subject"] for one in told["findings"]} == {
        one["subject"] for one in said["findings"]
    }
    assert {"subject", "level", "found", "meaning", "remedy"} == told["findings"][0].keys()

    # An examination goes on by itself, and anybody sees how far it is.
    def examined() -> dict[str, dict[str, Any]]:
        listed = client.http.get("/v1/examinations", headers=client.account).json()
        return {one["kind"]: one for one in listed["examinations"]}

    # One after the other: each takes the only place for such questions, for longer than is waited
    # for a place where the machine does much else.
    for body in ({"kind": "doctor", "whole": True}, {"kind": "counts"}):
        begun = client.http.post("/v1/examinations", json=body, headers=client.account)
        assert begun.status_code == 200, begun.text
        eventually(lambda: all(one["state"] == "done" for one in examined().values()))
    doctor, counts = examined()["doctor"], examined()["counts"]
    assert any(one["found"] == "All entries of the log are sound: 2." for one in doctor["findings"])
    assert {(one["subject"], one["found"]) for one in counts["findings"]} == {
        ("shop.orders", "2 rows, as loaded."),
        ("shop.more", "1 row, as loaded."),
    }
    server.treadle("account", "create", "--name", "second")
    eventually(lambda: client.http.post("/v1/doctor", headers=client.account).status_code == 403)

    # A stop does not wait for a question.
    slow = threading.Thread(target=lambda: found.append(ask(SLOW)))
    slow.start()
    eventually(lambda: any(answers.iterdir()))
    assert server.stop() == 0
    slow.join(60)
    assert not (server.data / SOCKET_NAME).exists()
