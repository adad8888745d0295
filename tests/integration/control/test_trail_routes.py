"""`GET /v1/trail`, and the event of every request that changes something or may not."""

import re
from typing import Any

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, Api
from tests.loads import load

from treadle.control.refusal_allowance import REFUSALS_PER_MINUTE
from treadle.store.token_rules import TokenRequest
from treadle.store.trail_event import ActorKind, StoreActor, TrailOutcome

ACTOR = {"kind": "account_token", "id": "1", "address": "127.0.0.1"}


def events(api: Api, query: str = "", **more: Any) -> Any:
    answer = api.get(f"/v1/trail{query}", **more)
    assert answer.status == 200
    return answer.body["events"]


def changed_by(api: Api, method: str, path: str, body: object = None) -> list[Any]:
    """The events of one request, oldest first."""
    before = {event["event_id"] for event in events(api)}
    api.call(method, path, body)
    return [event for event in reversed(events(api)) if event["event_id"] not in before]


def test_an_event_has_the_documented_keys(api: Api) -> None:
    made = api.create("My Shop")
    event = events(api)[0]
    assert event == {
        "event_id": event["event_id"],
        "at": event["at"],
        "actor": ACTOR,
        "action": "create_source",
        "target": {"kind": "source", "id": str(made["id"]), "name": "my_shop"},
        "outcome": "done",
        "detail": {},
    }
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["at"])


