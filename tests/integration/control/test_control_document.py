"""The OpenAPI document tells the truth, and its page needs nothing from elsewhere."""

import asyncio
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from tests.integration.control.api import Api, MakeApi

from treadle.control.app import ConnectApiSettings


def _fetch(api: Api, path: str) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path)

    return asyncio.run(send())


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


@pytest.fixture(params=["seed", "modern"])
def either(request: pytest.FixtureRequest, make_api: MakeApi) -> Api:
    """A server of each surface, with the token list of both forms."""
    lists = {"seed": "objects", "modern": "integers"}
    return make_api(ConnectApiSettings(request.param, lists[request.param]))


def test_the_document_is_openapi_3_1_and_needs_no_token(either: Api) -> None:
    answer = _fetch(either, "/openapi.json")
    assert answer.status_code == 200
    document = answer.json()
    assert document["openapi"].startswith("3.1.")
    assert document == either.document.value
    assert document["components"]["securitySchemes"]["account_token"]["scheme"] == "bearer"


def test_every_call_states_its_authentication_and_its_refusals(either: Api) -> None:
    seen = set()
    for _, _, operation in _operations(either.document.value):
        assert operation["security"] == [{"account_token": []}]
        assert {"401", "404", "500", "503"} <= operation["responses"].keys()
        assert "422" not in operation["responses"]
        assert operation["description"]
        seen.add(operation["operationId"])
    assert len(seen) == 80


def test_every_call_with_a_body_states_what_may_be_wrong_with_it(either: Api) -> None:
    with_body = {
        operation["operationId"]
        for _, _, operation in _operations(either.document.value)
        if "requestBody" in operation
    }
    assert with_body == {
        *("create_source", "update_source", "select_streams"),
        *("create_access_token", "change_access_token", "replace_access_token"),
        *("create_account_token", "change_account_token"),
        *("create_custom_email", "update_custom_email"),
        *("change_webhook", "set_table_schema", "change_source_options"),
        *("create_hook", "enable_hook", "change_hook"),
        *("create_destination", "update_destination"),
        *("create_user", "change_user"),
        "run_query",
    }
    for _, _, operation in _operations(either.document.value):
        stated = {"408", "413", "415"} & operation["responses"].keys()
        assert len(stated) == (3 if "requestBody" in operation else 0)


def test_every_reference_leads_somewhere(either: Api) -> None:
    document = either.document.value
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert names == document["components"]["schemas"].keys()


def test_every_answer_and_body_has_examples_that_fit_its_schema(either: Api) -> None:
    checked = 0
    for method, path, operation in _operations(either.document.value):
        described = list(operation["responses"].items())
        if "requestBody" in operation:
            described.append(("body", operation["requestBody"]))
        for what, part in described:
            content = part["content"]["application/json"]
            assert content["examples"], f"{method} {path} {what}"
            for name, example in content["examples"].items():
                errors = either.document.errors(content["schema"], example["value"])
                assert not errors, f"{method} {path} {what} {name}: {errors}"
                checked += 1
    assert checked > 100


def test_the_check_of_answers_can_fail(api: Api) -> None:
    source = api.create()
    schema = {"$ref": "#/components/schemas/Source"}
    assert not api.document.errors(schema, source)
    assert api.document.errors(schema, {**source, "stale": False})
    assert api.document.errors(schema, {**source, "id": "1"})
    assert api.document.errors(schema, {**source, "created_at": "2019-02-05T16:44:55.1Z"})
    with pytest.raises(AssertionError, match="not documented"):
        api.document.check("GET", "/v4/sources", 418, {})


def test_the_examples_of_bodies_work(api: Api) -> None:
    operations = {o["operationId"]: o for _, _, o in _operations(api.document.value)}

    def bodies(name: str) -> list[object]:
        content = operations[name]["requestBody"]["content"]["application/json"]
        return [example["value"] for example in content["examples"].values()]

    for body in bodies("create_source"):
        assert api.post("/v4/sources", body).status == 200
    path = f"/v4/sources/{api.get('/v4/sources').body[0]['id']}"
    for body in bodies("update_source"):
        assert api.put(path, body).status == 200


class _References(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_fetches_only_from_this_server(api: Api) -> None:
    page = _fetch(api, "/docs")
    assert page.status_code == 200
    references = _References()
    references.feed(page.text)
    assert len(references.found) == 3
    for path in references.found:
        assert path.startswith("/docs/static/")
        assert _fetch(api, path).status_code == 200
    assert "url: '/openapi.json'" in page.text
    assert '"validatorUrl": null' in page.text  # otherwise a public validator is asked
    assert not re.findall(r"https?://", page.text)


def test_the_page_forbids_browsers_to_fetch_from_elsewhere(api: Api) -> None:
    policy = _fetch(api, "/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy
    assert "content-security-policy" not in _fetch(api, "/openapi.json").headers


def test_there_is_no_second_page_that_would_fetch_from_elsewhere(api: Api) -> None:
    assert api.get("/redoc").status == 404
