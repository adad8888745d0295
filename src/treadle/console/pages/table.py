"""One table: its columns, rows, loads, rejected records, history and options (P6, P7).

Everything but the rows comes from the store and the log, so no destination is opened. The rows are
asked for by a click, because a look into a DuckDB file has loading wait.
"""

import shlex
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from treadle.console import view
from treadle.console.day_view import describe_day, describe_mark, draw_day, plan_marks
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    is_named_by,
    lead_on,
    name_table_part,
    split_path,
)
from treadle.console.pages.loads import describe_parts, measure_load
from treadle.console.pages.lookups import describe_trouble, require_source, sees_records
from treadle.console.pages.operations import describe_operation
from treadle.console.pages.rejects import describe_example
from treadle.console.pages.tables import describe_state, make_path
from treadle.console.row_grid import RowGrid, make_grid
from treadle.console.table_remedies import list_remedies
from treadle.control.catalogue_operations import CatalogueOperations
from treadle.control.load_operations import parse_moment
from treadle.control.lookups import parse_id
from treadle.control.option_operations import get_options, set_options
from treadle.control.query_operations import QueryOperations
from treadle.control.replay_routes import RebuildChoice, ReplayOperations
from treadle.control.times import instant
from treadle.errors import OperatorError, RequestRefusedError
from treadle.log.protocol import DamagedEntry
from treadle.questions import refusals
from treadle.questions.column_order import order_columns
from treadle.questions.orders import NEWEST_DEFAULT, AnswerFormat
from treadle.records.message_batch import decode_batch
from treadle.records.record_reader import extract_texts
from treadle.store.model import ConsoleRole, LoadReport, Source
from treadle.store.operations import REBUILD
from treadle.store.recent_loads import LoadFilter
from treadle.store.rejects import RejectQuery
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.tables.options import OptionError, parse_option
from treadle.text import end_sentence
from treadle.timestamps import format_seconds
from treadle.tracking.rejects import RejectPlace, format_reject_id
from treadle.tracking.table_lists import LoadingState

COLUMNS_SHOWN: Final = 120
RELATIONS_SHOWN: Final = 60
LEFT_OUT_SHOWN: Final = 40
LOADS_SHOWN: Final = 50
DAY_LOADS_MAX: Final = 5_000
"""Attempts of a day that are read; a table is loaded once a second at most in practice."""

CAUSES_SHOWN: Final = 50
EVENTS_SHOWN: Final = 40
CHANGES_SHOWN: Final = 20
REBUILDS_SHOWN: Final = 5
OPERATIONS_EXAMINED: Final = 100
WAITING_SHOWN: Final = 20
WAITING_BYTES_MAX: Final = 1024 * 1024
RECORD_CHARACTERS_MAX: Final = 1_000
REASON_CHARACTERS_MAX: Final = 300

DONE: Final = {
    "load": "The server was asked to load what waits of this table now.",
    "retry": "The server was asked to try the table again. What it says is here in a moment.",
    "set": "The option is set. It holds from the next load on.",
    "remedy": "The option is set, and the server was asked to try the table again.",
}

VALUES_HIDDEN: Final = "Values of records are not shown to this session."

_ROWS_TURN: Final = threading.Lock()
"""Rows are asked for by one page of a worker at a time: a page waits in one of few threads."""