def test_every_operation_that_changes_has_an_event_done_and_refused(api: Api) -> None:
    """Every method of the document but GET, so that a new operation is noticed here."""
    source = api.create("Shop")["id"]
    ids = [one.id for one in api.store.tokens.list_tokens(source)]
    done = {
        ("put", "/v4/sources/{source_id}"): ({"display_name": "New"}, "change_source"),
        ("delete", "/v4/sources/{source_id}/tokens/{token_id}"): (None, "revoke_import_token"),
        ("post", "/v4/sources/{source_id}/tokens"): (None, "create_import_token"),
        ("post", "/v4/sources"): (
            {"type": "import_api", "display_name": "Second"},
            "create_source",
        ),
        ("delete", "/v4/sources/{source_id}"): (None, "delete_source"),
    }
    of_own_kinds = {
        ("post", "/v1/tokens"): ({"kind": "account"}, "create_account_token", "create_token"),
        ("put", "/v1/tokens/{token_id}"): ({"expires_at": None}, "expire_token", "expire_token"),
        ("post", "/v1/tokens/{token_id}/replace"): (
            {"overlap_seconds": 0},
            "replace_token",
            "replace_token",
        ),
        ("delete", "/v1/tokens/{token_id}"): (None, "revoke_account_token", "revoke_token"),
        ("post", "/v1/account-tokens"): (
            {"description": "laptop"},
            "create_account_token",
            "create_account_token",
        ),
        ("put", "/v1/account-tokens/{token_id}"): (
            {"disabled": True},
            "disable_token",
            "disable_token",
        ),
        ("delete", "/v1/account-tokens/{token_id}"): (
            None,
            "revoke_account_token",
            "revoke_account_token",
        ),
        ("put", "/v1/sources/{source_id}/webhook"): (
            {"import_tokens": False},
            "set_options",
            "set_options",
        ),
    }
    emails = "/notifications/public/v1/api/custom-emails"
    of_emails = {
        ("post", emails): ({"email_address": "a@b.c"}, "add_recipient", "add_recipient"),
        ("put", emails + "/{email_id}"): (
            {"disabled_at": "2026-01-01"},
            "disable_recipient",
            "change_recipient",
        ),
        ("delete", emails + "/{email_id}"): (None, "remove_recipient", "remove_recipient"),
    }
    of_tables = {("put", "/v1/tables/{table}/schema"), ("delete", "/v1/tables/{table}/schema")}
    destination = api.post(
        "/v4/destinations", {"type": "duckdb", "properties": {"path": "a.duckdb"}}
    ).body["id"]
    moved = {"properties": {"path": "b.duckdb"}}
    of_destinations = {
        ("post", "/v4/destinations"): (
            {"type": "duckdb", "properties": {"path": "c.duckdb"}},
            "create_destination",
        ),
        ("put", "/v4/destinations/{destination_id}"): (moved, "change_destination"),
        ("delete", "/v4/destinations/{destination_id}"): (None, "delete_destination"),
    }
    nothing_changes = {
        ("put", "/v4/sources/{source_id}/streams/metadata"),
        ("post", "/v4/sources/{source_id}/sync"),
        ("delete", "/v4/sources/{source_id}/sync"),
        ("post", "/v1/query"),
        ("delete", "/v1/query/{query_id}"),
        ("post", "/v1/doctor"),
    }
    refused_by_number_alone = {("post", "/v3/sessions/ephemeral")}  # test_session_routes.py
    elsewhere = {
        ("post", "/v1/destinations/{destination_id}/check"),  # test_destination_checks
        ("post", "/v1/hooks/{hook_id}/test"),  # test_trials
        ("post", "/v1/custom-emails/{email_id}/test"),  # test_trials
    }
    of_loads = {
        ("put", "/v1/sources/{source_id}/options"): (
            {"options": {"nested": "json"}},
            "set_options",
        ),
        ("post", "/v1/sources/{source_id}/tables/{table}/load"): (None, "load_table"),
        ("post", "/v1/sources/{source_id}/tables/{table}/retry"): (None, "retry_table"),
    }
    described = {
        (method, path)
        for path, item in api.app.openapi()["paths"].items()
        for method in item
        if method != "get"
    }
    documented = "/notifications/public/v1/api/hooks"
    of_hooks: dict[tuple[str, str], tuple[object, str]] = {
        ("post", documented): (
            {"type": "post_load", "config": {"url": "https://example.com/"}},
            "create_hook",
        ),
        ("put", f"{documented}/{{hook_id}}"): ({"enable": False}, "change_hook"),
        ("put", "/v1/hooks/{hook_id}"): ({"paused": True}, "change_hook"),
        ("post", "/v1/hooks/{hook_id}/deliveries/{delivery_id}/send-again"): (None, "send_again"),
        ("post", "/v1/hooks/{hook_id}/send-again"): (None, "send_again"),
        ("delete", f"{documented}/{{hook_id}}"): (None, "delete_hook"),
    }
    of_users = {
        ("post", "/v1/users"): (
            {"name": "Bo", "email": "bo@example.com", "role": "viewer"},
            "add_user",
            "add_user",
        ),
        ("put", "/v1/users/{user_id}"): ({"role": "operator"}, "change_role", "change_role"),
        ("post", "/v1/users/{user_id}/invite"): (None, "invite_user", "invite_user"),
        ("delete", "/v1/users/{user_id}"): (None, "delete_user", "delete_user"),
    }
    tried = (
        done.keys()
        | of_users.keys()
        | of_own_kinds.keys()
        | of_emails.keys()
        | of_tables
        | of_hooks.keys()
    )
    tried |= of_destinations.keys() | of_loads.keys()
    assert described == tried | nothing_changes | refused_by_number_alone | elsewhere
    for (method, path), (posted, action, refused) in of_emails.items():
        [event] = changed_by(api, method.upper(), path.replace("{email_id}", "1"), posted)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        assert event["target"] == {"kind": "recipient", "id": "1", "name": "a@b.c"}
        [event] = changed_by(api, method.upper(), path.replace("{email_id}", "99999"), {})
        assert (event["action"], event["outcome"], event["actor"]) == (refused, "refused", ACTOR)
    path = f"/v1/tables/a%20b/schema?source={source}"
    for method, action in (("PUT", "set_table_schema"), ("DELETE", "remove_table_schema")):
        [event] = changed_by(api, method, path, {"properties": {}})
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        assert event["target"] == {"kind": "table", "id": str(source), "name": "a b"}
        [event] = changed_by(api, method, path, {"properties": 5})
        assert (event["action"], event["outcome"]) == (action, "refused")
        assert event["detail"]["error"].startswith("Invalid")
    failed = load(source, "a b", 1, error="no")
    for (method, path), (wanted, action) in of_loads.items():
        api.store.loads.record_failure(failed, stopped=True)
        real = path.replace("{source_id}", str(source)).replace("{table}", "a%20b")
        [event] = changed_by(api, method.upper(), real, wanted)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        [event] = changed_by(api, method.upper(), path.replace("{source_id}", "99999"), wanted)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "refused", ACTOR)
    hook = api.store.hooks.create_hook(api.account.id, "https://example.com/")
    api.store.loads.record_load(load(source, "t", 1), [], destination_id=destination)
    [delivery] = api.store.deliveries.list_deliveries(hook.id)
    for (method, path), (sent, action) in of_hooks.items():
        real = path.replace("{hook_id}", str(hook.id)).replace("{delivery_id}", delivery.id)
        [event] = changed_by(api, method.upper(), real, sent)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        wrong = path.replace("{hook_id}", "99999").replace("{delivery_id}", "none")
        [event] = changed_by(api, method.upper(), wrong, {})
        assert (event["action"], event["outcome"], event["actor"]) == (action, "refused", ACTOR)
        assert event["detail"]["error"] in ("InvalidBody", "InvalidId", "NotFound")
    api.post("/v1/users", {"name": "Ann", "email": "ann@example.com", "role": "admin"})
    for (method, path), (posted, action, refused) in of_users.items():
        [event] = changed_by(api, method.upper(), path.replace("{user_id}", "2"), posted)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        assert event["target"] == {"kind": "user", "id": "2", "name": "bo@example.com"}
        [event] = changed_by(api, method.upper(), path.replace("{user_id}", "99999"), {})
        assert (event["action"], event["outcome"], event["actor"]) == (refused, "refused", ACTOR)
    for (method, path), (sent, action) in of_destinations.items():
        real = path.replace("{destination_id}", str(destination))
        [event] = changed_by(api, method.upper(), real, sent)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        wrong = path.replace("{destination_id}", "99999")
        [event] = changed_by(api, method.upper(), wrong, {})
        assert (event["action"], event["outcome"], event["actor"]) == (action, "refused", ACTOR)
        assert event["detail"] == {"status": 400}
    for (method, path), (sent, action, refused) in of_own_kinds.items():
        own = api.store.tokens.issue_token(TokenRequest("account"), account_id=api.account.id)
        real = path.replace("{source_id}", str(source)).replace("{token_id}", str(own.id))
        [event] = changed_by(api, method.upper(), real, sent)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        wrong = path.replace("{source_id}", "99999").replace("{token_id}", "99999")
        [event] = changed_by(api, method.upper(), wrong, {"kind": "none", "expires_at": None})
        assert (event["action"], event["outcome"], event["actor"]) == (refused, "refused", ACTOR)
        assert event["detail"]["error"].startswith("Invalid")
    for (method, path), (body, action) in done.items():
        real = path.replace("{source_id}", str(source)).replace("{token_id}", str(ids[0]))
        [event] = changed_by(api, method.upper(), real, body)
        assert (event["action"], event["outcome"], event["actor"]) == (action, "done", ACTOR)
        wrong = path.replace("{source_id}", "99999").replace("{token_id}", "99999")
        [event] = changed_by(api, method.upper(), wrong, {})
        assert (event["action"], event["outcome"], event["actor"]) == (action, "refused", ACTOR)
        assert event["detail"]["status"] == 400
        assert event["detail"]["error"].startswith("Invalid")
    for method, path in nothing_changes:
        real = path.replace("{source_id}", str(source))
        assert changed_by(api, method.upper(), real, {"streams": []}) == []


