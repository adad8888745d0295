"""Answers of the Import API are held to its document, and the check can fail."""

import json
from typing import Any

import jsonschema_rs
import pytest
from tests.servers.document import DRAFT, Document

from treadle.http import limits as http_limits
from treadle.ingest import (
    acknowledgement,
    dry_run,
    endpoint,
    idempotency,
    push_endpoint,
    raw_records,
    receipts_endpoint,
    records_endpoint,
    webhook_endpoint,
)
from treadle.ingest.health_endpoint import STATUS_NAME
from treadle.ingest.openapi_document import load_document
from treadle.records import field_check, limits
from treadle.records import push as pushed
from treadle.records.field_check import SWITCH_VIEW, UPSERT
from treadle.tracking import receipt_status

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


# --- the file against the program -----------------------------------------------------------------

SCHEMAS = load_document()["components"]["schemas"]


def properties(name: str) -> Any:
    return SCHEMAS[name]["properties"]


def described(schema: dict[str, Any]) -> str:
    return str(schema["description"])


def test_the_numbers_are_those_of_the_limits() -> None:
    for array in (
        SCHEMAS["Push"],
        properties("Batch")["messages"],
        SCHEMAS["BareRecords"]["anyOf"][1],
    ):
        assert array["maxItems"] == limits.RECORDS_MAX
    for name in ("Upsert", "SwitchView", "BatchUpsert", "ActivateVersion"):
        sequence = properties(name)["sequence"]
        assert (sequence["minimum"], sequence["maximum"]) == (
            limits.SEQUENCE_MIN,
            limits.SEQUENCE_MAX,
        )
    for name in ("Upsert", "SwitchView", "Batch"):
        assert properties(name)["table_version"]["maximum"] == limits.SEQUENCE_MAX
    assert f"{limits.KEY_CHARACTERS_MAX:,} characters" in described(
        properties("Upsert")["key_names"]
    )
    for name in ("Upsert", "BatchUpsert"):
        assert f"{limits.DATA_POINTS_MAX:,} values" in described(properties(name)["data"])
    assert f"only {receipt_status.TABLES_MAX:,} are" in described(
        properties("Receipt")["tables_not_shown"]
    )


def test_the_numbers_of_requests_are_those_of_the_endpoints() -> None:
    found = load_document()
    assert limits.BODY_BYTES_MAX == http_limits.BODY_BYTES_MAX
    assert f"at most {http_limits.BODY_BYTES_MAX:,} bytes" in found["info"]["description"]
    key = found["components"]["parameters"]["Idempotency-Key"]["schema"]
    assert key["maxLength"] == idempotency.KEY_CHARACTERS_MAX
    assert found["components"]["parameters"]["dry_run"]["schema"]["enum"] == [
        *dry_run.DRY_RUN_VALUES
    ]
    assert found["components"]["parameters"]["dry_run"]["name"] == dry_run.DRY_RUN_PARAMETER
    refused = found["components"]["headers"]["Treadle-Records"]
    assert f"the first {field_check.RECORDS_NAMED_MAX} of them" in refused["description"]
    wait = found["paths"]["/v1/receipts/{id}"]["get"]["parameters"][1]
    seconds = f"{receipts_endpoint.WAIT_SECONDS_MAX:.0f}"
    assert described(wait).endswith(f"more than {seconds} count as {seconds}")
    assert {
        webhook_endpoint.WEBHOOK_PATH,
        records_endpoint.RECORDS_PATH.replace(":text", ""),
    } <= found["paths"].keys()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Accepted", json.loads(acknowledgement.ACCEPTED_BODY)),
        ("Valid", push_endpoint.VALID_BODY),
        ("Listening", webhook_endpoint.LISTENING),
        ("NotAuthenticated", pushed.NOT_AUTHENTICATED),
        ("NotAuthorized", endpoint.NOT_AUTHORIZED),
        ("NotActive", endpoint.NOT_ACTIVE),
        ("Forbidden", pushed.FOREIGN_CLIENT),
        ("NotFound", endpoint.NOT_FOUND),
    ],
)
def test_an_answer_that_is_always_the_same_is_described_as_it_is_sent(name: str, body: Any) -> None:
    checked = jsonschema_rs.validator_for({"$schema": DRAFT, **SCHEMAS[name]})
    assert checked.is_valid(body)
    for changed in ({**body, "more": 1}, dict.fromkeys(body, "other"), {}):
        assert not checked.is_valid(changed)


def test_the_examples_are_answers_of_the_program() -> None:
    found: dict[str, Any] = {}
    for item in load_document()["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    for name, example in content["examples"].items():
                        found.setdefault(f"{status} {name}", example["value"])
    size = http_limits.BODY_BYTES_MAX + 1
    expected = {
        "201 Accepted": json.loads(acknowledgement.ACCEPTED_BODY),
        "200 Valid": push_endpoint.VALID_BODY,
        "200 Listening": webhook_endpoint.LISTENING,
        "400 Trouble": raw_records.TOO_MANY_RECORDS,
        "400 key": idempotency.INVALID_KEY,
        "400 dry_run": dry_run.INVALID_DRY_RUN,
        "400 objects": raw_records.NOT_OBJECTS,
        "400 wait": receipts_endpoint.INVALID_WAIT,
        "401 NotAuthenticated": pushed.NOT_AUTHENTICATED,
        "401 NotAuthorized": endpoint.NOT_AUTHORIZED,
        "401 NotActive": endpoint.NOT_ACTIVE,
        "403 Forbidden": pushed.FOREIGN_CLIENT,
        "404 NotFound": endpoint.NOT_FOUND,
        "405 any": endpoint.METHOD_NOT_ALLOWED,
        "410 gone": receipts_endpoint.DETAILS_GONE,
        "413 large": http_limits.make_too_large_error(size).body,
        "422 another": idempotency.KEY_REUSED,
        "500 fault": endpoint.INTERNAL_ERROR,
        "503 unavailable": endpoint.UNAVAILABLE,
        "504 timeout": endpoint.TIMEOUT,
    }
    assert {name: found[name] for name in expected} == expected


def test_the_words_of_a_record_are_those_of_the_program() -> None:
    assert properties("Upsert")["action"] == {"const": UPSERT}
    assert properties("BatchUpsert")["action"] == {"const": UPSERT}
    assert properties("SwitchView")["action"] == {"const": SWITCH_VIEW}
    assert properties("Status")["name"] == {"const": STATUS_NAME}
