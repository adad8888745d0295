"""From an account token to a session of the console (connect-api.md 2.3, connect-rest.md A.2.8)."""

import asyncio
from collections.abc import Mapping

import httpx
import pytest
from tests.integration.control.api import NOT_AUTHORIZED, NOT_FOUND, Api

from treadle.control.app import create_control_app
from treadle.http.hosts import AllowedHosts
from treadle.store.sessions import HOUR_US, UNUSED_TOKENS_MAX
from treadle.store.trail_event import ActorKind, StoreActor

PATH = "/v3/sessions/ephemeral"
COOKIE = "treadle_session"


def make(api: Api, **more: str) -> str:
    answer = api.post(PATH, **more)
    assert answer.status == 200
    return str(answer.body["ephemeral_token"])


def browse(
    api: Api,
    query: str,
    *,
    base: str = "http://here",
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
) -> httpx.Response:
    """What a browser gets at the login page; it follows nothing."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, f"/console/login{query}", headers=headers)

    return asyncio.run(send())


def sign_in(api: Api, token: str, base: str = "http://here") -> httpx.Response:
    return browse(api, f"?ephemeral_token={token}", base=base)


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


def test_a_browser_is_led_on_at_once_without_the_token(api: Api) -> None:
    answer = sign_in(api, make(api))
    assert (answer.status_code, answer.headers["location"], answer.text) == (303, "/console", "")
    assert answer.headers["cache-control"] == "no-store"
    [cookie] = answer.headers.get_list("set-cookie")
    name, _, rest = cookie.partition("=")
    secret, _, attributes = rest.partition("; ")
    assert name == COOKIE
    assert attributes == "Max-Age=43200; Path=/console; HttpOnly; SameSite=Lax"
    session = api.store.sessions.find_session(secret)
    assert session is not None
    assert (session.account, session.role, session.opened_from) == (
        api.account,
        "operator",
        "127.0.0.1",
    )
    assert session.expires_at - session.created_at == 12 * HOUR_US


def test_over_tls_the_cookie_never_goes_over_anything_else(api: Api) -> None:
    answer = sign_in(api, make(api), "https://here")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"__Secure-{COOKIE}=")
    assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")


def refused(answer: httpx.Response) -> bool:
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("This link is not valid.")
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    return True


def test_a_token_is_refused_the_second_time(api: Api) -> None:
    token = make(api)
    assert sign_in(api, token).status_code == 303
    assert refused(sign_in(api, token))


def test_a_token_is_refused_after_an_hour(api: Api) -> None:
    token = make(api)
    api.now += HOUR_US
    assert refused(sign_in(api, token))


def test_what_is_no_such_token_is_refused(api: Api) -> None:
    token = make(api)
    for other in ("", "x", api.token, token + "0", "%00", "%F0%9F%A7%B5"):
        assert refused(sign_in(api, other))
    query = f"?ephemeral_token={token}&ephemeral_token={token}"
    assert refused(browse(api, query))
    assert browse(api, f"?ephemeral_token={token}", method="HEAD").status_code == 404
    assert browse(api, f"?ephemeral_token={token}", method="POST").status_code == 404
    assert sign_in(api, token).status_code == 303


def test_without_a_token_there_is_no_page_yet(api: Api) -> None:
    answer = browse(api, "?other=1")
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_a_revoked_account_token_takes_its_links_along(api: Api) -> None:
    made = api.post("/v1/tokens", {"kind": "account"}).body
    token = make(api, token=made["access_token"])
    api.delete(f"/v1/tokens/{made['id']}")
    assert refused(sign_in(api, token))


def test_the_page_is_there_under_known_names_only(api: Api) -> None:
    hosts = AllowedHosts.parse("127.0.0.1", "treadle.example.com")
    api.app = create_control_app(api.store, api.settings, changed=lambda: None, allowed_hosts=hosts)
    token = make(api)
    answer = sign_in(api, token, "http://evil.example")
    assert (answer.status_code, answer.json()["error"]) == (421, "UnknownHost")
    assert sign_in(api, token, "http://treadle.example.com").status_code == 303


def test_no_api_takes_the_cookie(api: Api) -> None:
    cookie = sign_in(api, make(api)).headers["set-cookie"].partition(";")[0]
    secret = cookie.partition("=")[2]
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
    assert sign_in(api, last).status_code == 303
    assert api.post(PATH).status == 200


def test_the_trail_says_who_made_and_who_used_a_link(api: Api) -> None:
    sign_in(api, make(api))
    opened, made = api.store.trail.list_events(limit=2)
    assert (made.action, opened.action) == ("create_ephemeral_token", "open_session")
    for event in (made, opened):
        assert event.actor == StoreActor(ActorKind.ACCOUNT_TOKEN, "1", "127.0.0.1")
        assert event.account_id == api.account.id
    assert opened.detail == {"ephemeral_token_id": int(made.target.id or 0), "role": "operator"}


def test_strangers_change_nothing(api: Api) -> None:
    before = api.store.get_revision(), api.store.trail.list_events()
    for _ in range(5):
        refused(sign_in(api, "guess"))
    assert (api.store.get_revision(), api.store.trail.list_events()) == before


def test_no_secret_is_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "treadle")
    token = make(api)
    cookie = sign_in(api, token).headers["set-cookie"].partition(";")[0].partition("=")[2]
    told = "".join(record.getMessage() for record in caplog.records if record.name[:7] == "treadle")
    assert f"account {api.account.id} opened session 1" in told
    assert token not in told
    assert cookie not in told
    for one in (token, cookie):
        assert one.encode() not in api.path.read_bytes()
