"""Post-load hooks over the API, to the byte (connect-api.md 2.13, connect-rest.md A.2.6)."""

import json
from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, Api, MakeApi
from tests.loads import load

from treadle.control.app import ConnectApiSettings
from treadle.store.model import RecordedTry

HOOKS = "/notifications/public/v1/api/hooks"
URL = "https://hooks.example.com/hooks/catch/some/webhook/id"
INVALID_POST = '{"data":{"message":"Invalid POST body"},"error":"InvalidBody"}'
INVALID_URI = '{"data":{"message":"Invalid URI"},"error":"InvalidBody"}'
INVALID_PUT = (
    '{"data":{"message":"PUT body must only contain boolean \'enable\' key"},"error":"InvalidBody"}'
)
UNKNOWN = '{"error":"NotFound"}'


@pytest.fixture
def destination(api: Api) -> int:
    """The account's destination."""
    return api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///here", "here"
    ).id


def creation(**changes: Any) -> dict[str, Any]:
    return {"type": "post_load", "config": {"url": URL}} | changes


def make(api: Api, **changes: Any) -> Any:
    answer = api.post(HOOKS, creation(**changes))
    assert answer.status == 200, answer.text
    return answer.body


def test_a_hook_is_answered_with_the_documented_keys(api: Api, destination: int) -> None:
    answer = api.post(HOOKS, creation(destination_id=destination))
    made = answer.body
    assert answer.status == 200
    assert answer.text == json.dumps(
        {
            "id": 1,
            "client_id": api.account.id,
            "type": "post_load",
            "version": 1,
            "destination_id": destination,
            "config": {"url": URL},
            "created_at": made["created_at"],
            "modified_at": made["created_at"],
            "disabled_at": None,
        },
        separators=(",", ":"),
    )
    assert api.get(HOOKS).text == f'{{"post_load":[{answer.text}]}}'


def test_without_hooks_the_list_is_there(api: Api) -> None:
    assert api.get(HOOKS).text == '{"post_load":[]}'


def test_the_destination_is_taken_in_each_of_its_three_forms(api: Api, destination: int) -> None:
    named = {"url": URL, "destination_id": f"destination_{destination}"}
    for body in (
        creation(),
        creation(destination_id=None),
        creation(destination_id=destination),
        creation(config=named),
        creation(config=named, destination_id=destination),
    ):
        made = api.post(HOOKS, body).body
        assert made["destination_id"] == destination
        assert made["config"] == {"url": URL}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"type": "post_load"},
        {"config": {"url": URL}},
        creation(type="pre_load"),
        creation(type=None),
        creation(config=None),
        creation(config={}),
        creation(config={"url": None}),
        creation(config={"url": URL, "secret": "x"}),
        creation(url=URL),
        creation(id=1),
        creation(disabled_at=None),
        creation(destination_id="12"),
        creation(destination_id=True),
        creation(destination_id=1.5),
        creation(config={"url": URL, "destination_id": 12}),
        creation(config={"url": URL, "destination_id": "12"}),
        creation(config={"url": URL, "destination_id": "destination_0"}),
        creation(destination_id=7, config={"url": URL, "destination_id": "destination_8"}),
    ],
)
def test_a_body_with_a_missing_or_prohibited_key_is_refused(
    api: Api, destination: int, body: object
) -> None:
    answer = api.post(HOOKS, body)
    assert (answer.status, answer.text) == (400, INVALID_POST)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"type":"post_load"' + b"[" * 9999])
def test_what_is_no_json_is_refused(api: Api, raw: bytes) -> None:
    answer = api.post(HOOKS, raw=raw)
    assert (answer.status, answer.text) == (400, INVALID_POST)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://hooks.example.com/x",
        "hooks.example.com",
        "https://user:pa55word@hooks.example.com/",
        "https://169.254.169.254/latest/meta-data",
        "https://2852039166/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://exa mple.com/",
    ],
)
def test_a_url_that_is_not_called_is_refused(api: Api, destination: int, url: str) -> None:
    answer = api.post(HOOKS, creation(config={"url": url}))
    assert (answer.status, answer.text) == (400, INVALID_URI)


def test_a_setting_allows_http_and_this_machine(make_api: MakeApi) -> None:
    api = make_api(ConnectApiSettings(hook_urls="any"))
    api.store.destinations.set_default_destination(api.account.id, "duckdb", "duckdb:///x", "x")
    for url in ("http://hooks.example.com/x", "http://127.0.0.1:9000/", "https://localhost/"):
        assert make(api, config={"url": url})["config"]["url"] == url
    assert api.post(HOOKS, creation(config={"url": "http://169.254.169.254/"})).text == INVALID_URI


