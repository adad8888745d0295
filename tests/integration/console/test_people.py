"""Users of the console: invited, signed in, given roles, disabled (console.md B.5 P17, B.9)."""

import hashlib
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.integration.console.visitor import Console, Page, Visitor

from treadle.console.access import has_role
from treadle.console.guess_limit import GUESS_SECONDS, GUESSES_MAX
from treadle.console.page_request import find_route
from treadle.console.pages import ROUTES
from treadle.people import passwords
from treadle.people.rules import require_admin_left
from treadle.store.model import ConsoleRole
from treadle.store.sessions import SESSIONS_MAX
from treadle.store.trail_event import ActorKind
from treadle.store.users import INVITE_US

PASSWORD = "a few plain words"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture(autouse=True)
def _quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cheap hash: its cost is tested where it is made."""
    monkeypatch.setattr(passwords, "COST", 2)
    slow = hashlib.scrypt

    def make(text: bytes, **parameters: Any) -> bytes:
        return slow(text, **{**parameters, "n": 2})

    monkeypatch.setattr(hashlib, "scrypt", make)


def invite(console: Console, email: str, role: str, by: Visitor | None = None) -> str:
    """Invite somebody by the page; return the path and query of the link."""
    admin = by or console.sign_in()
    answer = admin.post("/people", name=email.partition("@")[0], email=email, role=role)
    assert answer.status == 200, answer.words
    [link] = re.findall(r'id="made-link">([^<]+)<', answer.text)
    parts = urlsplit(unescape(link))
    return f"{parts.path}?{parts.query}"


def accept(console: Console, link: str, password: str = PASSWORD, **form: str) -> Visitor:
    """Follow a link of an invitation, and set a password."""
    visitor = Visitor(console)
    page = visitor.get(link, User_Agent=FIREFOX)
    assert page.status == 200, page.words
    sent = {"csrf": page.field("csrf"), "token": page.field("token"), "password": password,
            "again": password, **form}  # fmt: skip
    answer = visitor.send("POST", "/console/invite", sent, {"User-Agent": FIREFOX})
    assert (answer.status, answer.headers.get("location")) == (303, "/console"), answer.words
    return visitor


def join(console: Console, email: str, role: str, by: Visitor | None = None) -> Visitor:
    return accept(console, invite(console, email, role, by))


def type_password(visitor: Visitor, email: str, password: str, **form: str) -> Page:
    page = visitor.see("/login")
    sent = {"csrf": page.field("csrf"), "email": email, "password": password, **form}
    return visitor.send("POST", "/console/login", sent)


def is_in(visitor: Visitor) -> bool:
    return visitor.get("/console/help").status == 200


def test_the_first_user_is_an_admin_and_sets_a_password_once(console: Console) -> None:
    admin = console.sign_in()
    assert "No users: everybody signs in with an account token" in admin.see("/people").words
    assert "E-mail address" not in Visitor(console).see("/login").words
    refused = admin.post("/people", name="Ann", email="ann@example.com", role="viewer")
    assert refused.status == 400
    assert "People are not left without an admin" in refused.words
    assert refused.field("email") == "ann@example.com"
    link = invite(console, "ann@example.com", "admin", admin)
    assert link.split("=")[1] not in admin.see("/people").text
    assert "invited" in admin.see("/people").words
    ann = accept(console, link)
    assert is_in(ann)
    page = ann.see("/people")
    assert "Firefox on Linux" in page.words
    assert page.words.count("you") >= 1
    assert "ann" in ann.see("/help").words
    again = Visitor(console).get(link)
    assert again.status == 401
    assert "This invitation is not valid" in again.words
    assert "E-mail address" in again.words


def test_what_is_wrong_with_an_invitation_is_said(console: Console) -> None:
    link = invite(console, "ann@example.com", "admin")
    visitor = Visitor(console)
    page = visitor.get(link)
    for password, other, words in (
        ("short", "short", "at least 10 characters"),
        (PASSWORD, PASSWORD + "x", "The two passwords differ"),
        ("ann@example.com", "ann@example.com", "easy to guess"),
    ):
        sent = {"csrf": page.field("csrf"), "token": page.field("token"), "password": password,
                "again": other}  # fmt: skip
        answer = visitor.send("POST", "/console/invite", sent)
        assert answer.status == 400
        assert words in answer.words
        assert password not in answer.text.replace("ann@example.com", "")
    assert visitor.send("POST", "/console/invite", {**sent, "csrf": "x"}).status == 403
    console.now += INVITE_US
    assert visitor.get(link).status == 401
    user = console.store.users.list_users(console.account.id)[0]
    admin = console.sign_in()
    assert "invitation expired" in admin.see("/people").words
    answer = admin.post(f"/people/{user.id}", action="invite")
    [fresh] = re.findall(r'id="made-link">http://127.0.0.1:8484([^<]+)<', answer.text)
    assert is_in(accept(console, fresh))


def test_a_user_signs_in_by_address_and_password(console: Console) -> None:
    ann = join(console, "Ann@Example.com", "admin")
    assert ann.get("/console/logout").status == 404
    visitor = Visitor(console)
    answer = type_password(visitor, " ann@example.COM ", PASSWORD, next="/tables")
    assert (answer.status, answer.location) == (303, "/console/tables")
    assert "Ann" in visitor.see("/people/me").words
    assert console.uses == []
    newest = console.store.trail.list_events(limit=1)[0]
    assert (newest.action, newest.actor.kind, newest.actor.id) == (
        "open_session",
        ActorKind.PERSON,
        "1",
    )


@pytest.mark.parametrize("email", ["ann@example.com", "nobody@example.com"])
def test_a_wrong_password_says_the_same_as_no_such_user(console: Console, email: str) -> None:
    join(console, "ann@example.com", "admin")
    answer = type_password(Visitor(console), email, "wrong password")
    assert answer.status == 401
    assert "This address and password do not open the console." in answer.words
    assert "wrong password" not in answer.text


def test_who_guesses_a_password_waits_from_any_address(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    join(console, "ann@example.com", "admin")
    places = iter(f"192.0.2.{number}" for number in range(1, 200))
    monkeypatch.setattr("treadle.console.page_head.read_peer", lambda scope: next(places))
    for _ in range(GUESSES_MAX):
        assert type_password(Visitor(console), "ann@example.com", "no").status == 401
    answer = type_password(Visitor(console), "ANN@example.com", PASSWORD)
    assert answer.status == 429
    assert answer.headers["retry-after"] == "300"
    assert type_password(Visitor(console), "bo@example.com", "no").status == 401
    console.elapsed += GUESS_SECONDS
    assert type_password(Visitor(console), "ann@example.com", PASSWORD).status == 303


def test_a_disabled_user_is_out_at_once_and_comes_back(console: Console) -> None:
    ann = join(console, "ann@example.com", "admin")
    bo = join(console, "bo@example.com", "viewer", ann)
    assert ann.post("/people/2", action="disable").location == "/console/people/2?done=disabled"
    assert not is_in(bo)
    assert type_password(bo, "bo@example.com", PASSWORD).status == 401
    assert ann.post("/people/2", action="enable").status == 303
    assert type_password(bo, "bo@example.com", PASSWORD).status == 303
    assert ann.post("/people/2/delete").location == "/console/people?done=deleted"
    assert not is_in(bo)
    assert ann.get("/console/people/2").status == 404


def test_another_role_ends_the_sessions_of_the_old_one(console: Console) -> None:
    ann = join(console, "ann@example.com", "admin")
    bo = join(console, "bo@example.com", "viewer", ann)
    assert bo.get("/console/sources/new").status == 403
    assert ann.post("/people/2", action="role", role="operator").status == 303
    assert not is_in(bo)
    type_password(bo, "bo@example.com", PASSWORD)
    assert bo.get("/console/sources/new").status == 200
    event = next(e for e in console.store.trail.list_events() if e.action == "change_role")
    assert (event.detail["before"], event.detail["after"]) == (
        {"role": "viewer"},
        {"role": "operator"},
    )
    words = ann.see("/audit?action=change_role").words
    assert "role: viewer → operator" in words
    assert "ann person 1" in words


def test_the_last_admin_stays(console: Console) -> None:
    ann = join(console, "ann@example.com", "admin")
    join(console, "bo@example.com", "operator", ann)
    for form in ({"action": "role", "role": "viewer"}, {"action": "disable"}):
        answer = ann.post("/people/1", **form)
        assert answer.status == 400
        assert "People are not left without an admin" in answer.words
    assert ann.post("/people/1/delete").status == 400
    assert is_in(ann)
    assert ann.post("/people/2/delete").status == 303
    assert ann.post("/people/1/delete").status == 303
    assert not is_in(ann)
    assert "Add the first admin" in console.sign_in().see("/people").words


def test_the_own_password_is_changed_and_other_sessions_end(console: Console) -> None:
    ann = join(console, "ann@example.com", "admin")
    elsewhere = Visitor(console)
    type_password(elsewhere, "ann@example.com", PASSWORD)
    form = {"present": PASSWORD, "password": "other plain words", "again": "other plain words"}
    for wrong, words in (
        ({"present": "x"}, "The present password is another one"),
        ({"again": "y"}, "The two new passwords differ"),
        ({"password": "short", "again": "short"}, "at least 10 characters"),
    ):
        answer = ann.post("/people/me", **{**form, **wrong})
        assert answer.status == 400
        assert words in answer.words
    assert is_in(elsewhere)
    assert ann.post("/people/me", **form).location == "/console/people/me?done=password"
    assert is_in(ann)
    assert not is_in(elsewhere)
    assert type_password(elsewhere, "ann@example.com", PASSWORD).status == 401
    assert type_password(elsewhere, "ann@example.com", "other plain words").status == 303
    token = console.sign_in()
    assert "has no password" in token.see("/people/me").words
    assert token.post("/people/me", on="/help", **form).status == 400


def test_who_guesses_the_present_password_waits(console: Console) -> None:
    ann = join(console, "ann@example.com", "admin")
    form = {"password": "other plain words", "again": "other plain words"}
    for _ in range(GUESSES_MAX):
        assert ann.post("/people/me", present="no", **form).status == 400
    answer = ann.post("/people/me", present=PASSWORD, **form)
    assert (answer.status, answer.headers["retry-after"]) == (429, "300")
    assert "Wait 5 minutes" in answer.words
    assert type_password(Visitor(console), "ann@example.com", PASSWORD).status == 429
    console.elapsed += GUESS_SECONDS
    assert ann.post("/people/me", present=PASSWORD, **form).status == 303


def test_sessions_are_listed_and_ended_by_who_may(console: Console) -> None:
    ann = join(console, "ann@example.com", "admin")
    bo = join(console, "bo@example.com", "viewer", ann)
    cy = join(console, "cy@example.com", "viewer", ann)
    sessions = {one.user_id: one.id for one in console.store.sessions.list_sessions(1)}
    bo.post(f"/people/sessions/{sessions[3]}/end", on="/people/me")
    assert is_in(cy)
    answer = ann.post(f"/people/sessions/{sessions[3]}/end", on="/people")
    assert answer.location == "/console/people?done=ended"
    assert not is_in(cy)
    assert bo.see("/people/me").words.count("Firefox on Linux") == 1
    bo.post(f"/people/sessions/{sessions[2]}/end", on="/people/me")
    assert not is_in(bo)


def test_a_session_that_is_said_to_have_ended_has_ended(console: Console) -> None:
    ann = join(console, "ann@example.com", "admin")
    _, secret = console.store.users.add_user(
        None, "Cy", "cy@example.com", ConsoleRole.ADMIN, require_admin_left
    )
    cy = accept(console, f"/console/invite?token={secret}")
    other, _ = console.store.accounts.create_account("second")
    third, _ = console.store.accounts.create_account("third")
    opened = []
    for account_id in (other.id, other.id, *(third.id for _ in range(SESSIONS_MAX))):
        token = console.store.sessions.issue_link_token(account_id, ConsoleRole.VIEWER)
        made = console.store.sessions.open_session(token, "10.0.0.1")
        assert made is not None
        opened.append(made[0].id)
    theirs, oldest = opened[:2]
    listed = [one.id for one in console.store.sessions.list_sessions(None)]
    assert oldest not in listed

    def end(visitor: Visitor, session_id: int) -> str | None:
        return visitor.post(f"/people/sessions/{session_id}/end", on="/people").location

    # Of another account, for who sees one.
    assert end(ann, theirs) == "/console/people?done=over"
    assert console.store.sessions.list_open_sessions([theirs, oldest]) == {theirs, oldest}
    assert end(cy, oldest) == "/console/people?done=ended"
    assert end(cy, theirs) == "/console/people?done=ended"
    assert console.store.sessions.list_open_sessions([theirs, oldest]) == set()
    assert end(cy, oldest) == "/console/people?done=over"
    assert "Nothing was ended" in cy.see("/people?done=over").words


def test_an_admin_of_the_installation_goes_over_to_any_account(console: Console) -> None:
    other, _ = console.store.accounts.create_account("second")
    console.store.sources.create_source(
        other.id, type="import_api", display_name="Theirs", name="theirs", bootstrap_token=False
    )
    user, secret = console.store.users.add_user(
        None, "Cy", "cy@example.com", ConsoleRole.ADMIN, require_admin_left
    )
    cy = accept(console, f"/console/invite?token={secret}")
    assert "Theirs" not in cy.see("/sources").words
    assert cy.post("/accounts", account=str(other.id)).location == "/console/"
    assert "Theirs" in cy.see("/sources").words
    event = console.store.trail.list_events(limit=1)[0]
    assert (event.action, event.account_id, event.actor.id) == ("switch_account", 2, str(user.id))
    assert cy.post("/accounts", account="77").status == 404
    one = console.sign_in()
    assert one.get("/console/accounts").status == 404
    assert f"/people/{user.id}" not in one.see("/people").text
    assert one.get(f"/console/people/{user.id}").status == 404
    assert one.post("/people", name="X", email="x@example.com", role="admin",
                    all_accounts="1").status == 400  # fmt: skip


# Roles -------------------------------------------------------------------------------------------


def list_links(page: Page) -> Iterator[tuple[str, str]]:
    """Method and path below the console of each link and form of a page."""
    for tag in re.findall(r"<(?:a|form)\b[^>]*>", page.text):
        found = re.search(r'(?:href|action)="/console([^"#?]*)', tag)
        if found is not None:
            method = "POST" if tag.startswith("<form") and 'method="post"' in tag else "GET"
            yield method, unescape(found[1])


@pytest.mark.parametrize("role", list(ConsoleRole))
def test_pages_lead_only_where_a_role_may_go(console: Console, role: ConsoleRole) -> None:
    """Each page that a role reaches by links, and each link and form on it (B.9: hidden)."""
    source = console.store.sources.create_source(
        console.account.id, type="import_api", display_name="Shop", name="shop",
        bootstrap_token=False,
    )  # fmt: skip
    for _ in range(2):
        console.store.tokens.create_token(console.account.id, source.id)
    console.store.hooks.create_hook(console.account.id, "https://example.com/a")
    console.store.recipients.add_recipient(console.account.id, "ops@example.com")
    console.store.users.add_user(
        console.account.id, "Ann", "ann@example.com", ConsoleRole.ADMIN, require_admin_left
    )
    visitor = console.sign_in(role)
    secret = visitor.cookies["treadle_session"]
    session = console.store.sessions.find_session(secret)
    assert session is not None
    waiting, seen, wrong = ["/", "/help", "/sources"], set(), set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        page = visitor.get(f"/console{path}")
        if page.status == 303:
            waiting.append(page.location.removeprefix("/console").partition("?")[0] or "/")
            continue
        assert page.status == 200, (path, page.status)
        for method, target in list_links(page):
            found = find_route(ROUTES, target)
            if found is None:
                assert target.startswith(("/static/", "/logout", "/login")), (path, target)
                continue
            route = found[0]
            wanted = route.role if method == "GET" else route.act_role or route.role
            if not has_role(session, wanted):
                wrong.add(f"{path} has {method} {target}")
            elif method == "GET":
                waiting.append(target)
    assert not wrong
    assert len(seen) > 12


def test_the_settings_of_the_server_are_shown_to_who_sees_all_of_it(console: Console) -> None:
    admin = console.sign_in()
    assert "mail server" in admin.see("/settings").text
    other, _ = console.store.accounts.create_account("second")
    _, secret = console.store.users.add_user(
        None, "Ann", "ann@example.com", ConsoleRole.ADMIN, lambda *_: None
    )
    link = f"/console/invite?token={secret}"
    assert "mail server" in accept(console, link).see("/settings").text
    token = console.store.sessions.issue_link_token(other.id, ConsoleRole.ADMIN)
    tenant = Visitor(console)
    tenant.get(f"/console/login?ephemeral_token={token}")
    for visitor in (admin, tenant):
        for path in ("/settings", "/settings?set=1"):
            page = visitor.get(f"/console{path}")
            assert page.status == 403
            assert "has several accounts" in page.words
            assert "mail server" not in page.text
