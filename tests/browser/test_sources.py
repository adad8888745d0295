"""Sources and their tokens by the pages (journeys 11, 14, 32 and 35)."""

from typing import Any

import pytest
from tests.browser.watched import WatchedPage, watch
from tests.servers.treadle import Client, TreadleServer, eventually

EVIL = "<script>document.title='ran'</script>\"'<img src=x onerror=document.title='ran'>\u202e"


def sign_in(seen: WatchedPage, client: Client) -> None:
    """Type the account token, as somebody does who has no shell on the machine."""
    seen.open("/login")
    seen.page.get_by_label("Account token").fill(client.account["Authorization"][7:])
    seen.press("Sign in")


@pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])
def test_a_source_from_its_creation_to_its_deletion(
    browser: Any, server: TreadleServer, client: Client, scripts: bool
) -> None:
    name = "With scripts" if scripts else "No scripts"
    schema = name.lower().replace(" ", "_")
    with watch(browser, server.url, java_script_enabled=scripts) as seen:
        seen.allowed = "400"
        sign_in(seen, client)
        seen.open("/sources")
        seen.press("New source")
        if scripts:
            seen.page.locator("#display_name").press_sequentially(name)
            seen.page.get_by_text(f"Tables go into the schema {schema}").wait_for()
            seen.examine()
        seen.page.locator("#display_name").fill(name)
        seen.press("Create the source")
        assert seen.heading == name
        assert "The source is there" in seen.text()

        seen.open("/sources/new")
        seen.page.locator("#display_name").fill(name.upper())
        seen.press("Create the source")
        assert "non-unique name" in seen.page.get_by_role("alert").inner_text()
        if scripts:
            focused = seen.page.evaluate("document.activeElement.getAttribute('role')")
            assert focused == "alert"
            seen.examine()

        source = client.http.get("/v4/sources", headers=client.account).json()[-1]
        assert source["name"] == schema
        page = f"/sources/{source['id']}"
        seen.open(f"{page}/tokens")
        seen.press("Make a token")
        token = seen.page.locator("#made-secret").inner_text()
        push = [{"id": 1}]
        assert client.push(token, push, table="t").status_code == 201

        seen.open(f"{page}/settings")
        if scripts:
            seen.examine()
        seen.page.locator("#display_name").fill("Another name")
        seen.press("Rename")
        assert seen.heading == "Another name"
        seen.press("Pause")
        assert "The source is paused" in seen.text()
        eventually(lambda: client.push(token, push, table="t").status_code == 401)
        seen.press("Unpause")
        eventually(lambda: client.push(token, push, table="t").status_code == 201)

        seen.press("Delete the source ...")
        if scripts:
            seen.examine()
        seen.page.locator("#confirm").fill("wrong")
        seen.press("Delete the source")
        assert "nothing was deleted" in seen.page.get_by_role("alert").inner_text()
        seen.page.locator("#confirm").fill(schema)
        seen.press("Delete the source")
        assert "The source is deleted" in seen.text()

        seen.open("/audit")
        told = seen.text()
        for action in ("create source", "change source", "pause source", "delete source"):
            assert action in told
        assert token not in told


def test_a_token_is_nowhere_after_its_page(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        seen.open("/sources/new")
        seen.page.locator("#display_name").fill("Secrets")
        seen.press("Create the source")
        seen.page.get_by_role("link", name="Tokens", exact=True).last.click()
        seen.page.wait_for_url("**/tokens")
        seen.press("Make a token")
        secret = seen.page.locator("#made-secret").inner_text()
        assert secret.startswith("at_")
        seen.examine()
        seen.page.reload()
        assert secret not in seen.page.content()
        assert "only token" in seen.text()  # and the reload made no second one
        seen.open("/sources")
        seen.page.go_back()
        assert secret not in seen.page.content()
        assert secret not in seen.page.evaluate("JSON.stringify([localStorage, sessionStorage])")
        assert secret not in seen.page.url


def test_hostile_names_are_text(browser: Any, server: TreadleServer, client: Client) -> None:
    body = {"type": "import_api", "display_name": f"evil{EVIL}", "name": "evil"}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    made = client.http.post(f"/v4/sources/{source['id']}/tokens", headers=client.account).json()
    record = {"id": 1, EVIL: EVIL}
    assert client.push(made["access_token"], [record], table=EVIL).status_code == 201
    with watch(browser, server.url) as seen:
        sign_in(seen, client)
        eventually(lambda: seen.open("/loads") is not None and "evil" in seen.text())
        paths = ["/", "/sources", "/tables", "/loads", "/audit", "/tokens", "/start",
                 f"/sources/{source['id']}/settings"]  # fmt: skip
        links = seen.page.locator("main tbody a").all()
        paths += sorted(
            {str(link.get_attribute("href")).removeprefix("/console") for link in links}
        )
        for path in paths:
            response = seen.open(path)
            assert response.status == 200, path
            assert seen.page.title().endswith(" - treadle"), path
        seen.page.set_viewport_size({"width": 320, "height": 800})
        seen.open("/tables")
        seen.check_width()
