"""Calls that make no sense for a source that is pushed to (connect-api.md 5)."""

import pytest
from tests.integration.control.api import NOT_FOUND, Api

RULE = "body must contain a 'streams' property with a list of metadatas by tap_stream_id"


def test_no_connection_check_ever_ran(api: Api) -> None:
    id_ = api.create()["id"]
    message = f"no connection check for source ({id_})"
    expected = (404, {"error": "InvalidId", "data": {"message": message}})
    assert api.get(f"/v4/sources/{id_}/last-connection-check").pair == expected


def test_there_are_no_streams(api: Api) -> None:
    path = f"/v4/sources/{api.create()['id']}/streams"
    assert api.get(path).pair == (200, [])
    assert api.get(f"{path}/2288757").text == '"invalid stream-id: 2288757"'
    assert api.get(f"{path}/2288757").status == 400
    assert api.get(f"{path}/metadata").pair == (400, "invalid stream-id: metadata")


def test_streams_of_an_unknown_source(api: Api) -> None:
    expected = (400, "invalid stream-id: 77")
    assert api.get("/v4/sources/77/streams").pair == expected
    assert api.get("/v4/sources/77/streams/1").pair == expected
    assert api.put("/v4/sources/77/streams/metadata", {"streams": []}).pair == expected


def test_no_stream_can_be_selected(api: Api) -> None:
    path = f"/v4/sources/{api.create()['id']}/streams/metadata"
    metadata = [{"breadcrumb": [], "metadata": {"selected": True}}]
    one = {"tap_stream_id": "custom_collections", "metadata": metadata}
    message = "invalid tap-stream-ids:  [custom_collections]"
    assert api.put(path, {"streams": [one]}).pair == (400, {"invalid_fields": message})
    nil = {"invalid_fields": "invalid tap-stream-ids:  [nil]"}
    assert api.put(path, {"streams": [{"metadata": metadata}]}).pair == (400, nil)
    assert api.put(path, {"streams": []}).pair == (200, {"status": 200})
    bodies: list[object] = [{}, {"streams": None}, [], {"streams": [{"tap_stream_id": "a"}]}]
    for body in bodies:
        assert api.put(path, body).pair == (400, RULE)
    assert api.put(path, raw=b"{").text == f'"{RULE}"'
    assert api.changes == 1


def test_a_job_is_refused_at_once(api: Api) -> None:
    id_, client = api.create()["id"], api.account.id
    path = f"/v4/sources/{id_}/sync"
    message = f"Could not create job for client-id: {client}; connection-id: {id_}"
    generic = (400, {"error": {"type": "generic", "message": message}})
    assert api.post(path).pair == generic
    assert api.post(path, {}).pair == generic
    assert api.delete(path).pair == (200, {"status": 200})
    api.delete(f"/v4/sources/{id_}")
    deleted = {"error": {"type": "invalid_source", "message": "Integration is deleted."}}
    assert api.post(path).pair == (400, deleted)
    message = f"Unable to locate source(77) for client ({client})"
    unknown = (400, {"error": {"type": "invalid_source", "message": message}})
    assert api.post("/v4/sources/77/sync").pair == unknown
    assert api.delete("/v4/sources/77/sync").pair == unknown


def test_nothing_is_extracted(api: Api) -> None:
    api.create()
    path = f"/v4/{api.account.id}/extractions"
    assert api.get(path).text == '{"data":[],"page":1,"total":0,"links":{}}'
    assert api.get(f"{path}/{api.account.id}.1.sync.c12fb0a7").pair == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v3/sessions/ephemeral"),
        ("POST", "/v3/accounts"),
        ("GET", "/v3/destinations"),
        ("POST", "/oauth/token"),
        ("PATCH", "/v4/destinations/1"),
        ("GET", "/notifications/public/v1/api/hooks"),
        ("POST", "/notifications/public/v1/api/custom-emails"),
        ("GET", "/"),
        ("GET", "/v4"),
        ("GET", "/v4/"),
        ("GET", "/v4/sources/"),
        ("GET", "/v4//sources"),
        ("GET", "/v4/sources/1/"),
        ("GET", "/V4/sources"),
        ("GET", "/v4/sources/1/tokens/1"),
        ("PATCH", "/v4/sources/1"),
        ("PUT", "/v4/sources"),
        ("DELETE", "/v4/sources"),
        ("POST", "/v4/sources/1"),
        ("PUT", "/v4/sources/1/tokens"),
        ("OPTIONS", "/v4/sources"),
        ("GET", "/v4/sources/1/sync"),
        ("POST", "/v4/source-types"),
        ("POST", "/docs"),
        ("GET", "/docs/static/missing.js"),
        ("POST", "/docs/static/swagger-ui.css"),
    ],
)
def test_an_unknown_path_or_method_is_404_with_or_without_a_token(
    api: Api, method: str, path: str
) -> None:
    assert api.call(method, path).pair == (404, NOT_FOUND)
    assert api.call(method, path, token=None).pair == (404, NOT_FOUND)
