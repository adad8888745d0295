"""With the keyboard alone: the first rows, a rotation, a resend (journey 33, of 1, 12 and 18)."""

import re
import sqlite3
from contextlib import closing
from typing import Any

from tests.browser.test_amending import BAD, count_rejected
from tests.browser.test_tables import make_source
from tests.browser.watched import PATIENCE_MS, WatchedPage, watch
from tests.servers.treadle import Client, TreadleServer, eventually

TABS_MAX = 120
"""More than any page has of what can have the focus."""

FOCUSED = """() => {
  const one = document.activeElement;
  if (!one || one === document.body) return null;
  const style = getComputedStyle(one);
  const box = one.getBoundingClientRect();
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const text = one.getAttribute("aria-label") || one.innerText || one.name || "";
  return {text: text.trim(), seen: seen || style.boxShadow !== "none", top: box.top + scrollY};
}"""


def move_to(seen: WatchedPage, pattern: str) -> None:
    """Press Tab until what is named so has the focus, which has to be seen on the way."""
    for _ in range(TABS_MAX):
        seen.page.keyboard.press("Tab")
        focused = seen.page.evaluate(FOCUSED)
        if focused is not None and not focused["seen"]:
            seen.page.wait_for_timeout(100)  # what is live may have been put in its place just now
            focused = seen.page.evaluate(FOCUSED)
        if focused is None:
            continue
        assert focused["seen"], f"the focus on {focused['text']!r} cannot be seen"
        if re.search(pattern, focused["text"]):
            return
    raise AssertionError(f"{pattern!r} is not reached with Tab on {seen.page.url}")


def enter(seen: WatchedPage, pattern: str) -> None:
    """Move to a button or a link, press Enter, and wait for the page that it leads to."""
    move_to(seen, pattern)
    with seen.page.expect_navigation():
        seen.page.keyboard.press("Enter")


def test_the_first_rows_by_keyboard(browser: Any, server: TreadleServer) -> None:
    with watch(browser, server.url) as seen:
        seen.open(server.treadle("console").split()[0])
        assert seen.heading == "First rows"
        enter(seen, "^Make the source$")
        enter(seen, "^Send one for me$")
        seen.page.locator("#step-loaded.done").wait_for(timeout=PATIENCE_MS)
        enter(seen, "^Go to the overview$")
        assert seen.heading == "Overview"
        # The order of what has the focus is that of the page: first the way past the navigation.
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate(FOCUSED)["text"].startswith("Skip")
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("document.activeElement.id") == "main"


def count_uses(server: TreadleServer, source: int) -> int:
    """How often the tokens of a source were used, as far as a worker wrote it."""
    with closing(sqlite3.connect(server.data / "store.sqlite", timeout=30)) as store:
        [(uses,)] = store.execute(
            "SELECT sum(uses) FROM access_tokens WHERE source_id = ?", (source,)
        )
    return int(uses)


def test_a_rotation_by_keyboard(browser: Any, server: TreadleServer, client: Client) -> None:
    source, token = make_source(client, "Keys")
    client.push(token, [{"id": 1}], table="orders")
    with watch(browser, server.url) as seen:
        seen.open(server.treadle("console").split()[0])
        seen.open(f"/sources/{source}/tokens")
        enter(seen, "^Make another token$")
        second = seen.page.locator(".secret").first.inner_text().strip()
        assert client.push(second, [{"id": 2}], table="orders").status_code == 201
        url = f"/v1/tokens?source={source}"
        found = client.http.get(url, headers=client.account).json()["tokens"]
        first_id = min(one["id"] for one in found)
        # A worker writes a first use at once, and numbers and times of uses later.
        eventually(lambda: count_uses(server, source) == 2)
        with closing(sqlite3.connect(server.data / "store.sqlite", timeout=30)) as store, store:
            # The day in which the first one is to be unused passes at once.
            store.execute(
                "UPDATE access_tokens SET last_used_at = last_used_at - 90000000000 WHERE id = ?",
                (first_id,),
            )
        seen.open(f"/sources/{source}/tokens")
        enter(seen, rf"^Revoke.*\b{first_id}\b")
        enter(seen, "^Revoke")
        assert client.push(second, [{"id": 3}], table="orders").status_code == 201
        eventually(lambda: client.push(token, [{"id": 4}], table="orders").status_code == 401)


def test_a_cause_is_sent_again_by_keyboard(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    _, token = make_source(client, "Mended")
    client.push(token, [{"id": number, "n": BAD} for number in range(3)], table="mended")
    eventually(lambda: count_rejected(client, "mended") == 3)
    with watch(browser, server.url) as seen:
        seen.open(server.treadle("console").split()[0])
        seen.open("/rejects?table=mended")
        enter(seen, "^integer out of range$")
        enter(seen, "^Resend 3 open records")
        move_to(seen, "^set$")
        seen.page.keyboard.type("n = 7")
        enter(seen, "^Preview this edit$")
        assert seen.page.get_by_text("would be loaded").count() == 3
        enter(seen, "^Resend 3 open records with this edit$")
        seen.page.locator("[data-settled]").wait_for(state="attached", timeout=PATIENCE_MS)
        eventually(lambda: count_rejected(client, "mended") == 0)
