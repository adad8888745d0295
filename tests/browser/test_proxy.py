"""Behind a proxy that speaks TLS and serves treadle under a path (journey 36)."""

from pathlib import Path
from typing import Any

from tests.browser.test_watching import make_token
from tests.browser.watched import PATIENCE_MS, watch
from tests.servers.proxy import proxying
from tests.servers.treadle import Client, TreadleServer

PATH = "/data/treadle"


def test_the_console_works_under_a_path(browser: Any, tmp_path: Path) -> None:
    """J36: all links, the cookie and the events."""
    with proxying(PATH, tmp_path) as proxy:
        settings = {
            "public_url": proxy.url,
            "trusted_proxies": "127.0.0.1",
            "connect_api_era": "modern",
            "load_age_seconds": "0.2",
        }
        with TreadleServer(tmp_path / "data", settings=settings) as server:
            proxy.target = server.port
            client = Client(server, *server.account())
            token = make_token(client, "Shop")
            link = server.treadle("console", "--public-url", proxy.url).split()[0]
            assert link.startswith(f"{proxy.url}/console/login?")
            with watch(browser, proxy.url, ignore_https_errors=True) as seen:
                seen.open(link)
                [cookie] = seen.page.context.cookies()
                assert cookie["name"] == "__Secure-treadle_session"
                assert cookie["secure"]
                assert cookie["path"] == f"{PATH}/console"
                if seen.heading == "First rows":
                    seen.press("Leave the guide")
                seen.open("/")
                links = seen.page.eval_on_selector_all(
                    "a[href], form[action], link[href], script[src]",
                    "all => all.map(one => one.href || one.action || one.src)",
                )
                assert len(links) > 10
                assert [one for one in links if not one.startswith(proxy.url)] == []
                client.push(token, [{"id": 1}], table="orders")
                seen.page.locator("[data-number=loaded]", has_text="1").wait_for(
                    timeout=PATIENCE_MS
                )
                for name in ("Sources", "Tables", "Loads", "Destinations", "Hooks", "Tokens"):
                    seen.press(name)
                    assert seen.page.url.startswith(f"{proxy.url}/console/")
                with (
                    seen.page.context.new_page() as page
                ):  # the page about the API is made by a script
                    page.goto(f"{proxy.url}/docs")
                    page.locator(".opblock").first.wait_for(timeout=PATIENCE_MS)
                    servers = page.locator(".servers option").all_text_contents()
                    assert servers == [PATH]
                seen.page.locator("details.account summary").click()
                seen.press("Sign out")
                assert seen.page.url.startswith(f"{proxy.url}/console/login")
        assert proxy.outside == []
