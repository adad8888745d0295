"""The life of tokens over the Connect API (`/v1/tokens`), and the settings of webhooks."""

from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, Answer, Api

from treadle.store.secrets import hash_token
from treadle.store.token_rules import TokenRequest
from treadle.store.trail_event import ActorKind, StoreActor

TOKENS = "/v1/tokens"


def made(answer: Answer) -> Any:
    assert answer.status == 200, answer.text
    return answer.body


@pytest.mark.parametrize("kind", ["account", "import", "webhook"])
def test_a_token_lives_over_the_api(api: Api, kind: str) -> None:
    source = api.create()["id"] if kind != "account" else None
    asked = {"kind": kind, "description": "CI", "source_id": source}
    token = made(api.post(TOKENS, asked))
    secret = token.pop("access_token")
    path = token.pop("path")
    assert path == (f"/v1/clients/{api.account.id}/token/{secret}" if kind == "webhook" else None)
    assert secret.startswith({"account": "ac_", "import": "at_", "webhook": "wh_"}[kind])
    assert token["last_four"] == secret[-4:]
    assert (token["kind"], token["description"], token["active"]) == (kind, "CI", True)

    listed = made(api.get(f"{TOKENS}?kind={kind}"))["tokens"]
    assert any(token.items() <= one.items() for one in listed)
    assert secret not in api.get(TOKENS).text

    expiring = made(api.put(f"{TOKENS}/{token['id']}", {"expires_at": "2030-01-01T00:00:00Z"}))
    assert expiring["expires_at"] == "2030-01-01T00:00:00Z"
    assert made(api.put(f"{TOKENS}/{token['id']}", {"expires_at": None}))["expires_at"] is None

    # A source that was made in the seed era has its own token already; it gives way.
    after = made(api.post(f"{TOKENS}/{token['id']}/replace", {"overlap_seconds": 0}))
    assert after["access_token"] != secret
    ended = made(api.get(TOKENS))["tokens"]
    [old] = [one for one in ended if one["id"] == token["id"]]
    assert (old["active"], old["revoked_at"] is not None) == (False, True)

    revoked = made(api.delete(f"{TOKENS}/{after['id']}"))
    assert not revoked["active"]
    missing = api.delete(f"{TOKENS}/{after['id']}")
    assert missing.pair == (
        404,
        {"error": "InvalidId", "data": {"message": f"token not found ({after['id']})"}},
    )


def test_an_account_token_works_until_its_overlap_ends(api: Api) -> None:
    [first] = made(api.get(f"{TOKENS}?kind=account"))["tokens"]
    after = made(api.post(f"{TOKENS}/{first['id']}/replace", {"overlap_seconds": 3600}))
    assert api.get("/v4/sources").status == 200
    assert api.get("/v4/sources", token=after["access_token"]).status == 200
    api.now += 3600 * 1_000_000
    assert api.get("/v4/sources").pair == (401, NOT_AUTHORIZED)
    assert api.get("/v4/sources", token=after["access_token"]).status == 200


def test_a_leaked_account_token_is_taken_back(api: Api) -> None:
    [first] = made(api.get(f"{TOKENS}?kind=account"))["tokens"]
    other = made(api.post(TOKENS, {"kind": "account"}))["access_token"]
    assert made(api.delete(f"{TOKENS}/{first['id']}", token=other))["active"] is False
    for path in ("/v4/sources", TOKENS, "/v1/loads"):
        assert api.get(path).pair == (401, NOT_AUTHORIZED)
        assert api.get(path, token=other).status == 200


