"""What people paste is what they read: valid, and with their values in it."""

import json
import shlex

import pytest

from treadle.console.snippets import make_record, make_snippets

URL = "https://data.example.com/treadle"
SNIPPETS = {one.name: one.code for one in make_snippets(URL, 7, "at_0123", 1_700_000_000_000)}


def test_curl_sends_the_record_to_the_push_endpoint() -> None:
    words = shlex.split(SNIPPETS["curl"].replace("\\\n", " "))
    assert words[0] == "curl"
    assert f"{URL}/v2/import/push" in words
    assert "Authorization: Bearer at_0123" in words
    assert json.loads(words[words.index("-d") + 1]) == [make_record(7, 1_700_000_000_000)]


@pytest.mark.parametrize("name", ["httpx", "stitchclient"])
def test_python_is_python(name: str) -> None:
    compile(SNIPPETS[name], name, "exec")
    assert "at_0123" in SNIPPETS[name]
    assert f"{URL}/v2/import/push" in SNIPPETS[name]


def test_singer_messages_go_to_our_own_target() -> None:
    command, messages = SNIPPETS["singer"].split("<<'END'\n")
    words = shlex.split(command.replace("\\\n", " "))
    assert words == [
        f"TREADLE_PUSH_URL={URL}", "TREADLE_PUSH_TOKEN=at_0123", "treadle", "singer", "--loaded"
    ]  # fmt: skip
    told = [json.loads(line) for line in messages.removesuffix("END\n").splitlines()]
    assert [one["type"] for one in told] == ["SCHEMA", "RECORD"]
    assert told[0]["key_properties"] == ["id"]


def test_treadle_push_gets_the_token_by_its_variable() -> None:
    assert "TREADLE_PUSH_TOKEN=at_0123 treadle push" in SNIPPETS["push"]
    assert f"--url {URL} --client-id 7 --wait" in SNIPPETS["push"]
