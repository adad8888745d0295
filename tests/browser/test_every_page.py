"""Every page: examined in both themes, and at every width (journeys 5, 34 and 38)."""

from typing import Any

import pytest
from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, WatchedPage, watch
from tests.kinds import some_at_release
from tests.servers.treadle import Client, TreadleServer, eventually

PATHS = [
    *("/", "/start", "/sources", "/sources/new", "/tables", "/loads", "/rejects", "/destinations"),
    *("/hooks", "/tokens", "/recipients", "/settings", "/audit", "/help", "/nothing"),
    *("/problems", "/health"),
    *("/requests", "/requests/refused"),
    *("/people", "/people/me"),
    *("/query", "/query?sql=select%201", "/try", "/destinations/new?type=postgres"),
]


@pytest.fixture(scope="module")
def filled(server: TreadleServer, client: Client) -> list[str]:
    """Paths of pages, after a load with a rejected record, a hook and a recipient."""
    body = {"type": "import_api", "display_name": "Web shop"}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    url = f"/v4/sources/{source['id']}/tokens"
    token = client.http.post(url, headers=client.account).json()["access_token"]
    records: list[dict[str, Any]] = [{"id": 1, "mix": 1}, {"id": 2, "mix": "text", "tags": ["a"]}]
    assert client.push(token, records, table="orders").status_code == 201
    eventually(lambda: len(server.query("select * from web_shop.orders")) == 2)
    assert client.push(token, [{"id": "no number"}], table="orders").status_code == 201
    eventually(lambda: "orders" in server.treadle("rejects", "list"))
    notices = "/notifications/public/v1/api"
    hook = {"type": "post_load", "config": {"url": "https://hooks.example.com/a/b"}}
    hook_id = client.http.post(f"{notices}/hooks", json=hook, headers=client.account).json()["id"]
    address = {"email_address": "ops@example.com"}
    client.http.post(f"{notices}/custom-emails", json=address, headers=client.account)
    loads = client.http.get("/v1/loads", headers=client.account).json()["loads"]
    [destination] = client.http.get("/v4/destinations", headers=client.account).json()
    page = f"/sources/{source['id']}"
    return [
        *PATHS,
        *(page + tab for tab in ("", "/tokens", "/options", "/settings", "/delete")),
        *(f"{page}/tables/orders/{tab}" for tab in ("rows", "loads", "rejected", "history")),
        *(f"{page}/tables/orders/{tab}" for tab in ("options", "waiting", "rebuild")),
        *("/rejects/1", "/rejects/1/resend", "/rejects/records", "/rejects/records/2.0"),
        f"{page}/tables/orders",
        f"/loads/{loads[0]['load_id']}",
        f"/hooks/{hook_id}",
        f"/hooks/{hook_id}/delete",
        f"/hooks/{hook_id}/resend",
        f"/destinations/{destination['id']}",
        f"/destinations/{destination['id']}/change",
        f"/destinations/{destination['id']}/delete",
    ]


@pytest.mark.parametrize("every", [3, *some_at_release(1)])
def test_every_page_is_well_made_in_both_themes_and_nothing_is_lost_at_any_width(
    browser: Any, server: TreadleServer, client: Client, filled: list[str], every: int
) -> None:
    with watch(browser, server.url) as seen:
        seen.allowed = "404"
        seen.open("/login")
        seen.examine()
        sign_in(seen, client)
        for path in filled[::every]:
            for width in (320, 768, 1440):
                seen.page.set_viewport_size({"width": width, "height": 800})
                if width == 320:
                    seen.open(path)
                seen.check_width()
            seen.page.set_viewport_size({"width": 1280, "height": 900})
            seen.examine()


def test_on_a_narrow_page_the_links_are_behind_a_menu(
    browser: Any, server: TreadleServer, client: Client, filled: list[str]
) -> None:
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.page.set_viewport_size({"width": 360, "height": 740})
        seen.open("/")
        links = seen.page.get_by_role("navigation", name="Pages")
        assert not links.is_visible()
        seen.page.get_by_role("link", name="Menu").click()
        assert links.is_visible()
        seen.examine()
        seen.press("Sources")
        assert seen.heading == "Sources"


def test_forced_colours_and_reduced_motion_are_respected(
    browser: Any, server: TreadleServer, client: Client, filled: list[str]
) -> None:
    with watch(browser, server.url, forced_colors="active", reduced_motion="reduce") as seen:
        sign_in(seen, client)
        for path in ("/", next(one for one in filled if one.endswith("/tables/orders"))):
            seen.open(path)
            seen.check_width()
        assert any(shape in seen.text() for shape in "○●▲")


def test_dark_is_chosen_and_kept(browser: Any, server: TreadleServer, client: Client) -> None:
    def background(seen: WatchedPage) -> str:
        found = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return str(found)

    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/help")
        light = background(seen)
        seen.page.locator("details.account summary").click()
        seen.examine()
        seen.press("Dark")
        assert seen.heading == "Help"
        dark = background(seen)
        assert dark != light
        seen.open("/tables")
        assert background(seen) == dark


def test_keys_lead_from_page_to_page_but_not_while_typing(
    browser: Any, server: TreadleServer, client: Client, filled: list[str]
) -> None:
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/help")
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate("document.activeElement.innerText") == "Skip to the content"
        with seen.page.expect_navigation():
            seen.page.keyboard.press("g")
            seen.page.keyboard.press("t")
        assert seen.heading == "Tables"
        seen.page.keyboard.press("/")
        seen.page.keyboard.type("gs/")
        assert seen.page.get_by_label("Name").input_value() == "gs/"
        seen.open("/tables")
        seen.page.keyboard.press("j")
        assert seen.page.evaluate("document.activeElement.innerText") == "web_shop.orders"


@pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])
def test_signing_in_and_out(
    browser: Any, server: TreadleServer, client: Client, scripts: bool
) -> None:
    with watch(browser, server.url, java_script_enabled=scripts) as seen:
        seen.allowed = "401|429"
        seen.open("/tables?q=abc")
        assert "/login" in seen.page.url
        seen.page.get_by_label("Account token").fill("ac_wrong")
        seen.press("Sign in")
        assert "This is no account token of this server" in seen.text()
        if scripts:
            seen.examine()
        seen.page.get_by_label("Account token").fill(client.account["Authorization"][7:])
        seen.press("Sign in")
        assert seen.page.url.endswith("/console/tables?q=abc")
        seen.page.locator("details.account summary").click()
        seen.press("Sign out")
        assert "You are signed out" in seen.text()
        seen.page.go_back()
        seen.open("/")
        assert "/login" in seen.page.url


def test_a_stop_with_open_tabs_is_quick_and_tabs_come_back(
    browser: Any, server: TreadleServer, client: Client, filled: list[str]
) -> None:
    with watch(browser, server.url) as seen:
        seen.allowed = "ERR_|Failed to load|EventSource"
        sign_in(seen, client)
        tabs = [seen.page, *(seen.page.context.new_page() for _ in range(4))]
        for tab in tabs:
            tab.goto(f"{server.url}/console/")
            tab.bring_to_front()
            tab.locator("[data-number=accepted]").wait_for()
        ended = server.stop()
        assert ended == 0
        assert "cancelled" not in server.log.read_text()
        told = "() => document.getElementById('live-state').innerText.includes('by itself')"
        tabs[-1].wait_for_function(told, timeout=PATIENCE_MS)
        assert server.process.stdout is not None
        server.process.stdout.close()
        server.start()
        gone = "() => document.getElementById('live-state').innerText === ''"
        tabs[-1].wait_for_function(gone, timeout=PATIENCE_MS)