@pytest.mark.parametrize("wrong", [99_999, 0, -1, 2**63, 2**200])
def test_an_unknown_destination_is_refused(api: Api, destination: int, wrong: int) -> None:
    answer = api.post(HOOKS, creation(destination_id=wrong))
    expected = f'{{"data":{{"message":"destination not found ({wrong})"}},"error":"InvalidId"}}'
    if wrong < 2**63:
        assert (answer.status, answer.text) == (400, expected)
    else:
        assert answer.status == 400


def test_an_account_without_a_destination_has_no_hook(api: Api) -> None:
    answer = api.post(HOOKS, creation())
    expected = '{"data":{"message":"destination not found (none)"},"error":"InvalidId"}'
    assert (answer.status, answer.text) == (400, expected)


def test_there_are_ten_hooks_disabled_ones_included(api: Api, destination: int) -> None:
    for _ in range(10):
        made = make(api)
    api.put(f"{HOOKS}/{made['id']}", {"enable": False})
    answer = api.post(HOOKS, creation())
    expected = '{"error":{"message":"You have exceeded the limit of 10 hooks."}}'
    assert (answer.status, answer.text) == (400, expected)
    assert api.delete(f"{HOOKS}/{made['id']}").text == "null"
    make(api)


def test_a_hook_is_disabled_and_enabled(api: Api, destination: int) -> None:
    made = make(api)
    path = f"{HOOKS}/{made['id']}"
    off = api.put(path, {"enable": False}).body
    assert off["disabled_at"] == off["modified_at"] > made["modified_at"]
    assert off["created_at"] == made["created_at"]
    on = api.put(path, {"enable": True}).body
    assert on["disabled_at"] is None
    assert list(on) == list(made)


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"enable": None}, {"enable": 1}, {"enable": "true"}, {"enable": True, "id": 1}],
)
def test_an_update_is_enable_alone(api: Api, destination: int, body: object) -> None:
    answer = api.put(f"{HOOKS}/{make(api)['id']}", body)
    assert (answer.status, answer.text) == (400, INVALID_PUT)


def test_deleting_answers_null_once(api: Api, destination: int) -> None:
    path = f"{HOOKS}/{make(api)['id']}"
    answer = api.delete(path)
    assert (answer.status, answer.text) == (200, "null")
    for answer in (api.delete(path), api.put(path, {"enable": True})):
        assert (answer.status, answer.text) == (400, UNKNOWN)


@pytest.mark.parametrize("id_", ["0", "-1", "x", "99999", str(2**63), "1%00"])
def test_an_id_that_is_none_is_unknown(api: Api, id_: str) -> None:
    for answer in (api.delete(f"{HOOKS}/{id_}"), api.put(f"{HOOKS}/{id_}", {"enable": True})):
        assert (answer.status, answer.text) == (400, UNKNOWN)
    assert api.get(f"/v1/hooks/{id_}").status == 404


def test_hooks_of_another_account_are_unknown(api: Api, destination: int) -> None:
    _, token = api.another_account()
    made = make(api)
    assert api.get(HOOKS, token=token).text == '{"post_load":[]}'
    assert api.get("/v1/hooks", token=token).text == '{"hooks":[]}'
    path = f"{HOOKS}/{made['id']}"
    assert api.put(path, {"enable": False}, token=token).text == UNKNOWN
    assert api.delete(path, token=token).text == UNKNOWN
    own = f"/v1/hooks/{made['id']}"
    for answer in (
        api.get(own, token=token),
        api.put(own, {"paused": True}, token=token),
        api.get(f"{own}/deliveries", token=token),
        api.post(f"{own}/send-again", token=token),
    ):
        assert (answer.status, answer.body["error"]) == (404, "InvalidId")
    assert api.get(own).body["paused_at"] is None


def test_every_call_needs_an_account_token(api: Api, destination: int) -> None:
    path = f"{HOOKS}/{make(api)['id']}"
    for method, asked in (
        ("GET", HOOKS),
        ("POST", HOOKS),
        ("PUT", path),
        ("DELETE", path),
        ("GET", "/v1/hooks"),
        ("PUT", "/v1/hooks/1"),
    ):
        assert api.call(method, asked, token=None).pair == (401, NOT_AUTHORIZED)
        assert api.call(method, asked, token="ac_wrong").pair == (401, NOT_AUTHORIZED)


def test_a_hook_cannot_be_got_alone_by_the_documented_calls(api: Api, destination: int) -> None:
    assert api.get(f"{HOOKS}/{make(api)['id']}").status == 404


# Calls of our own --------------------------------------------------------------------------------


def deliver(api: Api, destination: int, count: int) -> list[str]:
    """Load a table some times; return the ids of the deliveries, oldest first."""
    source = api.create("Shop")["id"]
    for last in range(1, count + 1):
        api.store.loads.record_load(
            load(source, "orders", last, api.now), [], destination_id=destination
        )
    [hook] = api.store.hooks.list_hooks()
    return [one.id for one in api.store.deliveries.list_deliveries(hook.id)][::-1]