class ShownTable:
    """The page of one table: what all of its tabs show.

    Attributes:
        source: of the table.
        name: as sent.
        found: as `GET /v1/sources/{id}/tables/{table}` answers it.
    """

    def __init__(self, services: ConsoleServices, request: PageRequest) -> None:
        """Find the table that a path names.

        Raises:
            PageNotFoundError: there is none.
        """
        self._services = services
        self._request = request
        self.source = require_source(services, request)
        self.name = find_table_name(services, self.source, request.parts["table"])
        self.catalogue = CatalogueOperations(services.store, services.reach.waiting, services.clock)
        self.found = self.catalogue.get_source_table(
            request.account, str(self.source.id), self.name
        )

    @property
    def path(self) -> str:
        """Return the path of the page, below the console."""
        return make_path(self.source.id, self.name)

    @property
    def relation(self) -> str:
        """Return its name in the destination, as far as that is known."""
        return next((str(one["relation"]) for one in self.found["relations"]), self.name)

    @property
    def key_columns(self) -> set[str]:
        """Return the columns of the key, as far as they are known."""
        key = self.found["key"]
        return {
            one["column"]
            for relation in self.found["relations"][:1]
            for one in relation["columns"]
            if one["field"] in key
        }

    @property
    def quoted(self) -> str:
        """Return the name of the table as an argument of a command."""
        return quote_argument(self.name)

    @property
    def quoted_source(self) -> str:
        """Return the name of the source as an argument of a command."""
        return shlex.quote(self.source.name)

    def render(
        self,
        tab: str,
        command: str,
        values: Mapping[str, Any],
        *,
        template: str | None = None,
        error: str | None = None,
        status: int = 200,
    ) -> PageAnswer:
        """Return the page with a tab.

        Args:
            tab: which one.
            command: that does the same, without the flag of the data folder.
            values: of the template of the tab.
            template: of the tab; None for that of its name.
            error: why something was refused.
            status: of the answer.
        """
        services, request, found = self._services, self._request, self.found
        entry = services.store.tables.find_entry(self.source.id, self.name)
        may_see = sees_records(services, request)
        state = describe_state(LoadingState(found["state"]), entry, may_see=may_see)
        return PageAnswer(
            template or f"table-{tab}.html",
            {
                "title": f"{self.source.name}.{self.name}",
                "section": "tables",
                "command": f"{command}{services.data_flag}",
                "source": self.source,
                "table": found,
                "name": self.name,
                "path": self.path,
                "tab": tab,
                "state": state,
                "sentence": end_sentence(state.detail[:1].upper() + state.detail[1:]),
                "remedies": list_remedies(found["error"] or "")
                if state.word == LoadingState.STOPPED
                else (),
                "drop": f"DROP TABLE {quote_relation(self.source.schema, self.relation)}",
                "oldest": read_time(found["oldest_waiting_at"]),
                "last_load": read_time(found["last_load_at"]),
                "since": read_time(found["error_since"] or found["trouble_since"]),
                "notice": DONE.get(request.query.get("done", "")),
                "error": error,
                **values,
            },
            status,
        )


def find_table_name(services: ConsoleServices, source: Source, part: str) -> str:
    """Return the name of the table that a part of a path names.

    Raises:
        PageNotFoundError: the source has no such table.
    """
    backlogs = services.reach.waiting.list_backlogs(source.id)
    if part in backlogs or services.store.tables.find_entry(source.id, part) is not None:
        return part
    names = {one.name for one in services.store.tables.list_overviews(source.id)}
    for name in sorted(names | set(backlogs)):
        if is_named_by(part, name) or split_path("/" + name_table_part(name)) == [part]:
            return name
    raise PageNotFoundError(
        f"The source {source.name} has no table {part!r}. A table is there after its first push."
    )


def read_time(text: str | None) -> int | None:
    """Return a time of an answer as microseconds since 1970; None for none. Pure."""
    return None if text is None else instant(text)


def quote_argument(name: str) -> str:
    """Return the name of a table as one argument of a command. Pure."""
    return "'" + view.show_text(name, 200).replace("'", "'\\''") + "'"


def quote_relation(schema: str, relation: str) -> str:
    """Return the name of a table of the destination as SQL has it. Pure."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, relation))


# Columns -----------------------------------------------------------------------------------------


def show_columns(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the columns of a table and its subtables, as the last load left them."""
    return _render_columns(ShownTable(services, request), request)


