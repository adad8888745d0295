"""What another site, a bearer token and a role without rights cannot do (console.md B.9)."""

import asyncio
import gzip
import re
from typing import Any

import pytest
from tests.integration.console.visitor import Console, Visitor

from treadle.console.app import CONTENT_SECURITY_POLICY
from treadle.console.page_request import ConsolePlaces
from treadle.console.pages import ROUTES
from treadle.store.model import ConsoleRole

FORM = {"display_name": "Shop"}


def count_sources(console: Console) -> int:
    return len(console.store.sources.list_sources())


def test_a_form_of_another_origin_changes_nothing(console: Console) -> None:
    visitor = console.sign_in()
    csrf = visitor.see("/sources/new").field("csrf")
    form = {**FORM, "csrf": csrf}
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
        {"Sec-Fetch-Site": ""},
    ):
        answer = visitor.send("POST", "/console/sources/new", form, headers)
        assert answer.status == 403
    assert (count_sources(console), console.changes) == (0, 0)
    allowed = {"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:8484"}
    assert visitor.send("POST", "/console/sources/new", form, allowed).status == 303
    assert (count_sources(console), console.changes) == (1, 1)


def test_a_form_without_the_token_of_the_session_changes_nothing(console: Console) -> None:
    visitor, other = console.sign_in(), console.sign_in()
    stale = other.see("/sources/new").field("csrf")
    for form in (FORM, {**FORM, "csrf": ""}, {**FORM, "csrf": stale}):
        answer = visitor.send("POST", "/console/sources/new", form)
        assert answer.status == 403
        assert "Open the page again" in answer.words
    assert count_sources(console) == 0
    csrf = visitor.see("/sources/new").field("csrf")
    headers = {"X-CSRF-Token": csrf}
    assert visitor.send("POST", "/console/sources/new", FORM, headers).status == 303


def test_a_stranger_sends_no_large_form(console: Console) -> None:
    """Nothing of a form is read for who has no session, and 16 KB at most of one to sign in."""
    for path, status, most in (("/sources/new", 401, 0), ("/login", 413, 17), ("/invite", 413, 17)):
        read, (start, *_) = send_parts(console, path, [b"x" * 1024] * 1024)
        assert (start["status"], (b"connection", b"close") in start["headers"]) == (status, True)
        assert read <= most, path
    read, (start, *_) = send_parts(console, "/sources/new", [b"x"], (b"content-length", b"1"))
    assert (start["status"], read) == (401, 0)
    assert b"connection" not in dict(start["headers"])
    packed = gzip.compress(b"a=" + b"%41" * 1000)
    for path in ("/login", "/invite"):
        read, (start, *_) = send_parts(console, path, [packed], (b"content-encoding", b"gzip"))
        assert (start["status"], read) == (415, 0)
    headers = {"Content-Encoding": "gzip"}
    assert console.sign_in().send("POST", "/console/sources/new", FORM, headers).status == 415


def send_parts(
    console: Console, path: str, parts: list[bytes], *headers: tuple[bytes, bytes]
) -> tuple[int, list[Any]]:
    """Return how many parts of a body were asked for, and the messages of the answer."""
    left, sent = list(parts), []
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": f"/console{path}",
        "raw_path": f"/console{path}".encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8484"), (b"sec-fetch-site", b"same-origin"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8484),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(console.app(scope, receive, send))
    return len(parts) - len(left), sent


def test_too_many_fields_are_refused_with_a_page(console: Console) -> None:
    for path in ("/login", "/help", "/static/console.css"):
        answer = Visitor(console).get(f"/console{path}?" + "&" * 1001)
        assert (answer.status, answer.heading) == (400, "This cannot be done")
    form = dict.fromkeys(map(str, range(1001)), "")
    assert console.sign_in().send("POST", "/console/sources/new", form).status == 400


def test_get_changes_nothing(console: Console) -> None:
    visitor = console.sign_in()
    revision = console.store.get_revision()
    csrf = visitor.see("/help").field("csrf")
    query = f"csrf={csrf}&display_name=Shop&step=source&theme=dark&action=add&confirm=x"
    for route in ROUTES:
        answer = visitor.get(f"/console{route.pattern}?{query}".replace("{", "").replace("}", ""))
        assert answer.status in (200, 303, 400, 404, 405)
    visitor.get(f"/console/logout?{query}")
    assert console.store.get_revision() == revision
    assert visitor.get("/console/help").status == 200
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert visitor.send(method, "/console/sources/new", FORM).status in (403, 405)


def test_a_bearer_token_opens_no_page(console: Console) -> None:
    visitor = Visitor(console)
    answer = visitor.get("/console/sources", Authorization=f"Bearer {console.token}")
    assert (answer.status, answer.location) == (303, "/console/login?next=%2Fsources")


def test_every_page_forbids_what_is_not_ours(console: Console) -> None:
    visitor = console.sign_in()
    for path in ("/login", "/help", "/nothing", "/static/console.css"):
        headers = visitor.get(f"/console{path}").headers
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert headers["cross-origin-opener-policy"] == "same-origin"
    assert visitor.get("/console/help").headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in visitor.get("/console/help").headers


