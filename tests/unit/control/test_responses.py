"""The objects of the wire, byte for byte in the documented order (connect-api.md 2, 3)."""

import json
from dataclasses import replace
from typing import Any

from treadle.control import responses
from treadle.control.settings import ConnectApiSettings
from treadle.http.responses import encode_json
from treadle.store.model import AccessToken, Source, TableLoadStatus

SEED, MODERN = ConnectApiSettings(), ConnectApiSettings(era="modern")

SOURCE = Source(
    id=126890,
    account_id=116078,
    type="import_api",
    display_name="Import API",
    name="import_api",
    destination_id=None,
    created_at=1_549_385_095_123_456,
    updated_at=1_549_385_095_123_456,
    paused_at=None,
    system_paused_at=None,
    deleted_at=None,
    settings={"batch_keys": True},
)
OLD = AccessToken(
    id=544973525,
    kind="import",
    account_id=116078,
    source_id=126890,
    secret="at_old",
    last_four="_old",
    description="",
    tables=(),
    signature=None,
    bootstrap=True,
    created_at=1_549_385_095_000_000,
    created_by="",
    first_used_at=None,
    last_used_at=None,
    last_used_from=None,
    uses=0,
    expires_at=None,
    revoked_at=None,
)
NEW = replace(OLD, id=545799083, secret="at_new", bootstrap=False, created_at=1_549_462_973_000_000)

CARD = """{
    "type": "import_api", "current_step": 2, "current_step_type": "fully_configured",
    "steps": [
      {
        "type": "form",
        "properties": [
          {
            "name": "token", "is_required": true, "is_credential": false, "system_provided": true,
            "property_type": "read_only", "json_schema": { "type": "string" }, "provided": true,
            "tap_mutable": false
          }
        ]
      },
      { "type": "fully_configured", "properties": [] }
    ]
  }"""
MODERN_CARD = """{
    "type": "import_api", "current_step": 2, "current_step_type": "fully_configured",
    "steps": [
      { "type": "form", "properties": [] }, { "type": "fully_configured", "properties": [] }
    ]
  }"""
DETAILS = """{
    "pricing_tier": "standard", "pipeline_state": "released", "default_start_date": "-1 year",
    "default_scheduling_interval": 60, "protocol": "import_api", "access": true,
    "image_version": "0.latest"
  }"""


def _source(properties: str, card: str = CARD, updated_at: str = "2019-02-05T16:44:55Z") -> str:
    return f"""{{
      "properties": {properties},
      "updated_at": "{updated_at}", "schedule": null, "check_job_name": null,
      "name": "import_api", "type": "import_api", "deleted_at": null, "system_paused_at": null,
      "stitch_client_id": 116078, "paused_at": null, "id": 126890, "display_name": "Import API",
      "created_at": "2019-02-05T16:44:55Z",
      "report_card": {card}
    }}"""


def same(found: Any, documented: str) -> None:
    """Equal to the byte, the order of keys included."""
    assert encode_json(found).decode() == json.dumps(json.loads(documented), separators=(",", ":"))


def test_the_source_type_before_anything_is_provided() -> None:
    card = CARD.replace('"current_step": 2', '"current_step": 1')
    card = card.replace('"current_step_type": "fully_configured"', '"current_step_type": "form"')
    card = card.replace('"provided": true', '"provided": false')
    documented = f'{card[:-1]}, "details": {DETAILS}, "upgrade_available": null }}'
    same(responses.render_source_type(SEED), documented)


def test_the_modern_source_type_asks_for_nothing() -> None:
    documented = f'{MODERN_CARD[:-1]}, "details": {DETAILS}, "upgrade_available": null }}'
    same(responses.render_source_type(MODERN), documented)


def test_a_source_shows_its_tokens_oldest_first() -> None:
    same(
        responses.render_source(SEED, SOURCE, [OLD]), _source('{"token": {"544973525": "at_old"}}')
    )
    both = '{"token": {"544973525": "at_old", "545799083": "at_new"}}'
    same(responses.render_source(SEED, SOURCE, [OLD, NEW]), _source(both))


