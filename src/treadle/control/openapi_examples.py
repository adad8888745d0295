"""Examples for the OpenAPI document, made by the functions that make the answers."""

from dataclasses import replace
from pathlib import Path

from treadle.control import (
    catalogue_operations,
    check_responses,
    destination_responses,
    errors,
    hook_responses,
    option_operations,
    paging,
    responses,
    streams,
    token_responses,
)
from treadle.control.recipient_operations import render_custom_email
from treadle.control.reject_examples import list_reject_bodies, list_reject_examples
from treadle.control.settings import ConnectApiSettings
from treadle.control.trace_examples import list_trace_examples
from treadle.control.trials import TrialResult, encode_trial_body
from treadle.control.user_operations import render_invited_user, render_user
from treadle.destinations.duckdb_form import DuckDBForm
from treadle.destinations.postgres_form import PostgresForm
from treadle.destinations.reach import NOT_ALONE
from treadle.errors import RequestRefusedError
from treadle.people.rules import LastAdminError
from treadle.questions import refusals
from treadle.store.column_history import TableCatalogue
from treadle.store.deliveries import FAILED, make_delivery_id
from treadle.store.hook_body import encode_hook_body
from treadle.store.model import (
    AccessToken,
    ConfiguredDestination,
    ConsoleRole,
    ConsoleUser,
    DestinationCheck,
    HookBacklog,
    HookDelivery,
    KeptColumn,
    KeptColumns,
    KeptRelation,
    LoadReport,
    MailRecipient,
    PostLoadHook,
    PushedTable,
    SenderSignature,
    Source,
    TableEntry,
    TableLoadStatus,
)
from treadle.store.recent_loads import RecentLoads
from treadle.store.schema_event import LeftOutField, SchemaEvent
from treadle.store.tokens import HOURS_KEPT
from treadle.store.users import INVITE_US
from treadle.tables.options import list_effective_options
from treadle.tracking.load_reports import render_load_report
from treadle.tracking.schema_history import render_changes, render_event
from treadle.tracking.table_lists import ListedTable, LoadingState
from treadle.tracking.token_verdict import judge_token

Examples = dict[str, object]

_CREATED = 1_549_385_095_000_000
_LATER = 1_549_462_973_000_000
_ACCOUNT, _SOURCE, _DESTINATION = 116_078, 126_890, 337_658
_PATH = f"/v4/{_ACCOUNT}"


def _source(**changes: object) -> Source:
    row: dict[str, object] = {
        "id": _SOURCE,
        "account_id": _ACCOUNT,
        "type": responses.IMPORT_API,
        "display_name": "Import API",
        "name": "import_api",
        "destination_id": None,
        "created_at": _CREATED,
        "updated_at": _CREATED,
        "paused_at": None,
        "system_paused_at": None,
        "deleted_at": None,
        "settings": {},
    }
    return Source(**(row | changes))  # type: ignore[arg-type]  # the keys are the fields


def _token(id_: int, created_at: int, **changes: object) -> AccessToken:
    token: dict[str, object] = {
        "id": id_,
        "kind": "import",
        "account_id": _ACCOUNT,
        "source_id": _SOURCE,
        "secret": f"at_<TOKEN_{id_}>",
        "last_four": "63ab",
        "description": "",
        "tables": (),
        "signature": None,
        "bootstrap": False,
        "created_at": created_at,
        "created_by": "",
        "first_used_at": None,
        "last_used_at": None,
        "last_used_from": None,
        "uses": 0,
        "expires_at": None,
        "revoked_at": None,
    }
    return AccessToken(**(token | changes))  # type: ignore[arg-type]  # the keys are the fields


_OLD, _NEW = _token(544_973_525, _CREATED), _token(545_799_083, _LATER)


_SCHEMA = {
    "properties": {
        "at": {"type": "string", "format": "date-time"},
        "price": {"type": "number", "multipleOf": 0.01},
    }
}

_LOAD = LoadReport(
    id="5f2b1c0e-6a38-4c53-9d0c-6d8f6f0f6a51",
    source_id=_SOURCE,
    table_name="orders",
    first=7,
    last=9,
    started_at=_LATER,
    finished_at=_LATER + 41_000,
    rows_received=120,
    rows_loaded=100,
    rows_discarded=9,
    rows_rejected=11,
    tables={"orders": 100},
    details={
        "relations": [["orders", "orders"]],
        "fields_left_out": ["too_long_column"],
        "left_out": [
            {
                "table": "orders",
                "field": "too_long_column",
                "reason": "Column name too_long_column is too long for PostgreSQL",
                "total": 3,
                "runs": [[7, 9, 1]],
            }
        ],
        "rounded": [
            {"table": "orders", "field": "price", "reason": "", "total": 2, "runs": [[8, 8, 2]]}
        ],
        "columns_added": [["orders", "age__do"]],
        "columns_renamed": [["orders", "age", "age__bi"]],
        "nul_characters_removed": 2,
        "schema_changes": [
            {
                "kind": "column_renamed",
                "relation": "orders",
                "from": "age",
                "column": "age__bi",
            },
            {
                "kind": "column_split",
                "relation": "orders",
                "column": "age__do",
                "field": "age",
                "type": "double",
                "beside": [["age__bi", "bigint"]],
                "record": "8.3",
            },
        ],
    },
    error=None,
    waited_max_us=1_041_000,
    waited_p50_us=540_000,
)