def test_files_of_pages_are_ours_and_kept_by_browsers(console: Console) -> None:
    visitor = Visitor(console)
    page = visitor.see("/login").text
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    style = visitor.get("/console/static/console.css?abc")
    assert "immutable" in style.headers["cache-control"]
    assert len(style.text) < 30_000
    script = visitor.get("/console/static/console.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert len(script.text) < 16_384
    for bad in ("nothing.js", "../app.py", "..%2Fapp.py", ""):
        assert visitor.get(f"/console/static/{bad}").status in (303, 404)


@pytest.mark.parametrize("role", list(ConsoleRole))
def test_each_role_may_what_it_may(console: Console, role: ConsoleRole) -> None:
    ranks = list(ConsoleRole)
    visitor = console.sign_in(role)
    csrf = visitor.see("/help").field("csrf")
    for route in ROUTES:
        path = "/console" + route.pattern.replace("{", "").replace("}", "")
        may_see = ranks.index(role) >= ranks.index(route.role)
        if route.show is not None:
            assert (visitor.get(path).status == 403) is not may_see, route.pattern
        if route.act is not None or route.task is not None:
            may_act = ranks.index(role) >= ranks.index(route.act_role or route.role)
            answer = visitor.send("POST", path, {"csrf": csrf})
            assert (answer.status == 403) is not may_act, route.pattern


def test_links_that_a_role_may_not_follow_are_not_shown(console: Console) -> None:
    assert "/console/audit" not in console.sign_in(ConsoleRole.OPERATOR).see("/help").text
    assert "/console/audit" in console.sign_in(ConsoleRole.ADMIN).see("/help").text


def test_another_account_has_nothing_of_this_one(console: Console) -> None:
    source = console.store.sources.create_source(
        console.account.id,
        type="import_api",
        display_name="Mine",
        name="mine",
        bootstrap_token=True,
    )
    hook = console.store.hooks.create_hook(console.account.id, "https://example.com/a")
    other, _ = console.store.accounts.create_account("second")
    token = console.store.sessions.issue_link_token(other.id, ConsoleRole.ADMIN)
    visitor = Visitor(console)
    visitor.get(f"/console/login?ephemeral_token={token}")
    for path in (
        f"/sources/{source.id}",
        f"/sources/{source.id}/tokens",
        f"/sources/{source.id}/delete",
        f"/hooks/{hook.id}",
        f"/destinations/{console.destination.id}",
        "/loads/x",
        "/sources/0",
        "/sources/99999999999999999999",
        "/hooks/x",
    ):
        answer = visitor.get(f"/console{path}")
        assert answer.status == 404, path
    assert "Mine" not in visitor.see("/sources").text
    csrf = visitor.see("/help").field("csrf")
    for path in (f"/sources/{source.id}/delete", "/tokens/1/revoke", f"/hooks/{hook.id}"):
        form = {"csrf": csrf, "confirm": "mine", "action": "delete"}
        visitor.send("POST", f"/console{path}", form)
    assert console.store.sources.list_sources(console.account.id)[0].deleted_at is None
    assert console.store.accounts.find_token_holder(console.token) is not None
    assert console.store.hooks.find_hook(console.account.id, hook.id) is not None


def test_a_path_revokes_only_tokens_of_its_own_kind_and_source(console: Console) -> None:
    for name in ("web", "shop"):
        console.store.sources.create_source(
            console.account.id,
            type="import_api",
            display_name=name,
            name=name,
            bootstrap_token=True,
        )
    web, shop = console.store.sources.list_sources(console.account.id)
    [token] = console.store.tokens.list_tokens(web.id)
    visitor = Visitor(console)
    visitor.get(console.link(ConsoleRole.OPERATOR))
    csrf = visitor.see(f"/sources/{web.id}/tokens").field("csrf")
    account_token = console.store.accounts.find_token_holder(console.token)
    assert account_token is not None
    for path in (
        f"/sources/{web.id}/tokens/{account_token.token_id}/revoke",
        f"/sources/{shop.id}/tokens/{token.id}/revoke",
        f"/sources/{web.id}/tokens/x/revoke",
    ):
        assert visitor.send("POST", f"/console{path}", {"csrf": csrf}).status == 404, path
    # Of an account's own path only account tokens are revoked, also by an admin.
    admin = console.sign_in()
    assert admin.post(f"/tokens/{token.id}/revoke", on="/tokens").status == 400
    assert console.store.accounts.find_token_holder(console.token) is not None
    assert [one.id for one in console.store.tokens.list_tokens(web.id)] == [token.id]
    events = console.store.trail.list_events(limit=20)
    assert not [
        one for one in events if one.action == "revoke_account_token" and one.outcome == "done"
    ]
    path = f"/console/sources/{web.id}/tokens/{token.id}/revoke"
    assert visitor.send("POST", path, {"csrf": csrf}).status == 303
    assert console.store.tokens.list_tokens(web.id) == []


def test_behind_a_proxy_all_paths_have_its_prefix(console: Console) -> None:
    places = ConsolePlaces.parse("/console", "https://data.example.com/data/treadle/")
    object.__setattr__(console.services, "places", places)
    visitor = Visitor(console, "https://127.0.0.1:8484")
    answer = visitor.get(console.link())
    assert answer.location == "/data/treadle/console"
    assert "Path=/data/treadle/console" in answer.headers["set-cookie"]
    page = visitor.see("/help")
    paths = set(re.findall(r'(?:href|src|action)="([^"]+)"', page.text))
    assert all(one.startswith(("/data/treadle/", "#")) for one in paths)
    headers = {"Sec-Fetch-Site": "", "Origin": "https://data.example.com"}
    form = {"csrf": page.field("csrf"), **FORM}
    assert visitor.send("POST", "/console/sources/new", form, headers).status == 303