def test_reading_leaves_no_event(api: Api) -> None:
    source = api.create("Shop")["id"]
    for path in (
        "/v4/sources",
        f"/v4/sources/{source}",
        f"/v4/sources/{source}/tokens",
        "/v1/loads",
    ):
        assert changed_by(api, "GET", path) == []


def test_pausing_is_told_from_other_changes(api: Api) -> None:
    path = f"/v4/sources/{api.create('Shop')['id']}"
    [paused] = changed_by(api, "PUT", path, {"paused_at": "2026-01-01T00:00:00Z"})
    [unpaused] = changed_by(api, "PUT", path, {"paused_at": None})
    assert [paused["action"], unpaused["action"]] == ["pause_source", "unpause_source"]
    assert changed_by(api, "PUT", path, {}) == []  # nothing was asked


def test_an_account_sees_its_own_events_and_not_who_the_operator_is(api: Api) -> None:
    other, others_token = api.another_account()
    source = api.create("Shop")["id"]
    operator = api.store.for_actor(StoreActor(ActorKind.COMMAND_LINE, "root", "local"))
    operator.sources.update_source(None, source, paused_at=5)
    told = events(api)[0]
    assert told["action"] == "pause_source"
    assert told["actor"] == {"kind": "command_line", "id": None, "address": None}
    theirs = events(api, token=others_token)
    assert [event["action"] for event in theirs] == ["create_account"]
    assert theirs[0]["target"]["id"] == str(other.id)
    # Another account's source is unknown, and the attempt is told to the one who made it.
    assert api.delete(f"/v4/sources/{source}", token=others_token).status == 400
    assert events(api, token=others_token)[0]["outcome"] == "refused"
    assert events(api)[0] == told


