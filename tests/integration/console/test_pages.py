"""Each page shows what is there, does what it says, and takes hostile text as text."""

import json
import re
import shlex
from html import unescape
from urllib.parse import quote, urlencode

import pytest
from tests.integration.console.visitor import Console, Visitor
from tests.loads import load as make_load

from treadle.cli.main import build_parser
from treadle.console.pages import ROUTES
from treadle.people.rules import require_admin_left
from treadle.store.model import ConsoleRole, EntryOutcome, RecordRejection, Source
from treadle.store.rejects import RejectQuery
from treadle.store.token_rules import TokenRequest

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\0\u202e\ud800\u2028end"


@pytest.fixture
def visitor(console: Console) -> Visitor:
    console.store.sessions.leave_guide(console.account.id)  # by the server itself
    return console.sign_in()


def make_source(console: Console, display_name: str = "Shop", name: str = "shop") -> Source:
    return console.store.sources.create_source(
        console.account.id,
        type="import_api",
        display_name=display_name,
        name=name,
        bootstrap_token=False,
    )


def test_a_source_is_created_with_its_name_shown_before(visitor: Visitor, console: Console) -> None:
    assert "web_shop" in visitor.see("/sources/preview?value=Web%20Shop").words
    assert "cannot be used" in visitor.see("/sources/preview?value=123").words
    assert "cannot be used" in visitor.see("/sources/preview?value=%F0%9F%A7%B5").words
    answer = visitor.post("/sources/new", display_name="Web Shop")
    [source] = console.store.sources.list_sources(console.account.id)
    assert (answer.status, answer.location) == (303, f"/console/sources/{source.id}?done=created")
    assert (source.name, source.display_name) == ("web_shop", "Web Shop")
    assert (
        "The source Web Shop has this name" in visitor.see("/sources/preview?value=web-shop").words
    )
    taken = visitor.post("/sources/new", display_name="web shop")
    assert taken.status == 400
    assert 'role="alert"' in taken.text
    assert taken.field("display_name") == "web shop"
    for wrong in ("   ", "123", ""):
        assert visitor.post("/sources/new", display_name=wrong).status == 400
    assert visitor.post("/sources/new", display_name="B", name="Not legal").status == 400
    assert "Web Shop" in visitor.see("/sources").words


def test_a_source_is_renamed_paused_unpaused_and_deleted(
    visitor: Visitor, console: Console
) -> None:
    source = make_source(console)
    page = f"/sources/{source.id}/settings"

    def now() -> Source:
        found = console.store.sources.get_source(console.account.id, source.id)
        assert found is not None
        return found

    assert visitor.post(page, action="rename", display_name="New name").status == 303
    assert now().display_name == "New name"
    assert visitor.post(page, action="rename", display_name=" ").status == 400
    assert visitor.post(page, action="pause").status == 303
    assert now().paused_at == console.now
    assert "Unpause" in visitor.see(page).words
    assert visitor.post(page, action="unpause").status == 303
    assert now().paused_at is None
    move = visitor.post(page, action="move", destination_id=str(console.destination.id))
    assert move.status == 303
    assert now().destination_id == console.destination.id
    assert visitor.post(page, action="move", destination_id="").status == 303
    assert now().destination_id is None
    assert visitor.post(page, action="other").status == 400

    ask = f"/sources/{source.id}/delete"
    refused = visitor.post(ask, confirm="Shop")
    assert refused.status == 400
    assert "nothing was deleted" in refused.words
    assert now().deleted_at is None
    assert visitor.post(ask, confirm="shop").location == "/console/sources?done=deleted"
    assert now().deleted_at is not None
    assert "Show 1 deleted source" in visitor.see("/sources").words
    assert "New name" in visitor.see("/sources?deleted=1").words

    actions = [event.action for event in console.store.trail.list_events(limit=6)]
    assert actions == [
        "delete_source", "move_source", "move_source", "unpause_source", "pause_source",
        "change_source",
    ]  # fmt: skip
    audit = visitor.see("/audit").words
    assert "delete source" in audit
    assert "account token 1" in audit


