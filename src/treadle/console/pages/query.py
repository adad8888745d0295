"""Query: a statement that reads, its rows, and the tables beside it (P10)."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import anyio.to_thread
from starlette.requests import Request

from treadle.console import view
from treadle.console.answer_table import (
    AnswerTable,
    StatementFault,
    describe_fault,
    read_answer,
)
from treadle.console.page_request import ConsoleServices, PageAnswer, PageRequest, PageRoute
from treadle.console.pages.lookups import read_choice
from treadle.console.pages.tables import read_names, select_tables
from treadle.control.query_operations import QueryOperations
from treadle.control.query_requests import (
    STATEMENT_LIMIT_MAX,
    StatementRequest,
    mint_question_id,
    parse_statement,
)
from treadle.control.query_routes import QueryRoom
from treadle.errors import RequestRefusedError
from treadle.http.responses import encode_json
from treadle.questions import refusals
from treadle.questions.column_order import order_columns
from treadle.questions.orders import ANSWER_BYTES_MAX, AnswerFormat
from treadle.store.model import ConfiguredDestination, ConsoleRole, Source

ROWS_SHOWN: Final = 1_000
PAGE_BYTES_MAX: Final = 512 * 1024
"""Most bytes of the rows that a page asks for; a download has up to 64 MB."""

TABLES_BESIDE_MAX: Final = 30
COLUMNS_BESIDE_MAX: Final = 300
"""Tables and columns beside the statement. A search finds the others."""

LINK_CHARACTERS_MAX: Final = 2_000
"""Longest statement for which there is a link: a longer line of a request may be refused."""

DOWNLOADS: Final = {
    "csv": AnswerFormat.CSV,
    "csv-safe": AnswerFormat.CSV_SAFE,
    "json": AnswerFormat.JSON,
}
PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
_RESERVED_WORDS: Final = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check
collate column concurrently constraint create cross current_date current_time current_timestamp
current_user default desc describe distinct do else end except false fetch for foreign freeze from
full glob grant group having ilike in initially inner intersect into is isnull join lambda lateral
leading left like limit localtime localtimestamp map natural not notnull null offset on only or
order outer overlaps pivot placing positional primary qualify references returning right select
session_user show similar some struct summarize symmetric table then to trailing true union unique
unpivot user using variadic verbose when where window with
"""
RESERVED: Final = frozenset(_RESERVED_WORDS.split())
"""Names that need quotes in PostgreSQL or DuckDB."""
STOPPED: Final = "The statement was stopped. Nothing of it is running any more."


@dataclass(frozen=True, slots=True)
class TypedStatement:
    """What is in the form.

    Attributes:
        sql: as typed, with line feeds.
        destination: id of the destination as text; empty for the default one.
        search: for tables beside it.
    """

    sql: str = ""
    destination: str = ""
    search: str = ""

    def parse(self, question_id: str | None, limit: int, bytes_max: int) -> StatementRequest:
        """Return the request to run it.

        Raises:
            RequestRefusedError: 400, it is none.
        """
        body: dict[str, Any] = {"sql": self.sql, "limit": limit, "id": question_id}
        if self.destination:
            body["destination_id"] = read_choice(self.destination)
        return replace(parse_statement(encode_json(body)), bytes_max=bytes_max)


@dataclass(frozen=True, slots=True)
class TableBeside:
    """A table beside the statement.

    Attributes:
        name: as a statement names it, with its schema, quoted where it has to be.
        columns: quoted name and type of each; a column of a subtable is not among them.
        left_out: how many columns are not shown.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    left_out: int


def show_query(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the page. A statement in its URL is not run."""
    typed = TypedStatement(
        request.query.get("sql", ""),
        request.query.get("destination_id", ""),
        request.query.get("q", ""),
    )
    return render_query(services, request, typed)