def test_pages_and_filters(api: Api) -> None:
    source = api.create("Shop")["id"]
    for name in ("A", "B", "C"):
        api.put(f"/v4/sources/{source}", {"display_name": name})
    every = events(api)
    pages: list[Any] = []
    query = "?limit=2"
    while True:
        answer = api.get(f"/v1/trail{query}").body
        pages += answer["events"]
        if answer["next"] is None:
            break
        query = f"?limit=2&before={answer['next']}"
    assert pages == every
    assert len(events(api, "?action=change_source")) == 3
    assert events(api, "?outcome=refused") == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "before=x", "before=-1", "action=", "action=x",
     "outcome=x", "outcome=%00"],
)  # fmt: skip
def test_a_wrong_parameter_is_refused(api: Api, query: str) -> None:
    assert api.get(f"/v1/trail?{query}").status == 400


def test_strangers_and_import_tokens_are_refused_and_leave_no_event(api: Api) -> None:
    source = api.create("Shop")["id"]
    [token, *_] = api.store.tokens.list_tokens(source)
    before = api.store.trail.list_events()
    for wrong in (None, "ac_wrong", token.secret):
        assert api.get("/v1/trail", token=wrong).pair == (401, NOT_AUTHORIZED)
        assert api.delete(f"/v4/sources/{source}", token=wrong).pair == (401, NOT_AUTHORIZED)
    assert api.store.trail.list_events() == before


def test_nothing_changes_when_the_trail_cannot_be_written(api: Api) -> None:
    source = api.create("Shop")["id"]
    with api.store._database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE trail RENAME TO gone")
    assert api.delete(f"/v4/sources/{source}").status in (500, 503)
    assert api.post(f"/v4/sources/{source}/tokens").status in (500, 503)
    assert api.get(f"/v4/sources/{source}").body["deleted_at"] is None


def test_refusals_beyond_the_allowance_are_counted_and_not_stored(api: Api) -> None:
    for _ in range(REFUSALS_PER_MINUTE + 10):
        assert api.delete("/v4/sources/99999").status == 400
    refused = api.store.trail.list_events(outcome=TrailOutcome.REFUSED, limit=1000)
    assert len(refused) == REFUSALS_PER_MINUTE
    # What is done is recorded all the same.
    api.create("Shop")
    assert events(api)[0]["action"] == "create_source"


def test_the_audit_is_chosen_by_more(api: Api) -> None:
    source = api.create("Shop")["id"]
    api.put(f"/v4/sources/{source}", {"display_name": "New"})
    [event] = api.get("/v1/audit?action=change_source").body["events"]
    assert event["detail"] == {
        "changed": ["display_name"],
        "before": {"display_name": "Shop"},
        "after": {"display_name": "New"},
    }
    every = api.get("/v1/audit").body
    assert every == api.get("/v1/trail").body
    for query, count in (
        ("actor=account_token%201", 2),
        ("actor=account_token&target=source", 2),
        ("actor=account_token%202", 0),
        ("actor=server&target=account", 1),
        (f"from={event['at']}&target=source", None),
        (f"to={event['at'][:10]}", 0),
        ("target=hook", 0),
    ):
        found = api.get(f"/v1/audit?{query}").body["events"]
        assert count is None or len(found) == count, (query, found)
    for wrong in ("actor=nobody", "actor=command_line%20root", "target=x", "from=x", "limit=0",
                  "action=x", "outcome=x", "before=x"):  # fmt: skip
        answer = api.get(f"/v1/audit?{wrong}")
        assert (answer.status, list(answer.body)) == (400, ["message"]), wrong
