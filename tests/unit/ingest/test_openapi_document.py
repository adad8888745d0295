"""Answers of the Import API are held to its document, and the check can fail."""

import pytest
from tests.servers.document import Document

from treadle.ingest.openapi_document import load_document

JSON = ("content-type", "application/json;charset=UTF-8")
RECEIPT = ("treadle-receipt", "rc_x")
ACCEPTED = b'{"status":"OK","message":"Batch Accepted!"}'
PUSH = "/v2/import/push"


def check(status: int, body: bytes, *headers: tuple[str, str], path: str = PUSH) -> None:
    Document(load_document()).check_import("POST", path, status, headers, body)


def test_a_documented_answer_passes() -> None:
    check(201, ACCEPTED, JSON, RECEIPT)
    check(404, b"{}", JSON, path="/v2/import/state")


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (418, ACCEPTED, [JSON]),
        (201, b'{"status":"OK"}', [JSON]),
        (201, ACCEPTED[:-1] + b',"more":1}', [JSON]),
        (201, ACCEPTED, [("content-type", "text/plain")]),
        (201, ACCEPTED, [JSON, ("treadle-receipt", "x")]),
        (401, b'{"status":"ERROR","error":"Not Authenticated.","errors":null}', [JSON, RECEIPT]),
    ],
    ids=["status", "key missing", "key too many", "type", "header", "header of another answer"],
)
def test_another_answer_does_not(status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(AssertionError):
        check(status, body, *headers)


def test_an_answer_of_a_path_that_is_not_described_does_not_pass() -> None:
    with pytest.raises(AssertionError, match="not documented"):
        check(201, ACCEPTED, JSON, path="/v2/import/state")


def test_each_call_gives_a_document_of_its_own() -> None:
    load_document()["paths"].clear()
    assert load_document()["paths"]