async def run_query(
    services: ConsoleServices, request: PageRequest, connection: Request
) -> PageAnswer:
    """Run a statement, have its rows as a file, stop it, or find tables."""
    typed = TypedStatement(
        request.form.get("sql", "").replace("\r\n", "\n"),
        request.get_text("destination_id"),
        request.get_text("q"),
    )
    action = request.get_text("action") or "run"
    room = services.query
    try:
        if room is None:
            raise refusals.desk_missing()
        if action == "stop":
            await stop_question(room, request)
            return await _render(services, request, typed, notice=STOPPED)
        if action == "find":
            return await _render(services, request, typed)
        if action in DOWNLOADS:
            asked = typed.parse(None, STATEMENT_LIMIT_MAX, ANSWER_BYTES_MAX)
            return await send_file(services, room, request, connection, asked, DOWNLOADS[action])
        table = await ask_table(services, room, request, connection, typed)
    except RequestRefusedError as refused:
        fault = describe_fault(refused, view.describe_refusal(refused.body), typed.sql)
        return await _render(services, request, typed, fault=fault, status=refused.status)
    return await _render(services, request, typed, table=table)


async def stop_question(room: QueryRoom, request: PageRequest) -> None:
    """Stop the question of a page. It may have ended, or the browser may have left it already.

    Raises:
        RequestRefusedError: the desk cannot be reached.
    """
    client, question_id = room.asking.client, request.get_text("id")
    if client is None:
        raise refusals.desk_missing()
    if question_id:
        try:
            await anyio.to_thread.run_sync(client.stop, question_id, request.account.id)
        except RequestRefusedError as refused:
            if refused.status != 404:
                raise


async def ask_table(
    services: ConsoleServices,
    room: QueryRoom,
    request: PageRequest,
    connection: Request,
    typed: TypedStatement,
) -> AnswerTable:
    """Return the rows of a statement; a second question of the same page ends the first one.

    Raises:
        RequestRefusedError: it is refused or fails.
    """
    asked = typed.parse(request.get_text("id") or None, ROWS_SHOWN, PAGE_BYTES_MAX)
    operations = QueryOperations(services.store, room.settings)
    question = await anyio.to_thread.run_sync(
        operations.plan_statement, request.account, asked, AnswerFormat.JSON
    )
    try:
        answer = await room.asking.ask(connection, question)
    except RequestRefusedError as refused:
        if refused.status != 409:
            raise
        await stop_question(room, request)
        question = await anyio.to_thread.run_sync(
            operations.plan_statement,
            request.account,
            replace(asked, id=mint_question_id()),
            AnswerFormat.JSON,
        )
        answer = await room.asking.ask(connection, question)
    return await anyio.to_thread.run_sync(lambda: read_answer(answer.read()))


async def send_file(
    services: ConsoleServices,
    room: QueryRoom,
    request: PageRequest,
    connection: Request,
    asked: StatementRequest,
    format_: AnswerFormat,
) -> PageAnswer:
    """Return the rows of a statement as a file, which is sent in pieces.

    Raises:
        RequestRefusedError: it is refused or fails.
    """
    operations = QueryOperations(services.store, room.settings)
    question = await anyio.to_thread.run_sync(
        operations.plan_statement, request.account, asked, format_
    )
    response = await room.asking.respond(connection, question, format_)
    ending = "json" if format_ is AnswerFormat.JSON else "csv"
    moment = view.describe_time(request.now, request.now).iso.replace(":", "").replace("-", "")
    response.headers["Content-Disposition"] = f'attachment; filename="query-{moment}.{ending}"'
    return PageAnswer(response=response)


async def _render(
    services: ConsoleServices, request: PageRequest, typed: TypedStatement, **values: Any
) -> PageAnswer:
    made: PageAnswer = await anyio.to_thread.run_sync(
        partial(render_query, services, request, typed, **values)
    )
    return made