_WHOLE_LOAD = {
    **render_load_report(_LOAD),
    "entries": {"first": _LOAD.first, "last": _LOAD.last},
    "duration_us": _LOAD.finished_at - _LOAD.started_at,
    "schema_changes": render_changes(_LOAD.details["schema_changes"]),
    "new_version": False,
    "deliveries": [
        {"hook_id": 8, "delivery_id": make_delivery_id(8, _LOAD.id), "state": "delivered"}
    ],
}

_TABLE = PushedTable(2_288_757, "customers", ("id",))
_COLUMNS = KeptColumns(
    ("id",),
    (
        KeptRelation(
            (),
            "customers",
            (
                KeptColumn("id", "id", "bigint", nullable=False, system=False),
                KeptColumn("updated_at", "updated_at", "timestamp", nullable=True, system=False),
            ),
        ),
    ),
)
_DESTINATION = 155_582
_HOOK = PostLoadHook(
    id=8,
    account_id=_ACCOUNT,
    destination_id=_DESTINATION,
    type="post_load",
    version=1,
    url="https://hooks.example.com/hooks/catch/some/webhook/id",
    secret=None,
    created_at=_CREATED,
    modified_at=_CREATED,
    disabled_at=None,
    paused_at=None,
    delivered=1200,
    failed=1,
    tries=1211,
)
_DELIVERY = HookDelivery(
    number=1211,
    id=make_delivery_id(_HOOK.id, _LOAD.id),
    hook_id=_HOOK.id,
    source_id=_SOURCE,
    table_name="orders",
    load_id=_LOAD.id,
    body=encode_hook_body(_LOAD, "import_api"),
    state=FAILED,
    created_at=_LATER,
    due_at=_LATER,
    tries=6,
    tried_at=_LATER,
    finished_at=_LATER,
    took_us=30_000_000,
    status=None,
    answer=None,
    error="it did not answer within 30 s",
)


def list_request_examples() -> dict[str, Examples]:
    """Return example bodies by operation."""
    selection = {
        "tap_stream_id": "customers",
        "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}],
    }
    return {
        "create_source": {
            "named by its label": {"type": "import_api", "display_name": "Import API"},
            "with a name": {"type": "import_api", "display_name": "Sales (EU)", "name": "sales"},
        },
        "begin_examination": {"all of the log": {"kind": "doctor", "whole": True}},
        "snooze": {"for an hour": {"seconds": 3600}},
        "create_account": {
            "for a customer": {
                "partner_id": "<PARTNER_ID>",
                "partner_secret": "<PARTNER_SECRET>",
                "company": "Stitch Product Team",
                "email": "stitch-api-test@example.com",
                "first_name": "Stitch",
                "last_name": "Product Team",
                "region": "us-east-1",
            }
        },
        "update_source": {
            "rename": {"display_name": "Orders"},
            "pause": {"paused_at": "2019-06-01T00:00:00Z"},
            "unpause": {"paused_at": None},
        },
        "select_streams": {"a stream": {"streams": [selection]}},
        "run_query": {
            "a statement": {"sql": "SELECT * FROM import_api.orders ORDER BY id", "limit": 100},
            "that can be stopped, as CSV": {
                "sql": "SELECT count(*) FROM import_api.orders",
                "id": "orders-1",
                "destination_id": 155_582,
                "format": "csv",
            },
        },
        "create_access_token": {
            "an account token": {"kind": "account", "description": "deployment"},
            "a webhook token": {
                "kind": "webhook",
                "source_id": _SOURCE,
                "tables": ["events"],
                "signature": {"scheme": "github", "secret": "<SECRET>"},
            },
        },
        "change_access_token": {
            "a note": {"description": "of the new pipeline"},
            "refused from a time on": {"expires_at": "2027-01-01T00:00:00Z"},
            "never refused": {"expires_at": None},
        },
        "create_account_token": {"with a note": {"description": "of the deployment"}},
        "change_account_token": {"disable": {"disabled": True}, "enable": {"disabled": False}},
        "replace_access_token": {"with an hour for the change": {"overlap_seconds": 3600}},
        "create_custom_email": {"an address": {"email_address": "oncall@example.com"}},
        "create_user": {
            "an operator": {"name": "Ann", "email": "ann@example.com", "role": "operator"}
        },
        "change_user": {"another role": {"role": "viewer"}, "disable": {"disabled": True}},
        "update_custom_email": {
            "disable": {"disabled_at": "2019-06-01T00:00:00Z"},
            "enable": {"disabled_at": None},
        },
        "change_webhook": {
            "turn import tokens off": {"import_tokens": False},
            "name the provider": {"table": "events", "provider": "stripe"},
        },
        "set_table_schema": {"times and decimals": _SCHEMA},
        "change_source_options": {
            "set two": {"options": {"stale_children": "keep", "hard_delete": True}},
            "take one back": {"options": {"hard_delete": None}},
        },
        "create_hook": {
            "after the loads of a destination": {
                "type": "post_load",
                "destination_id": _DESTINATION,
                "config": {"url": _HOOK.url},
            },
            "of the only destination": {"type": "post_load", "config": {"url": _HOOK.url}},
        },
        "enable_hook": {"disable": {"enable": False}, "enable": {"enable": True}},
        "change_hook": {
            "sign": {"secret": "<SECRET_OF_16_CHARACTERS>"},
            "pause": {"paused": True},
        },
        "create_destination": {
            "PostgreSQL": {
                "type": "postgres",
                "name": "Staging",
                "properties": {
                    "host": "db.example.com",
                    "port": "5432",
                    "username": "loader",
                    "password": "<PASSWORD>",
                    "database": "warehouse",
                    "ssl": True,
                    "encryption_type": "none",
                },
            },
            "a file": {"type": "duckdb", "properties": {"path": "second.duckdb"}},
        },
        **list_reject_bodies(),
        "update_destination": {"a password": {"properties": {"password": "<PASSWORD>"}}},
    }


