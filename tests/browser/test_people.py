"""People, their roles, and the trail of what they did (journeys 30 and 31)."""

import csv
import re
from collections import Counter
from typing import Any

from tests.browser.test_sources import sign_in
from tests.browser.watched import PATIENCE_MS, WatchedPage, watch
from tests.servers.treadle import Client, TreadleServer

PASSWORD = "a few plain words"
REACH = {
    "viewer": ["/sources", "/tables", "/loads", "/rejects", "/destinations", "/hooks", "/tokens"],
    "operator": ["/sources/new", "/start"],
    "admin": ["/recipients", "/settings", "/people", "/audit", "/audit.csv"],
}
"""Role -> pages that it sees and those before it do not."""


def invite(admin: WatchedPage, name: str, role: str) -> str:
    admin.open("/people")
    admin.page.get_by_label("Name").fill(name)
    admin.page.get_by_label("E-mail address").fill(f"{name.lower()}@example.com")
    admin.page.get_by_role("radio", name=re.compile(f"^{role}:")).check()
    admin.press("Make the invitation")
    link = admin.page.locator("#made-link").inner_text()
    assert link.startswith(f"{admin.base}/console/invite?token=")
    return str(link)


def accept(seen: WatchedPage, link: str) -> None:
    seen.open(link)
    seen.page.get_by_label("New password").fill(PASSWORD)
    seen.page.get_by_label("The same again").fill(PASSWORD)
    seen.press("Set it and sign in")


def walk(seen: WatchedPage, role: str) -> None:
    """Open every page: those of other roles are refused and not linked."""
    seen.open("/help")
    roles = list(REACH)
    shown = {
        str(link.get_attribute("href")).removeprefix("/console")
        for link in seen.page.get_by_role("navigation", name="Pages").get_by_role("link").all()
    }
    for other, paths in REACH.items():
        for path in paths:
            may = roles.index(other) <= roles.index(role)
            answer = seen.page.request.get(f"{seen.base}/console{path}")
            assert answer.status == (200 if may else 403), (role, path)
            if not may:
                assert path not in shown
                assert f"This needs the role {other}" in answer.text()
    assert ("/people" in shown) is (role == "admin")


def test_people_come_in_may_what_their_role_may_and_leave(
    browser: Any, server: TreadleServer, client: Client
) -> None:
    """J30 and J31: what each of them did is in the trail once, and no secret."""
    body = {"type": "import_api", "display_name": "Shop", "name": "shop"}
    source = client.http.post("/v4/sources", json=body, headers=client.account).json()
    tokens = f"/sources/{source['id']}/tokens"
    links = []
    with watch(browser, server.url) as first, watch(browser, server.url) as ann:
        sign_in(first, client)
        first.open("/people")
        assert "No users: everybody signs in with an account token" in first.text()
        first.examine()
        links.append(invite(first, "Ann", "admin"))
        first.examine()
        ann.open(links[0])
        ann.examine()
        accept(ann, links[0])
        ann.open("/people")
        assert "Chrome on Linux" in ann.text()
        ann.examine()
        walk(ann, "admin")
        with watch(browser, server.url, width=360) as bo, watch(browser, server.url) as cy:
            links.append(invite(ann, "Bo", "viewer"))
            accept(bo, links[1])
            walk(bo, "viewer")
            bo.open(tokens)
            for hidden in ("Make a token", "Revoke"):
                assert bo.page.get_by_text(hidden).count() == 0
            bo.examine()
            links.append(invite(ann, "Cy", "operator"))
            accept(cy, links[2])
            walk(cy, "operator")
            cy.open(tokens)
            cy.press("Make a token")
            secret = cy.page.locator("#made-secret").inner_text()

            bo.open("/")
            bo.page.locator("[data-number=accepted]").wait_for()
            ann.open("/people")
            ann.page.get_by_role("link", name="Bo", exact=True).click()
            ann.page.wait_for_url("**/people/2")
            ann.examine()
            ann.press("Disable")
            assert "The user is disabled" in ann.text()
            ended = "() => document.getElementById('live-state').innerText.includes('has ended')"
            bo.page.wait_for_function(ended, timeout=PATIENCE_MS)
            bo.open("/login")
            bo.allowed = "401"
            bo.page.get_by_label("E-mail address").fill("bo@example.com")
            bo.page.get_by_label("Password").fill(PASSWORD)
            bo.press("Sign in")
            assert "This address and password do not open the console" in bo.text()
            bo.examine()

        ann.open("/people/me")
        ann.examine()
        ann.page.get_by_label("Present password").fill(PASSWORD)
        ann.page.get_by_label("New password").fill(PASSWORD[::-1])
        ann.page.get_by_label("The same again").fill(PASSWORD[::-1])
        ann.press("Change the password")
        ann.open("/audit")
        ann.examine()
        ann.page.get_by_label("Who").select_option(label="Cy")
        ann.press("Show")
        assert "create import token" in ann.text()
        assert "invite user" not in ann.page.locator("tbody").inner_text()
        ann.press("Show all")
        with ann.page.expect_download() as saved:
            ann.page.get_by_role("link", name="Save as CSV").click()
        with saved.value.path().open(newline="") as file:
            rows = list(csv.DictReader(file))
    counts = Counter(row["action"] for row in rows)
    assert counts["add_user"] == counts["accept_invite"] == 3
    for action in ("disable_user", "set_password", "create_import_token", "create_source"):
        assert counts[action] == 1, action
    who = {row["action"]: (row["name"], row["address"]) for row in rows}
    assert who["disable_user"] == ("Ann", "127.0.0.1")
    assert who["create_import_token"] == ("Cy", "127.0.0.1")
    told = repr(rows)
    for hidden in (PASSWORD, secret, *(link.partition("=")[2] for link in links)):
        assert hidden not in told
