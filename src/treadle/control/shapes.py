"""The objects of the wire, key for key in the printed order (connect-api.md 2.4-2.6, 3.1-3.6).

Pure functions: what the store knows -> a JSON value.
"""

from collections.abc import Iterable
from typing import Final

from treadle.control import wire
from treadle.control.settings import Settings
from treadle.control.times import seconds
from treadle.errors import Defect
from treadle.store.model import Source, TableStatus, Token

IMPORT_API: Final = "import_api"
SOURCE_TYPES: Final = (IMPORT_API,)
"""The types a source can have; the only one that exists without pulling data from elsewhere."""


def report_card(settings: Settings, *, configured: bool) -> wire.ReportCard:
    """The report card of an `import_api` source (connect-api.md 3.3, 4.2).

    Args:
        settings: what it looks like.
        configured: False before the source exists, True ever after: creation completes the form.
    """
    token: wire.Descriptor = {
        "name": "token",
        "is_required": True,
        "is_credential": False,
        "system_provided": True,
        "property_type": "read_only",
        "json_schema": {"type": "string"},
        "provided": configured,
        "tap_mutable": False,
    }
    steps: list[wire.Step] = [
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


def source_type(settings: Settings) -> wire.SourceType:
    """The card of the type `import_api` (connect-api.md 2.4, Q10: modern is at step 2)."""
    return {
        **report_card(settings, configured=not settings.shows_tokens),
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


def source(settings: Settings, row: Source, tokens: Iterable[Token]) -> wire.Source:
    """A source, as every endpoint that answers one sends it (connect-api.md 3.1).

    Args:
        settings: what it looks like.
        row: the source.
        tokens: its active tokens, oldest first. One whose secret is not kept is not shown.
    """
    properties: wire.Properties = {}
    if settings.shows_tokens:
        shown = {str(token.id): token.secret for token in tokens if token.secret is not None}
        properties["token"] = shown
    return {
        "properties": properties,
        "updated_at": seconds(row.updated_at),
        "schedule": None,
        "check_job_name": None,
        "name": row.name,
        "type": row.type,
        "deleted_at": _seconds(row.deleted_at),
        "system_paused_at": _seconds(row.system_paused_at),
        "stitch_client_id": row.account_id,
        "paused_at": _seconds(row.paused_at),
        "id": row.id,
        "display_name": row.display_name,
        "created_at": seconds(row.created_at),
        "report_card": report_card(settings, configured=True),
    }


def new_token(
    settings: Settings, token: Token, row: Source, tokens: Iterable[Token]
) -> wire.NewToken:
    """The answer to the making of a token, the one place that shows it in either era (2.6).

    Args:
        settings: what it looks like.
        token: the new token with its secret.
        row: its source, after the change.
        tokens: all active tokens of the source, oldest first, the new one among them.
    """
    if token.secret is None:
        raise Defect(f"the token {token.id} was made a moment ago and came without its secret")
    made: wire.NewToken = {"id": token.id, "access_token": token.secret}
    if settings.shows_tokens:
        made["connection"] = source(settings, row, tokens)
    return made


def token_list(settings: Settings, tokens: Iterable[Token]) -> list[wire.ListedToken] | list[int]:
    """A source's active tokens, newest first, never their values (2.6, Q7)."""
    newest_first = sorted(tokens, key=lambda token: token.id, reverse=True)
    if settings.bare_token_ids:
        return [token.id for token in newest_first]
    listed: list[wire.ListedToken] = [
        {"token_id": token.id, "created_at": seconds(token.created_at)} for token in newest_first
    ]
    return listed


def load(account_id: int, source_name: str, status: TableStatus) -> wire.Load:
    """The last load of one table (connect-api.md 2.12, 3.13)."""
    return {
        "stitch_client_id": account_id,
        "source_name": source_name,
        "stream_name": status.table_name,
        "last_batch_loaded_at": None if status.error else _seconds(status.loaded_at),
        "error_state": _error_state(status.error, stopped=status.stopped) if status.error else None,
    }


def _error_state(error: str, *, stopped: bool) -> wire.ErrorState:
    """Why loading is stuck, in the shape clients look into for `warehouse_message`."""
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


def _seconds(instant: int | None) -> str | None:
    return None if instant is None else seconds(instant)
