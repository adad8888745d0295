"""The life of tokens on the command line, and the rotation of the key."""

import io
import json
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Treadle

from treadle.cli.time_argument import parse_duration, parse_expiry
from treadle.errors import OperatorError
from treadle.store.key_files import load_cipher
from treadle.store.model import SenderSignature, WebhookScope
from treadle.store.secrets import hash_token
from treadle.store.store import Store

ELSEWHERE = "0123456789abcdef" * 4


@pytest.fixture
def store(data: Path, treadle: Treadle) -> Iterator[Store]:
    """The store of the data folder, open beside the commands, with an account and a source."""
    assert treadle("account create --name One").code == 0
    assert treadle("source create Orders").code == 0
    opened = Store.open(f"sqlite:///{data}/store.sqlite", load_cipher(data / "secret.key"))
    with closing(opened):
        yield opened


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def opens(store: Store, words: str, secret: str) -> bool:
    if words == "account token":
        return store.accounts.find_account_by_token(secret) is not None
    if words == "metrics token":
        return store.tokens.find_metrics_token(secret) is not None
    return store.tokens.find_sender(hash_token(secret)) is not None


@pytest.mark.parametrize(
    ("words", "owner", "flags"),
    [
        ("account token", "", ""),
        ("metrics token", "", ""),
        ("token", "orders", ""),
        ("token", "orders", "--webhook --table events --table clicks"),
    ],
    ids=["account", "metrics", "import", "webhook"],
)
def test_a_token_lives_on_the_command_line(
    words: str, owner: str, flags: str, store: Store, treadle: Treadle
) -> None:
    def listed(more: str = "") -> dict[int, Any]:
        rows = treadle(f"{words} list {owner} --json {more}").json
        return {row["token_id"]: row for row in rows}

    made = treadle(f"{words} create {owner} {flags} --description CI --json").json
    first, secret = made["token_id"], made["access_token"]
    assert opens(store, words, secret)
    row = listed()[first]
    assert (row["last_four"], row["description"], row["state"]) == (secret[-4:], "CI", "active")
    assert row["tables"] == (["events", "clicks"] if "webhook" in flags else None)
    store.tokens.record_uses({first: (3, 1_000_000)}, {first: "192.0.2.1"})
    row = listed()[first]
    assert (row["uses"], row["last_used_from"]) == (3, "192.0.2.1")
    assert secret not in treadle(f"{words} list {owner} --all").out

    assert "is refused from " in treadle(f"{words} expire {owner} {first} 30d".strip()).out
    assert listed()[first]["expires_at"] is not None
    assert "never expires." in treadle(f"{words} expire {owner} {first} never").out
    assert listed()[first]["expires_at"] is None

    after = treadle(f"{words} replace {owner} {first} --overlap 0s --json").json
    assert not opens(store, words, secret)
    assert opens(store, words, after["access_token"])
    assert first not in listed()
    assert listed("--all")[first]["state"] == "revoked"

    second = after["token_id"]
    assert treadle(f"{words} expire {owner} {second} 0s").code == 0
    assert not opens(store, words, after["access_token"])
    assert listed("--all")[second]["state"] == "expired"
    again = treadle(f"{words} revoke {owner} {second}")
    assert again.code == 2
    assert f"has no active token {second};" in again.err
    assert f"`treadle {words} list" in again.err


def test_an_account_token_overlaps_with_its_successor(store: Store, treadle: Treadle) -> None:
    made = treadle("account token create --json").json
    after = treadle(f"account token replace {made['token_id']} --overlap 1h --json").json
    assert opens(store, "account token", made["access_token"])
    assert opens(store, "account token", after["access_token"])


def test_with_two_import_tokens_a_third_needs_room(store: Store, treadle: Treadle) -> None:
    made = treadle("token create orders --json").json
    done = treadle(f"token replace orders {made['token_id']}")
    assert done.code == 2
    assert "active tokens" in done.err
    assert "`treadle token revoke orders TOKEN_ID` or take --overlap 0s." in done.err
    assert opens(store, "token", made["access_token"])


