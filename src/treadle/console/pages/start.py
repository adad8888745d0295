"""The guide to the first rows (P1): four steps, each with its live state."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import anyio.from_thread

from treadle.console import view
from treadle.console.figures import AccountFigures, ServerFigures, TableFigures
from treadle.console.first_row import FirstRow
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.machines import find_sender_url, tell_reach
from treadle.console.pages.refusals import find_last_refusal
from treadle.console.pages.regions import RegionView
from treadle.console.snippets import PLACEHOLDER, TABLE, make_record, make_snippets
from treadle.control.operations import ConnectOperations
from treadle.control.query_operations import QueryOperations
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.questions.orders import AnswerFormat
from treadle.store.model import Account, ConsoleRole, Source
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget

DISPLAY_NAME: Final = "Import API"
PATIENCE_US: Final = 60 * view.SECOND_US
"""After so long without a record, the page says what could be wrong."""

ROW_SECONDS: Final = 0.1
"""So long the page waits for the first row: pages are made within 0.2 s. A row that comes later is
in the region that follows, and for browsers without scripts in the page that Refresh brings."""

PAUSED_NAMED_MAX: Final = 5
"""Paused sources that are named among what could be wrong."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
"""Import tokens, also those that were made elsewhere, have no other characters."""


def is_in_guide(services: ConsoleServices, account: Account, figures: ServerFigures) -> bool:
    """Return whether an account has no row yet, and its people have not put the guide away."""
    if figures.get_account(account.id).loaded:
        return False
    return services.store.sessions.find_left_guide(account.id) is None


