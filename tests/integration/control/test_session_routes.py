"""From an account token to a link (connect-api.md 2.3); what it opens is in `console/`."""

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, Api

from treadle.store.model import ConsoleRole
from treadle.store.sessions import HOUR_US, UNUSED_TOKENS_MAX
from treadle.store.trail_event import ActorKind, StoreActor

PATH = "/v3/sessions/ephemeral"
COOKIE = "treadle_session"


def make(api: Api, **more: str) -> str:
    answer = api.post(PATH, **more)
    assert answer.status == 200
    return str(answer.body["ephemeral_token"])


def open_session(api: Api, token: str) -> str | None:
    """The secret of the session that a token opens."""
    opened = api.store.sessions.open_session(token, "192.0.2.7")
    return None if opened is None else opened[1]


def test_a_token_is_answered_alone(api: Api) -> None:
    answer = api.post(PATH)
    assert answer.text == f'{{"ephemeral_token":"{answer.body["ephemeral_token"]}"}}'
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert api.post(PATH, {}).status == 200
    assert api.post("//v3/sessions//ephemeral").status == 200


def test_only_an_account_token_makes_one(api: Api) -> None:
    (push,) = api.create()["properties"]["token"].values()
    for token in (None, push, "x"):
        assert api.post(PATH, token=token).pair == (401, NOT_AUTHORIZED)
    made = make(api)
    assert api.post(PATH, token=made).pair == (401, NOT_AUTHORIZED)
    assert api.get("/v4/sources", token=made).pair == (401, NOT_AUTHORIZED)


def test_no_api_takes_the_cookie(api: Api) -> None:
    secret = open_session(api, make(api))
    cookie = f"{COOKIE}={secret}"
    for headers in ({"Cookie": cookie}, {"Cookie": cookie, "Authorization": f"Bearer {secret}"}):
        for path in ("/v4/sources", "/v1/tokens", "/v1/trail"):
            answer = api.get(path, token=None, headers=headers)
            assert answer.pair == (401, NOT_AUTHORIZED)


def test_so_many_links_wait_and_no_more(api: Api) -> None:
    for _ in range(UNUSED_TOKENS_MAX):
        last = make(api)
    answer = api.post(PATH)
    assert (answer.status, answer.body["error"]) == (429, "AccessDenied")
    [event] = api.store.trail.list_events(outcome="refused")
    assert (event.action, event.detail["status"]) == ("create_ephemeral_token", 429)
    assert open_session(api, last) is not None
    assert api.post(PATH).status == 200


def test_its_session_is_one_of_an_operator_and_lasts_twelve_hours(api: Api) -> None:
    opened = api.store.sessions.open_session(make(api), "192.0.2.7")
    assert opened is not None
    session, _ = opened
    assert (session.account, session.role) == (api.account, ConsoleRole.OPERATOR)
    assert session.expires_at - session.created_at == 12 * HOUR_US


def test_the_trail_says_who_made_a_link(api: Api) -> None:
    make(api)
    [made] = api.store.trail.list_events(limit=1)
    assert made.action == "create_ephemeral_token"
    assert made.actor == StoreActor(ActorKind.ACCOUNT_TOKEN, "1", "127.0.0.1")
    assert made.account_id == api.account.id


def test_no_link_is_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "treadle")
    token = make(api)
    told = "".join(record.getMessage() for record in caplog.records if record.name[:7] == "treadle")
    assert token not in told
    assert token.encode() not in api.path.read_bytes()
