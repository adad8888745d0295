"""Rejected records: a whole cause, and one record (journeys 18, 19 and, of 35, one record)."""

import re
from typing import Any

from tests.browser.test_sources import sign_in
from tests.browser.test_tables import make_source
from tests.browser.watched import PATIENCE_MS, SCRIPTS_DAILY, WatchedPage, watch
from tests.servers.treadle import Client, TreadleServer, eventually

BAD = 10**30
RANGED, SUFFIXED = 300, 21
"""Records of two causes; fewer than the 3,214 of the journey prove the same."""


def count_rejected(client: Client, table: str) -> int:
    found = client.http.get(
        "/v1/rejects/causes", params={"table": table}, headers=client.account
    ).json()
    return sum(cause["open"] for cause in found["causes"])


def press_with(seen: WatchedPage, pattern: str) -> None:
    """Press the button whose name fits a pattern."""
    with seen.page.expect_navigation():
        seen.page.get_by_role("button", name=re.compile(pattern)).click()


def test_a_cause_is_sent_again_once_and_whole(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    """J18, with 321 records of two causes."""
    _, token = make_source(client, "Orders")
    records: list[dict[str, Any]] = [{"id": number, "n": BAD} for number in range(RANGED)]
    records += [{"id": RANGED + number, "v__st": 1} for number in range(SUFFIXED)]
    assert client.push(token, records, table="orders").status_code == 201
    eventually(lambda: count_rejected(client, "orders") == RANGED + SUFFIXED)
    with watch(browser, server.url) as seen:
        seen.allowed = "409"
        sign_in(seen, client)
        seen.open("/rejects?table=orders")
        lines = seen.page.locator("tbody tr").all_inner_texts()
        assert len(lines) == 2
        [ranged] = [line for line in lines if "integer out of range" in line]
        [suffixed] = [line for line in lines if "reserved suffix" in line]
        assert re.search(rf"\bn\b.*{RANGED}\s+{RANGED}", ranged, re.DOTALL)
        assert re.search(rf"v__st.*{SUFFIXED}\s+{SUFFIXED}", suffixed, re.DOTALL)
        seen.examine()
        seen.press("integer out of range")
        cause = seen.page.url
        seen.press(f"Resend {RANGED} open records of this filter ...")
        assert seen.page.get_by_text("would be rejected again").count() == 20
        seen.page.get_by_label("Set fields").fill("n = 7")
        seen.press("Preview this edit")
        assert seen.page.get_by_text("would be loaded").count() == 20
        seen.examine()

        late = [{"id": RANGED + SUFFIXED, "n": BAD}]
        assert client.push(token, late, table="orders").status_code == 201
        eventually(lambda: count_rejected(client, "orders") == RANGED + SUFFIXED + 1)
        press_with(seen, rf"^Resend {RANGED} open records with this edit$")
        alert = seen.page.get_by_role("alert").inner_text()
        assert f"{RANGED} records were expected, and {RANGED + 1} are open now" in alert
        assert seen.page.get_by_label("Set fields").input_value().strip() == "n = 7"
        press_with(seen, rf"^Resend {RANGED + 1} open records with this edit$")
        result = seen.page.locator("[data-number=result]")
        seen.page.locator("[data-settled]").wait_for(state="attached", timeout=PATIENCE_MS)
        assert result.inner_text() == f"{RANGED + 1} sent again, 0 failed"
        seen.examine()
        count = "select count(*) as n from orders.orders where n = 7"
        eventually(lambda: server.query(count) == [{"n": RANGED + 1}])

        seen.open(cause)
        assert "0 of them open" in seen.text()
        assert seen.page.get_by_role("link", name=re.compile("open records? of this")).count() == 0
        seen.open(f"{cause}/resend")
        assert "No record of this filter is open" in seen.text()
        assert server.query(count) == [{"n": RANGED + 1}]
        assert count_rejected(client, "orders") == SUFFIXED
        seen.page.set_viewport_size({"width": 360, "height": 740})
        for page in ("/rejects?table=orders", cause, f"{cause}/resend"):
            seen.open(page)
            seen.check_width()


@SCRIPTS_DAILY
def test_one_record_is_mended_and_followed_to_its_row(
    browser: Any, server: TreadleServer, client: Client, scripts: bool
) -> None:
    """J19: broken JSON, still a bad value, a good value; the receipt is followed to the row."""
    name = "Scripted" if scripts else "Plain"
    _, token = make_source(client, name)
    assert client.push(token, [{"id": 1, "n": BAD}], table="one").status_code == 201
    eventually(lambda: count_rejected(client, "one") == 1)
    with watch(browser, server.url, java_script_enabled=scripts) as seen:
        seen.allowed = "400"
        sign_in(seen, client)
        seen.open("/rejects/records?table=one&open=1")
        with seen.page.expect_navigation():
            seen.page.locator("tbody th a").first.click()
        assert str(BAD) in seen.page.locator("#original").inner_text()
        field, fault = seen.page.get_by_label("Record to send"), seen.page.locator("#record-fault")
        if scripts:
            seen.examine()
            field.fill('{"id": 1, "n": }')
            assert "This is no JSON" in fault.inner_text()  # on the way
            field.fill("[1]")
            assert "A record is a JSON object" in fault.inner_text()
        field.fill('{"id": 1, "n": }')
        seen.press("Resend this record")
        assert "This is no JSON" in fault.inner_text()
        assert field.input_value().strip() == '{"id": 1, "n": }'
        if scripts:
            assert seen.page.evaluate("document.activeElement.id") == "record"
            seen.examine()
        field.fill(f'{{"id": 1, "n": {BAD}1}}')
        seen.press("Check it")
        assert "would be rejected again" in seen.text()
        field.fill('{"id": 1, "n": 12}')
        seen.press("Check it")
        assert "would be loaded" in seen.text()
        seen.press("Resend this record")
        rows = seen.page.get_by_role("link", name="Show the newest rows of the table")
        if scripts:
            rows.wait_for(timeout=PATIENCE_MS)  # by itself
            seen.examine()
        else:
            eventually(lambda: (seen.page.reload(), rows.count() == 1)[1])
        assert "rc_" in seen.page.locator("#receipt").inner_text()
        seen.press("Show the newest rows of the table")
        row = seen.page.get_by_role("region", name="Newest rows").locator("tbody tr").first
        assert "12" in row.inner_text().split()
        one = server.query(f"select n from {name.lower()}.one")
        assert one == [{"n": 12}]
