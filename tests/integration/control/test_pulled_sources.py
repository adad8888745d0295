"""Calls that make no sense for a source that is pushed to (connect-api.md 5)."""

import pytest
from tests.integration.control.api import NOT_FOUND, Api


def test_no_connection_check_ever_ran(api: Api) -> None:
    id_ = api.create()["id"]
    message = f"no connection check for source ({id_})"
    expected = (404, {"error": "InvalidId", "data": {"message": message}})
    assert api.get(f"/v4/sources/{id_}/last-connection-check").pair == expected


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
        ("GET", "/v3/sessions/ephemeral"),
        ("GET", "/console"),
        ("GET", "/console/"),
        ("GET", "/console/login"),
        ("POST", "/console/login"),
        ("POST", "/v3/accounts"),
        ("GET", "/v3/destinations"),
        ("POST", "/oauth/token"),
        ("GET", "/notifications/public/v1/api/hooks/1"),
        ("GET", "/notifications/public/v1/api"),
        ("PATCH", "/v4/destinations/1"),
        ("PATCH", "/notifications/public/v1/api/custom-emails"),
        ("GET", "/"),
        ("GET", "/v4"),
        ("GET", "/v4/"),
        ("GET", "/v4/sources/"),
        ("GET", "/v4//sources/"),
        ("GET", "/v4/sources//"),
        ("GET", "//"),
        ("GET", "//v1//tokens"),
        ("GET", "/v1//tokens"),
        ("POST", "/v1/tables//records"),
        ("POST", "//v2/import/push"),
        ("GET", "/V4//sources"),
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