def test_a_source_without_tokens_stays_configured() -> None:
    same(responses.render_source(SEED, SOURCE, []), _source('{"token": {}}'))


def test_a_token_whose_secret_is_not_kept_is_not_shown() -> None:
    shown = responses.render_source(SEED, SOURCE, [replace(OLD, secret=None), NEW])["properties"]
    assert shown == {"token": {"545799083": "at_new"}}


def test_a_modern_source_shows_no_token() -> None:
    same(responses.render_source(MODERN, SOURCE, [OLD, NEW]), _source("{}", MODERN_CARD))


def test_instants_of_a_source_are_whole_seconds() -> None:
    row = replace(
        SOURCE,
        paused_at=1_559_347_200_999_999,
        system_paused_at=1_559_347_201_000_000,
        deleted_at=1_559_347_202_000_000,
    )
    shown = responses.render_source(SEED, row, [])
    assert shown["paused_at"] == "2019-06-01T00:00:00Z"
    assert shown["system_paused_at"] == "2019-06-01T00:00:01Z"
    assert shown["deleted_at"] == "2019-06-01T00:00:02Z"
    assert shown["schedule"] is None


def test_a_new_token_comes_with_its_source() -> None:
    changed = replace(SOURCE, updated_at=1_549_462_973_000_000)
    both = '{"token": {"544973525": "at_old", "545799083": "at_new"}}'
    connection = _source(both, updated_at="2019-02-06T14:22:53Z")
    documented = f'{{"id": 545799083, "access_token": "at_new", "connection": {connection}}}'
    same(responses.render_new_token(SEED, NEW, changed, [OLD, NEW]), documented)


def test_a_modern_new_token_comes_alone() -> None:
    found = responses.render_new_token(MODERN, NEW, SOURCE, [OLD, NEW])
    same(found, '{"id": 545799083, "access_token": "at_new"}')


def test_tokens_are_listed_newest_first() -> None:
    documented = """[
      { "token_id": 545799083, "created_at": "2019-02-06T14:22:53Z" },
      { "token_id": 544973525, "created_at": "2019-02-05T16:44:55Z" }
    ]"""
    for surface in ("seed", "modern"):
        same(responses.render_token_list(ConnectApiSettings(surface), [OLD, NEW]), documented)
        bare = ConnectApiSettings(surface, token_list="integers")
        same(responses.render_token_list(bare, [OLD, NEW]), "[545799083, 544973525]")


def test_a_table_that_was_loaded() -> None:
    status = TableLoadStatus(
        126890, "customers", 7, 1_592_925_299_500_000, None, None, stopped=False
    )
    same(
        responses.render_load(116078, "import_api", status),
        """{
          "stitch_client_id": 116078, "source_name": "import_api", "stream_name": "customers",
          "last_batch_loaded_at": "2020-06-23T15:14:59Z", "error_state": null
        }""",
    )


def test_a_table_in_trouble_says_why_where_clients_look() -> None:
    at = 1_592_925_299_500_000
    for stopped, kind in ((False, "TryLater"), (True, "TableStopped")):
        status = TableLoadStatus(126890, "orders", 7, at, "connection refused", at, stopped=stopped)
        same(
            responses.render_load(116078, "import_api", status),
            f"""{{
              "stitch_client_id": 116078, "source_name": "import_api", "stream_name": "orders",
              "last_batch_loaded_at": null,
              "error_state": {{
                "notification_data": {{
                  "message": "connection refused", "exception_message": "connection refused",
                  "warehouse_error_code": null, "error": "LOADER_WAREHOUSE_ERROR",
                  "new_column": null, "status": "ERROR", "warehouse_sql_state": null,
                  "action": "load", "warehouse_message": "connection refused", "column": null
                }},
                "exception_chain": [
                  {{ "class": "{kind}", "message": "connection refused",
                    "chain_sequence_num": 0, "action": "load" }}
                ]
              }}
            }}""",
        )