def test_the_token_in_a_webhook_of_stitch_is_imported(
    store: Store, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, ELSEWHERE)
    done = treadle("token import --webhook orders --table data")
    assert done.code == 0, done.err
    assert ELSEWHERE not in done.out
    found = store.tokens.find_sender(hash_token(ELSEWHERE))
    assert found is not None
    assert found.webhook == WebhookScope(("data",), None)
    assert store.tokens.find_owner(hash_token(ELSEWHERE)) is None


def test_a_sender_that_signs(
    store: Store, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, "whsec_0123456789")
    shown = treadle("token create orders --webhook --signature stripe").out
    assert "whsec_" not in shown
    secret = re.findall(r"access_token: (\S+)", shown)[0]
    assert f"path: /v1/clients/1/token/{secret}\n" in shown
    found = store.tokens.find_sender(hash_token(secret))
    assert found is not None
    assert found.webhook == WebhookScope((), SenderSignature("stripe", "whsec_0123456789"))

    typed(monkeypatch, ELSEWHERE, "pl4in-secret")
    line = "token import orders --webhook --signature plain --signature-header X-Mine"
    assert treadle(f"{line} --signature-encoding base64").code == 0
    found = store.tokens.find_sender(hash_token(ELSEWHERE))
    assert found is not None
    assert found.webhook == WebhookScope(
        (), SenderSignature("plain", "pl4in-secret", "X-Mine", "base64")
    )


@pytest.mark.parametrize(
    ("line", "given", "said"),
    [
        ("token import orders", "a", "this one has 1: make one here"),
        ("token import orders", "a" * 40, "can be guessed"),
        ("token import orders", ELSEWHERE[:21], "this one has 21"),
        ("token import --webhook orders", ELSEWHERE + "/", "of A-Z a-z 0-9 . _ ~ -"),
        ("token create orders --table x", "", "add --webhook"),
        ("token create orders --signature github", "", "add --webhook"),
        ("token create orders --webhook --signature github", "short", "8 to 512 printable"),
        ("token create orders --webhook --signature-header X", "", "are for --signature plain"),
        ("token create orders --webhook --table=", "", "not all blank"),
        ("token create orders --expires soon", "", "--expires is to be a duration such as 90d"),
        ("account token expire 1 later", "", "WHEN is to be a duration such as 90d"),
        ("account token replace 1 --overlap 1x", "", "--overlap is to be a number with s, m, h"),
        ("account token revoke 99", "", "The account 1 has no active token 99;"),
    ],
)
def test_what_cannot_be_done_is_told(
    line: str,
    given: str,
    said: str,
    store: Store,
    treadle: Treadle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = len(treadle("token list orders --all --json").json)
    typed(monkeypatch, given)
    done = treadle(line)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert len(treadle("token list orders --all --json").json) == before


def test_durations_and_times() -> None:
    assert parse_duration("--x", "90m") == 90 * 60 * 1_000_000
    assert parse_expiry("--x", "1w", 5) == 5 + 7 * 86_400 * 1_000_000
    assert parse_expiry("--x", "1970-01-01T00:00:01Z", 5) == 1_000_000
    assert parse_expiry("--x", "never", 5) is None
    assert parse_expiry("--x", None, 5) is None
    for text in ("", "1", "d", "-1d", "1.5h", "9999999999d", "999999999w", "1 d", "\u0661d"):
        with pytest.raises(OperatorError):
            parse_duration("--x", text)


def test_what_a_webhook_does(store: Store, treadle: Treadle) -> None:
    shown = treadle("source webhook orders --json").json
    assert shown == {
        "table": "data",
        "key": [],
        "upsert": False,
        "import_tokens": True,
        "provider": None,
    }
    changed = treadle("source webhook orders table=events key=a,b import_tokens=off --json").json
    assert changed == shown | {"table": "events", "key": ["a", "b"], "import_tokens": False}
    assert "off" in treadle("source webhook orders").out
    assert treadle("source webhook orders import_tokens= --json").json["import_tokens"] is True
    named = treadle("source webhook orders provider=github key=id,header:X-Trace --json").json
    assert (named["provider"], named["key"]) == ("github", ["id", "header:X-Trace"])
    assert treadle("source webhook orders provider= --json").json["provider"] is None
    wrong = ("import_tokens=maybe", "other=1", "table", "provider=git", "key=id,header:")
    for line in wrong:
        assert treadle(f"source webhook orders {line}").code == 2


# The key


def read_secrets(store: Store) -> list[str | None]:
    return [t.secret for s in store.sources.list_sources() for t in store.tokens.list_tokens(s.id)]


def test_the_key_is_rotated_beside_an_open_store(
    data: Path, store: Store, treadle: Treadle
) -> None:
    before, secrets = (data / "secret.key").read_text(), read_secrets(store)
    done = treadle("key rotate")
    assert done.code == 0, done.err
    assert "1 secret was encrypted anew." in done.out
    [former] = data.glob("secret.key.former-*")
    assert str(former) in done.out
    assert former.read_text() == before
    assert (data / "secret.key").read_text() != before
    for file in (former, data / "secret.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text().strip() not in done.out
    assert not (data / "secret.key.next").exists()
    assert read_secrets(store) == secrets  # of a process that began with the former key
    assert treadle("token create orders").code == 0
    assert len(read_secrets(store)) == 2
    assert treadle("key rotate").code == 0
    assert len(list(data.glob("secret.key.former-*"))) == 2


@pytest.mark.parametrize("place", ["seal", "promote"])
def test_a_rotation_that_is_killed_goes_on_where_it_was(
    data: Path, store: Store, treadle: Treadle, place: str
) -> None:
    secrets = read_secrets(store)
    names = {"seal": "keys.KeyRepository.rotate_key", "promote": "key_files.promote_next_key"}
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import os, treadle.store.keys, treadle.store.key_files, treadle.cli.main as m\n"
                f"treadle.store.{names[place]} = lambda *_: os.kill(os.getpid(), 9)\n"
                f"m.main(['key', 'rotate', '--data', {str(data)!r}])"
            ),
        ],
        check=False,
    )
    assert killed.returncode == -9
    assert (data / "secret.key.next").exists()
    assert read_secrets(store) == secrets
    assert treadle("account list").code == 0  # a process that starts now finds the right key
    assert json.loads(treadle("doctor --json").out)
    done = treadle("key rotate")
    assert done.code == 0, done.err
    said = "1 secret was" if place == "seal" else "Everything was encrypted with it already."
    assert said in done.out
    assert not (data / "secret.key.next").exists()
    assert read_secrets(store) == secrets
    assert len(list(data.glob("secret.key.former-*"))) == 1