def show_start(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the guide."""
    return _render(services, request)


def change_start(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Make the source, make a token, send a record, or put the guide away."""
    step = request.get_text("step")
    try:
        if step == "source":
            return _create_source(services, request)
        if step == "token":
            return _create_token(services, request)
        if step == "tool":
            return _render(services, request, token=_read_token(request))
        if step == "send":
            return _send_record(services, request)
    except RequestRefusedError as refused:
        return _render(services, request, error=view.describe_refusal(refused.body), status=400)
    if step == "leave":
        services.change(
            request,
            TrailAction.LEAVE_GUIDE,
            TrailTarget(TargetKind.ACCOUNT, request.account.id),
            lambda bound: bound.store.sessions.leave_guide(request.account.id),
        )
        return lead_on("/")
    return _render(services, request, error="The page knows no such step.", status=400)


def get_start(
    services: ConsoleServices, account: Account, figures: ServerFigures, seconds: float = 0.0
) -> Mapping[str, Any]:
    """Return the values of the region with the states of the last two steps.

    Args:
        services: what pages are made with.
        account: of who asks.
        figures: the present ones.
        seconds: to wait for the first row.
    """
    seen = figures.get_account(account.id)
    source = find_guide_source(seen)
    loaded = [one.most_loaded for one in seen.by_source.values() if one.most_loaded is not None]
    of_source = [one for one in loaded if source is not None and one.source.id == source.id]
    first = max(of_source or loaded, key=lambda one: one.loaded, default=None)
    bad = [row for row in seen.destinations if view.describe_destination(row).tone == "bad"]
    refused = None
    if source is not None and not seen.accepted:
        refused = find_last_refusal(services, account, source.created_at)
    waits_long = (
        source is not None
        and not seen.accepted
        and refused is None
        and services.clock() - source.created_at >= PATIENCE_US
    )
    row = None if first is None else ask_first_row(services, account, first, seconds)
    return {
        "refusal": None if refused is None else refused[0],
        "advice": "" if refused is None else refused[1],
        "shows_answers": services.payloads != "off",
        "seen": seen,
        "source": source,
        "row_table": first,
        "query_command": None
        if first is None
        else f"treadle query{services.data_flag} "
        + shlex.quote(_make_query(first.source, first.table_name)),
        "destinations": [(row, view.describe_destination(row)) for row in bad],
        "hints": list_hints(services, seen) if waits_long else [],
        "row": row,
        "cells": [] if row is None else row.list_cells(),
        "sql": None if first is None else _make_query(first.source, first.table_name),
    }


def list_hints(services: ConsoleServices, seen: AccountFigures) -> list[str]:
    """Return what could be wrong where nothing arrives."""
    hints = []
    if services.listens_locally and services.traces.takes_records:
        hints.append(
            "The server listens at 127.0.0.1, so only programs on this machine reach it. For "
            "others, set host and a certificate: the how-to page about networks has the steps."
        )
    paused = [one for one in seen.sources.values() if not one.active]
    hints += [
        f"The source {source.name} is paused, so pushes get 401. Unpause it."
        for source in paused[:PAUSED_NAMED_MAX]
    ]
    for row in seen.destinations:
        state = view.describe_destination(row)
        if state.tone == "bad":
            hints.append(
                f"The destination {row.name} {state.word}, so nothing is loaded into it. Requests "
                "are accepted all the same."
            )
    origin = services.places.origin
    if origin is None:
        hints.append(
            "A sender on another machine needs the name of this server in the URL, and not the one "
            "in the example. Set public_url, and the examples have it."
        )
    else:
        host = origin.partition("://")[2]
        hints.append(
            f"The examples send to {host}, as public_url says. A sender needs that name to lead to "
            "this server: try it where the sender runs."
        )
    hints.append("A sender that gets an answer other than 201 prints why. Look at its output.")
    reach = tell_reach(services)
    return hints if reach is None else [*hints, reach]


def find_guide_source(seen: AccountFigures) -> Source | None:
    """Return the source that the guide is about: the newest one."""
    return max(seen.sources.values(), key=lambda one: one.id, default=None)


def ask_first_row(
    services: ConsoleServices, account: Account, table: TableFigures, seconds: float
) -> FirstRow | None:
    """Return the first row of a table, which the desk is asked for once; None while it looks.

    Where the setting `console_payloads` shows values of records to nobody, it is not asked.
    """
    desk, source = services.reach.desk, table.source
    if services.payloads == "off":
        return FirstRow(trouble="The setting console_payloads is off, so no values are shown.")
    if desk is None:
        return FirstRow(trouble="The command shows the row.")

    def ask() -> Any:
        operations = QueryOperations(services.store, services.reach.query)
        question = operations.plan_rows(
            account, str(source.id), table.table_name, 1, AnswerFormat.JSON
        )
        return desk.make_call(question).ask().read_value()

    return services.rows.find((source.id, table.table_name), ask, seconds)


def _make_query(source: Source, table_name: str) -> str:
    """Return the statement that shows the rows of a table."""
    plain = table_name.isascii() and table_name.isidentifier() and table_name.islower()
    quoted = '"' + view.show_text(table_name, 200).replace('"', '""') + '"'
    return " ".join(("select * from", f"{source.schema}.{table_name if plain else quoted}"))


def _create_source(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    name = request.get_text("display_name") or DISPLAY_NAME
    raw = encode_json({"type": "import_api", "display_name": name})

    def run(bound: ConnectOperations) -> Any:
        return bound.create_source(request.account, raw)

    target = TrailTarget(TargetKind.SOURCE)
    made = services.change(request, TrailAction.CREATE_SOURCE, target, run)
    if services.settings.shows_tokens:
        return lead_on("/start")
    return _create_token(services, request, made["id"])


def _create_token(
    services: ConsoleServices, request: PageRequest, source_id: int | None = None
) -> PageAnswer:
    text = str(source_id) if source_id is not None else request.get_text("source")

    def run(bound: ConnectOperations) -> Any:
        return bound.create_token(request.account, text)

    target = TrailTarget(TargetKind.SOURCE, text)
    made = services.change(request, TrailAction.CREATE_IMPORT_TOKEN, target, run)
    return _render(services, request, token=made["access_token"])


def _read_token(request: PageRequest) -> str | None:
    """Return the token of the form: one that is shown once goes from page to page in it."""
    token = request.get_text("token")
    return token if _TOKEN.fullmatch(token) else None


def _send_record(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Send a record as a client would, with the token of the form."""
    token = _read_token(request)
    if token is None:
        raise RequestRefusedError(400, "Make a token first, to send a record with.")
    body = encode_json([make_record(request.account.id, request.now * 1000)])
    status, answer = anyio.from_thread.run(services.push, token, body)
    if status in (200, 201):
        notice = f"A record was sent for the table {TABLE}, and the server answered {status}."
        return _render(services, request, token=token, notice=notice)
    try:
        told = view.describe_refusal(json.loads(answer))
    except ValueError:
        told = answer.decode("utf-8", "replace")
    return _render(
        services,
        request,
        token=token,
        error=f"The server answered {status}: {view.show_text(told, 300)}",
        status=400,
    )


def _render(
    services: ConsoleServices,
    request: PageRequest,
    *,
    token: str | None = None,
    notice: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> PageAnswer:
    figures = services.sampler.read()
    sources = [
        one
        for one in services.store.sources.list_sources(request.account.id)
        if one.deleted_at is None
    ]
    source = sources[-1] if sources else None
    if source is not None and token is None and services.settings.shows_tokens:
        kept = services.store.tokens.list_tokens(source.id)
        token = next((one.secret for one in kept if one.secret is not None), None)
    url = find_sender_url(services, request)
    snippets = make_snippets(url, request.account.id, token or PLACEHOLDER, request.now * 1000)
    chosen = request.get_text("tool") or request.query.get("tool", "curl")
    if source is not None and source.id not in figures.get_account(request.account.id).sources:
        figures = _with_source(figures, request.account, source)
    return PageAnswer(
        "start.html",
        {
            "title": "First rows",
            "section": "overview",
            "topics": "start",
            "command": f"treadle source create '{DISPLAY_NAME}'{services.data_flag}",
            "display_name": DISPLAY_NAME,
            "token": token,
            "is_once": not services.settings.shows_tokens,
            "snippets": snippets,
            "chosen": next((one for one in snippets if one.name == chosen), snippets[0]),
            "notice": notice,
            "error": error,
            **get_start(services, request.account, figures, ROW_SECONDS),
        },
        status,
    )


def _with_source(figures: ServerFigures, account: Account, source: Source) -> ServerFigures:
    """Return figures with a source that was made a moment ago."""
    seen = figures.get_account(account.id)
    added = replace(seen, sources={**seen.sources, source.id: source})
    return replace(figures, accounts={**figures.accounts, account.id: added})


ROUTES: Final = (PageRoute("/start", show_start, change_start, role=ConsoleRole.OPERATOR),)
REGIONS: Final = {"start": RegionView("regions/start.html", get_start, ConsoleRole.OPERATOR)}