def _collect_errors(*refused: RequestRefusedError) -> dict[int, Examples]:
    """Return examples by status, named by their codes or texts."""
    by_status: dict[int, Examples] = {}
    for one in refused:
        examples = by_status.setdefault(one.status, {})
        code = one.body.get("error") if isinstance(one.body, dict) else None
        name = code if isinstance(code, str) else "error"
        examples[f"{name} {len(examples) + 1}"] = one.body
    return by_status


COMMON_EXAMPLES = _collect_errors(
    errors.not_authorized(),
    errors.route_not_found(),
    errors.internal_error(),
    errors.store_unavailable(),
)
BODY_EXAMPLES = _collect_errors(
    errors.unreadable_body(408, "The request body arrived too slowly. Send it again."),
    errors.unreadable_body(
        413, "Request rejected: request size (2000000 bytes) exceeds the maximum"
    ),
    errors.unreadable_body(
        415, "Unsupported content-encoding br. Please send gzip, zstd or no encoding"
    ),
)


_SUMS = {"accepted": 120, "loaded": 100, "superseded": 15, "rejected": 1, "waiting": 4}
_HOUR = {
    "source_id": _SOURCE,
    "table": "orders",
    "hour": "2026-01-01T12:00:00Z",
    **_SUMS,
}

_EVENT = {
    "event_id": 12,
    "at": "2026-01-01T12:00:00.000000Z",
    "actor": {"kind": "account_token", "id": "1", "address": "192.0.2.7"},
    "action": "pause_source",
    "target": {"kind": "source", "id": str(_SOURCE), "name": "import_api"},
    "outcome": "done",
    "detail": {"changed": ["paused_at"]},
}