def test_the_state_of_a_hook(api: Api, destination: int) -> None:
    made = make(api)
    deliver(api, destination, 2)
    state = api.get(f"/v1/hooks/{made['id']}").body
    assert state == {
        "id": made["id"],
        "type": "post_load",
        "version": 1,
        "destination_id": destination,
        "config": {"url": URL},
        "enabled": True,
        "signed": False,
        "created_at": made["created_at"],
        "modified_at": made["modified_at"],
        "disabled_at": None,
        "paused_at": None,
        "waiting": 2,
        "oldest_waiting_at": state["oldest_waiting_at"],
        "delivered": 0,
        "failed": 0,
        "tries": 0,
    }
    assert api.get("/v1/hooks").body == {"hooks": [state]}


def test_a_secret_is_set_and_never_shown(api: Api, destination: int) -> None:
    path = f"/v1/hooks/{make(api)['id']}"
    secret = "sixteen-characters-or-more"
    answer = api.put(path, {"secret": secret})
    assert answer.body["signed"] is True
    for shown in (answer.text, api.get(path).text, api.get(HOOKS).text, api.get("/v1/trail").text):
        assert secret not in shown
    [hook] = api.store.hooks.list_hooks()
    assert hook.secret == secret
    assert api.put(path, {"secret": None}).body["signed"] is False


def test_a_hook_is_paused_and_gets_another_url(api: Api, destination: int) -> None:
    path = f"/v1/hooks/{make(api)['id']}"
    paused = api.put(path, {"paused": True, "url": "https://example.com/2"}).body
    assert paused["paused_at"] is not None
    assert paused["config"] == {"url": "https://example.com/2"}
    assert api.put(path, {"paused": False}).body["paused_at"] is None
    assert api.put(path, {"enabled": False}).body["enabled"] is False
    changes = api.changes
    assert api.put(path, {}).status == 200
    assert api.changes == changes + 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"secret": "short"}, "16 to 256"),
        ({"secret": "with a blank inside of it"}, "16 to 256"),
        ({"url": "http://example.com/"}, "https://"),
        ({"paused": 1}, "does not fit"),
        ({"id": 1}, "does not fit"),
        ([], "does not fit"),
    ],
)
def test_a_wrong_change_is_told(api: Api, destination: int, body: object, said: str) -> None:
    answer = api.put(f"/v1/hooks/{make(api)['id']}", body)
    assert (answer.status, answer.body["error"]) == (400, "InvalidBody")
    assert said in answer.body["data"]["message"]


def test_deliveries_are_listed_newest_first_by_page(api: Api, destination: int) -> None:
    path = f"/v1/hooks/{make(api)['id']}/deliveries"
    ids = deliver(api, destination, 5)
    page = api.get(f"{path}?limit=2").body
    assert [one["delivery_id"] for one in page["deliveries"]] == [ids[4], ids[3]]
    assert page["next"] == ids[3]
    rest = api.get(f"{path}?limit=3&before={page['next']}").body
    assert [one["delivery_id"] for one in rest["deliveries"]] == [ids[2], ids[1], ids[0]]
    assert rest["next"] is None
    one = rest["deliveries"][0]
    assert (one["state"], one["tries"], one["status"], one["answer"]) == ("waiting", 0, None, None)
    assert one["body"]["source_root_table_name"] == "orders"
    assert one["next_try_at"] == one["created_at"]
    assert api.get(f"{path}?state=failed").body == {"deliveries": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", "state=lost"])
def test_a_wrong_page_is_told(api: Api, destination: int, query: str) -> None:
    answer = api.get(f"/v1/hooks/{make(api)['id']}/deliveries?{query}")
    assert (answer.status, answer.body["error"]) == (400, "InvalidBody")


def test_deliveries_are_sent_again(api: Api, destination: int) -> None:
    hook = make(api)["id"]
    path = f"/v1/hooks/{hook}"
    first, second = deliver(api, destination, 2)
    made = api.store.deliveries.list_deliveries(hook)
    answer = (api.now, 5_000, 500, "<script>", "it answered")
    api.store.deliveries.record_tries(
        [RecordedTry(one.number, hook, "failed", 0, 0, one.due_at, *answer) for one in made]
    )
    failed = api.get(f"{path}/deliveries?state=failed").body["deliveries"]
    assert [one["took_ms"] for one in failed] == [5, 5]
    assert failed[0]["next_try_at"] is None
    again = api.post(f"{path}/deliveries/{first}/send-again").body
    assert (again["delivery_id"], again["state"], again["tries"]) == (first, "waiting", 0)
    assert again["answer"] == "<script>"
    assert api.post(f"{path}/send-again").text == '{"deliveries":1}'
    waiting = api.get(f"{path}/deliveries?state=waiting").body["deliveries"]
    assert {one["delivery_id"] for one in waiting} == {first, second}
    unknown = api.post(f"{path}/deliveries/none/send-again")
    assert (unknown.status, unknown.body["error"]) == (404, "InvalidId")
