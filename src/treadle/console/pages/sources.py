"""Sources: the list, a new one, and one with its tables, options and settings (P4)."""

import shlex
from collections.abc import Mapping
from typing import Any, Final

from treadle.console import view
from treadle.console.figures import SourceFigures
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import read_choice, require_source
from treadle.console.pages.overview import make_table_path
from treadle.control import errors
from treadle.control.operations import ConnectOperations
from treadle.control.schema_names import derive_schema_name, is_schema_name
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.store.model import ConsoleRole, Source
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.tables.options import (
    OPTION_MEANINGS,
    EffectiveOption,
    OptionError,
    list_effective_options,
    list_values,
    make_options_patch,
    parse_option,
)
from treadle.timestamps import format_seconds

NAMELESS: Final = "A source has a display name. Type one."
DONE: Final = {
    "created": "The source is there. Make a token for it, and give the token to the sender.",
    "renamed": "The source has its new name. The schema of its tables stays.",
    "paused": "The source is paused: pushes are refused with 401 until it is unpaused.",
    "unpaused": "The source takes pushes again.",
    "moved": "The source loads into the other destination from now on.",
    "deleted": "The source is deleted. Its tables and their data stay.",
    "set": "The option is set. The next load of each table uses it.",
}


def list_sources(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show all sources; deleted ones on request."""
    figures = services.sampler.read().get_account(request.account.id)
    shows_deleted = request.query.get("deleted") == "1"
    rows = services.store.sources.list_sources(request.account.id)
    deleted = sum(row.deleted_at is not None for row in rows)
    shown = [row for row in rows if shows_deleted or row.deleted_at is None]
    tokens = services.store.tokens.list_tokens_by_source([row.id for row in shown])
    places = {row.id: row.name for row in figures.destinations}
    destination_of = services.store.destinations.list_ids_by_source()
    lines = []
    for row in shown:
        its = figures.by_source.get(row.id, SourceFigures(row))
        lines.append(
            {
                "source": row,
                "state": view.describe_source(row),
                "tables": its.tables,
                "accepted": its.accepted,
                "rejected": its.rejected,
                "waiting": its.waiting,
                "tokens": len(tokens[row.id]),
                "used": max((t.last_used_at or 0 for t in tokens[row.id]), default=0) or None,
                "destination": places.get(destination_of.get(row.id, 0), "none"),
            }
        )
    return PageAnswer(
        "sources.html",
        {
            "title": "Sources",
            "section": "sources",
            "command": f"treadle source list{services.data_flag}",
            "lines": lines,
            "deleted": deleted,
            "shows_deleted": shows_deleted,
            "notice": DONE.get(request.query.get("done", "")),
        },
    )


def show_new(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the form for a new source."""
    return _render_new(services, request, request.query.get("display_name", ""), "", None, 200)


def create_source(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Create a source."""
    display_name = request.get_text("display_name")
    name = request.get_text("name")
    body = {"type": "import_api", "display_name": display_name} | ({"name": name} if name else {})
    raw = encode_json(body)

    def run(bound: ConnectOperations) -> Any:
        return bound.create_source(request.account, raw)

    if not display_name:
        return _render_new(services, request, display_name, name, NAMELESS, 400)
    try:
        target = TrailTarget(TargetKind.SOURCE)
        made = services.change(request, TrailAction.CREATE_SOURCE, target, run)
    except RequestRefusedError as refused:
        error = view.describe_refusal(refused.body)
        return _render_new(services, request, display_name, name, error, refused.status)
    return lead_on(f"/sources/{made['id']}", done="created")


def preview_source(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show which schema a display name leads to: a line, for the form."""
    return PageAnswer(
        "regions/source-preview.html",
        {"preview": judge_name(services, request, request.query.get("value", ""))},
    )


def judge_name(
    services: ConsoleServices, request: PageRequest, display_name: str
) -> Mapping[str, Any] | None:
    """Return the schema name that a display name leads to, and why it cannot be used."""
    if not display_name.strip():
        return None
    name = derive_schema_name(display_name)
    account_id = request.account.id
    if not is_schema_name(name, services.store.destinations.list_identities(account_id, None)):
        refused = errors.underivable_name(display_name[:80], name[:80])
        return {"name": name, "problem": view.describe_refusal(refused.body)}
    for row in services.store.sources.list_sources(account_id):
        if row.name == name and row.deleted_at is None:
            return {"name": name, "problem": f"The source {row.display_name} has this name."}
    return {"name": name, "problem": None}


def show_source(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one source: its numbers and its tables."""
    row = require_source(services, request)
    its = _read_figures(services, row)
    return _render_tab(
        services,
        request,
        row,
        "overview",
        {
            "command": f"treadle source show {shlex.quote(row.name)}{services.data_flag}",
            "tables": [
                (one, view.describe_table(one.status, one.waiting), make_table_path(one))
                for one in its.busiest
            ],
            "table_count": its.tables,
            "accepted": its.accepted,
            "loaded": its.loaded,
            "rejected": its.rejected,
            "superseded": its.superseded,
            "waiting": its.waiting,
            "oldest": its.oldest,
        },
    )


def show_options(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the options of the tables of a source."""
    return _render_options(services, request, require_source(services, request))


def set_option(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Set an option of the tables of a source, or take it back."""
    row = require_source(services, request)
    name = request.get_text("option")
    text = request.get_text("value")
    try:
        list_values(name)
        value = parse_option(name, text) if text else None
        patch = make_options_patch(None, {name: value})
        _change(services, request, row, settings=patch)
    except OptionError as error:
        return _render_options(services, request, row, str(error))
    except RequestRefusedError as refused:
        return _render_options(services, request, row, view.describe_refusal(refused.body))
    return lead_on(f"/sources/{row.id}/options", done="set")


def show_settings(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show what can be changed of a source."""
    return _render_settings(services, request, require_source(services, request))


def change_settings(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Rename, pause, unpause or move a source."""
    row = require_source(services, request)
    action = request.get_text("action")
    body: dict[str, Any]
    if action == "rename":
        body, done = {"display_name": request.get_text("display_name")}, "renamed"
    elif action == "pause":
        body, done = {"paused_at": format_seconds(request.now)}, "paused"
    elif action == "unpause":
        body, done = {"paused_at": None}, "unpaused"
    elif action == "move":
        text = request.get_text("destination_id")
        body = {"destination_id": read_choice(text)}
        done = "moved"
    else:
        return _render_settings(services, request, row, "The page knows no such action.")
    raw = encode_json(body)

    def run(bound: ConnectOperations) -> Any:
        return bound.update_source(request.account, str(row.id), raw)

    target = TrailTarget(TargetKind.SOURCE, row.id, row.name)
    if action == "rename" and not body["display_name"]:
        return _render_settings(services, request, row, NAMELESS)
    try:
        services.change(request, TrailAction.CHANGE_SOURCE, target, run)
    except RequestRefusedError as refused:
        return _render_settings(services, request, row, view.describe_refusal(refused.body))
    return lead_on(f"/sources/{row.id}/settings", done=done)


def show_deletion(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Ask whether a source is to be deleted."""
    return _render_deletion(services, request, require_source(services, request), None)


def delete_source(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Delete a source whose name was typed."""
    row = require_source(services, request)
    if request.get_text("confirm") != row.name:
        error = f"The name that was typed is not {row.name}, so nothing was deleted."
        return _render_deletion(services, request, row, error)

    def run(bound: ConnectOperations) -> Any:
        return bound.delete_source(request.account, str(row.id))

    target = TrailTarget(TargetKind.SOURCE, row.id, row.name)
    try:
        services.change(request, TrailAction.DELETE_SOURCE, target, run)
    except RequestRefusedError as refused:
        return _render_deletion(services, request, row, view.describe_refusal(refused.body))
    return lead_on("/sources", done="deleted")


def _change(services: ConsoleServices, request: PageRequest, row: Source, **values: Any) -> None:
    def run(bound: ConnectOperations) -> Any:
        changed = bound.store.sources.update_source(request.account.id, row.id, **values)
        if changed is None:
            raise errors.source_not_found(str(row.id))
        return changed

    target = TrailTarget(TargetKind.SOURCE, row.id, row.name)
    services.change(request, TrailAction.SET_OPTIONS, target, run)


def _read_figures(services: ConsoleServices, row: Source) -> SourceFigures:
    figures = services.sampler.read().get_account(row.account_id)
    return figures.by_source.get(row.id, SourceFigures(row))


def _render_new(
    services: ConsoleServices,
    request: PageRequest,
    display_name: str,
    name: str,
    error: str | None,
    status: int,
) -> PageAnswer:
    return PageAnswer(
        "source-new.html",
        {
            "title": "New source",
            "section": "sources",
            "command": f"treadle source create 'Web shop'{services.data_flag}",
            "display_name": display_name,
            "name": name,
            "preview": judge_name(services, request, display_name),
            "error": error,
        },
        status,
    )


def _render_options(
    services: ConsoleServices, request: PageRequest, row: Source, error: str | None = None
) -> PageAnswer:
    problem = None
    options: tuple[EffectiveOption, ...] = ()
    try:
        options = list_effective_options(row.settings, None)
    except OptionError as found:
        problem = str(found)
    return _render_tab(
        services,
        request,
        row,
        "options",
        {
            "command": f"treadle source options {shlex.quote(row.name)}{services.data_flag}",
            "options": [
                {
                    "name": name,
                    "value": _format_option(value),
                    "origin": origin,
                    "values": list_values(name),
                    "meaning": OPTION_MEANINGS[name],
                }
                for name, value, origin in options
            ],
            "table_count": _read_figures(services, row).tables,
            "error": error or problem,
        },
        400 if error else 200,
    )


def _format_option(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _render_settings(
    services: ConsoleServices, request: PageRequest, row: Source, error: str | None = None
) -> PageAnswer:
    verb = "unpause" if row.paused_at is not None else "pause"
    return _render_tab(
        services,
        request,
        row,
        "settings",
        {
            "command": f"treadle source {verb} {shlex.quote(row.name)}{services.data_flag}",
            "destinations": [
                one
                for one in services.store.destinations.list_destinations(request.account.id)
                if one.deleted_at is None
            ],
            "error": error,
        },
        400 if error else 200,
    )


def _render_deletion(
    services: ConsoleServices, request: PageRequest, row: Source, error: str | None
) -> PageAnswer:
    its = _read_figures(services, row)
    return _render_tab(
        services,
        request,
        row,
        "settings",
        {
            "command": f"treadle source delete {shlex.quote(row.name)}{services.data_flag}",
            "waiting": its.waiting,
            "table_count": its.tables,
            "error": error,
        },
        400 if error else 200,
        template="source-delete.html",
    )


def _render_tab(
    services: ConsoleServices,
    request: PageRequest,
    row: Source,
    tab: str,
    values: Mapping[str, Any],
    status: int = 200,
    template: str | None = None,
) -> PageAnswer:
    return PageAnswer(
        template or f"source-{tab}.html",
        {
            "title": row.display_name,
            "section": "sources",
            "source": row,
            "state": view.describe_source(row),
            "tab": tab,
            "notice": DONE.get(request.query.get("done", "")),
            **values,
        },
        status,
    )


OPERATOR: Final = ConsoleRole.OPERATOR
ROUTES: Final = (
    PageRoute("/sources", list_sources),
    PageRoute("/sources/new", show_new, create_source, OPERATOR),
    PageRoute("/sources/preview", preview_source, role=OPERATOR),
    PageRoute("/sources/{source}", show_source),
    PageRoute("/sources/{source}/options", show_options, set_option, act_role=OPERATOR),
    PageRoute("/sources/{source}/settings", show_settings, change_settings, act_role=OPERATOR),
    PageRoute("/sources/{source}/delete", show_deletion, delete_source, OPERATOR),
)