def _list_token_examples() -> dict[str, dict[int, Examples]]:
    """Return examples of the calls about tokens of all kinds and about webhooks."""
    account = _token(7, _CREATED, kind="account", source_id=None, secret="ac_<TOKEN>")  # noqa: S106 - an example
    webhook = _token(
        545_799_084,
        _CREATED,
        kind="webhook",
        secret="wh_<TOKEN>",  # noqa: S106 - an example
        tables=("events",),
        signature=SenderSignature("github", "<SECRET>"),
        last_used_at=_LATER,
        last_used_from="192.0.2.1",
        uses=3,
    )
    shown = [token_responses.render_access_token(one, _LATER) for one in (account, _OLD, webhook)]
    hours = [0] * (HOURS_KEPT - 1) + [3]
    listed = [
        token_responses.render_listed_token(
            one, judge_token(one, [one, _NEW], hours, _LATER), hours, _LATER
        )
        for one in (account, _OLD, webhook)
    ]
    ended = token_responses.render_access_token(
        _token(7, _CREATED, kind="account", source_id=None, revoked_at=_LATER), _LATER
    )
    made: Examples = {
        "an account token": token_responses.render_made_token(account, _LATER),
        "a webhook token": token_responses.render_made_token(webhook, _LATER),
    }
    refused = errors.invalid_token_body("kind is one of account, import, webhook")
    limit = errors.too_many_tokens(
        f"source {_SOURCE} already has the maximum of 2 active access tokens; revoke one first"
    )
    unknown = errors.token_not_found("7", status=404)
    no_source = errors.source_not_found(str(_SOURCE), status=404)
    settings = token_responses.render_webhook_settings(_source())
    return {
        "list_access_tokens": {200: {"three": {"tokens": listed}}, **_collect_errors(refused)},
        "create_access_token": {200: made, **_collect_errors(refused, limit)},
        "list_account_tokens": {200: {"one": {"account_tokens": listed[:1]}}},
        "create_account_token": {
            200: {"an account token": made["an account token"]},
            **_collect_errors(refused, limit),
        },
        "change_account_token": {200: {"enabled": shown[0]}, **_collect_errors(refused, unknown)},
        "delete_account_token": {200: {"deleted": ended}, **_collect_errors(unknown)},
        "change_access_token": {
            200: {"changed": shown[0]},
            **_collect_errors(refused, unknown),
        },
        "revoke_access_token": {200: {"revoked": ended}, **_collect_errors(unknown)},
        "replace_access_token": {200: made, **_collect_errors(refused, limit, unknown)},
        "get_webhook": {200: {"defaults": settings}, **_collect_errors(no_source)},
        "change_webhook": {200: {"defaults": settings}, **_collect_errors(refused, no_source)},
    }


def _list_user_examples() -> dict[str, dict[int, Examples]]:
    user = ConsoleUser(
        3,
        _ACCOUNT,
        "Ann",
        "ann@example.com",
        ConsoleRole.OPERATOR,
        has_password=False,
        created_at=_CREATED,
        invited_until=_CREATED + INVITE_US,
    )
    shown = render_user(replace(user, has_password=True, invited_until=None), _LATER)
    invited = render_invited_user(user, "<TOKEN>", _CREATED)
    unknown, refused = errors.user_not_found("8"), errors.user_rule_broken(str(LastAdminError()))
    misfit = errors.invalid_user_body("the body has a role or disabled")
    return {
        "list_users": {200: {"one": {"users": [shown]}}},
        "create_user": {200: {"invited": invited}, **_collect_errors(misfit, refused)},
        "change_user": {200: {"changed": shown}, **_collect_errors(misfit, refused, unknown)},
        "delete_user": {200: {"deleted": shown}, **_collect_errors(refused, unknown)},
        "invite_user": {200: {"invited again": invited}, **_collect_errors(unknown)},
    }


def _list_custom_email_examples() -> dict[str, dict[int, Examples]]:
    one = render_custom_email(MailRecipient(22, _ACCOUNT, "oncall@example.com", _CREATED, None))
    gone = errors.custom_email_not_found()
    return {
        "list_custom_emails": {200: {"one": [one], "none": []}},
        "create_custom_email": {
            200: {"added": one},
            **_collect_errors(errors.invalid_email_address(), errors.too_many_custom_emails()),
        },
        "update_custom_email": {
            200: {
                "disabled": {"disabled_at": "2019-06-01T00:00:00Z"},
                "enabled": {"disabled_at": None},
            },
            **_collect_errors(errors.invalid_disabled_at("tomorrow"), gone),
        },
        "delete_custom_email": {200: {"removed": [1]}, **_collect_errors(gone)},
        "test_custom_email": {
            200: {
                "sent": {"id": one["id"], "sent": True, "error": None, "took_ms": 84},
                "not sent": {
                    "id": one["id"],
                    "sent": False,
                    "error": "550 no such mailbox",
                    "took_ms": 61,
                },
            },
            **_collect_errors(gone, errors.no_mail_server()),
        },
    }


def _list_table_examples() -> dict[str, dict[int, Examples]]:
    """Return examples of the calls about schemas of tables."""
    shown: Examples = {
        "a schema": {
            "source_id": _SOURCE,
            "table": "orders",
            "schema": _SCHEMA,
            "updated_at": "2026-01-01T12:00:00.000000Z",
        }
    }
    unknown = _collect_errors(errors.source_not_named(2), errors.table_schema_not_found("orders"))
    bad = _collect_errors(errors.invalid_table_schema("it is not a JSON object"))
    return {
        "get_table_schema": {200: shown, **unknown},
        "set_table_schema": {200: shown, **bad, **unknown},
        "remove_table_schema": {200: shown, **unknown},
    }


