"""The JSON objects of the answers, keys in the documented order (connect-api.md 2.4-2.6, 3.1-3.6).

Pure functions: what the store knows -> a JSON value.
"""

from collections.abc import Iterable
from typing import Final

from treadle.control import schemas
from treadle.control.settings import ConnectApiSettings
from treadle.errors import InternalError
from treadle.store.model import AccessToken, Source, TableLoadStatus
from treadle.timestamps import format_seconds

IMPORT_API: Final = "import_api"
SOURCE_TYPES: Final = (IMPORT_API,)
"""The types of sources: the only one for which nothing has to be pulled."""


def render_report_card(settings: ConnectApiSettings, *, configured: bool) -> schemas.ReportCard:
    """Return the report card of an `import_api` source (connect-api.md 3.3, 4.2).

    Args:
        settings: what it looks like.
        configured: False before the source exists, True ever after: creation completes the form.
    """
    token: schemas.PropertyDescriptor = {
        "name": "token",
        "is_required": True,
        "is_credential": False,
        "system_provided": True,
        "property_type": "read_only",
        "json_schema": {"type": "string"},
        "provided": configured,
        "tap_mutable": False,
    }
    steps: list[schemas.ConfigurationStep] = [
        {"type": "form", "properties": [token] if settings.shows_tokens else []},
        {"type": "fully_configured", "properties": []},
    ]
    current = 2 if configured else 1
    return {
        "type": IMPORT_API,
        "current_step": current,
        "current_step_type": steps[current - 1]["type"],
        "steps": steps,
    }


def render_source_type(settings: ConnectApiSettings) -> schemas.SourceType:
    """Return the card of the type `import_api` (connect-api.md 2.4, Q10: modern is at step 2)."""
    return {
        **render_report_card(settings, configured=not settings.shows_tokens),
        "details": {
            "pricing_tier": "standard",
            "pipeline_state": "released",
            "default_start_date": "-1 year",
            "default_scheduling_interval": 60,
            "protocol": IMPORT_API,
            "access": True,
            "image_version": "0.latest",
        },
        "upgrade_available": None,
    }


def render_source(
    settings: ConnectApiSettings, row: Source, tokens: Iterable[AccessToken]
) -> schemas.SourceAnswer:
    """Return a source, as every endpoint that answers one sends it (connect-api.md 3.1).

    Args:
        settings: what it looks like.
        row: the source.
        tokens: its active tokens, oldest first. One whose secret is not kept is not shown.
    """
    properties: schemas.SourceProperties = {}
    if settings.shows_tokens:
        shown = {str(token.id): token.secret for token in tokens if token.secret is not None}
        properties["token"] = shown
    return {
        "properties": properties,
        "updated_at": format_seconds(row.updated_at),
        "schedule": None,
        "check_job_name": None,
        "name": row.name,
        "type": row.type,
        "deleted_at": _format_optional(row.deleted_at),
        "system_paused_at": _format_optional(row.system_paused_at),
        "stitch_client_id": row.account_id,
        "paused_at": _format_optional(row.paused_at),
        "id": row.id,
        "display_name": row.display_name,
        "created_at": format_seconds(row.created_at),
        "report_card": render_report_card(settings, configured=True),
    }


def render_new_token(
    settings: ConnectApiSettings, token: AccessToken, row: Source, tokens: Iterable[AccessToken]
) -> schemas.NewToken:
    """Return the answer to the creation of a token, which shows its value in both eras.

    (connect-api.md 2.6)

    Args:
        settings: what it looks like.
        token: the new token with its secret.
        row: its source, after the change.
        tokens: all active tokens of the source, oldest first, the new one among them.
    """
    if token.secret is None:
        raise InternalError(
            f"the token {token.id} was made a moment ago and came without its secret"
        )
    made: schemas.NewToken = {"id": token.id, "access_token": token.secret}
    if settings.shows_tokens:
        made["connection"] = render_source(settings, row, tokens)
    return made


def render_token_list(
    settings: ConnectApiSettings, tokens: Iterable[AccessToken]
) -> list[schemas.ListedToken] | list[int]:
    """Return a source's active tokens, newest first, never their values.

    (connect-api.md 2.6, Q7)
    """
    newest_first = sorted(tokens, key=lambda token: token.id, reverse=True)
    if settings.bare_token_ids:
        return [token.id for token in newest_first]
    listed: list[schemas.ListedToken] = [
        {"token_id": token.id, "created_at": format_seconds(token.created_at)}
        for token in newest_first
    ]
    return listed


def render_load(account_id: int, source_name: str, status: TableLoadStatus) -> schemas.TableLoad:
    """Return the last load of one table (connect-api.md 2.12, 3.13)."""
    return {
        "stitch_client_id": account_id,
        "source_name": source_name,
        "stream_name": status.table_name,
        "last_batch_loaded_at": None if status.error else _format_optional(status.loaded_at),
        "error_state": _render_error_state(status.error, stopped=status.stopped)
        if status.error
        else None,
    }


def _render_error_state(error: str, *, stopped: bool) -> schemas.ErrorState:
    """Return why loading fails, in the form in which clients look for `warehouse_message`."""
    return {
        "notification_data": {
            "message": error,
            "exception_message": error,
            "warehouse_error_code": None,
            "error": "LOADER_WAREHOUSE_ERROR",
            "new_column": None,
            "status": "ERROR",
            "warehouse_sql_state": None,
            "action": "load",
            "warehouse_message": error,
            "column": None,
        },
        "exception_chain": [
            {
                "class": "TableStopped" if stopped else "TryLater",
                "message": error,
                "chain_sequence_num": 0,
                "action": "load",
            }
        ],
    }


def _format_optional(instant: int | None) -> str | None:
    return None if instant is None else format_seconds(instant)
