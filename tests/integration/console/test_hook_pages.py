"""One hook with its deliveries, tests and resends; test mails (console.md B.5 P13, P14)."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path

import pytest
from tests.integration.console.test_pages import EVIL, make_source
from tests.integration.console.visitor import Console, Visitor
from tests.loads import load as make_load

from treadle.control.trials import TrialResult
from treadle.store.deliveries import FAILED
from treadle.store.model import ConsoleRole, PostLoadHook, RecordedTry

SECRET = "a-secret-of-the-receiver"


@pytest.fixture
def visitor(console: Console) -> Visitor:
    console.store.sessions.leave_guide(console.account.id)
    return console.sign_in()


def make_hook(
    console: Console, loads: int, answer: str = "no", table: str = "orders"
) -> PostLoadHook:
    """A hook with deliveries that were given up."""
    console.store.use_log("log")
    source = make_source(console)
    url = "https://example.com/services/secret/path"
    hook = console.store.hooks.create_hook(console.account.id, url)
    for number in range(loads):
        load = make_load(source.id, table, number + 1, console.now)
        console.store.loads.record_load(load, [], destination_id=console.destination.id)
    for one in console.store.deliveries.list_deliveries(hook.id):
        tried = RecordedTry(
            number=one.number,
            hook_id=hook.id,
            state=FAILED,
            due_at=console.now,
            tries_before=0,
            due_before=one.due_at,
            at=console.now,
            took_us=12_000,
            status=500,
            answer=answer,
            error="it answered 500",
        )
        console.store.deliveries.record_tries([tried])
    return hook


def test_a_hook_shows_its_deliveries_and_each_has_a_page(
    visitor: Visitor, console: Console
) -> None:
    hook = make_hook(console, 3)
    page = visitor.see(f"/hooks/{hook.id}")
    assert "Send 3 failed again ..." in page.words
    assert page.words.count("500 it answered 500") == 3
    paths = re.findall(r'href="/console(/hooks/\d+/deliveries/[^"]+)"', page.text)
    assert len(paths) == 3
    one = visitor.see(paths[0])
    assert "destination_root_table_name" in one.words
    assert "it answered 500" in one.words
    assert "Repeat it by hand" in one.words
    assert visitor.get(f"/console/hooks/{hook.id}/deliveries/nothing").status == 404
    listed = visitor.see("/hooks")
    assert re.search(r'number"><a href="/console/hooks/1">3</a></td><td>500', listed.text)


def test_failed_ones_are_counted_confirmed_and_sent_again(
    visitor: Visitor, console: Console
) -> None:
    hook = make_hook(console, 3)
    assert "3 in the last 24 hours" in visitor.see("/destinations/1").words
    ask = visitor.see(f"/hooks/{hook.id}/resend")
    assert "Send 3 failed deliveries again?" in ask.words
    assert ask.field("expected") == "3"
    changed = visitor.post(f"/hooks/{hook.id}/resend", expected="2")
    assert changed.status == 409
    assert "2 deliveries were to be sent again, and 3 have failed now" in changed.words
    assert changed.field("expected") == "3"
    assert console.store.deliveries.get_delivery_count(hook.id, state=FAILED) == 3
    assert visitor.post(f"/hooks/{hook.id}/resend", expected="x").status == 400
    answer = visitor.post(f"/hooks/{hook.id}/resend", expected="3")
    assert (answer.status, answer.location) == (303, f"/console/hooks/{hook.id}?again=3")
    assert (
        "3 deliveries of this hook are sent again" in visitor.see(f"/hooks/{hook.id}?again=3").words
    )
    assert console.store.deliveries.get_delivery_count(hook.id, state=FAILED) == 0
    assert "nothing to send again" in visitor.see(f"/hooks/{hook.id}/resend").words
    events = console.store.trail.list_events(limit=5)
    assert [one.action for one in events].count("send_again") >= 1


def test_one_delivery_is_sent_again(visitor: Visitor, console: Console) -> None:
    hook = make_hook(console, 1)
    [one] = console.store.deliveries.list_deliveries(hook.id)
    path = f"/hooks/{hook.id}/deliveries/{one.id}"
    answer = visitor.post(f"/hooks/{hook.id}", on=path, action="send-again", delivery=one.id)
    assert (answer.status, answer.location) == (303, f"/console{path}?done=again")
    assert "waiting" in visitor.see(path).words


def test_a_test_is_sent_once_and_its_answer_is_shown(visitor: Visitor, console: Console) -> None:
    hook = make_hook(console, 0)
    page = visitor.post(f"/hooks/{hook.id}/test", on=f"/hooks/{hook.id}")
    assert page.status == 200
    assert "The receiver answered 200 in 12 ms" in page.words
    reloaded = visitor.get(f"/console/hooks/{hook.id}/test")
    assert (reloaded.status, reloaded.location) == (303, f"/console/hooks/{hook.id}")
    [(hook_id, body)] = console.trials.sent
    assert (hook_id, json.loads(body)["test"]) == (hook.id, True)
    console.trials.answer = TrialResult(503, EVIL, None, 1_000)
    page = visitor.post(f"/hooks/{hook.id}/test", on=f"/hooks/{hook.id}")
    assert "answered 503" in page.words
    assert "<script>alert" not in page.text
    console.trials.answer = TrialResult(None, "", "the connection failed: refused", 1_000)
    page = visitor.post(f"/hooks/{hook.id}/test", on=f"/hooks/{hook.id}")
    assert "the connection failed: refused" in page.words
    events = console.store.trail.list_events(limit=3)
    assert [(one.action, one.outcome) for one in events] == [
        ("test_hook", "failed"),
        ("test_hook", "failed"),
        ("test_hook", "done"),
    ]


@pytest.mark.parametrize("is_signed", [False, True])
def test_the_command_sends_the_same_bytes(
    visitor: Visitor, console: Console, is_signed: bool, tmp_path: Path
) -> None:
    hook = make_hook(console, 1, table="it's $HOME `x`")
    if is_signed:
        console.store.hooks.update_hook(None, hook.id, secret=SECRET)
    [one] = console.store.deliveries.list_deliveries(hook.id)
    page = visitor.see(f"/hooks/{hook.id}/deliveries/{one.id}")
    found = re.search(r'(?s)<pre id="delivery-curl">(.*?)</pre>', page.text)
    assert found
    assert SECRET not in page.text
    sent = tmp_path / "sent"
    fake = tmp_path / "curl"
    fake.write_text(f'#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done > {sent}\n')
    fake.chmod(0o755)
    subprocess.run(
        ["sh", "-c", unescape(found[1])],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SECRET": SECRET, "HOME": "/"},
        check=True,
    )
    words = sent.read_text().splitlines()
    assert one.body in words
    assert hook.url in words
    assert any(word.startswith("Treadle-Signature: t=") for word in words) is is_signed


def test_who_may_not_act_sees_no_url_and_no_form(console: Console) -> None:
    hook = make_hook(console, 1)
    [one] = console.store.deliveries.list_deliveries(hook.id)
    path = f"/hooks/{hook.id}/deliveries/{one.id}"
    viewer = console.sign_in(ConsoleRole.VIEWER)
    for page in ("/hooks", f"/hooks/{hook.id}", path):
        text = viewer.see(page).text
        assert "secret/path" not in text
        assert f'action="/console{page.split("/deliveries")[0]}' not in text
    operator = console.sign_in(ConsoleRole.OPERATOR).see(path).text
    assert "secret/path" not in operator
    assert "$HOOK_URL" in operator
    assert "secret/path" in console.sign_in(ConsoleRole.ADMIN).see(path).text


def test_pages_of_many_hostile_deliveries_are_small(visitor: Visitor, console: Console) -> None:
    hook = make_hook(console, 60, answer=EVIL.replace("\0", "") * 20, table=EVIL)
    page = visitor.see(f"/hooks/{hook.id}")
    assert len(page.text) < 60_000
    assert "<script>alert" not in page.text
    assert ">Older</a>" in page.text
    [one] = console.store.deliveries.list_deliveries(hook.id, limit=1)
    shown = visitor.see(f"/hooks/{hook.id}/deliveries/{one.id}").text
    assert "<script>alert" not in shown


def test_without_hooks_a_delivery_is_shown(visitor: Visitor) -> None:
    words = visitor.see("/hooks").words
    assert '"destination_root_table_name": "orders"' in words
    assert '"num_rows": 12' in words


def test_a_test_mail_is_sent_at_once(visitor: Visitor, console: Console) -> None:
    console.store.recipients.add_recipient(console.account.id, "a@example.com")
    sent = visitor.post("/recipients/test", on="/recipients", recipient="1")
    assert sent.location == "/console/recipients?done=sent"
    assert console.trials.sent == [(1, "a@example.com")]
    assert "took a test mail" in visitor.see("/recipients?done=sent").words
    console.trials.answer = TrialResult(None, "", "550 no such mailbox", 1_000)
    refused = visitor.post("/recipients/test", on="/recipients", recipient="1")
    assert refused.status == 400
    assert "550 no such mailbox" in refused.words
    console.trials.answer = None
    assert "smtp_url" in visitor.post("/recipients/test", on="/recipients", recipient="1").words
    assert visitor.post("/recipients/test", on="/recipients", recipient="9").status == 400