def _list_catalogue_examples() -> dict[str, dict[int, Examples]]:
    """Return examples of the calls about the tables of a source."""
    entry = TableEntry(
        id=_TABLE.id,
        source_id=_SOURCE,
        name="orders",
        position=9,
        loaded_at=_LATER,
        error=None,
        error_since=None,
        stopped=False,
        trouble=None,
        trouble_since=None,
        rebuilt_at=None,
        received=120,
        loaded=100,
        superseded=9,
        rejected=11,
        damaged=0,
        loads=1,
        failures=0,
        version=0,
        mode="upsert",
    )
    listed = ListedTable(0, "orders", LoadingState.LOADING, 4, 410, _LATER, entry.id)
    recent = RecentLoads(_CREATED, 1, 0, 120, 100, 9, 11, 1_041_000, 540_000)
    states = {"idle": 11, "loading": 1, "waiting": 0, "failing": 0, "stopped": 0}
    shown = catalogue_operations.render_listed_table(listed, entry)
    sums = catalogue_operations.render_recent(recent)
    left_out = LeftOutField("orders", "too_long_column", "Column name is too long", _LATER, "5f2b")
    known = TableCatalogue(_COLUMNS, ((_CREATED, None),), (left_out,))
    event = SchemaEvent(
        12,
        _SOURCE,
        "orders",
        _LATER,
        _LOAD.id,
        "schema_changed",
        None,
        tuple(_LOAD.details["schema_changes"]),
    )
    unknown = _collect_errors(
        errors.source_not_found("7", status=404), errors.table_not_found("orders")
    )
    bad: dict[int, Examples] = {400: {"limit": {"message": "limit is a number from 1 to 100"}}}
    asked = {
        "table": "orders",
        "state": "loading",
        "waiting_records": 4,
        "requested_at": "2026-01-01T12:00:00.000000Z",
    }
    summary = {
        "source_id": _SOURCE,
        "name": "import_api",
        "display_name": "Import API",
        "schema": "import_api",
        "state": "active",
        "tables": 12,
        "states": states,
        "waiting_records": 4,
        "waiting_bytes": 410,
        "oldest_waiting_at": "2026-01-01T12:00:00.000000Z",
        "last_load_at": "2026-01-01T12:00:00.000000Z",
        "last_used_at": None,
        "active_tokens": 1,
        "totals": {
            "received": 120,
            "rejected": 11,
            "damaged": 0,
            "loaded": 100,
            "superseded": 9,
            "loads": 1,
            "failures": 0,
        },
        "recent": sums,
        "destination": {
            "destination_id": _DESTINATION,
            "type": "duckdb",
            "name": "default",
            "usable": True,
            "trouble": None,
        },
    }
    whole = {
        "source_id": _SOURCE,
        "schema": "import_api",
        **shown,
        "rebuilt_at": None,
        "recent": sums,
        **catalogue_operations.render_catalogue(known, {"customers": 120}),
    }
    return {
        "get_source_summary": {
            200: {"a source": summary},
            **_collect_errors(errors.source_not_found("7", status=404)),
        },
        "list_source_tables": {
            200: {"one": {"tables": [shown], "next": "0/orders", "total": 12, "states": states}},
            **bad,
            **_collect_errors(errors.source_not_found("7", status=404)),
        },
        "get_source_table": {200: {"a table": whole}, **unknown},
        "list_table_history": {
            200: {"a split": {"events": [render_event(event)], "next": None}},
            **bad,
            **unknown,
        },
        "load_table": {200: {"asked": asked}, **unknown},
        "retry_table": {
            200: {"asked": {**asked, "state": "stopped"}},
            **unknown,
            **_collect_errors(errors.table_not_failing("orders", "idle")),
        },
    }


def _list_option_examples() -> dict[str, dict[int, Examples]]:
    """Return examples of the calls about options."""
    settings = {"options": {"stale_children": "keep"}}
    found = list_effective_options(settings, None)
    shown = option_operations.render_options(_source(), None, found)
    touched = {"count": 2, "tables": ["customers", "orders"]}
    refused = _collect_errors(
        errors.source_not_found("7", status=404),
        errors.invalid_option("There is no option 'nest'; did you mean 'nested'?"),
    )
    return {
        "get_source_options": {200: {"a source": shown}, **refused},
        "change_source_options": {
            200: {"changed": {**shown, "touched_tables": touched, "dry_run": False}},
            **refused,
        },
    }