def test_a_given_key_is_rotated_to_the_next_one(
    data: Path, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_SECRET_KEY", "ab" * 32)
    assert treadle("account create").code == 0
    assert treadle("source create Orders").code == 0
    assert "set `next_secret_key`" in treadle("key rotate").err
    monkeypatch.setenv("TREADLE_NEXT_SECRET_KEY", "cd" * 32)
    assert "1 secret was encrypted anew." in treadle("key rotate").out
    assert treadle("account list").code == 0
    monkeypatch.setenv("TREADLE_SECRET_KEY", "cd" * 32)
    monkeypatch.delenv("TREADLE_NEXT_SECRET_KEY")
    assert treadle("account list").code == 0
    monkeypatch.setenv("TREADLE_SECRET_KEY", "ab" * 32)
    assert treadle("account list").code == 2
    assert not list(data.glob("secret.key*"))


def test_a_key_file_is_not_rotated_where_other_folders_have_a_copy(
    data: Path, store: Store, treadle: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (data / "secret.key").read_text()
    monkeypatch.setenv("TREADLE_STORE", "postgresql://treadle@127.0.0.1:1/nowhere")
    refused = treadle("key rotate")
    assert refused.code == 2
    assert "none but this one would get the next key. Set `secret_key`" in refused.err
    assert (data / "secret.key").read_text() == before
    assert not (data / "secret.key.next").exists()
    (data / "secret.key.next").write_text("ab" * 32)  # of one that was begun: it goes on
    assert "would get the next key" not in treadle("key rotate").err
