"""How a session begins and ends (console.md B.5 P0, B.9; connect-rest.md A.2.8)."""

import logging

import pytest
from tests.integration.console.visitor import Console, Page, Visitor

from treadle.console.guess_limit import GUESS_SECONDS, GUESSES_MAX
from treadle.http.hosts import AllowedHosts
from treadle.store.model import ConsoleRole
from treadle.store.sessions import HOUR_US, IDLE_US, SESSION_US
from treadle.store.tokens import TokenFilter
from treadle.store.trail_event import ActorKind, StoreActor

ACCOUNT_TOKENS = TokenFilter(("account",))


def type_token(visitor: Visitor, token: str, **form: str) -> Page:
    page = visitor.see("/login")
    return visitor.send(
        "POST", "/console/login", {"csrf": page.field("csrf"), "token": token, **form}
    )


def is_in(visitor: Visitor) -> bool:
    answer = visitor.get("/console/help")
    assert answer.status in (200, 303)
    return answer.status == 200


def test_an_account_token_signs_in_and_leads_to_the_page_that_was_wanted(console: Console) -> None:
    visitor = Visitor(console)
    asked = visitor.get("/console/tables?q=a%20b")
    assert (asked.status, asked.location) == (
        303,
        "/console/login?next=%2Ftables%3Fq%3Da%2520b",
    )
    page = visitor.see("/login?next=%2Ftables%3Fq%3Da%2520b")
    assert page.field("next") == "/tables?q=a%20b"
    answer = type_token(visitor, f" {console.token}\n", next=page.field("next"))
    assert (answer.status, answer.location) == (303, "/console/tables?q=a%20b")
    assert is_in(visitor)
    [cookie] = [
        one for one in answer.headers.get_list("set-cookie") if one.startswith("treadle_session")
    ]
    assert cookie.partition("; ")[2] == "Max-Age=43200; Path=/console; HttpOnly; SameSite=Strict"
    secret = cookie.partition("=")[2].partition(";")[0]
    session = console.store.sessions.find_session(secret)
    assert session is not None
    assert (session.role, session.opened_from, len(secret)) == (ConsoleRole.ADMIN, "127.0.0.1", 64)
    assert console.uses == [1]


def test_a_wrong_token_is_explained_and_another_kind_is_none(console: Console) -> None:
    source = console.store.sources.create_source(
        console.account.id, type="import_api", display_name="a", name="a", bootstrap_token=True
    )
    [push] = console.store.tokens.list_tokens(source.id)
    visitor = Visitor(console)
    for wrong in ("", "ac_x", push.secret or "", console.token.upper()):
        answer = type_token(visitor, wrong)
        assert answer.status == 401
        assert "This is no account token of this server. It begins with ac_" in answer.words
        assert "www-authenticate" not in answer.headers
    assert not is_in(visitor)


def test_a_browser_without_cookies_is_told_so(console: Console) -> None:
    visitor = Visitor(console)
    page = visitor.see("/login")
    visitor.cookies.clear()
    form = {"csrf": page.field("csrf"), "token": console.token}
    answer = visitor.send("POST", "/console/login", form)
    assert answer.status == 400
    assert "allow cookies" in answer.words
    assert "Nothing is wrong with the token" in answer.words


def test_a_form_of_another_browser_signs_nobody_in(console: Console) -> None:
    theirs, ours = Visitor(console), Visitor(console)
    page = theirs.see("/login")
    ours.see("/login")
    form = {"csrf": page.field("csrf"), "token": console.token}
    assert ours.send("POST", "/console/login", form).status == 403
    assert not is_in(ours)


def test_who_guesses_has_to_wait_and_others_do_not(console: Console) -> None:
    visitor = Visitor(console)
    for _ in range(GUESSES_MAX):
        assert type_token(visitor, "ac_guess").status == 401
    answer = type_token(visitor, console.token)
    assert answer.status == 429
    assert "Wait 5 minutes" in answer.words
    assert visitor.get(console.link()).status == 429
    console.elapsed += GUESS_SECONDS
    assert type_token(visitor, console.token).status == 303


def test_a_link_signs_in_once(console: Console) -> None:
    link = console.link(ConsoleRole.OPERATOR)
    visitor = Visitor(console)
    answer = visitor.get(link)
    assert (answer.status, answer.location, answer.text) == (303, "/console", "")
    assert is_in(visitor)
    again = Visitor(console)
    refused = again.get(link)
    assert refused.status == 401
    assert "This link is not valid. It was used already" in refused.words
    assert "treadle_session" not in again.cookies


@pytest.mark.parametrize("path", ["/login?ephemeral_token=", "/invite?token="])
def test_a_part_of_another_page_cannot_keep_somebody_from_signing_in(
    console: Console, path: str
) -> None:
    for kind in ("image", "iframe", "empty", "script") * GUESSES_MAX:
        headers = {"Sec-Fetch-Dest": kind, "Sec-Fetch-Site": "cross-site"}
        answer = Visitor(console).send("GET", f"/console{path}x", headers=headers)
        assert answer.status == 400
    link = console.link()
    assert Visitor(console).send("GET", link, headers={"Sec-Fetch-Dest": "image"}).status == 400
    assert Visitor(console).send("GET", link, headers={"Sec-Fetch-Dest": "document"}).status == 303


