"""The live tail and refused requests by reason (journeys 20 and 21).

Here the tail follows 60 requests a second for two seconds. The whole of journey 20, 500 a second
for a minute, is `python -m tests.browser.tail_by_hand`.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, WatchedPage, watch
from tests.servers.treadle import PATIENCE_SECONDS, Client, TreadleServer, eventually

HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="module")
def source(server: TreadleServer, client: Client) -> tuple[int, str, str]:
    """A source's id and two tokens of it."""
    body = {"type": "import_api", "display_name": "Tail"}
    made = client.http.post("/v4/sources", json=body, headers=client.account).json()
    url = f"/v4/sources/{made['id']}/tokens"
    first, second = (
        client.http.post(url, headers=client.account).json()["access_token"] for _ in range(2)
    )
    return made["id"], first, second


def push_one(client: Client, token: str, number: int) -> str:
    """The receipt of a push of one record."""
    answer = client.push(token, [{"id": number}], table="events")
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Treadle-Receipt"])


@contextmanager
def pushing(client: Client, token: str, rate: float, most: int) -> Iterator[list[str]]:
    """Push one record after the other in a thread; yields the receipts."""
    receipts: list[str] = []
    stop = threading.Event()

    def run() -> None:
        while len(receipts) < most and not stop.wait(1 / rate):
            receipts.append(push_one(client, token, len(receipts)))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield receipts
    finally:
        stop.set()
        thread.join()


def wait_for_line(seen: WatchedPage, line: str) -> None:
    seen.page.locator(f"tr[id='{line}']").wait_for(timeout=PATIENCE_MS, state="attached")


def count_lines(seen: WatchedPage) -> int:
    return int(seen.page.locator("table.tail tbody tr").count())


def test_j20_the_tail_follows_is_bounded_and_pauses_while_it_is_read(
    browser: Any, server: TreadleServer, client: Client, source: tuple[int, str, str]
) -> None:
    source_id, token, _ = source
    refused = {"Authorization": f"Bearer {token}"}
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/requests")
        seen.page.get_by_label("Source", exact=True).select_option("tail")
        seen.page.get_by_label("Status").select_option("201 accepted")
        seen.press("Show")
        assert f"source={source_id}" in seen.page.url
        url = seen.page.url
        with pushing(client, token, 60, 120) as receipts:
            eventually(lambda: len(receipts) >= 1)
            wait_for_line(seen, receipts[0])
            client.http.post("/v2/import/push", content="[", headers=refused)
            eventually(lambda: len(receipts) >= 120)
        wait_for_line(seen, receipts[-1])
        assert seen.page.url == url
        assert count_lines(seen) == 100
        assert "refused" not in seen.page.locator("table.tail").inner_text()
        seen.page.locator("table.tail .state.good").first.wait_for()

        seen.page.evaluate("window.scrollTo(0, 900)")
        before = seen.page.locator("table.tail tbody tr").first.get_attribute("id")
        last = push_one(client, token, 500)
        seen.page.locator("#hold-note").wait_for(timeout=PATIENCE_MS)
        assert seen.page.locator("table.tail tbody tr").first.get_attribute("id") == before
        assert seen.page.evaluate("window.scrollY") == 900
        seen.page.evaluate("window.scrollTo(0, 0)")
        wait_for_line(seen, last)
        assert not seen.page.locator("#hold-note").is_visible()

        seen.page.evaluate(HIDE, True)
        hidden = push_one(client, token, 501)
        with seen.page.context.new_page() as other:
            other.goto(url)
            other.locator(f"tr[id='{hidden}']").wait_for(state="attached", timeout=PATIENCE_MS)
        assert seen.page.locator(f"tr[id='{hidden}']").count() == 0
        seen.page.evaluate(HIDE, False)
        wait_for_line(seen, hidden)

        seen.press("● Live")
        assert "‖ Paused" in seen.text()
        assert seen.page.url == url
        assert count_lines(seen) == 100
        seen.press("‖ Paused")


def test_j21_refused_requests_are_counted_by_reason_and_hold_no_token(
    browser: Any, server: TreadleServer, client: Client, source: tuple[int, str, str]
) -> None:
    _, first, second = source
    unknown = "at_" + "7" * 64
    record = {"table_name": "t", "sequence": 1, "action": "upsert", "key_names": ["id"],
              "data": {"id": 1}}  # fmt: skip
    good = json.dumps([{"client_id": client.client_id, **record}])
    foreign = json.dumps([{"client_id": client.client_id + 1, **record}])

    def send(token: str, body: str = good, method: str = "POST", **headers: str) -> int:
        sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **headers}
        url = f"{server.url}/v2/import/push"
        answer = httpx.request(method, url, content=body, headers=sent, timeout=PATIENCE_SECONDS)
        return answer.status_code

    assert [send(first, "[") for _ in range(3)] == [400] * 3
    assert [send(second, foreign) for _ in range(2)] == [403] * 2
    assert send(first, method="PUT") == 405
    assert send(second, **{"Content-Encoding": "br"}) == 415
    assert send(unknown) == 401
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/requests/refused")
        groups = seen.page.locator("section.refused")
        eventually(lambda: groups.count() >= 5)
        for status, total, owner in (
            ("400", "3", first), ("403", "2", second), ("405", "1", first), ("415", "1", second),
            ("401", "1", None),
        ):  # fmt: skip
            group = groups.filter(has=seen.page.get_by_role("heading", name=status)).first
            words = "none that is known here" if owner is None else f"...{owner[-4:]}"
            group.get_by_text(words).wait_for(timeout=PATIENCE_MS)
            counted = " ".join(group.locator(".panel-head p").inner_text().split())
            assert counted.endswith("in the last hour")
            assert int(counted.split()[0]) >= int(total), status
            assert group.locator("pre").inner_text(), status
            assert group.get_by_role("img").get_attribute("aria-label"), status
        seen.examine()
        text = seen.page.content()
        groups.filter(has=seen.page.get_by_role("heading", name="403")).get_by_role(
            "link", name="in all"
        ).click()
        seen.page.wait_for_url("**/requests?**")
        assert count_lines(seen) == 2
        seen.page.locator("table.tail tbody a").first.focus()
        assert send(second, foreign) == 403
        seen.page.locator("#hold-note").wait_for(timeout=PATIENCE_MS)
        assert count_lines(seen) == 2
        seen.examine()
        text += seen.page.content()
        with seen.page.expect_navigation():
            seen.page.locator("table.tail tbody a").first.click()
        assert "client_id has to be" in seen.text()
        seen.examine()
        text += seen.page.content()
        for token in (first, second, unknown):
            assert token not in text


def test_one_request_from_the_tail(
    browser: Any, server: TreadleServer, client: Client, source: tuple[int, str, str]
) -> None:
    receipt = push_one(client, source[1], 7)
    with watch(browser, server.url, width=360) as seen:
        sign_in(seen, client)
        seen.open("/requests")
        seen.check_width()
        wait_for_line(seen, receipt)
        loaded = seen.page.locator(f"tr[id='{receipt}']", has_text="loaded")
        loaded.wait_for(timeout=PATIENCE_MS)
        with seen.page.expect_navigation():
            loaded.get_by_role("link").click()
        assert "after it was received" in seen.text()
        assert '{"id":7}' in seen.text()
        seen.examine()
