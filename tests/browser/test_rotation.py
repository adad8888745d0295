"""The rotation of a token by the page, while its sender goes on (journeys 12 and 13)."""

import re
import sqlite3
import threading
from contextlib import closing
from typing import Any

import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, watch
from tests.servers.treadle import Client, TreadleServer, eventually

DAY_US = 86_400_000_000


class SteadySender:
    """Pushes a record after another with the token that it has, as an application does.

    Attributes:
        token: may be changed while it sends.
        statuses: of all answers.
    """

    def __init__(self, client: Client, token: str) -> None:
        self.token = token
        self.statuses: list[int] = []
        self._client = client
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "SteadySender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(0.05):
            answer = self._client.push(self.token, [{"id": len(self.statuses)}], table="orders")
            self.statuses.append(answer.status_code)


@pytest.fixture
def source(client: Client) -> Any:
    count = len(client.http.get("/v4/sources", headers=client.account).json())
    body = {"type": "import_api", "display_name": f"Shop {count}", "name": f"shop_{count}"}
    return client.http.post("/v4/sources", json=body, headers=client.account).json()


def list_tokens(client: Client, source: dict[str, Any]) -> dict[int, dict[str, Any]]:
    url = f"/v1/tokens?source={source['id']}"
    found = client.http.get(url, headers=client.account).json()["tokens"]
    return {token["id"]: token for token in found}


def count_uses(client: Client, source: dict[str, Any], *token_ids: int) -> int:
    found = list_tokens(client, source)
    return sum(int(found[token_id]["uses"]) for token_id in token_ids)


def test_a_token_is_replaced_without_a_lost_request(
    browser: Any, server: TreadleServer, client: Client, source: dict[str, Any]
) -> None:
    """J12. Twenty pushes a second; the day of waiting is a change of the time of the last use."""
    page = f"/sources/{source['id']}/tokens"
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open(page)
        seen.page.get_by_label("Note: whose it is").fill("old sender")
        seen.press("Make a token")
        old = seen.page.locator("#made-secret").inner_text()
        [old_id] = list_tokens(client, source)
        with SteadySender(client, old) as sender:
            eventually(lambda: len(sender.statuses) > 5)
            seen.open(page)
            seen.page.get_by_label("Note: whose it is").fill("new sender")
            seen.press("Make another token")
            seen.examine()
            with seen.page.expect_download() as saved:
                seen.page.get_by_role("button", name="Download as").click()
            name, _, secret = saved.value.path().read_text().strip().partition("=")
            assert (name, secret) == (
                "TREADLE_PUSH_TOKEN",
                seen.page.locator("#made-secret").inner_text(),
            )
            assert "Revoke the old token" in seen.page.locator("#step-revoke.later").inner_text()
            sender.token = secret
            before = len(sender.statuses)
            eventually(lambda: len(sender.statuses) > before + 2)
            new_id = max(list_tokens(client, source))
            eventually(lambda: count_uses(client, source, new_id) > 0)
            eventually(lambda: count_uses(client, source, old_id, new_id) > before)
            row = seen.page.locator(f"#token-{new_id}")
            row.get_by_text("in use").wait_for(timeout=PATIENCE_MS)  # by itself
            assert "old sender" in seen.page.locator(f"#token-{old_id}").inner_text()
            forget_uses_for_a_day(server, old_id)
            seen.page.locator("#step-revoke.now").wait_for(timeout=PATIENCE_MS)
            assert "safe to revoke" in seen.page.locator(f"#token-{old_id}").inner_text()
            seen.examine()
            seen.press(f"Revoke token {old_id} ...")
            assert "safe to revoke" in seen.text()
            seen.examine()
            seen.press("Revoke the token")
            assert "The token is revoked" in seen.text()
            after = len(sender.statuses)
            eventually(lambda: len(sender.statuses) > after + 2)
        assert set(sender.statuses) == {201}
        assert (
            "no request refused since" in seen.page.locator(f"#token-{old_id}").inner_text().lower()
        )
        seen.page.get_by_role("link", name=str(new_id), exact=True).click()
        seen.page.wait_for_url(f"**/tokens/{new_id}")
        seen.page.get_by_text("As a table").click()
        seen.examine()
        seen.page.get_by_label("Note: whose it is").fill("the only sender")
        seen.press("Change the note")
        assert "The note is changed" in seen.text()


def forget_uses_for_a_day(server: TreadleServer, token_id: int) -> None:
    """Move the last use of a token a day back, as if a day had gone by."""
    with closing(sqlite3.connect(server.data / "store.sqlite", timeout=60)) as store, store:
        store.execute(
            "UPDATE access_tokens SET last_used_at = last_used_at - ? WHERE id = ?",
            (DAY_US, token_id),
        )


@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.release), 360])
def test_a_token_in_use_is_revoked_with_a_warning_and_its_requests_are_counted(
    browser: Any, server: TreadleServer, client: Client, source: dict[str, Any], width: int
) -> None:
    """J13, on a wide and on a narrow screen."""
    url = f"/v4/sources/{source['id']}/tokens"
    token = client.http.post(url, headers=client.account).json()["access_token"]
    for number in range(3):
        assert client.push(token, [{"id": number}], table="orders").status_code == 201
    eventually(lambda: next(iter(list_tokens(client, source).values()))["uses"] == 3)
    page = f"/sources/{source['id']}/tokens"
    with watch(browser, server.url, width=width) as seen:
        sign_in(seen, client)
        seen.open(page)
        seen.check_width()
        if width == 1280:
            table = seen.page.get_by_role("region", name="Tokens", exact=True)
            assert table.evaluate("it => it.scrollWidth <= it.clientWidth"), "it scrolls sideways"
        seen.page.get_by_role("link", name=re.compile("^Revoke")).first.click()
        seen.page.wait_for_url("**/revoke")
        told = seen.text()
        assert "3 requests in the last hour, last from 127.0.0.1" in told
        assert "refused with 401" in told
        seen.examine()
        seen.press("Revoke the token")
        for _ in range(2):
            eventually(lambda: client.push(token, [{"id": 9}], table="orders").status_code == 401)
        seen.page.get_by_text(re.compile(r"\d+ requests? refused since")).wait_for(
            timeout=PATIENCE_MS
        )
        seen.examine()
