"""A hook on its page: test, failing receiver, resend, signature (journey 28)."""

import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import WatchedPage, watch
from tests.faults.serve import CLOCK, MODULE, set_clock
from tests.servers.receiver import Received, answer_with, receiving
from tests.servers.treadle import Client, TreadleServer, eventually

SECRET = "a-secret-of-the-receiver"
PAUSES = (11.1, 33.1, 132.1, 660.1, 3960.1)
"""Seconds after which a try that failed is made again, with the jitter."""


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TreadleServer]:
    """A server with a clock that can be moved: a delivery is given up after an hour."""
    folder = tmp_path_factory.mktemp("hooks")
    settings = {"hook_urls": "any", "load_age_seconds": "0.1"}
    environment = {CLOCK: str(folder / "clock"), "PYTHONPATH": _list_path()}
    with TreadleServer(
        folder / "data", settings=settings, environment=environment, program=MODULE
    ) as running:
        yield running


def _list_path() -> str:
    from pathlib import Path

    here = Path(__file__).parents[2]
    return f"{here}:{here / 'src'}"


def is_signed(seen: Received) -> bool:
    stamp, signature = (part.split("=")[1] for part in seen.headers["Treadle-Signature"].split(","))
    signed = f"{stamp}.".encode() + seen.raw
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(signature, expected)


def reload_until(seen: WatchedPage, text: str) -> None:
    eventually(lambda: seen.page.reload() is not None and text in seen.text())


def test_a_hook_is_tested_fails_and_is_sent_again(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    """J28; the hour of tries passes by the clock."""
    _, token = client.create_source("Shop")
    with receiving() as receiver, watch(browser, server.url) as seen:
        seen.allowed = "400|409"
        sign_in(seen, client)
        seen.open("/hooks")
        assert "No hook yet. A delivery is a POST with the load as JSON" in seen.text()
        assert '"destination_root_table_name": "orders"' in seen.text()
        seen.page.locator("#url").fill(receiver.url)
        seen.press("Make the hook")
        seen.page.locator("#secret").fill(SECRET)
        seen.press("Set the secret")
        assert "Deliveries are signed" in seen.text()
        receiver.answers = [answer_with(200, b"built"), answer_with(500, b"<b>dbt is busy</b>")]
        seen.press("Send a test")
        assert "The receiver answered 200 in " in seen.text()
        assert "built" in seen.text()
        seen.examine()
        seen.press("Send a test")
        assert "answered 500" in seen.page.get_by_role("alert").inner_text()
        assert "<b>dbt is busy</b>" in seen.text()
        assert [one.body["test"] for one in receiver.seen] == [True, True]
        assert all(map(is_signed, receiver.seen))

        receiver.answers = [answer_with(500, b"no")] * 6
        assert client.push(token, [{"id": 1}], table="orders").status_code == 201
        ahead = 0.0
        for tries, pause in enumerate(PAUSES, 1):
            eventually(lambda tries=tries: len(receiver.seen) == 2 + tries)  # type: ignore[misc]
            eventually(lambda tries=tries: _count_tries(client) == tries)  # type: ignore[misc]
            ahead += pause
            set_clock(server.data.parent / "clock", int(ahead * 1_000_000))
        seen.open("/hooks/1?state=failed")
        reload_until(seen, "Send 1 failed again ...")
        assert "500" in seen.page.locator("tbody").inner_text()
        seen.examine()
        seen.page.locator("tbody a").first.click()
        seen.page.wait_for_url("**/deliveries/*")
        assert "Repeat it by hand" in seen.text()
        assert SECRET not in seen.page.content()
        seen.examine()
        seen.open("/hooks/1")
        seen.press("Send 1 failed again ...")
        assert "Send 1 failed delivery again?" in seen.text()
        seen.examine()
        seen.press("Send 1 again")
        assert "1 delivery of this hook are sent again" not in seen.text()
        assert "sent again" in seen.text()
        reload_until(seen, "delivered")
        again = receiver.seen[-1]
        assert is_signed(again)
        assert (again.key, again.raw) == (receiver.seen[2].key, receiver.seen[2].raw)
        seen.open("/audit")
        assert "test hook" in seen.text()
        assert "send again" in seen.text()
        assert SECRET not in seen.page.content()


def _count_tries(client: Client) -> int:
    found = client.http.get("/v1/hooks/1/deliveries", headers=client.account).json()
    return int(found["deliveries"][0]["tries"])
