"""From the printed link to the first row, without leaving the page (journeys 1 and 6)."""

import shlex
from pathlib import Path
from typing import Any

from tests.browser.watched import PATIENCE_MS, watch
from tests.servers.shell import typed
from tests.servers.treadle import TreadleServer


def test_a_newcomer_gets_from_the_link_to_a_row(
    browser: Any, server: TreadleServer, tmp_path: Path
) -> None:
    link = server.treadle("console").split()[0]
    with watch(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as seen:
        seen.open(link)
        seen.page.wait_for_url("**/console/start")
        assert seen.heading == "First rows"
        assert "ephemeral_token" not in seen.page.url
        seen.examine()
        seen.press("Make the source")
        assert "This is the token. It is shown only once." in seen.text()
        seen.examine()
        seen.page.get_by_role("button", name="Copy", exact=True).nth(1).click()
        copied = seen.page.evaluate("navigator.clipboard.readText()")
        assert shlex.split(copied)[0] == "curl"
        typed(copied, folder=tmp_path)
        seen.page.locator("#step-loaded.done").wait_for(timeout=PATIENCE_MS)
        assert "1 record became a row of import_api" in " ".join(seen.text().split())
        seen.page.locator("#first-row", has_text="Ann").wait_for(timeout=PATIENCE_MS)
        command = seen.page.locator("#step-loaded pre").inner_text()
        assert shlex.split(command)[:2] == ["treadle", "query"]
        rows = server.query(shlex.split(command)[-1])
        assert [row["name"] for row in rows] == ["Ann"]
        seen.examine()
        seen.press("Go to the overview")
        assert seen.heading == "Overview"
        assert seen.page.locator("[data-number=loaded]").inner_text() == "1"
        seen.examine()

    with watch(browser, server.url) as other:
        other.allowed = "401"
        other.open(link)
        assert "This link is not valid. It was used already" in other.text()
        other.examine()


def test_numbers_follow_without_moving_what_is_read(
    browser: Any, server: TreadleServer, client: Any
) -> None:
    source = client.http.post(
        "/v4/sources",
        json={"type": "import_api", "display_name": "Live"},
        headers=client.account,
    ).json()
    made = client.http.post(f"/v4/sources/{source['id']}/tokens", headers=client.account).json()
    with watch(browser, server.url) as seen:
        seen.open(server.treadle("console").split()[0])
        if seen.heading == "First rows":  # the test before it was not run
            seen.press("Leave the guide")
        seen.page.set_viewport_size({"width": 1000, "height": 400})
        seen.open("/")
        before = int(seen.page.locator("[data-number=accepted]").inner_text().replace(",", ""))
        link = seen.page.locator("[data-number=accepted] a")
        link.focus()
        seen.page.evaluate("window.scrollTo(0, 40)")
        records = [{"id": number} for number in range(1000)]
        answer = client.push(made["access_token"], records, table="live")
        assert answer.status_code == 201, answer.text
        expected = f"{before + 1000:,}"
        seen.page.wait_for_function(
            "text => document.querySelector('[data-number=loaded]').innerText === text",
            arg=expected,
            timeout=PATIENCE_MS,
        )
        assert seen.page.locator("[data-number=accepted]").inner_text() == expected
        assert seen.page.evaluate("document.activeElement.innerText") == expected
        assert seen.page.evaluate("window.scrollY") == 40