def _list_hook_examples() -> dict[str, dict[int, Examples]]:
    """Return examples of the calls about post-load hooks."""
    hook, off = hook_responses.render_hook(_HOOK), replace(_HOOK, disabled_at=_LATER)
    state = hook_responses.render_hook_state(_HOOK, HookBacklog(2, _LATER))
    delivery = hook_responses.render_delivery(_DELIVERY)
    unknown, refused = (
        errors.hook_not_found("8"),
        errors.invalid_hook_change("the body does not fit"),
    )
    return {
        "list_hooks": {200: {"one": {"post_load": [hook]}}},
        "create_hook": {
            200: {"created": hook},
            **_collect_errors(
                errors.invalid_hook_creation(),
                errors.invalid_hook_uri(),
                errors.hook_destination_not_found(_DESTINATION),
                errors.hook_limit_reached(10),
            ),
        },
        "enable_hook": {
            200: {"disabled": hook_responses.render_hook(off)},
            **_collect_errors(errors.invalid_hook_update(), errors.hook_unknown()),
        },
        "delete_hook": {200: {"deleted": None}, **_collect_errors(errors.hook_unknown())},
        "list_hook_states": {200: {"one": {"hooks": [state]}}},
        "get_hook_state": {200: {"two wait": state}, **_collect_errors(unknown)},
        "change_hook": {200: {"changed": state}, **_collect_errors(refused, unknown)},
        "list_deliveries": {
            200: {"one": {"deliveries": [delivery], "next": None}},
            **_collect_errors(
                errors.invalid_hook_change("limit is a number from 1 to 1000"), unknown
            ),
        },
        "send_delivery_again": {
            200: {"sent again": delivery},
            **_collect_errors(unknown, errors.delivery_not_found(_DELIVERY.id)),
        },
        "send_failed_again": {200: {"three": {"deliveries": 3}}, **_collect_errors(unknown)},
        "test_hook": {
            200: {
                "answered": hook_responses.render_trial(
                    _HOOK, encode_trial_body(_LATER), TrialResult(200, "ok", None, 12_000)
                ),
            },
            **_collect_errors(unknown),
        },
    }


def _list_query_examples() -> dict[str, dict[int, Examples]]:
    """Return examples of the calls about rows and statements."""
    name = "5e1c1f0c2f1d4c8f9d0f7c5b8a3e6d21"
    answer = {
        "id": name,
        "columns": [
            {"name": "id", "type": "bigint"},
            {"name": "price", "type": "numeric"},
            {"name": "_sdc_batched_at", "type": "timestamp with time zone"},
        ],
        "rows": [[1, 9.5, "2019-02-05T16:44:57.123456Z"], [2, None, "2019-02-05T16:44:57.123456Z"]],
        "row_count": 2,
        "truncated": False,
        "milliseconds": 4.2,
    }
    words, sql = 'ERROR: relation "nix" does not exist', "SELECT * FROM nix"
    busy = (refusals.desk_busy(2), refusals.desk_ended(), refusals.desk_missing())
    away = refusals.destination_unavailable("PostgreSQL cannot be reached: connection refused.")
    return {
        "run_query": {
            200: {"two rows": answer},
            **_collect_errors(
                refusals.invalid_question("sql is a text with one statement"),
                refusals.statement_refused(words, sql, 14),
                refusals.statement_overdue(10),
                refusals.statement_too_large(),
                refusals.statement_stopped(),
                refusals.query_is_off(),
                refusals.query_not_allowed(NOT_ALONE),
                refusals.nothing_loaded("The DuckDB file does not exist yet"),
                errors.destination_unknown(status=404),
                refusals.destination_missing(),
                refusals.question_id_taken(name),
                *busy,
                away,
            ),
        },
        "run_doctor": {
            200: {
                "one thing is bad": {
                    "ok": False,
                    "findings": [
                        {
                            "subject": "server",
                            "level": "good",
                            "found": "A server runs on /var/lib/treadle.",
                            "meaning": "",
                            "remedy": "",
                        },
                        {
                            "subject": "destination",
                            "level": "bad",
                            "found": "There is no folder /srv/lake.",
                            "meaning": "Records are accepted and wait until somebody acts.",
                            "remedy": "Mend the URL in the settings.",
                        },
                    ],
                }
            },
            **_collect_errors(errors.not_whole_installation(), *busy, refusals.doctor_overdue()),
        },
        "stop_query": {
            200: {"stopped": {"id": name, "stopped": True}},
            **_collect_errors(refusals.question_not_found(name), refusals.desk_missing()),
        },
        "list_table_rows": {
            200: {"two rows": answer},
            **_collect_errors(
                refusals.invalid_question("limit is a number from 1 to 1000"),
                refusals.statement_overdue(10),
                refusals.destination_denied("The database does not let treadle read."),
                errors.source_not_found(str(_SOURCE), status=404),
                refusals.nothing_loaded('The table "orders" has no rows yet'),
                *busy,
                away,
            ),
        },
    }


