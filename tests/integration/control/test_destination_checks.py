"""Checks of destinations on the wire (connect-api.md 2.10, 3.10; connect-rest.md A.2.3)."""

from tests.checks import add_destination
from tests.integration.control.api import NOT_FOUND, Api

from treadle.store.trail_event import TrailAction

UNKNOWN = (404, '"invalid connection id"')


def last(api: Api, destination_id: object, **more: str) -> tuple[int, str]:
    answer = api.get(f"/v4/destinations/{destination_id}/last-connection-check", **more)
    return answer.status, answer.text


def start(api: Api, destination_id: object, **more: str) -> tuple[int, str]:
    answer = api.post(f"/v1/destinations/{destination_id}/check", **more)
    return answer.status, answer.text


def test_a_check_as_it_runs_and_as_it_ends(api: Api) -> None:
    asked = add_destination(api.store, api.account.id, "duckdb:///there.duckdb")
    its, name = asked.destination_id, asked.name
    running = (
        '{"target_exit_status":null,"tap_error_message":null,"check_exit_status":null,'
        f'"name":"{name}","start_time":"2019-02-05T16:44:57Z","mode":"check",'
        '"tap_exit_status":null,"target_error_message":null,"discovery_exit_status":null,'
        '"status":"running","completion_time":null,"error":false,"discovery_error_message":null}'
    )
    status, text = last(api, its)
    begun = text.partition('"start_time":"')[2][:20]
    assert (status, text) == (200, running.replace("2019-02-05T16:44:57Z", begun))
    assert start(api, its) == (200, text)  # the one that is open goes on

    api.store.checks.claim_check("here", "desk", 10**9)
    api.store.checks.finish_check(asked.id, "desk", "The password is wrong.", ())
    status, text = last(api, its)
    ended = text.partition('"completion_time":"')[2][:20]
    assert begun < ended
    assert status == 200
    assert text == (
        '{"target_exit_status":null,"tap_error_message":null,"check_exit_status":null,'
        f'"name":"{name}","start_time":"{begun}","mode":"check",'
        '"tap_exit_status":null,"target_error_message":null,"discovery_exit_status":1,'
        f'"status":"failed","completion_time":"{ended}","error":true,'
        '"discovery_error_message":"The password is wrong."}'
    )

    status, text = start(api, its)
    assert (status, '"status":"running"' in text, name in text) == (200, True, False)
    claimed = api.store.checks.claim_check("here", "desk", 10**9)
    assert claimed is not None
    api.store.checks.finish_check(claimed.id, "desk", None, ())
    status, text = last(api, its)
    assert status == 200
    assert '"check_exit_status":0,' in text
    assert '"discovery_exit_status":0,"status":"succeeded",' in text
    assert text.endswith('"error":false,"discovery_error_message":null}')


def test_what_is_not_there(api: Api) -> None:
    row = api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///there.duckdb", "there"
    )
    message = f"no connection check for destination ({row.id})"
    assert last(api, row.id) == (404, f'{{"error":"InvalidId","data":{{"message":"{message}"}}}}')
    for unknown in (row.id + 1, "0", "x", 10**30):
        assert last(api, unknown) == UNKNOWN
        assert start(api, unknown) == UNKNOWN
    _, token = api.another_account()
    assert last(api, row.id, token=token) == UNKNOWN
    assert start(api, row.id, token=token) == UNKNOWN
    assert api.get(f"/v1/destinations/{row.id}/check").pair == (404, NOT_FOUND)


def test_the_trail_names_who_started_a_check(api: Api) -> None:
    row = api.store.destinations.set_default_destination(
        api.account.id, "duckdb", "duckdb:///there.duckdb", "there"
    )
    assert start(api, row.id)[0] == 200
    assert start(api, row.id + 1)[0] == 404
    refused, done, *_ = api.store.trail.list_events()
    for event in (done, refused):
        assert (event.action, event.actor.kind) == (TrailAction.CHECK_DESTINATION, "account_token")
    assert (done.outcome, done.target.id) == ("done", str(row.id))
    assert (refused.outcome, refused.target.id) == ("refused", str(row.id + 1))
    assert api.changes == 2
