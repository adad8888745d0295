"""Post-load hooks of a running server, with a receiver beside it (connect-rest.md A.5, A9)."""

import hashlib
import hmac
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.faults.serve import CLOCK, MODULE, set_clock
from tests.servers.receiver import Receiver, answer_with, receiving
from tests.servers.treadle import Client, TreadleServer, eventually

HOOKS = "/notifications/public/v1/api/hooks"
SECRET = "a-secret-of-the-receiver"


class Shop:
    """A running server with a source, and a receiver that is hooked up."""

    def __init__(self, server: TreadleServer, receiver: Receiver, clock: Path) -> None:
        self.server = server
        self.receiver = receiver
        self.client = Client(server, *server.account())
        self.source, self.token = self.client.create_source("Shop")
        self._clock = clock
        self._ahead = 0

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = self.client.http.request(method, path, json=body, headers=self.client.account)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def hook(self) -> int:
        """Create the hook of the receiver; return its id."""
        body = {"type": "post_load", "config": {"url": self.receiver.url}}
        return int(self.call("POST", HOOKS, body)["id"])

    def push(self, number: int, table: str = "orders") -> None:
        answer = self.client.push(self.token, [{"id": number}], table=table)
        assert answer.status_code == 201, answer.text

    def deliveries(self, hook: int) -> list[Any]:
        found: list[Any] = self.call("GET", f"/v1/hooks/{hook}/deliveries")["deliveries"]
        return found

    def pass_by(self, seconds: float) -> None:
        """Let time pass at once."""
        self._ahead += int(seconds * 1_000_000)
        set_clock(self._clock, self._ahead)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    clock = tmp_path / "clock"
    here = Path(__file__).parents[2]
    environment = {CLOCK: str(clock), "PYTHONPATH": f"{here}:{here / 'src'}"}
    server = TreadleServer(
        tmp_path / "data",
        settings={"hook_urls": "any", "load_age_seconds": "0.1"},
        environment=environment,
        program=MODULE,
    )
    with receiving() as receiver, server:
        yield Shop(server, receiver, clock)


def test_a_load_calls_its_hook(shop: Shop) -> None:
    hook = shop.hook()
    shop.call("PUT", f"/v1/hooks/{hook}", {"secret": SECRET})
    shop.push(1)
    eventually(lambda: len(shop.receiver.seen) == 1)
    [seen] = shop.receiver.seen
    assert seen.body["integration_name"] == "shop"
    assert seen.body["destination_root_table_name"] == "orders"
    assert seen.body["tables"][0]["num_rows"] == 1
    stamp, signature = (part.split("=")[1] for part in seen.headers["Treadle-Signature"].split(","))
    signed = f"{stamp}.".encode() + seen.raw
    assert hmac.compare_digest(
        signature, hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    )
    eventually(lambda: shop.deliveries(hook)[0]["state"] == "delivered")
    [kept] = shop.deliveries(hook)
    assert (kept["delivery_id"], kept["status"], kept["answer"]) == (seen.key, 200, "ok")
    assert kept["body"] == seen.body
    told = shop.client.http.get("/metrics", headers=shop.client.account).text
    assert 'treadle_hook_deliveries_total{destination_id="1",hook_id="1",result="delivered"} 1' in (
        told
    )


def test_tries_go_on_as_the_clock_says_and_one_that_is_given_up_is_sent_again(shop: Shop) -> None:
    hook = shop.hook()
    shop.receiver.answers = [
        answer_with(500, b"no"),
        answer_with(302, Location=shop.receiver.url),
        *[answer_with(503)] * 4,
    ]
    shop.push(1)
    eventually(lambda: len(shop.receiver.seen) == 1)

    def has_tried(times: int) -> bool:
        return bool(shop.deliveries(hook)[0]["tries"] == times)

    for tries, pause in enumerate((11.1, 33.1, 132.1, 660.1, 3960.1), 1):
        eventually(partial(has_tried, tries))
        assert len(shop.receiver.seen) == tries
        shop.pass_by(pause)
    eventually(lambda: shop.deliveries(hook)[0]["state"] == "failed")
    assert len(shop.receiver.seen) == 6
    assert "hook 1 did not take delivery" in shop.server.log.read_text()
    assert "token=x" not in shop.server.log.read_text()
    shop.server.treadle("hook", "send-again", str(hook))
    eventually(lambda: shop.deliveries(hook)[0]["state"] == "delivered")


@pytest.mark.release
def test_a_receiver_that_is_silent_holds_up_neither_loads_nor_the_end(shop: Shop) -> None:
    hook = shop.hook()
    shop.receiver.usual = shop.receiver.stay_silent
    shop.push(1)
    eventually(lambda: len(shop.receiver.seen) == 1)
    shop.push(2)
    eventually(lambda: shop.server.query("select count(*) as n from shop.orders") == [{"n": 2}])
    began = time.monotonic()
    assert shop.server.stop() == 0
    assert time.monotonic() - began < 60
    assert "and is killed" not in shop.server.log.read_text()
    shop.receiver.released.set()
    shop.receiver.usual = answer_with(200)
    if shop.server.process.stdout is not None:
        shop.server.process.stdout.close()
    shop.server.start()
    eventually(lambda: [one["state"] for one in shop.deliveries(hook)] == ["delivered"] * 2)


def test_kill_9_of_the_courier_behind_an_answer_repeats_with_the_same_body(shop: Shop) -> None:
    hook = shop.hook()
    shop.call("PUT", f"/v1/hooks/{hook}", {"secret": SECRET})
    shop.receiver.answers = [shop.receiver.stay_silent]
    shop.push(1)
    eventually(lambda: len(shop.receiver.seen) == 1)
    shop.server.kill_part("courier")
    eventually(lambda: shop.deliveries(hook)[0]["state"] == "delivered")
    first, again = shop.receiver.seen
    assert (again.key, again.raw) == (first.key, first.raw)


def test_the_receiver_of_the_page_runs_its_command_once_for_a_signed_delivery(
    shop: Shop, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "run-dbt-after-a-load.md").read_text()
    [program] = re.findall(r"(?ms)^```python\n(.*?)^```$", page)
    (tmp_path / "receiver.py").write_text(program)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "receiver.py", "sh", "-c", "echo built >> built"]
    environment = {
        "HOOK_SECRET": SECRET,
        "HOOK_PORT": str(port),
        "HOOK_QUIET_SECONDS": "0.2",
        "PATH": os.environ["PATH"],
    }
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    ) as receiver:
        try:
            eventually(lambda: refuses_what_is_not_signed(url))
            body = {"type": "post_load", "config": {"url": url}}
            hook = shop.call("POST", HOOKS, body)["id"]
            shop.call("PUT", f"/v1/hooks/{hook}", {"secret": SECRET})
            shop.push(1)
            eventually(lambda: (tmp_path / "built").exists())
            assert (tmp_path / "built").read_text() == "built\n"
        finally:
            receiver.kill()


def refuses_what_is_not_signed(url: str) -> bool:
    try:
        return httpx.post(url, content=b"{}").status_code == 403
    except httpx.TransportError:
        return False
