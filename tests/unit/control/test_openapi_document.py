"""The examples of the document are answers that the program gives."""

import pytest

from treadle.control import errors, requests, responses
from treadle.control.openapi_document import load_document
from treadle.control.settings import ConnectApiSettings
from treadle.errors import RequestRefusedError
from treadle.http.openapi import JsonObject
from treadle.store.model import ImportToken, Source

CREATED = 1_549_385_095_000_000
SOURCE = Source(
    id=126_890,
    account_id=116_078,
    type=responses.IMPORT_API,
    display_name="Import API",
    name="import_api",
    destination_id=None,
    created_at=CREATED,
    updated_at=CREATED,
    paused_at=None,
    system_paused_at=None,
    deleted_at=None,
    settings={},
)
TOKENS = [
    ImportToken(
        id=id_,
        source_id=SOURCE.id,
        secret=f"at_<TOKEN_{id_}>",
        bootstrap=False,
        created_at=created_at,
        first_used_at=None,
        last_used_at=None,
        uses=0,
        revoked_at=None,
    )
    for id_, created_at in ((544_973_525, CREATED), (545_799_083, 1_549_462_973_000_000))
]


@pytest.fixture(params=[("seed", "objects"), ("modern", "integers")])
def settings(request: pytest.FixtureRequest) -> ConnectApiSettings:
    return ConnectApiSettings(*request.param)


def list_examples(settings: ConnectApiSettings, name: str, status: str) -> list[object]:
    document = load_document(settings, has_ledger=True)
    operation: JsonObject = next(
        operation
        for path in document["paths"].values()
        for operation in path.values()
        if operation["operationId"] == name
    )
    content = operation["responses"][status]["content"]["application/json"]
    return [example["value"] for example in content["examples"].values()]


def test_examples_are_what_is_answered(settings: ConnectApiSettings) -> None:
    source = responses.render_source(settings, SOURCE, TOKENS[:1])
    assert list_examples(settings, "create_source", "200") == [source]
    card = responses.render_source_type(settings)
    assert list_examples(settings, "get_source_type", "200") == [card]
    listed = responses.render_token_list(settings, TOKENS)
    assert list_examples(settings, "list_tokens", "200") == [listed]


def test_examples_of_refusals_are_what_is_answered(settings: ConnectApiSettings) -> None:
    properties = ["token"]
    before = responses.render_report_card(settings, configured=False)
    after = responses.render_report_card(settings, configured=True)
    answered: dict[tuple[str, str], list[RequestRefusedError]] = {
        ("create_source", "400"): [
            errors.invalid_create_body(),
            errors.unknown_source_type("platform.hubspot"),
            errors.invalid_name(),
            errors.name_taken("import_api"),
            errors.derived_name_taken("Import API", "import_api"),
            errors.underivable_name("####", ""),
            errors.invalid_display_name("\0"),
            errors.destination_not_found(155_582),
            errors.invalid_properties(properties, before),
        ],
        ("update_source", "400"): [
            errors.source_not_found("126890"),
            errors.invalid_update_body(),
            errors.invalid_display_name(""),
            errors.destination_not_found(155_582),
            errors.name_taken("import_api"),
            errors.invalid_properties(properties, after),
        ],
        ("create_token", "400"): [
            errors.source_not_found("126890"),
            errors.not_an_import_source(126_890),
            errors.token_limit_reached(126_890, 2),
        ],
        ("select_streams", "400"): [
            errors.unknown_tap_streams(["customers"]),
            errors.invalid_streams_body(),
            errors.stream_not_found("126890"),
        ],
        ("start_job", "400"): [
            errors.job_not_created(126_890, 116_078),
            errors.job_source_not_found("126890", 116_078),
            errors.job_source_deleted(),
        ],
        ("list_sources", "401"): [errors.not_authorized()],
        ("list_sources", "404"): [errors.route_not_found()],
        ("list_sources", "500"): [errors.internal_error()],
        ("list_sources", "503"): [errors.store_unavailable()],
    }
    for (name, status), refusals in answered.items():
        assert list_examples(settings, name, status) == [refused.body for refused in refusals]


def test_the_description_names_the_limit_of_bodies(settings: ConnectApiSettings) -> None:
    description = load_document(settings, has_ledger=True)["info"]["description"]
    assert f"{requests.CONTROL_BODY_BYTES_MAX:,} bytes" in description


def test_a_server_without_ledger_does_not_describe_it(settings: ConnectApiSettings) -> None:
    assert "/v1/ledger" not in load_document(settings, has_ledger=False)["paths"]
