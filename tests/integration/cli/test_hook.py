"""`treadle hook ...`."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Treadle
from tests.integration.cli.shop import Shop
from tests.servers.receiver import answer_with, receiving

from treadle.store.model import RecordedTry

URL = "https://hooks.example.com/x"


@pytest.fixture
def shop(data: Path, treadle: Treadle) -> Iterator[Shop]:
    made = Shop(data, treadle, None)
    yield made
    made.close()


def type_in(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def test_a_hook_is_created_listed_changed_and_deleted(shop: Shop, treadle: Treadle) -> None:
    made = treadle(f"hook create {URL} --json").json
    assert (made["id"], made["url"], made["state"], made["signed"]) == (1, URL, "enabled", False)
    [listed] = treadle("hook list --json").json
    assert (listed["url"], listed["state"], listed["waiting"]) == (URL, "enabled", 0)
    assert "Hook 1 is paused." in treadle("hook update 1 --pause").out
    assert "Hook 1 is disabled." in treadle("hook update 1 --disable --unpause").out
    assert "Hook 1 is enabled." in treadle(f"hook update 1 --enable --url {URL}/2").out
    assert URL + "/2" in treadle("hook list").out
    assert "Deleted hook 1" in treadle("hook delete 1").out
    assert treadle("hook list --json").json == []


def test_secrets_and_urls_are_read_from_standard_input(
    shop: Shop, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_in(monkeypatch, URL, "a-secret-of-sixteen")
    done = treadle("hook create - --secret")
    assert done.code == 0, done.err
    assert "a-secret" not in done.out
    [hook] = shop.store.hooks.list_hooks()
    assert (hook.url, hook.secret) == (URL, "a-secret-of-sixteen")
    assert treadle("hook update 1 --no-secret").code == 0
    type_in(monkeypatch, "short")
    assert "16 to 256" in treadle("hook update 1 --secret").err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("hook create http://example.com/", "This URL cannot be used: the URL has to begin with"),
        ("hook create https://user:pa55word@example.com/", "This URL cannot be used"),
        ("hook create https://169.254.169.254/ --hook-urls any", "does not connect"),
        ("hook create https://example.com/ --destination-id 99", "has no destination 99"),
        ("hook update 9 --pause", "There is no hook 9"),
        ("hook update x --pause", "HOOK is to be a whole number"),
        ("hook update 1", "Say what is to change"),
        ("hook delete 9", "There is no hook 9"),
        ("hook deliveries 1 --state lost", "--state is to be one of"),
    ],
)
def test_what_cannot_be_is_said(shop: Shop, treadle: Treadle, line: str, said: str) -> None:
    done = treadle(line)
    assert done.code == 2
    assert said in done.err
    assert "pa55word" not in done.err


def test_plain_http_has_a_setting(shop: Shop, treadle: Treadle) -> None:
    assert treadle("hook create http://127.0.0.1:9/x --hook-urls any").code == 0


def test_the_eleventh_hook_is_refused(shop: Shop, treadle: Treadle) -> None:
    for _ in range(10):
        assert treadle(f"hook create {URL}").code == 0
    assert "maximum of 10 hooks" in treadle(f"hook create {URL}").err


def test_deliveries_are_listed_and_sent_again(shop: Shop, treadle: Treadle) -> None:
    assert treadle(f"hook create {URL}").code == 0
    shop.push("orders", [{"id": 1}], first=1, keys=("id",))
    [waiting] = treadle("hook deliveries 1 --json").json
    assert (waiting["table"], waiting["state"]) == ("orders", "waiting")
    [made] = shop.store.deliveries.list_deliveries(1)
    answer = (6, 7_000, 500, "\x1b[2J", "it answered 500")
    shop.store.deliveries.record_tries(
        [RecordedTry(made.number, 1, "failed", 0, 0, made.due_at, *answer)]
    )
    out = treadle("hook deliveries 1 --state failed").out
    assert made.id in out
    assert "it answered 500" in out
    assert "\x1b" not in treadle("hook deliveries 1 --json").out
    assert "1 delivery of hook 1 is" in treadle("hook send-again 1").out
    assert treadle("hook deliveries 1 --state failed --json").json == []
    assert "1 delivery of hook 1 is" in treadle(f"hook send-again 1 {made.id}").out
    assert "has no delivery" in treadle("hook send-again 1 none").err


def test_a_test_calls_the_receiver_once_and_signs(shop: Shop, treadle: Treadle) -> None:
    with receiving() as receiver:
        hook = shop.store.hooks.create_hook(1, receiver.url)
        shop.store.hooks.update_hook(None, hook.id, secret="a-secret-of-sixteen", paused=True)
        receiver.answers = [answer_with(200), answer_with(503, b"not now")]
        done = treadle(f"hook test {hook.id} --hook-urls any")
        assert (done.code, done.err) == (0, "")
        assert f"Hook {hook.id} answered 200 in " in done.out
        failed = treadle(f"hook test {hook.id} --hook-urls any --json")
        assert failed.code == 1
        told = json.loads(failed.out)
        assert (told["status"], told["answer"], told["error"]) == (503, "not now", None)
        first, second = receiver.seen
        assert first.body["test"] is True
        assert first.headers["User-Agent"] == "StitchLoadingWebhook"
        assert first.headers["Treadle-Signature"].startswith("t=")
        assert first.key != second.key
    gone = treadle(f"hook test {hook.id} --hook-urls any")
    assert gone.code == 2
    assert "did not answer: the connection failed" in gone.err
    assert "token=x" not in gone.err
    refused = treadle(f"hook test {hook.id}")
    assert "the URL has to begin with https" in refused.err
    assert shop.store.deliveries.list_deliveries(hook.id) == []
    actions = [row["action"] for row in treadle("trail --json").json][:4]
    assert actions == ["test_hook"] * 4