def act_on_table(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Load a table now, try it again, or set an option that gets it going."""
    page = ShownTable(services, request)
    action = request.get_text("action")
    try:
        if action == "load":
            _ask_loader(services, request, page, TrailAction.LOAD_TABLE)
        elif action == "retry":
            _ask_loader(services, request, page, TrailAction.RETRY_TABLE)
        elif action == "remedy":
            name, _, value = request.get_text("option").partition("=")
            if (name, value) not in [
                one.option for one in list_remedies(page.found["error"] or "")
            ]:
                refused = "The table has no such way out now. Look at what it says."
                return _render_columns(page, request, refused)
            _set_option(services, request, page, name, value)
            _ask_loader(services, request, page, TrailAction.RETRY_TABLE)
        else:
            return _render_columns(page, request, "The page knows no such action.")
    except (RequestRefusedError, OptionError) as refused:
        return _render_columns(page, request, _say(refused))
    return lead_on(page.path, done=action)


def _render_columns(page: ShownTable, request: PageRequest, error: str | None = None) -> PageAnswer:
    number = parse_id(request.query.get("page", "1")) or 1
    relations = [
        {**one, "columns": order_shown_columns(one["columns"], page.key_columns)}
        for one in page.found["relations"]
    ]
    total = sum(len(one["columns"]) for one in relations)
    pages = max(1, -(-total // COLUMNS_SHOWN))
    number = min(number, pages)
    return page.render(
        "columns",
        f"treadle table show {page.quoted_source} {page.quoted}",
        {
            "relations": cut_columns(relations, (number - 1) * COLUMNS_SHOWN, COLUMNS_SHOWN),
            "tree": [
                {**one, "level": len(one["path"]), "count": len(one["columns"])}
                for one in relations[:RELATIONS_SHOWN]
            ],
            "tree_left": max(0, len(relations) - RELATIONS_SHOWN),
            "column_count": total,
            "number": number,
            "pages": pages,
            "left_out": [
                {**one, "at": read_time(one["since"])}
                for one in page.found["left_out"][:LEFT_OUT_SHOWN]
            ],
            "left_out_left": max(0, len(page.found["left_out"]) - LEFT_OUT_SHOWN),
        },
        error=error,
        status=400 if error else 200,
    )


def order_shown_columns(
    columns: Sequence[Mapping[str, Any]], key: Collection[str]
) -> list[Mapping[str, Any]]:
    """Return columns as people read them: those of the key first, treadle's own last. Pure."""
    return [columns[place] for place in order_columns([one["column"] for one in columns], key)]


def cut_columns(relations: list[dict[str, Any]], begin: int, count: int) -> list[dict[str, Any]]:
    """Return the relations with those of their columns that are on a page. Pure.

    Args:
        relations: of `render_catalogue`.
        begin: the first column of the page, counted over all relations from 0.
        count: columns of a page.
    """
    found = []
    at = 0
    for relation in relations:
        columns = relation["columns"]
        first = max(0, begin - at)
        shown = columns[first : max(0, begin + count - at)]
        at += len(columns)
        if shown:
            of_field: dict[str, list[str]] = {}
            for one in columns:
                if one["field"] is not None:
                    of_field.setdefault(one["field"], []).append(one["column"])
            found.append(
                {
                    **relation,
                    "columns": [
                        {
                            **one,
                            "first_seen": read_time(one["first_seen_at"]),
                            "beside": [
                                name
                                for name in of_field.get(one["field"] or "", ())
                                if name != one["column"]
                            ][:5],
                        }
                        for one in shown
                    ],
                }
            )
    return found


# Rows --------------------------------------------------------------------------------------------


def show_rows(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the newest rows of a table, once somebody asks for them."""
    page = ShownTable(services, request)
    grid: RowGrid | None = None
    took, error, status = 0.0, None, 200
    if request.query.get("show") == "1":
        try:
            grid, took = _ask_rows(services, request, page)
        except RequestRefusedError as refused:
            error, status = view.describe_refusal(refused.body), refused.status
    destination = services.store.destinations.find_destination_of_source(page.source.id)
    sql = (  # shown, and run by nobody here
        f"SELECT * FROM {quote_relation(page.source.schema, page.relation)} "  # noqa: S608
        f"ORDER BY _sdc_batched_at DESC LIMIT {NEWEST_DEFAULT}"
    )
    return page.render(
        "rows",
        f"treadle query {shlex.quote(view.show_text(sql, 600))}",
        {
            "grid": grid,
            "took": took,
            "is_file": destination is not None and destination.type == "duckdb",
            "limit": NEWEST_DEFAULT,
        },
        error=error,
        status=status,
    )


def _ask_rows(
    services: ConsoleServices, request: PageRequest, page: ShownTable
) -> tuple[RowGrid, float]:
    reach = services.reach
    if not sees_records(services, request):
        raise RequestRefusedError(403, VALUES_HIDDEN)
    if reach.desk is None:
        raise refusals.desk_missing()
    planned = QueryOperations(services.store, reach.query).plan_rows(
        request.account, str(page.source.id), page.name, NEWEST_DEFAULT, AnswerFormat.JSON
    )
    if not _ROWS_TURN.acquire(blocking=False):
        raise refusals.desk_busy(1)
    try:
        return make_grid(reach.desk.make_call(planned).ask().read(), page.key_columns)
    finally:
        _ROWS_TURN.release()


# Loads -------------------------------------------------------------------------------------------


def show_loads(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show a day of loads: a mark for each attempt, and the newest of them as lines."""
    page = ShownTable(services, request)
    midnight = choose_day(request.query.get("day", ""), request.now)
    failed = request.query.get("failed") == "1"
    loads = services.store.loads.list_loads(
        account_id=request.account.id,
        source_id=page.source.id,
        table_name=page.name,
        chosen=LoadFilter(since=midnight, until=midnight + view.DAY_US),
        limit=DAY_LOADS_MAX,
    )
    marks = plan_marks(loads, midnight)
    day = name_day(midnight)
    shown = [one for one in loads if one.error is not None] if failed else loads
    after = midnight + view.DAY_US
    return page.render(
        "loads",
        f"treadle loads --source {page.quoted_source} --table {page.quoted}",
        {
            "day": day,
            "before": name_day(midnight - view.DAY_US),
            "after": name_day(after) if after <= request.now else None,
            "svg": draw_day(marks, title=f"Attempts to load the table on {day}, UTC"),
            "words": describe_day(marks),
            "slots": [describe_mark(mark) for mark in marks] if len(marks) < len(loads) else [],
            "loads": [
                describe_attempt(one, may_see=sees_records(services, request))
                for one in shown[:LOADS_SHOWN]
            ],
            "found": len(shown),
            "only_failed": failed,
            "is_cut": len(loads) == DAY_LOADS_MAX,
        },
    )


def choose_day(text: str, now: int) -> int:
    """Return the midnight, UTC, of the day that a text names, from 1970 on; else of today. Pure."""
    found = instant(text) if len(text) == len("2026-01-31") else None
    if found is None or not 0 <= found <= now:
        found = now
    return found // view.DAY_US * view.DAY_US


def name_day(midnight: int) -> str:
    """Return a day as a URL has it. Pure."""
    day = datetime.fromisoformat("1970-01-01") + timedelta(microseconds=midnight)
    return day.date().isoformat()


def describe_attempt(one: LoadReport, *, may_see: bool = True) -> dict[str, Any]:
    """Return an attempt to load a table as a line of a list. Pure."""
    if one.error is not None:
        state = view.StateWord("failed", "bad", view.show_text(one.error, REASON_CHARACTERS_MAX))
    elif one.details.get("trouble"):
        told = describe_trouble(str(one.details["trouble"]), may_see=may_see)
        state = view.StateWord("trouble", "warn", told)
    elif one.rows_rejected:
        state = view.StateWord("some rejected", "warn")
    else:
        state = view.StateWord("loaded", "good", describe_parts(one))
    return {
        "load": one,
        "state": state,
        "took": measure_load(one),
        "changes": len(one.details.get("schema_changes", ())),
    }


# Rejected ----------------------------------------------------------------------------------------


def show_rejected(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show why records of a table were rejected."""
    page = ShownTable(services, request)
    query = RejectQuery(request.account.id, page.source.id, page.name)
    causes = services.store.rejects.list_causes(query, limit=CAUSES_SHOWN)
    may_see = sees_records(services, request)
    return page.render(
        "rejected",
        f"treadle rejects causes --source {page.quoted_source} --table {page.quoted}",
        {"causes": [(one, describe_example(one, may_see=may_see)) for one in causes]},
    )


# History -----------------------------------------------------------------------------------------


def show_history(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show what loads and others changed of a table, newest first."""
    page = ShownTable(services, request)
    before = request.query.get("before") or None
    found = page.catalogue.list_history(
        request.account, str(page.source.id), page.name, before, str(EVENTS_SHOWN)
    )
    return page.render(
        "history",
        f"treadle table history {page.quoted_source} {page.quoted}",
        {
            "events": [
                {
                    **event,
                    "when": read_time(event["at"]),
                    "changes": event["changes"][:CHANGES_SHOWN],
                    "changes_left": max(0, len(event["changes"]) - CHANGES_SHOWN),
                }
                for event in found["events"]
            ],
            "older": found["next"],
            "before": before,
        },
    )


# Options -----------------------------------------------------------------------------------------


def show_options(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the options of a table."""
    return _render_options(services, request, ShownTable(services, request))


def set_table_option(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Set an option of a table, or take it back."""
    page = ShownTable(services, request)
    try:
        name, text = request.get_text("option"), request.get_text("value")
        _set_option(services, request, page, name, text)
    except (OptionError, RequestRefusedError) as refused:
        return _render_options(services, request, page, _say(refused))
    return lead_on(f"{page.path}/options", done="set")


def _render_options(
    services: ConsoleServices, request: PageRequest, page: ShownTable, error: str | None = None
) -> PageAnswer:
    options: list[dict[str, Any]] = []
    status = 200 if error is None else 400
    try:
        found = get_options(services.store, request.account, str(page.source.id), page.name)
        options = found["options"]
    except RequestRefusedError as refused:
        error, status = error or view.describe_refusal(refused.body), refused.status
    return page.render(
        "options",
        f"treadle source options {page.quoted_source} --table {page.quoted}",
        {"options": [{**one, "text": show_option(one["value"])} for one in options]},
        error=error,
        status=status,
    )


def show_option(value: object) -> str:
    """Return the value of an option as it is written in a command. Pure."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _set_option(
    services: ConsoleServices, request: PageRequest, page: ShownTable, name: str, text: str
) -> None:
    """Set an option of the table; an empty text takes it back.

    Raises:
        OptionError: there is no such option, or it has no such value.
        RequestRefusedError: it cannot be set.
    """
    value = parse_option(name, text) if text else None
    raw = msgspec.json.encode({"options": {name: value}})

    def run(bound: Any) -> Any:
        return set_options(bound.store, request.account, str(page.source.id), page.name, raw)

    target = TrailTarget(TargetKind.TABLE, page.source.id, page.name)
    services.change(request, TrailAction.SET_OPTIONS, target, run)


def _ask_loader(
    services: ConsoleServices, request: PageRequest, page: ShownTable, action: TrailAction
) -> None:
    def run(bound: Any) -> Any:
        operations = CatalogueOperations(bound.store, services.reach.waiting, services.clock)
        ask: Callable[..., Any] = operations.load_table
        if action is TrailAction.RETRY_TABLE:
            ask = operations.retry_table
        return ask(request.account, str(page.source.id), page.name)

    services.change(request, action, TrailTarget(TargetKind.TABLE, page.source.id, page.name), run)


def _say(refused: Exception) -> str:
    if isinstance(refused, RequestRefusedError):
        return view.describe_refusal(refused.body)
    return str(refused)


# Rebuilt -----------------------------------------------------------------------------------------


def show_rebuild(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show how the table is built again from the log, and the last time that it was."""
    return _render_rebuild(services, request, ShownTable(services, request))


def start_rebuild(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Have the desk build the table again, and compare it or swap it in."""
    page = ShownTable(services, request)

    def run(bound: Any) -> Any:
        operations = ReplayOperations(bound.store, services.reach.open_reader)
        chosen = read_rebuild_choice(request)
        return operations.start_rebuild(request.account, str(page.source.id), page.name, chosen)

    target = TrailTarget(TargetKind.TABLE, page.source.id, page.name)
    try:
        made = services.change(request, TrailAction.REPLAY_TABLE, target, run)
    except RequestRefusedError as refused:
        error = view.describe_refusal(refused.body)
        return _render_rebuild(services, request, page, error, refused.status)
    return lead_on(f"/operations/{made['operation_id']}")


def read_rebuild_choice(request: PageRequest) -> RebuildChoice:
    """Return how a table is to be built again, as the form says. Pure.

    Raises:
        RequestRefusedError: 400, a time is none.
    """
    swaps = request.get_text("action") == "swap"
    return RebuildChoice(
        dry_run=not swaps,
        force=swaps and request.get_text("force") == "1",
        into=request.get_text("into") or None,
        since=parse_moment("from", request.get_text("from") or None),
        until=parse_moment("to", request.get_text("to") or None),
    )


def name_rebuild_command(source: str, table: str, typed: Mapping[str, str]) -> str:
    """Return the command that does what the form of a rebuild asks for. Pure.

    Args:
        source: name of the source, quoted for a shell.
        table: name of the table, quoted for a shell.
        typed: fields of the form.
    """
    words = [f"treadle replay --source {source} --table {table}"]
    for field in ("from", "to"):
        moment = instant(typed.get(field, ""))
        if moment is not None:
            words.append(f"--{field} {format_seconds(moment)}")
    into = typed.get("into", "").strip()
    words.append(f"--into {shlex.quote(into)}" if into else "--dry-run")
    return " ".join(words)


def _render_rebuild(
    services: ConsoleServices,
    request: PageRequest,
    page: ShownTable,
    error: str | None = None,
    status: int = 400,
) -> PageAnswer:
    every = services.store.operations.list_operations(request.account.id, OPERATIONS_EXAMINED)
    found = [
        describe_operation(one)
        for one in every
        if one.kind == REBUILD
        and (one.detail["source_id"], one.detail["table"]) == (page.source.id, page.name)
    ]
    return page.render(
        "rebuild",
        name_rebuild_command(page.quoted_source, page.quoted, request.form),
        {
            "operations": found[:REBUILDS_SHOWN],
            "typed": {name: request.get_text(name) for name in ("from", "to", "into")},
        },
        error=error,
        status=status if error else 200,
    )


# What waits --------------------------------------------------------------------------------------


def show_waiting(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the oldest records that wait for a table."""
    page = ShownTable(services, request)
    may_see = sees_records(services, request)
    lines, error = _read_waiting(services, page) if may_see else ([], VALUES_HIDDEN)
    return page.render(
        "waiting",
        "treadle log stats",
        {"lines": lines, "shown": len(lines)},
        error=error,
    )


def _read_waiting(
    services: ConsoleServices, page: ShownTable
) -> tuple[list[dict[str, Any]], str | None]:
    entry = services.store.tables.find_entry(page.source.id, page.name)
    reader = services.reach.open_reader()
    lines: list[dict[str, Any]] = []
    try:
        items = reader.read(
            page.source.id,
            page.name,
            0 if entry is None else entry.position,
            WAITING_SHOWN,
            WAITING_BYTES_MAX,
        )
        for item in items:
            if isinstance(item, DamagedEntry):
                return lines, f"The entry at {item.position} of the log is damaged: {item.why}"
            count = min(item.records, WAITING_SHOWN - len(lines))
            if count <= 0:
                break
            batch = decode_batch(item.payload)
            texts = extract_texts(batch, list(range(count)))
            lines += [
                {
                    "id": format_reject_id(RejectPlace(page.source.log, item.position, index)),
                    "at": item.received_at,
                    "sequence": batch.sequences[index],
                    "key": ", ".join(batch.key_names),
                    "text": view.show_text(text, RECORD_CHARACTERS_MAX),
                }
                for index, text in enumerate(texts)
            ]
    except OperatorError as error:
        return lines, str(error)
    finally:
        reader.close()
    return lines, None


OPERATOR: Final = ConsoleRole.OPERATOR
_PATH: Final = "/sources/{source}/tables/{table}"
ROUTES: Final = (
    PageRoute(_PATH, show_columns, act_on_table, act_role=OPERATOR),
    PageRoute(f"{_PATH}/rows", show_rows, role=OPERATOR),
    PageRoute(f"{_PATH}/loads", show_loads),
    PageRoute(f"{_PATH}/rejected", show_rejected),
    PageRoute(f"{_PATH}/history", show_history),
    PageRoute(f"{_PATH}/options", show_options, set_table_option, act_role=OPERATOR),
    PageRoute(f"{_PATH}/waiting", show_waiting, role=OPERATOR),
    PageRoute(f"{_PATH}/rebuild", show_rebuild, start_rebuild, act_role=OPERATOR),
)