def test_what_is_no_such_link_is_refused(console: Console) -> None:
    link = console.link()
    token = link.partition("=")[2]
    for query in ("", "x", token + "0", "%00", f"{token}&ephemeral_token={token}"):
        assert Visitor(console).get(f"/console/login?ephemeral_token={query}").status == 401
    assert Visitor(console).send("HEAD", link).status == 200  # it uses nothing up
    console.now += HOUR_US
    assert Visitor(console).get(link).status == 401


def test_over_tls_the_cookie_never_goes_over_anything_else(console: Console) -> None:
    visitor = Visitor(console, "https://127.0.0.1:8484")
    answer = visitor.get(console.link())
    cookies = answer.headers.get_list("set-cookie")
    assert all(one.startswith("__Secure-treadle_") for one in cookies)
    assert all(one.endswith("; SameSite=Strict; Secure") for one in cookies)
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert is_in(visitor)


def test_a_page_in_clear_over_the_network_warns(console: Console) -> None:
    assert "in clear" in Visitor(console, "http://192.0.2.1").see("/login").words
    for base in ("http://localhost:8484", "http://[::1]", "https://192.0.2.1"):
        assert "in clear" not in Visitor(console, base).see("/login").words


def test_a_link_of_another_site_goes_through_a_page_of_ours(console: Console) -> None:
    visitor = Visitor(console)
    answer = visitor.get("/console/loads?failed=1", Sec_Fetch_Site="cross-site")
    assert answer.status == 200
    assert '<meta http-equiv="refresh" content="0;url=/console/loads?failed=1">' in answer.text


def test_a_session_ends_after_twelve_hours_or_two_without_a_request(console: Console) -> None:
    visitor = console.sign_in()
    for _ in range(6):
        console.now += IDLE_US - 1
        assert is_in(visitor)
    console.now += SESSION_US - 6 * (IDLE_US - 1)
    assert not is_in(visitor)
    idle = console.sign_in()
    console.now += IDLE_US
    assert not is_in(idle)


def test_streams_do_not_keep_a_session(console: Console) -> None:
    visitor = console.sign_in()
    console.now += IDLE_US - 1
    assert visitor.get("/console/regions?topics=overview").status == 200
    console.now += 1
    assert visitor.get("/console/regions?topics=overview").status == 401


@pytest.mark.parametrize("how", ["revoke", "expire"])
def test_a_session_ends_with_its_account_token(console: Console, how: str) -> None:
    visitor = console.sign_in()
    if how == "revoke":
        console.store.tokens.end_token(ACCOUNT_TOKENS, 1)
    else:
        console.store.tokens.expire_token(ACCOUNT_TOKENS, 1, console.now)
    assert not is_in(visitor)


def test_signing_out_ends_the_session_everywhere(console: Console) -> None:
    visitor = console.sign_in()
    thief = Visitor(console, cookies=dict(visitor.cookies))
    assert is_in(thief)
    answer = visitor.post("/logout", on="/help")
    assert (answer.status, answer.location) == (303, "/console/login?done=signed-out")
    assert "treadle_session" not in visitor.cookies
    assert not is_in(thief)
    assert "You are signed out" in visitor.see("/login?done=signed-out").words


def test_a_new_sign_in_ends_the_former_session_of_the_browser(console: Console) -> None:
    visitor = console.sign_in()
    former = Visitor(console, cookies=dict(visitor.cookies))
    assert visitor.get(console.link()).status == 303
    assert is_in(visitor)
    assert not is_in(former)


def test_the_console_is_there_under_known_names_only(console: Console) -> None:
    console.app._hosts = AllowedHosts.parse("127.0.0.1", "treadle.example.com")
    assert Visitor(console, "http://treadle.example.com").get("/console/login").status == 200
    answer = Visitor(console, "http://evil.example").get(console.link())
    assert answer.status == 421
    assert "allowed_hosts" in answer.words


def test_the_trail_says_who_made_and_who_used_a_link(console: Console) -> None:
    console.sign_in()
    opened, made = console.store.trail.list_events(limit=2)
    assert (made.action, opened.action) == ("create_ephemeral_token", "open_session")
    assert opened.actor == StoreActor(ActorKind.ACCOUNT_TOKEN, "1", "127.0.0.1")
    assert opened.detail == {"ephemeral_token_id": int(made.target.id or 0), "role": "admin"}


def test_no_secret_is_logged_or_kept(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "treadle")
    link = console.link()
    visitor = Visitor(console)
    visitor.get(link)
    type_token(Visitor(console), console.token)
    told = "".join(record.getMessage() for record in caplog.records if record.name[:7] == "treadle")
    assert "opened session 1" in told
    kept = console.path.read_bytes()
    for secret in (link.partition("=")[2], visitor.cookies["treadle_session"], console.token):
        assert secret not in told
        assert secret.encode() not in kept