def test_only_tokens_of_the_account_are_reached(api: Api) -> None:
    source = api.create()["id"]
    hook = made(api.post(TOKENS, {"kind": "webhook", "source_id": source}))
    metrics = api.store.tokens.issue_token(TokenRequest("metrics"))
    _, theirs = api.another_account()
    assert [one["kind"] for one in made(api.get(TOKENS, token=theirs))["tokens"]] == ["account"]
    assert made(api.get(f"{TOKENS}?source={source}", token=theirs)) == {"tokens": []}
    answers = [
        api.delete(f"{TOKENS}/{hook['id']}", token=theirs),
        api.put(f"{TOKENS}/{hook['id']}", {"expires_at": None}, token=theirs),
        api.post(f"{TOKENS}/{hook['id']}/replace", {}, token=theirs),
        api.delete(f"{TOKENS}/{metrics.id}"),
        api.delete(f"{TOKENS}/0"),
        api.delete(f"{TOKENS}/x"),
        api.delete(f"{TOKENS}/{2**63}"),
        api.get(f"/v1/sources/{source}/webhook", token=theirs),
        api.put(f"/v1/sources/{source}/webhook", {"upsert": True}, token=theirs),
    ]
    assert [answer.status for answer in answers] == [404] * len(answers)
    refused = api.post(TOKENS, {"kind": "webhook", "source_id": source}, token=theirs)
    assert refused.pair == (
        400,
        {"error": "InvalidId", "data": {"message": f"source not found ({source})"}},
    )
    assert api.store.tokens.find_sender(hash_token(hook["access_token"])) is not None


def test_a_webhook_token_does_not_open_the_connect_api(api: Api) -> None:
    source = api.create()["id"]
    secret = made(api.post(TOKENS, {"kind": "webhook", "source_id": source}))["access_token"]
    for path in ("/v4/sources", TOKENS, "/v1/loads", f"/v4/sources/{source}/tokens"):
        assert api.get(path, token=secret).pair == (401, NOT_AUTHORIZED)
    # And the documented calls do not speak of it.
    [listed] = made(api.get(f"/v4/sources/{source}/tokens"))
    assert len(made(api.get(f"/v4/sources/{source}"))["properties"]["token"]) == 1
    assert (
        made(api.get(f"{TOKENS}?source={source}&kind=import"))["tokens"][0]["id"]
        == (listed["token_id"])
    )


def test_the_secret_of_a_sender_is_never_shown(api: Api) -> None:
    source = api.create()["id"]
    signature = {"scheme": "stripe", "secret": "whsec_0123456789"}
    asked = {"kind": "webhook", "source_id": source, "tables": ["a"], "signature": signature}
    answer = api.post(TOKENS, asked)
    token = made(answer)
    assert token["signature"] == {"scheme": "stripe", "header": None, "encoding": "hex"}
    assert token["tables"] == ["a"]
    for text in (answer.text, api.get(TOKENS).text):
        assert "whsec_0123456789" not in text


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"kind": "metrics"},
        {"kind": "root"},
        {"kind": "import"},
        {"kind": "account", "source_id": 1},
        {"kind": "webhook", "source_id": "1"},
        {"kind": "webhook", "source_id": True},
        {"kind": "account", "description": "x" * 256},
        {"kind": "account", "expires_at": "tomorrow"},
        {"kind": "account", "expires_at": 5},
        {"kind": "account", "tables": ["a"]},
        {"kind": "account", "secret": "ac_mine"},
        {"kind": "webhook", "source_id": 1, "tables": [""]},
        {"kind": "webhook", "source_id": 1, "tables": ["a"] * 101},
        {"kind": "webhook", "source_id": 1, "signature": {"scheme": "github"}},
        {"kind": "webhook", "source_id": 1, "signature": {"scheme": "md5", "secret": "12345678"}},
        {"kind": "webhook", "source_id": 1, "signature": {"scheme": "github", "secret": "x"}},
    ],
)
def test_a_body_that_does_not_fit(api: Api, body: object) -> None:
    answer = api.post(TOKENS, body)
    assert (answer.status, answer.body["error"]) == (400, "InvalidBody")
    assert len(made(api.get(TOKENS))["tokens"]) == 1


