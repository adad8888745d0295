"""Repeated slashes in paths of the Connect API change no answer (connect-rest.md A.3 row 1)."""

import pytest
from tests.integration.control.api import NOT_AUTHORIZED, NOT_FOUND, Api

from treadle.control.requests import CONTROL_BODY_BYTES_MAX


def test_paths_with_repeated_slashes_are_those_with_single_ones(api: Api) -> None:
    source = api.create()
    id_ = source["id"]
    assert api.get("/v4//sources").text == api.get("/v4/sources").text
    assert api.get(f"//v4//sources///{id_}").body == source
    made = api.post(f"/v4//sources/{id_}//tokens")
    assert (made.status, made.headers["cache-control"]) == (200, "no-store")
    body = {"type": "import_api", "display_name": "Other"}
    assert api.post("/v4//sources", body).status == 200
    renamed = api.put(f"/v4//sources/{id_}", {"display_name": "New"})
    assert renamed.body["display_name"] == "New"
    assert api.delete(f"/v4//sources/{id_}").body["deleted_at"] is not None


@pytest.mark.parametrize("path", ["/v4//sources", "//v4/sources", "/v4///sources"])
def test_no_check_is_passed_by(api: Api, path: str) -> None:
    assert api.get(path, token=None).pair == (401, NOT_AUTHORIZED)
    assert api.post(path, token="at_other").pair == (401, NOT_AUTHORIZED)
    assert api.call("PATCH", path).pair == (404, NOT_FOUND)
    too_large = b" " * (CONTROL_BODY_BYTES_MAX + 1)
    assert api.post(path, raw=too_large).status == 413
    assert api.get(path, headers={"X-Forwarded-Prefix": "/x"}).status == 200


def test_a_refusal_by_such_a_path_is_in_the_trail(api: Api) -> None:
    assert api.post("/v4//sources", {}).status == 400
    [event] = api.get("/v1/trail?outcome=refused").body["events"]
    assert event["action"] == "create_source"