def _list_check_examples() -> dict[str, dict[int, Examples]]:
    name = f"{_ACCOUNT}.{_DESTINATION}.check.8934a4cd-4d60-48c9-85e4-e95cab6d4cae"
    begun = DestinationCheck(1, _DESTINATION, name, _CREATED, 1, None, None, ())
    done = replace(begun, finished_at=_CREATED + 2_000_000)
    said = (
        "postgresql://db:5432/shop refuses a load: PostgreSQL refused the connection: FATAL: "
        'password authentication failed for user "treadle". Phases: name 1 ms, connect 1 ms, '
        "log in failed after 9 ms."
    )
    found = {
        "succeeded": check_responses.render_check(done),
        "failed": check_responses.render_check(replace(done, error=said)),
    }
    running = check_responses.render_check(begun)
    unknown = check_responses.connection_not_found()
    return {
        "get_last_destination_check": {
            200: {"running": running, **found},
            **_collect_errors(unknown, check_responses.destination_check_not_found(_DESTINATION)),
        },
        "start_destination_check": {200: {"running": running}, **_collect_errors(unknown)},
    }


def _list_destination_examples() -> dict[str, dict[int, Examples]]:
    """Return examples of the calls about destinations and their types."""
    form, number = PostgresForm(), 155_582
    row = ConfiguredDestination(
        id=number,
        account_id=_ACCOUNT,
        type=form.type,
        name="Staging",
        url="postgresql://loader@db.example.com:5432/warehouse?sslmode=require",
        created_at=_CREATED,
        updated_at=_LATER,
        deleted_at=None,
        trouble=None,
        trouble_since=None,
        usable_since=_CREATED,
    )
    shown = destination_responses.render_destination(row, form)
    cards = [
        destination_responses.render_destination_type(each)
        for each in (DuckDBForm(Path("/")), form)
    ]
    refused = (
        errors.properties_do_not_match(["port"]),
        errors.tunnel_not_supported("ssh"),
        errors.path_outside_of_folder(),
    )
    held = errors.destination_is_held(number)
    return {
        "list_destination_types": {200: {"types": cards}},
        "get_destination_type": {
            200: {"postgres": cards[1]},
            **_collect_errors(errors.unknown_destination_type_card("panoply")),
        },
        "list_destinations": {
            200: {"one": [shown], "none": []},
            **_collect_errors(errors.invalid_destination_params()),
        },
        "get_destination": {
            200: {"postgres": shown},
            **_collect_errors(errors.destination_unknown(status=404)),
        },
        "create_destination": {
            200: {"created": shown},
            **_collect_errors(
                errors.invalid_destination_body(),
                errors.unknown_destination_type("panoply"),
                *refused,
                errors.destination_limit_reached(),
            ),
        },
        "update_destination": {
            200: {"changed": shown},
            **_collect_errors(
                errors.destination_unknown(),
                held,
                errors.destination_type_is_fixed(),
                errors.invalid_destination_update(),
                *refused,
            ),
        },
        "delete_destination": {
            200: {"deleted": {}},
            **_collect_errors(
                errors.destination_not_deleted(str(number), _ACCOUNT),
                held,
            ),
        },
    }