def test_an_option_is_set_and_taken_back(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    page = f"/sources/{source.id}/options"
    assert visitor.post(page, option="loading_behavior", value="append").status == 303
    assert console.store.sources.get_settings(source.id) == {
        "options": {"loading_behavior": "append"}
    }
    assert "Take back" in visitor.see(page).words
    assert visitor.post(page, option="loading_behavior", value="").status == 303
    assert console.store.sources.get_settings(source.id).get("options", {}) == {}
    for option, value in (("loading_behavior", "x"), ("nothing", "1"), ("max_nesting", "-1")):
        assert visitor.post(page, option=option, value=value).status == 400


def test_a_token_is_shown_once_and_rotated(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    page = f"/sources/{source.id}/tokens"
    made = visitor.post(page)
    [secret] = re.findall(r'id="made-secret">(at_[0-9a-f]+)<', made.text)
    for other in (page, "/tokens", f"/sources/{source.id}", "/audit"):
        assert secret not in visitor.see(other).text
    assert secret not in made.headers.get("location", "")
    assert "only token" in visitor.see(page).words
    assert visitor.post(page).status == 200
    full = visitor.post(page)
    assert full.status == 400
    assert "Token 2 was not used for longer" in full.words
    [first, second] = console.store.tokens.list_tokens(source.id)
    console.store.tokens.record_first_use(first.id, console.now)
    console.now += 25 * 3_600_000_000
    visitor = console.sign_in()
    console.store.tokens.record_first_use(second.id, console.now)
    assert "Revoke token 2" in visitor.see(page).words
    ask = f"{page}/{first.id}/revoke"
    assert "safe to revoke" in visitor.see(ask).words
    assert visitor.post(ask).location == f"/console{page}?done=revoked"
    assert [one.id for one in console.store.tokens.list_tokens(source.id)] == [second.id]
    assert visitor.get(f"/console{ask}").status == 303
    assert "only token" in visitor.see(f"{page}/{second.id}/revoke").words


def test_an_account_token_is_made_and_revoked(visitor: Visitor, console: Console) -> None:
    made = visitor.post("/tokens", description="for CI")
    [secret] = re.findall(r'id="made-secret">(ac_[0-9a-f]+)<', made.text)
    assert console.store.accounts.find_token_holder(secret) is not None
    again = visitor.see("/tokens")
    assert secret not in again.text
    assert "for CI" in again.words
    assert "this session" in again.words
    assert visitor.post("/tokens/2/revoke").status == 303
    assert console.store.accounts.find_token_holder(secret) is None
    warned = visitor.see("/tokens/1/revoke").words
    assert "Your session came from this token" in warned
    assert "It is the only one of the account" in warned
    assert visitor.post("/tokens/1/revoke").status == 303
    assert visitor.get("/console/help").status == 303


def test_a_hook_is_made_changed_and_deleted(visitor: Visitor, console: Console) -> None:
    assert visitor.post("/hooks", url="http://example.com/a").status == 400
    made = visitor.post("/hooks", url="https://example.com/services/secret/path")
    assert made.status == 303
    [hook] = console.store.hooks.list_hooks(console.account.id)
    page = f"/hooks/{hook.id}"
    assert "https://example.com/serv..." in visitor.see("/hooks").words
    assert "secret/path" not in visitor.see(page).text
    for action, shown in (("disable", "disabled"), ("enable", "enabled"), ("pause", "paused"),
                          ("unpause", "enabled")):  # fmt: skip
        assert visitor.post(page, action=action).status == 303
        assert shown in visitor.see(page).words
    assert visitor.post(page, action="sign", secret="short").status == 400
    assert visitor.post(page, action="sign", secret="0123456789abcdef").status == 303
    assert "Deliveries are signed" in visitor.see(page).words
    assert visitor.post(f"{page}/resend", on=page, expected="0").status == 303
    assert visitor.post(page, action="send-again", delivery="none").status == 400
    assert visitor.post(page, action="nothing").status == 400
    assert visitor.post(page, on=f"{page}/delete", action="delete").location == (
        "/console/hooks?done=deleted"
    )
    assert console.store.hooks.list_hooks(console.account.id) == []


def test_recipients_are_added_disabled_enabled_and_removed(
    visitor: Visitor, console: Console
) -> None:
    assert visitor.post("/recipients", action="add", email_address="no").status == 400
    assert visitor.post("/recipients", action="add", email_address="a@example.com").status == 303
    for action, shown in (("disable", "disabled"), ("enable", "gets mails")):
        assert visitor.post("/recipients", action=action, recipient="1").status == 303
        assert shown in visitor.see("/recipients").words
    assert visitor.post("/recipients", action="remove", recipient="1").status == 303
    assert visitor.post("/recipients", action="remove", recipient="1").status >= 400
    assert console.store.recipients.list_recipients(console.account.id) == []


def test_a_destination_is_checked_and_deleted(visitor: Visitor, console: Console) -> None:
    page = f"/destinations/{console.destination.id}"
    assert console.destination.name in visitor.see("/destinations").words
    assert visitor.post(f"{page}/check", on=page).location == f"/console{page}?done=checked"
    check = console.store.checks.find_last_check(console.destination.id)
    assert check is not None
    assert "running" in visitor.see(page).words
    assert visitor.post(f"{page}/delete", confirm="x").status == 400
    answer = visitor.post(f"{page}/delete", confirm=console.destination.name)
    assert answer.location == "/console/destinations?done=deleted"
    assert visitor.get(f"/console{page}").status == 404


def test_preferences_are_kept_in_cookies_and_lead_back(visitor: Visitor) -> None:
    answer = visitor.post("/preferences", on="/help", theme="dark", back="/tables?q=a")
    assert (answer.status, answer.location) == (303, "/console/tables?q=a")
    assert 'data-theme="dark"' in visitor.see("/help").text
    visitor.post("/preferences", on="/help", live="off", keys="off", theme="pink", back="//evil")
    page = visitor.see("/").text
    assert 'data-live="off"' in page
    assert 'data-keys="off"' in page
    assert 'data-theme="dark"' in page
    assert ">Refresh</a>" in page


def test_the_guide_leads_to_a_source_and_a_token(console: Console) -> None:
    visitor = console.sign_in()
    assert visitor.get("/console/").location == "/console/start"
    page = visitor.see("/start")
    assert "Make the source" in page.words
    made = visitor.post("/start", step="source", display_name="My data")
    assert made.status == 200
    [token] = set(re.findall(r"at_[0-9a-f]{20,}", made.text))
    assert f"Authorization: Bearer {token}" in unescape(made.text)
    assert "http://127.0.0.1:8484/v2/import/push" in made.words
    again = visitor.see("/start?tool=httpx")
    assert token not in again.text
    assert "YOUR_TOKEN" in again.words
    sent = visitor.send(
        "POST", "/console/start", {"csrf": again.field("csrf"), "step": "send", "token": token}
    )
    assert "answered 201" in sent.words
    [(used, body)] = console.pushed
    assert used == token
    assert json.loads(body)[0]["table_name"] == "customers"
    assert json.loads(body)[0]["sequence"] == console.now * 1000  # nanoseconds, as in each snippet
    assert f'"sequence":{console.now * 1000}' in unescape(made.text)
    console.now += 61_000_000
    assert "Nothing has arrived for a minute" in visitor.see("/start").words
    assert "127.0.0.1, so only programs on this machine" in visitor.see("/start").words
    assert visitor.post("/start", step="leave").location == "/console/"
    assert visitor.get("/console/").status == 200


def test_a_token_has_a_note_and_an_account_token_is_disabled(
    visitor: Visitor, console: Console
) -> None:
    source = make_source(console)
    page = f"/sources/{source.id}/tokens"
    assert visitor.post(page, description="of the <b>till</b>").status == 200
    assert "of the <b>till</b>" in visitor.see(page).words
    assert visitor.post(f"{page}/2", description="x" * 300).status == 400
    assert visitor.post(f"{page}/2", description="of nobody").location.endswith("?done=noted")
    told = visitor.see(f"{page}/2").text
    assert "of nobody" in told
    assert "Requests with token 2 in each hour of the last 7 days" in told
    assert visitor.get(f"/console{page}/1").status == 404
    visitor.post("/tokens", description="CI")
    for action, words in (
        ("disable", "The token is disabled"),
        ("enable", "The token is enabled"),
        ("note", "The note is changed"),
    ):
        done = visitor.post("/tokens/3", on="/tokens", action=action, description="of CI")
        assert words in visitor.see(done.location.removeprefix("/console")).words
    assert visitor.post("/tokens/3", on="/tokens", action="other").status == 400
    assert visitor.post("/tokens/99", on="/tokens", action="disable").status == 400


def test_the_trail_is_chosen_and_saved(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    visitor.post(f"/sources/{source.id}/settings", action="rename", display_name="New")
    page = visitor.see("/audit?action=change_source&actor=account_token+1&outcome=")
    assert "display name: Shop → New" in page.words
    assert "create source" not in page.text.partition("<tbody>")[2]
    assert "/console/audit.csv?action=change_source&amp;actor=account_token+1" in page.text
    saved = visitor.see("/audit.csv?action=change_source")
    assert saved.headers["content-type"] == "text/csv; charset=utf-8"
    assert saved.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    head, line, end = saved.text.split("\r\n")
    assert (head.count(","), end) == (12, "")
    assert '"{""display_name"": ""Shop""}","{""display_name"": ""New""}"' in line
    for wrong in ("action=x", "actor=x", "from=yesterday", "before=x"):
        answer = visitor.get(f"/console/audit?{wrong}")
        assert answer.status == 400
        assert "Nothing was chosen by it" in answer.words
    assert visitor.get("/console/audit.csv?from=x").status == 400
    for number in range(60):
        console.store.sources.update_source(None, source.id, display_name=f"name {number}")
    older = re.search(
        r'href="/console(/audit\?[^"]*before=[^"]*)">Older', visitor.see("/audit").text
    )
    assert older is not None
    assert "Newest" in visitor.see(unescape(older[1])).words


def test_without_anything_every_page_says_what_is_missing(visitor: Visitor) -> None:
    for path, words in {
        "/": "No table yet",
        "/sources": "There is no source yet",
        "/tables": "No table yet",
        "/loads": "No load yet",
        "/rejects": "No rejected record is known",
        "/hooks": "No hook yet",
        "/recipients": "There is no address yet",
        "/problems": "Nothing to act on",
        "/health": "No process has reported itself",
        "/people": "No users: everybody signs in with an account token",
    }.items():
        assert words in visitor.see(path).words


def test_each_page_names_a_command_that_there_is(visitor: Visitor, console: Console) -> None:
    source = make_source(console)
    token = console.store.tokens.create_token(console.account.id, source.id)
    add_user(console, "Ann")
    _, leaves = build_parser()
    for path in (
        "/people", "/people/1", "/people/1/delete", "/people/me", "/audit?action=add_user",
        f"/sources/{source.id}/tokens/{token.id}",
        "/", "/sources", "/sources/new", f"/sources/{source.id}", f"/sources/{source.id}/tokens",
        f"/sources/{source.id}/options", f"/sources/{source.id}/settings",
        f"/sources/{source.id}/delete", "/tables", "/loads", "/loads?failed=1", "/rejects",
        "/rejects/records", f"/tables?source={source.id}&state=stopped&sort=oldest&q=a",
        "/destinations", f"/destinations/{console.destination.id}", "/hooks", "/tokens",
        "/recipients", "/audit", "/start", "/problems", "/health",
        "/query", "/query?sql=select%20%27a%27", "/try",
        "/destinations/new?type=duckdb", f"/destinations/{console.destination.id}/change",
    ):  # fmt: skip
        found = re.search(r'<code id="same-command">(.*?)</code>', visitor.see(path).text)
        assert found, path
        words = shlex.split(unescape(found[1]))
        assert words[0] == "treadle"
        command = next(tuple(words[1:end]) for end in (4, 3, 2) if tuple(words[1:end]) in leaves)
        leaves[command].parse_args(words[1 + len(command) :])


def test_a_command_names_the_source_whatever_a_shell_reads_in_it(
    visitor: Visitor, console: Console
) -> None:
    source = make_source(console, "Web $hop", "web$hop")
    token = console.store.tokens.create_token(console.account.id, source.id)
    console.store.use_log("log")
    load = make_load(source.id, "t", 1, console.now, rows_rejected=1)
    outcome = EntryOutcome(load.last, source.id, "t", 0, (RecordRejection(0, "no"),))
    console.store.loads.record_load(load, [outcome])
    [cause] = console.store.rejects.list_causes(RejectQuery(console.account.id), limit=9)
    base = f"/sources/{source.id}"
    for path in (
        base, f"{base}/options", f"{base}/settings", f"{base}/delete", f"{base}/tokens",
        f"{base}/tokens/{token.id}", f"{base}/tokens/{token.id}/revoke",
        f"/tables?source={source.id}",
        f"{base}/tables/t", f"{base}/tables/t/loads", f"{base}/tables/t/rejected",
        f"{base}/tables/t/history", f"{base}/tables/t/options", f"{base}/tables/t/rebuild",
        f"/loads/{load.id}", f"/rejects/{cause.id}",
    ):  # fmt: skip
        found = re.search(r'<code id="same-command">(.*?)</code>', visitor.see(path).text)
        assert found, path
        assert "'web$hop'" in unescape(found[1]), path


def add_user(console: Console, name: str) -> None:
    console.store.users.add_user(
        console.account.id, name, "ann@example.com", ConsoleRole.ADMIN, require_admin_left
    )


def fill(console: Console, name: str) -> Source:
    """A source with whatever a client may name, after a load with a rejected record."""
    source = make_source(console, name, "evil")
    console.store.use_log("log")
    details = {"trouble": name, "columns_added": [[name, name]]}
    load = make_load(source.id, name, 1, console.now, details=details, rows_rejected=1)
    outcome = EntryOutcome(load.last, source.id, name, 0, (RecordRejection(0, name),))
    console.store.loads.record_load(load, [outcome])
    failed = make_load(source.id, name, 2, console.now, error=name)
    console.store.loads.record_failure(failed, stopped=True)
    console.store.destinations.set_trouble(console.destination.id, name)
    console.store.tokens.create_token(console.account.id, source.id)
    noted = TokenRequest("import", name[:255])
    console.store.tokens.issue_token(noted, account_id=console.account.id, source_id=source.id)
    add_user(console, name[:100])
    return source


@pytest.mark.parametrize("name", [EVIL, "x" * 1_000_000], ids=["markup", "large"])
def test_hostile_text_is_shown_as_text_everywhere(
    visitor: Visitor, console: Console, name: str
) -> None:
    source = fill(console, name)
    [failed, load] = console.store.loads.list_loads(account_id=console.account.id)
    pages = [
        "/", "/sources", f"/sources/{source.id}", f"/sources/{source.id}/tokens",
        f"/sources/{source.id}/options", f"/sources/{source.id}/settings", "/tables",
        f"/loads/{load.id}", f"/loads/{failed.id}", "/loads", "/rejects", "/destinations",
        f"/destinations/{console.destination.id}", "/tokens", "/audit", "/start", "/problems",
        "/health",
        f"/sources/{source.id}/tokens/3", f"/sources/{source.id}/tokens/3/revoke", "/people",
        "/people/1", "/people/1/delete",
    ]  # fmt: skip
    tables = visitor.see("/tables")
    [path] = re.findall(r'<th scope="row" class="name"><a href="/console([^"]+)"', tables.text)
    assert len(path) < 1_000  # a longer line of a request would be refused
    pages.append(path)
    pages += [f"{path}/{tab}" for tab in ("loads", "rejected", "history", "options", "rows")]
    pages += ["/rejects/1", "/rejects/records", "/rejects/1/resend"]
    for page in pages:
        text = visitor.see(page).text
        assert "<script>alert" not in text, page
        assert "<img src=x" not in text, page
        # A field of a form has its value as it is, to be sent back.
        assert not re.search("[\0\u202e\u2028]", re.sub(r'value="[^"]*"', "", text)), page
        assert len(text) < 60_000 or name != EVIL, page
    searched = visitor.get("/console/tables?q=" + "%3Cscript%3Ealert(1)%3C/script%3E%00")
    assert "<script>alert" not in searched.text
    assert visitor.get("/console/%3Cscript%3E/x%00").status == 404


NUMBERS = ("9" * 20, "9" * 4_400, "²", "x")
"""Texts that are no number that a store holds, though some of them look like one."""


def test_a_number_that_is_none_is_no_fault_of_the_server(
    visitor: Visitor, console: Console
) -> None:
    source = fill(console, "orders")
    hook = console.store.hooks.create_hook(console.account.id, "https://example.com/a")
    here = {"source": source.id, "hook": hook.id, "cause": 1, "token": 3, "user": 1,
            "destination": console.destination.id}  # fmt: skip
    csrf = visitor.see("/help").field("csrf")
    for number in NUMBERS:
        names = ("after", "page", "skip", "again", "operation", "status", "destination_id")
        query = {**dict.fromkeys(names, number), "before": f"1.{number}"}
        for route in ROUTES:
            pattern = route.pattern
            path = re.sub(r"\{(\w+)\}", lambda part: str(here.get(part[1], "1")), pattern)
            assert visitor.get(f"/console{path}?{urlencode(query)}").status < 500, (path, number)
        assert visitor.get(f"/console/rejects?before={quote(number)}.1").status == 200
        settings = f"/sources/{source.id}/settings"
        forms: list[tuple[str, dict[str, str]]] = [
            ("/rejects/1/resend", {"step": "send", "expected": number}),
            (settings, {"action": "move", "destination_id": number}),
            ("/hooks", {"url": "https://example.com/b", "destination_id": number}),
            ("/query", {"sql": "SELECT 1", "destination_id": number}),
            (f"/hooks/{hook.id}/resend", {"expected": number}),
        ]
        for path, form in forms:
            answer = visitor.send("POST", f"/console{path}", {"csrf": csrf, **form})
            assert answer.status in (400, 409), (path, number, answer.words[-400:])
    moved = console.store.sources.get_source(console.account.id, source.id)
    assert moved is not None
    assert moved.destination_id is None


@pytest.mark.parametrize("part", ["%ff", "%00"])
def test_an_id_that_is_no_text_is_not_found(visitor: Visitor, console: Console, part: str) -> None:
    source = make_source(console)
    hook = console.store.hooks.create_hook(console.account.id, "https://example.com/a")
    here = {"source": source.id, "hook": hook.id, "destination": console.destination.id}
    for route in ROUTES:
        *above, last = re.findall(r"\{(\w+)\}", route.pattern) or [""]
        if last and route.show is not None:
            named = route.pattern.format_map({**dict.fromkeys(above, 1), **here, last: part})
            answer = visitor.get(f"/console{named}")
            assert answer.status in (303, 404), (named, answer.status)
    for path in ("/loads", "/rejects/records", f"/hooks/{hook.id}", "/audit", "/requests"):
        assert visitor.get(f"/console{path}?before={part}").status in (200, 400)