def render_query(
    services: ConsoleServices,
    request: PageRequest,
    typed: TypedStatement,
    *,
    table: AnswerTable | None = None,
    fault: StatementFault | None = None,
    notice: str | None = None,
    status: int = 200,
) -> PageAnswer:
    """Return the page with a statement, and what became of it."""
    destinations = [
        row
        for row in services.store.destinations.list_destinations(request.account.id)
        if row.deleted_at is None
    ]
    beside, left_out = list_tables_beside(services, request, typed, destinations)
    link = {"sql": typed.sql} | ({"destination_id": typed.destination} if typed.destination else {})
    is_on = services.query is not None and services.query.settings.is_on
    first = beside[0].name if beside else "import_api.customers"
    return PageAnswer(
        "query.html",
        {
            "title": "Query",
            "section": "query",
            "command": f"treadle query{services.data_flag} {_quote_statement(typed.sql, first)}",
            "is_on": is_on,
            "off_message": None if is_on else view.describe_refusal(refusals.query_is_off().body),
            "typed": typed,
            "example": write_example(first),
            "question_id": mint_question_id(),
            "destinations": destinations,
            "waits_for_file": any(row.type == "duckdb" for row in destinations),
            "seconds": services.query.settings.seconds if services.query else 0,
            "beside": beside,
            "left_out": left_out,
            "table": table,
            "fault": fault,
            "rows_shown": ROWS_SHOWN,
            "rows_most": STATEMENT_LIMIT_MAX,
            "link": f"/query?{urlencode(link, errors='replace')}"
            if typed.sql.strip() and len(typed.sql) <= LINK_CHARACTERS_MAX
            else None,
            "notice": notice,
        },
        status,
    )


def list_tables_beside(
    services: ConsoleServices,
    request: PageRequest,
    typed: TypedStatement,
    destinations: Sequence[ConfiguredDestination],
) -> tuple[list[TableBeside], int]:
    """Return the tables of a search with their columns, and how many more there are."""
    seen = services.sampler.read().get_account(request.account.id)
    tables = read_names(services, request.account, seen)
    if typed.destination and len(destinations) > 1:
        places = services.store.destinations.list_ids_by_source()
        tables = (one for one in tables if str(places.get(one[0].id)) == typed.destination)
    first, found = select_tables(tables, typed.search, TABLES_BESIDE_MAX)
    shown: list[TableBeside] = []
    left = COLUMNS_BESIDE_MAX
    for source, name in first:
        made = _describe_table(services, source, name, left)
        left -= len(made.columns)
        shown.append(made)
    return shown, found - len(shown)


def _describe_table(services: ConsoleServices, source: Source, name: str, most: int) -> TableBeside:
    entry = services.store.tables.find_entry(source.id, name)
    kept = None if entry is None else services.store.tables.get_kept_columns(entry.id)
    relation = kept.relations[0] if kept is not None and kept.relations else None
    if relation is None:
        return TableBeside(f"{quote_name(source.schema)}.{quote_name(name)}", (), 0)
    found = relation.columns
    fields = () if kept is None else kept.key_fields
    keys = {column.name for column in found if column.field in fields}
    columns = [
        (quote_name(found[place].name), found[place].type)
        for place in order_columns([column.name for column in found], keys)
    ]
    return TableBeside(
        f"{quote_name(source.schema)}.{quote_name(relation.name)}",
        tuple(columns[:most]),
        len(columns) - len(columns[:most]),
    )


def quote_name(name: str) -> str:
    """Return a name as a statement has it: with quotes where it needs them."""
    if PLAIN_NAME.fullmatch(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def write_example(table: str) -> str:
    """Return a statement for somebody to begin with.

    Args:
        table: its name as a statement has it.
    """
    return " ".join(("select * from", table, "limit 100"))


def _quote_statement(sql: str, table: str) -> str:
    """Return the statement as a word of a shell; one of several lines as that of a file."""
    if not sql.strip():
        return shlex.quote(write_example(view.show_text(table, 100)))
    text = sql.strip()
    if len(text) > 500 or not text.isprintable():
        return '"$(cat statement.sql)"'
    return shlex.quote(text)


ROUTES: Final = (PageRoute("/query", show_query, task=run_query, role=ConsoleRole.OPERATOR),)
