"""Deliveries and mails on trial over the API: `test` of a hook and of a custom e-mail."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.control.api import NOT_FOUND, Api
from tests.servers.receiver import answer_with, receiving
from tests.servers.treadle import eventually

from treadle.config import Config
from treadle.server.outbound_trials import AT_ONCE_MAX, BUSY, OutboundTrials

HOOKS = "/notifications/public/v1/api/hooks"
EMAILS = "/notifications/public/v1/api/custom-emails"


@pytest.fixture
def hook(api: Api) -> str:
    api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///here", "here"
    )
    body = {"type": "post_load", "config": {"url": "https://hooks.example.com/a"}}
    return f"/v1/hooks/{api.post(HOOKS, body).body['id']}/test"


def test_a_hook_is_called_and_its_end_is_told(api: Api, hook: str) -> None:
    answer = api.post(hook)
    assert answer.status == 200
    assert list(answer.body) == ["hook_id", "status", "answer", "error", "took_ms", "body"]
    assert (answer.body["status"], answer.body["answer"]) == (None, None)
    assert answer.body["error"] == "nothing is sent by this process"
    assert answer.body["body"]["test"] is True
    [event] = api.store.trail.list_events(limit=1)
    assert (event.action, event.outcome) == ("test_hook", "failed")
    _, token = api.another_account()
    assert api.post(hook, token=token).status == 404
    assert api.post("/v1/hooks/99/test").status == 404


def test_a_mail_needs_a_mail_server_and_a_recipient(api: Api) -> None:
    made = api.post(EMAILS, {"email_address": "a@example.com"}).body["id"]
    refused = api.post(f"/v1/custom-emails/{made}/test")
    assert (refused.status, refused.body["error"]) == (409, "NoMailServer")
    assert "smtp_url" in refused.body["data"]["message"]
    [event] = api.store.trail.list_events(limit=1)
    assert (event.action, event.outcome) == ("test_recipient", "refused")
    _, token = api.another_account()
    assert api.post(f"/v1/custom-emails/{made}/test", token=token).pair == (404, NOT_FOUND)


def test_a_worker_waits_for_so_many_answers(api: Api, tmp_path: Path) -> None:
    api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///here", "here"
    )
    trials = OutboundTrials(Config(data=tmp_path, hook_urls="any"), "here")
    with receiving() as receiver, ThreadPoolExecutor(AT_ONCE_MAX) as threads:
        receiver.usual = receiver.stay_silent
        hook = api.store.hooks.create_hook(api.account.id, receiver.url)
        waiting = [threads.submit(trials.send_delivery, hook, "{}") for _ in range(AT_ONCE_MAX)]
        eventually(lambda: len(receiver.seen) == AT_ONCE_MAX)
        assert trials.send_delivery(hook, "{}") == BUSY
        receiver.released.set()
        assert all(one.result().status is None for one in waiting)
        receiver.usual = answer_with(200)
        assert trials.send_delivery(hook, "{}").is_success


def test_a_url_that_is_not_called_is_not_called(api: Api, tmp_path: Path) -> None:
    """The rules of the courier hold: no metadata service, no loopback without the setting."""
    api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///here", "here"
    )
    trials = OutboundTrials(Config(data=tmp_path), "here")
    for url in ("http://127.0.0.1:9/x", "https://127.0.0.1:9/x", "https://169.254.169.254/x"):
        made = api.store.hooks.create_hook(api.account.id, url)
        found = trials.send_delivery(made, "{}")
        assert found.status is None
        assert found.error is not None
        assert "x" not in found.error.split()
        assert not found.is_success
