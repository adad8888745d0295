"""The OpenAPI document of a running server describes everything it answers."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from tests.servers.document import DRAFT, Document
from tests.servers.treadle import Client, TreadleServer

pytestmark = pytest.mark.xdist_group("document")

METHODS = {"get", "put", "post", "delete"}
IMPORT_PATHS = {
    "/v2/import/push",
    "/v2/import/validate",
    "/v2/import/batch",
    "/v2/import/status",
    "/v1/clients/{client_id}/token/{token}",
    "/v1/tables/{table}/records",
    "/v1/receipts/{id}",
    "/healthz",
    "/readyz",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One server for all of them: what they ask does not depend on what was asked before."""
    with TreadleServer(tmp_path_factory.mktemp("document") / "data") as server:
        yield Client(server, *server.account())


@pytest.fixture
def document(client: Client) -> Document:
    answer = client.http.get("/openapi.json")
    assert answer.status_code == 200
    return Document(answer.json())


def contents(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body and answer, with where it stands."""
    for method, path, operation in document.operations():
        parts = dict(operation["responses"])
        if "requestBody" in operation:
            parts["body"] = operation["requestBody"]
        for what, part in parts.items():
            for kind, content in part["content"].items():
                yield f"{method} {path} {what} {kind}", content


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_all_paths_are_in_one_document(document: Document) -> None:
    assert document.value["openapi"].startswith("3.1.")
    paths = document.value["paths"].keys()
    assert paths >= IMPORT_PATHS
    assert "/v4/sources" in paths
    info = document.value["info"]
    assert info["title"] == "treadle"
    assert "Import API" in info["description"]
    assert "control API" in info["description"]


def test_the_document_is_well_formed(document: Document) -> None:
    value = document.value
    assert value.keys() <= {"openapi", "info", "tags", "paths", "components", "servers"}
    assert {"title", "version"} <= value["info"].keys()
    named = [tag["name"] for tag in value["tags"]]
    assert len(set(named)) == len(named)
    for kind in value["components"]:
        assert kind in {"schemas", "parameters", "headers", "securitySchemes"}
    for path, item in value["paths"].items():
        assert path.startswith("/")
        assert item.keys() <= METHODS
        for operation in item.values():
            parameters = [
                value["components"]["parameters"][one["$ref"].rpartition("/")[2]]
                if "$ref" in one
                else one
                for one in operation.get("parameters", [])
            ]
            for parameter in parameters:
                assert parameter["in"] in {"path", "query", "header"}
                assert "schema" in parameter
                assert parameter.get("required", False) or parameter["in"] != "path"
            in_path = {one["name"] for one in parameters if one["in"] == "path"}
            assert in_path == set(re.findall(r"\{([^}]+)\}", path)), path
            assert operation["responses"]
            for status, answer in operation["responses"].items():
                assert 200 <= int(status) <= 599
                assert answer["description"]
            for needed in operation["security"]:
                assert needed.keys() <= value["components"]["securitySchemes"].keys()


def test_every_reference_leads_somewhere_and_every_component_is_used(document: Document) -> None:
    used = set(references(document.value))
    there = {
        f"#/components/{kind}/{name}"
        for kind, named in document.value["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert used == there


def test_every_schema_is_one(document: Document) -> None:
    whole = document.value["components"]["schemas"]
    jsonschema_rs.meta.validate({"$schema": DRAFT, "$defs": whole})
    for where, content in contents(document):
        schema = {"$schema": DRAFT, **content["schema"]}
        assert jsonschema_rs.meta.is_valid(schema), where


def test_examples_fit_their_schemas(document: Document) -> None:
    checked = 0
    for where, content in contents(document):
        assert content["examples"], where
        for name, example in content["examples"].items():
            errors = document.errors(content["schema"], example["value"])
            assert not errors, f"{where} {name}: {errors}"
            checked += 1
    assert checked > 150


def test_every_documented_path_answers_and_as_documented(
    client: Client, document: Document
) -> None:
    answered = 0
    for method, path, operation in document.operations():
        target = re.sub(r"\{[^}]+\}", "1", path)
        answer = client.http.request(method, target, content=b"?")
        described = operation["responses"].get(str(answer.status_code))
        assert described is not None, f"{method} {path}: {answer.status_code}"
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in described["content"], f"{method} {path}: {kind}"
        assert answer.status_code != 404 or path not in IMPORT_PATHS
        answered += 1
    assert answered > 25


def test_the_examples_of_import_bodies_work(client: Client, document: Document) -> None:
    _, token = client.create_source()
    headers = {"Authorization": f"Bearer {token}"}
    values = {"client_id": str(client.client_id), "token": token, "table": "orders"}
    sent = 0
    for method, path, operation in document.operations():
        if path not in IMPORT_PATHS or "requestBody" not in operation:
            continue
        target = re.sub(r"\{([^}]+)\}", lambda found: values[found[1]], path)
        for kind, content in operation["requestBody"]["content"].items():
            for example in content["examples"].values():
                body = example["value"]
                for record in body if isinstance(body, list) else []:
                    if isinstance(record, dict) and "client_id" in record:
                        record["client_id"] = client.client_id
                    elif isinstance(record, list):
                        record[record.index("client_id") + 1] = client.client_id
                options: dict[str, Any] = (
                    {"content": body} if isinstance(body, str) else {"json": body}
                )
                answer = client.http.request(
                    method, target, headers=headers | {"Content-Type": kind}, **options
                )
                assert answer.status_code in (200, 201), f"{target} {kind}: {answer.text}"
                document.check_import(
                    method,
                    target,
                    answer.status_code,
                    [(name.lower(), value) for name, value in answer.headers.items()],
                    answer.content,
                )
                sent += 1
    assert sent >= 10


def test_the_page_shows_the_document(client: Client) -> None:
    page = client.http.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