@pytest.mark.parametrize("overlap", [-1, 366 * 86_400 + 1, "1", 1.5, None])
def test_an_overlap_that_is_none(api: Api, overlap: object) -> None:
    [first] = made(api.get(TOKENS))["tokens"]
    answer = api.post(f"{TOKENS}/{first['id']}/replace", {"overlap_seconds": overlap})
    assert (answer.status, answer.body["error"]) == (400, "InvalidBody")


def test_two_import_tokens_are_the_most_with_an_overlap_too(api: Api) -> None:
    source = api.create()
    [(first_id, first)] = source["properties"]["token"].items()
    api.use(first)
    made(api.post(f"{TOKENS}/{first_id}/replace", {"overlap_seconds": 60}))
    refused = api.post(f"{TOKENS}/{first_id}/replace", {"overlap_seconds": 60})
    assert (refused.status, refused.body["error"]) == (400, "AccessDenied")
    assert "maximum of 2 active access tokens" in refused.body["data"]["message"]
    assert api.pushes(first)
    made(api.post(f"{TOKENS}/{first_id}/replace", {"overlap_seconds": 0}))
    assert api.pushes(first) is None


def test_the_settings_of_a_webhook(api: Api) -> None:
    path = f"/v1/sources/{api.create()['id']}/webhook"
    defaults = {
        "table": "data",
        "key": [],
        "upsert": False,
        "import_tokens": True,
        "provider": None,
    }
    assert made(api.get(path)) == defaults
    changed = made(api.put(path, {"table": "events", "key": ["id"], "import_tokens": False}))
    assert changed == defaults | {"table": "events", "key": ["id"], "import_tokens": False}
    named = made(api.put(path, {"provider": "github", "key": ["header:X-GitHub-Delivery"]}))
    assert named == changed | {"provider": "github", "key": ["header:X-GitHub-Delivery"]}
    assert made(api.put(path, {"provider": None, "key": ["id"]})) == changed
    assert made(api.put(path, {})) == changed
    wrong: list[object] = [{"table": " "}, {"key": "id"}, {"upsert": "yes"}, {"other": 1}, []]
    wrong += [
        {"table": "a" * 1025},
        {"provider": "git"},
        {"provider": 1},
        {"key": ["header:"]},
        {"key": ["header:a b"]},
    ]
    for body in [*wrong, {"key": [""]}]:
        assert api.put(path, body).status == 400
    assert made(api.get(path)) == changed


def test_answers_with_secrets_are_not_stored(api: Api) -> None:
    source = api.create()["id"]
    for method, path, token in [
        ("GET", "/v4/sources", ""),
        ("POST", f"/v4/sources/{source}/tokens", ""),
        ("GET", "/v4/nothing", ""),
        ("GET", "/v4/sources", None),
        ("GET", TOKENS, ""),
        ("DELETE", f"{TOKENS}/99", ""),
        ("GET", "/v1/loads", ""),
    ]:
        answer = api.call(method, path, token=token)
        assert answer.headers["cache-control"] == "no-store", (method, path)


def test_who_made_a_token_is_told_as_far_as_an_account_may_know(api: Api) -> None:
    operator = api.store.for_actor(StoreActor(ActorKind.COMMAND_LINE, "root"))
    operator.tokens.issue_token(TokenRequest("account"), account_id=api.account.id)
    [first, _] = made(api.get(TOKENS))["tokens"]
    made(api.post(TOKENS, {"kind": "account"}))
    makers = [one["created_by"] for one in made(api.get(TOKENS))["tokens"]]
    assert makers == ["server", "command_line", f"account_token {first['id']}"]


def test_uses_of_account_tokens_are_counted(api: Api) -> None:
    [first] = made(api.get(TOKENS))["tokens"]
    assert api.uses[first["id"]] == 1
    api.get("/v4/sources")
    api.get("/v1/loads")
    api.get("/v4/sources", token="ac_wrong")
    assert api.uses == {first["id"]: 3}


ACCOUNT_TOKENS = "/v1/account-tokens"