def list_response_examples(settings: ConnectApiSettings) -> dict[str, dict[int, Examples]]:
    """Return examples by operation and status, without COMMON_EXAMPLES and BODY_EXAMPLES."""
    source, card = str(_SOURCE), responses.render_report_card(settings, configured=False)
    fresh = responses.render_source(settings, _source(), [_OLD])
    paused = responses.render_source(settings, _source(updated_at=_LATER, paused_at=_LATER), [_OLD])
    gone = responses.render_source(settings, _source(updated_at=_LATER, deleted_at=_LATER), [_OLD])
    rotated = responses.render_source(settings, _source(updated_at=_LATER), [_NEW])
    made = responses.render_new_token(settings, _NEW, _source(updated_at=_LATER), [_OLD, _NEW])
    status = TableLoadStatus(_SOURCE, "customers", 7, _LATER, None, None, stopped=False)
    stuck = TableLoadStatus(
        _SOURCE, "orders", 7, _LATER, "connection refused", _LATER, stopped=False
    )
    loads = paging.render_page(
        [status, stuck],
        None,
        f"{_PATH}/loads",
        lambda row: responses.render_load(_ACCOUNT, "import_api", row),
    )
    none: tuple[object, ...] = ()
    extractions = paging.render_page(none, None, f"{_PATH}/extractions", lambda row: row)
    done = {"status": 200}
    type_card = responses.render_source_type(settings)
    no_tokens = (
        errors.source_not_found(source),
        errors.not_an_import_source(_SOURCE),
    )
    return {
        "list_source_types": {200: {"types": [type_card]}},
        "get_source_type": {
            200: {"import_api": type_card},
            **_collect_errors(errors.unknown_source_type("platform.hubspot", status=404)),
        },
        "list_sources": {200: {"one source": [fresh], "none": []}},
        "create_source": {
            200: {"created": fresh},
            **_collect_errors(
                errors.invalid_create_body(),
                errors.unknown_source_type("platform.hubspot"),
                errors.invalid_name(),
                errors.name_taken("import_api"),
                errors.derived_name_taken("Import API", "import_api"),
                errors.underivable_name("####", ""),
                errors.invalid_display_name("\0"),
                errors.destination_not_found(155_582),
                errors.invalid_properties(["token"], card),
                errors.source_limit_reached(100),
            ),
        },
        "create_account": {
            200: {"made": {"access_token": "ac_<TOKEN>", "stitch_account_id": 136_715}},
            **_collect_errors(
                errors.invalid_form(),
                errors.invalid_form("partner_secret"),
                errors.owner_has_account(),
                errors.too_many_accounts("Too many accounts were created in this minute."),
            ),
        },
        "create_ephemeral_token": {
            200: {"made": {"ephemeral_token": "<EPHEMERAL_TOKEN>"}},
            **_collect_errors(errors.too_many_ephemeral_tokens(100)),
        },
        "get_source": {
            200: {"active": fresh, "paused": paused, "deleted": gone},
            **_collect_errors(errors.source_not_found(source, status=404)),
        },
        "update_source": {
            200: {"paused": paused},
            **_collect_errors(
                errors.source_not_found(source),
                errors.invalid_update_body(),
                errors.invalid_display_name(""),
                errors.destination_not_found(155_582),
                errors.name_taken("import_api"),
                errors.invalid_properties(
                    ["token"], responses.render_report_card(settings, configured=True)
                ),
            ),
        },
        "delete_source": {
            200: {"deleted": gone},
            **_collect_errors(errors.source_not_found(source)),
        },
        "list_tokens": {
            200: {"newest first": responses.render_token_list(settings, [_OLD, _NEW])},
            **_collect_errors(
                errors.source_not_found(source, status=404),
                errors.not_an_import_source(_SOURCE),
            ),
        },
        "create_token": {
            200: {"made": made},
            **_collect_errors(*no_tokens, errors.token_limit_reached(_SOURCE, 2)),
        },
        "revoke_token": {
            200: {"the other one is left": rotated},
            **_collect_errors(*no_tokens, errors.token_not_found(str(_OLD.id))),
        },
        **_list_token_examples(),
        **_list_custom_email_examples(),
        **_list_table_examples(),
        **_list_hook_examples(),
        **_list_catalogue_examples(),
        **_list_option_examples(),
        **list_reject_examples(_collect_errors),
        **_list_check_examples(),
        **_list_query_examples(),
        **_list_destination_examples(),
        **list_trace_examples(),
        "list_loads": {200: {"loaded, and stuck": loads}},
        "list_load_reports": {
            200: {"a load": {"loads": [render_load_report(_LOAD)], "next": None}},
            400: {"limit": {"message": "limit is a number from 1 to 1000"}},
        },
        "get_load_report": {
            200: {"a load": _WHOLE_LOAD},
            **_collect_errors(errors.load_not_found(_LOAD.id)),
        },
        "list_trail_events": {
            200: {"a change": {"events": [_EVENT], "next": None}},
            400: {"limit": {"message": "limit is a number from 1 to 1000"}},
        },
        "list_audit_events": {
            200: {"a change": {"events": [_EVENT], "next": None}},
            400: {"limit": {"message": "limit is a number from 1 to 1000"}},
        },
        **_list_user_examples(),
        "show_ledger": {
            200: {"one hour": {"total": _SUMS, "hours": [_HOUR], "next": None}},
            400: {"source": {"message": "source is the id of a source"}},
        },
        "list_extractions": {200: {"none": extractions}},
        "get_extraction_log": _collect_errors(errors.route_not_found()),
        "get_last_check": _collect_errors(
            errors.source_not_found(source, status=404), errors.connection_check_not_found(_SOURCE)
        ),
        "list_streams": {
            200: {"a table": [streams.render_stream(_TABLE)], "none": []},
            **_collect_errors(errors.stream_not_found(source)),
        },
        "get_stream": {
            200: {"a table": streams.render_stream_schema(_COLUMNS)},
            **_collect_errors(errors.stream_not_found("2288757")),
        },
        "select_streams": {
            200: {"nothing selected": done},
            **_collect_errors(
                errors.unknown_tap_streams(["customers"]),
                errors.read_only_metadata(["selected"]),
                errors.invalid_streams_body(),
                errors.stream_not_found(source),
            ),
        },
        "start_job": _collect_errors(
            errors.job_not_created(_SOURCE, _ACCOUNT),
            errors.job_source_not_found(source, _ACCOUNT),
            errors.job_source_deleted(),
        ),
        "stop_job": {
            200: {"nothing ran": done},
            **_collect_errors(errors.job_source_not_found(source, _ACCOUNT)),
        },
    }