def test_a_token_is_listed_with_its_uses_and_a_verdict(api: Api) -> None:
    source = api.create()["id"]
    first = made(api.post(TOKENS, {"kind": "webhook", "source_id": source}))
    second = made(api.post(TOKENS, {"kind": "webhook", "source_id": source}))
    api.store.tokens.record_uses({second["id"]: (14, api.now)}, {second["id"]: "10.0.0.7"})
    listed = {one["id"]: one for one in made(api.get(f"{TOKENS}?kind=webhook"))["tokens"]}
    assert listed[first["id"]]["verdict"] == {"verdict": "never_used", "text": "never used"}
    used = listed[second["id"]]
    assert used["verdict"]["verdict"] == "in_use"
    assert used["verdict"]["text"] == "in use: 14 requests in the last hour, last from 10.0.0.7"
    assert (len(used["hourly_uses"]), used["hourly_uses"][-1]) == (168, 14)
    api.now += 2 * 86_400_000_000
    [verdict] = [
        one["verdict"]
        for one in made(api.get(f"{TOKENS}?kind=webhook"))["tokens"]
        if one["id"] == first["id"]
    ]
    assert verdict["verdict"] == "safe_to_revoke"


def test_a_token_gets_another_note(api: Api) -> None:
    source = api.create()["id"]
    token = made(api.post(TOKENS, {"kind": "webhook", "source_id": source}))
    path = f"{TOKENS}/{token['id']}"
    changed = made(api.put(path, {"description": "of the shop"}))
    assert (changed["description"], changed["expires_at"]) == ("of the shop", None)
    both = made(api.put(path, {"description": "x", "expires_at": "2030-01-01T00:00:00Z"}))
    assert (both["description"], both["expires_at"]) == ("x", "2030-01-01T00:00:00Z")
    for wrong in ({}, {"description": "x" * 256}, {"description": None}, {"note": "x"}):
        assert api.put(path, wrong).status == 400
    assert api.put(f"{TOKENS}/77", {"description": "x"}).status == 404


def test_account_tokens_by_themselves(api: Api) -> None:
    token = made(api.post(ACCOUNT_TOKENS, {"description": "laptop"}))
    secret = token["access_token"]
    assert api.get("/v4/sources", token=secret).status == 200
    path = f"{ACCOUNT_TOKENS}/{token['id']}"
    assert made(api.put(path, {"disabled": True}))["disabled_at"] is not None
    assert api.get("/v4/sources", token=secret).pair == (401, NOT_AUTHORIZED)
    [listed] = [
        one for one in made(api.get(ACCOUNT_TOKENS))["account_tokens"] if one["id"] == token["id"]
    ]
    assert (listed["active"], listed["verdict"]["verdict"]) == (False, "ended")
    assert made(api.put(path, {"disabled": False}))["active"]
    assert made(api.put(path, {"description": "desk"}))["description"] == "desk"
    assert api.get("/v4/sources", token=secret).status == 200
    assert made(api.delete(path))["revoked_at"] is not None
    assert api.get("/v4/sources", token=secret).pair == (401, NOT_AUTHORIZED)
    assert api.delete(path).status == 404
    for wrong in ({}, {"disabled": "yes"}, {"other": 1}):
        assert api.put(path, wrong).status == 400
    source = api.create()["id"]
    hook = made(api.post(TOKENS, {"kind": "webhook", "source_id": source}))
    assert api.put(f"{ACCOUNT_TOKENS}/{hook['id']}", {"disabled": True}).status == 404
    assert api.delete(f"{ACCOUNT_TOKENS}/{hook['id']}").status == 404


def test_there_are_ten_with_disabled_ones(api: Api) -> None:
    for _ in range(9):
        last = made(api.post(ACCOUNT_TOKENS))
    made(api.put(f"{ACCOUNT_TOKENS}/{last['id']}", {"disabled": True}))
    answer = api.post(ACCOUNT_TOKENS)
    assert answer.status == 400
    assert "maximum" in answer.body["data"]["message"] or "10" in answer.body["data"]["message"]
