"""Rejected records: causes, one cause with its records, and the resend of all of them (P8).

A filter is in the URL. What a button sends again is what the page shows, and the number is in the
button: when another number is open by then, nothing is sent, and the page asks anew.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import anyio.from_thread

from treadle.console import view
from treadle.console.edit_lines import (
    EditLineError,
    TypedEdit,
    encode_filter_resend,
    name_edit,
    parse_edit,
)
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import describe_reason, sees_records
from treadle.console.pages.operations import describe_operation
from treadle.console.pages.tables import keep_chosen, make_path
from treadle.control.lookups import parse_count, parse_id
from treadle.control.reject_operations import RejectOperations
from treadle.control.reject_preview import preview_resend
from treadle.control.times import instant
from treadle.errors import OperatorError, RequestRefusedError, RetriableError
from treadle.log.protocol import LogReader
from treadle.store.model import ConsoleRole, Source
from treadle.store.operations import RESEND
from treadle.store.rejects import RejectCause, RejectQuery
from treadle.store.trail_event import TargetKind, TrailAction, TrailTarget
from treadle.tables.rejection_reason import RejectionCode
from treadle.timestamps import format_seconds
from treadle.tracking.rejected_records import SentRecord, read_sent_records
from treadle.tracking.rejects import (
    RejectedRecord,
    RejectFilter,
    RejectPlace,
    find_rejects,
    format_reject_id,
    parse_reject_id,
)

CAUSES_SHOWN: Final = 50
RECORDS_SHOWN: Final = 50
OPERATIONS_SHOWN: Final = 5
OPERATIONS_EXAMINED: Final = 50
KEY_CHARACTERS_MAX: Final = 120
PREVIEW_CHARACTERS_MAX: Final = 600
PREVIEW_BUDGET: Final = 16_000
"""Characters of records, before and after the edit, that a preview shows in all."""

HIDDEN: Final = "not shown"

CODES: Final = [code.value for code in RejectionCode]


# Causes ------------------------------------------------------------------------------------------


def show_causes(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show why records were rejected, that with the newest record first."""
    query = request.query
    sources = _list_sources(services, request)
    source_id = parse_id(query.get("source", ""))
    code = query.get("code", "")
    chosen = {
        "source": str(source_id) if source_id in sources else "",
        "table": query.get("table", "").strip(),
        "code": code if code in CODES else "",
        "open": "1" if query.get("open") == "1" else "",
        "since": read_moment(query.get("since", "")),
    }
    wanted = RejectQuery(
        request.account.id,
        source_id if chosen["source"] else None,
        chosen["table"] or None,
        code=chosen["code"] or None,
        since=None if not chosen["since"] else instant(chosen["since"]),
        open_only=bool(chosen["open"]),
    )
    may_see = sees_records(services, request)
    before = _parse_cause_place(query.get("before", ""))
    found = services.store.rejects.list_causes(wanted, before=before, limit=CAUSES_SHOWN + 1)
    shown = found[:CAUSES_SHOWN]
    last = shown[-1] if len(found) > CAUSES_SHOWN else None
    return PageAnswer(
        "rejects.html",
        {
            "title": "Rejected records",
            "section": "rejects",
            "command": f"treadle rejects causes{' --open' if chosen['open'] else ''}"
            f"{services.data_flag}",
            "lines": [
                {
                    "cause": one,
                    "open": one.records - one.resent,
                    "source": sources[one.source_id],
                    "table_path": make_path(one.source_id, one.table_name),
                    "example": describe_example(one, may_see=may_see),
                    "example_id": format_reject_id(
                        RejectPlace(one.log, one.example_position, one.example_index)
                    ),
                }
                for one in shown
                if one.source_id in sources
            ],
            "older": None if last is None else f"{last.last_at}.{last.id}",
            "before": before,
            "filter": chosen,
            "kept": keep_chosen(chosen),
            "sources_choices": [
                (one.id, one.name) for one in sources.values() if one.deleted_at is None
            ],
            "code_choices": [(one, view.format_words(one)) for one in CODES],
            "operations": [
                describe_operation(one)
                for one in services.store.operations.list_operations(
                    request.account.id, OPERATIONS_EXAMINED
                )
                if one.kind == RESEND
            ][:OPERATIONS_SHOWN],
        },
    )


# One cause, and lists of records -----------------------------------------------------------------


def show_cause(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one cause with its records, newest first."""
    cause = require_cause(services, request)
    wanted, chosen = read_record_filter(request, cause)
    return _render_records(
        services,
        request,
        wanted,
        chosen,
        None,
        {
            "title": name_cause(cause),
            "cause": cause,
            "path": f"/rejects/{cause.id}",
            "command": name_command("list", services, request, cause, chosen),
            "open_count": count_open(services, wanted),
        },
    )


def show_records(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show rejected records of any cause, newest first."""
    query = request.query
    source_id = parse_id(query.get("source", ""))
    wanted = RejectQuery(
        request.account.id,
        source_id,
        query.get("table", "").strip() or None,
        open_only=query.get("open") == "1",
    )
    reason = query.get("reason", "").strip() if sees_records(services, request) else ""
    chosen = {
        "source": "" if source_id is None else str(source_id),
        "table": wanted.table_name or "",
        "reason": reason,
        "open": "1" if wanted.open_only else "",
    }
    return _render_records(
        services,
        request,
        wanted,
        chosen,
        reason or None,
        {
            "title": "Rejected records, one by one",
            "cause": None,
            "path": "/rejects/records",
            "command": f"treadle rejects list{services.data_flag}",
            "open_count": 0,
        },
    )


def _render_records(
    services: ConsoleServices,
    request: PageRequest,
    wanted: RejectQuery,
    chosen: Mapping[str, str],
    reason: str | None,
    values: Mapping[str, Any],
) -> PageAnswer:
    before = _parse_place(request.query.get("before", ""))
    found = find_rejects(services.store, RejectFilter(wanted, reason), before, RECORDS_SHOWN)
    sources = _list_sources(services, request)
    may_see = sees_records(services, request)
    sent = read_sent(services, found.rejects)
    return PageAnswer(
        "reject-records.html",
        {
            "section": "rejects",
            "lines": [
                _describe_reject(one, sources, sent.get(one.id), may_see=may_see)
                | {"is_kept": one.id not in sent or sent[one.id] is not None}
                for one in found.rejects
            ],
            "sources_choices": [
                (one.id, one.name) for one in sources.values() if one.deleted_at is None
            ],
            "older": None if found.next is None else format_reject_id(found.next),
            "before": before,
            "filter": chosen,
            "kept": keep_chosen(chosen),
            "may_see": may_see,
            "is_paused": _is_closed(sources.get(values["cause"].source_id))
            if values["cause"] is not None
            else False,
            "source": sources.get(values["cause"].source_id) if values["cause"] else None,
            "table_path": make_path(values["cause"].source_id, values["cause"].table_name)
            if values["cause"]
            else "",
            **values,
        },
    )


def _describe_reject(
    one: RejectedRecord, sources: Mapping[int, Source], sent: SentRecord | None, *, may_see: bool
) -> dict[str, Any]:
    source = sources.get(one.source_id)
    return {
        "reject": one,
        "table": f"{source.name if source else one.source_id}.{one.table_name}",
        "reason": describe_reason(one.reason, one.code, one.field, may_see=may_see),
        "accepted_at": None if sent is None else sent.accepted_at,
        "sequence": None if sent is None else sent.sequence,
        "key": show_key(sent) if may_see else "",
    }


def show_key(sent: SentRecord | None) -> str:
    """Return the key of a record as a list shows it; empty where it is not known. Pure."""
    if sent is None or sent.key in (None, b"{}"):
        return ""
    return view.show_text((sent.key or b"").decode("utf-8", "replace"), KEY_CHARACTERS_MAX)


# Sent again --------------------------------------------------------------------------------------


def show_resend(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show what a resend of the open records of a filter would do, as they are."""
    return _render_resend(services, request, require_cause(services, request))


def act_on_resend(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Preview an edit, or send the records again."""
    cause = require_cause(services, request)
    if request.get_text("step") != "send":
        return _render_resend(services, request, cause)
    expected = request.get_text("expected")
    wanted, _ = read_record_filter(request, cause)
    try:
        edit = parse_edit(request.form.get("set", ""), request.form.get("unset", ""))
        raw = encode_filter_resend(make_body_filter(wanted), edit, parse_count(expected) or 0)
        made = start_resend(services, request, raw)
    except EditLineError as error:
        return _render_resend(services, request, cause, str(error))
    except RequestRefusedError as refused:
        return _render_resend(
            services, request, cause, view.describe_refusal(refused.body), refused.status
        )
    return lead_on(f"/operations/{made['operation_id']}")


def _render_resend(
    services: ConsoleServices,
    request: PageRequest,
    cause: RejectCause,
    error: str | None = None,
    status: int = 400,
) -> PageAnswer:
    wanted, chosen = read_record_filter(request, cause)
    set_text, unset_text = request.form.get("set", ""), request.form.get("unset", "")
    preview: list[dict[str, Any]] = []
    edit, trouble = TypedEdit(), None
    try:
        edit = parse_edit(set_text, unset_text)
    except EditLineError as found:
        error = error or str(found)
    else:
        raw = encode_filter_resend(make_body_filter(wanted), edit)
        preview, trouble = _ask_preview(services, request, raw)
        if not sees_records(services, request):
            # A reason may repeat the value.
            hidden = {"before": HIDDEN, "after": HIDDEN, "reason": None}
            preview = [{**one, **hidden} for one in preview]
    sources = _list_sources(services, request)
    return PageAnswer(
        "reject-resend.html",
        {
            "title": "Send again",
            "section": "rejects",
            "cause": cause,
            "name": name_cause(cause),
            "source": sources.get(cause.source_id),
            "is_paused": _is_closed(sources.get(cause.source_id)),
            "path": f"/rejects/{cause.id}",
            "filter": chosen,
            "kept": keep_chosen(chosen),
            "open_count": count_open(services, wanted),
            "set_text": set_text,
            "unset_text": unset_text,
            "is_edited": bool(edit),
            "preview": preview,
            "trouble": trouble,
            "command": name_command("resend", services, request, cause, chosen, name_edit(edit)),
            "error": error,
        },
        status if error else 200,
    )


def _ask_preview(
    services: ConsoleServices, request: PageRequest, raw: bytes
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the first records before and after an edit, and why there are none."""
    try:
        found = ask_preview(services, request, raw)
    except RequestRefusedError as refused:
        return [], view.describe_refusal(refused.body)
    except (RetriableError, OperatorError) as error:
        return [], str(error)
    return cut_preview(found["preview"]), None


def ask_preview(services: ConsoleServices, request: PageRequest, raw: bytes) -> dict[str, Any]:
    """Return the answer of a resend that is not carried out. Called in a thread of a page.

    Raises:
        RequestRefusedError: it is refused, or cannot be asked now.
    """
    operations = RejectOperations(services.store, services.reach.open_reader)
    return anyio.from_thread.run(
        preview_resend, operations, request.account, raw, services.reach.plan_dry_run
    )


def cut_preview(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of a preview, so many characters of records in all. Pure."""
    each = max(80, min(PREVIEW_CHARACTERS_MAX, PREVIEW_BUDGET // max(1, 2 * len(found))))
    return [
        {
            **one,
            "before": None if one["before"] is None else view.show_text(one["before"], each),
            "after": None if one["after"] is None else view.show_text(one["after"], each),
            "state": describe_outcome(one["outcome"]),
        }
        for one in found
    ]


def describe_outcome(outcome: str) -> view.StateWord:
    """Return what the dry run says of a record as it is shown. Pure."""
    if outcome == "loads":
        return view.StateWord("would be loaded", "good")
    if outcome == "rejected":
        return view.StateWord("would be rejected again", "bad")
    return view.StateWord("cannot be sent", "bad")


def start_resend(services: ConsoleServices, request: PageRequest, raw: bytes) -> dict[str, Any]:
    """Have the desk send records again; return the operation.

    Raises:
        RequestRefusedError: 409, another number is open than was seen, or the source is paused.
    """

    def run(bound: Any) -> Any:
        operations = RejectOperations(bound.store, services.reach.open_reader)
        return operations.start_resend(request.account, raw)

    made: dict[str, Any] = services.change(
        request, TrailAction.RESEND_RECORDS, TrailTarget(TargetKind.OPERATION), run
    )
    return made


# What the pages share ----------------------------------------------------------------------------


def require_cause(services: ConsoleServices, request: PageRequest) -> RejectCause:
    """Return the cause that a path names.

    Raises:
        PageNotFoundError: the account has none with it, or no longer.
    """
    wanted = request.parts["cause"]
    number = parse_id(wanted)
    query = RejectQuery(request.account.id, cause_id=number)
    found = [] if number is None else services.store.rejects.list_causes(query, limit=1)
    if not found:
        raise PageNotFoundError(
            f"Your account has no cause {wanted!r} of rejected records. A cause is forgotten with "
            "its records, after report_days or more."
        )
    return found[0]


def read_record_filter(
    request: PageRequest, cause: RejectCause
) -> tuple[RejectQuery, dict[str, str]]:
    """Return which records of a cause a URL names, and the parameters that name them."""
    query = request.query
    chosen = {
        "since": read_moment(query.get("since", "")),
        "until": read_moment(query.get("until", "")),
        "open": "1" if query.get("open") == "1" else "",
    }
    wanted = RejectQuery(
        request.account.id,
        cause_id=cause.id,
        since=instant(chosen["since"]),
        until=instant(chosen["until"]),
        open_only=bool(chosen["open"]),
    )
    return wanted, chosen


def read_moment(text: str) -> str:
    """Return the time of a field as it was sent; empty for what is no time. Pure."""
    return text if instant(text) is not None else ""


def make_body_filter(wanted: RejectQuery) -> dict[str, Any]:
    """Return a choice as the filter of `POST /v1/rejects/resend`. Pure."""
    return {
        "cause_id": wanted.cause_id,
        "since": None if wanted.since is None else format_seconds(wanted.since),
        "until": None if wanted.until is None else format_seconds(wanted.until),
    }


def count_open(services: ConsoleServices, wanted: RejectQuery) -> int:
    """Return how many open records a choice has."""
    query = RejectQuery(
        wanted.account_id,
        cause_id=wanted.cause_id,
        since=wanted.since,
        until=wanted.until,
        open_only=True,
    )
    return services.store.rejects.get_measure(query).total


def describe_example(cause: RejectCause, *, may_see: bool) -> str:
    """Return the reason of one record of a cause; "" where it adds nothing to the cause. Pure."""
    if not may_see:
        return ""
    return describe_reason(cause.example, cause.code, cause.field, may_see=True)


def name_cause(cause: RejectCause) -> str:
    """Return a cause in words. Pure."""
    words = view.format_words(cause.code.value)
    named = words[:1].upper() + words[1:]
    return named if cause.field is None else f"{named}: {view.show_text(cause.field, 120)}"


def name_command(
    verb: str,
    services: ConsoleServices,
    request: PageRequest,
    cause: RejectCause,
    chosen: Mapping[str, str],
    edit: str = "",
) -> str:
    """Return the command that is about the records of a cause."""
    source = services.store.sources.get_source(request.account.id, cause.source_id)
    name = cause.source_id if source is None else shlex.quote(source.name)
    words = [f"treadle rejects {verb} --source {name} --table {_quote(cause.table_name)}"]
    words.append(f"--code {cause.code.value}")
    if cause.field is not None:
        words.append(f"--field {_quote(cause.field)}")
    for flag in ("since", "until"):
        moment = instant(chosen.get(flag, ""))
        if moment is not None:
            words.append(f"--{flag} {format_seconds(moment)}")
    if verb == "list" and chosen.get("open"):
        words.append("--open")
    return " ".join(words) + edit + services.data_flag


def _quote(text: str) -> str:
    return "'" + view.show_text(text, 200).replace("'", "'\\''") + "'"


def _list_sources(services: ConsoleServices, request: PageRequest) -> dict[int, Source]:
    return {one.id: one for one in services.store.sources.list_sources(request.account.id)}


def _is_closed(source: Source | None) -> bool:
    return source is None or source.deleted_at is not None or not source.active


@contextmanager
def open_log(services: ConsoleServices) -> Iterator[LogReader]:
    """Open the log, and close it.

    Raises:
        RetriableError: it cannot be read now.
    """
    reader = services.reach.open_reader()
    try:
        yield reader
    finally:
        reader.close()


def read_sent(
    services: ConsoleServices, rejects: Sequence[RejectedRecord]
) -> dict[str, SentRecord | None]:
    """Return id -> record as sent; nothing while the log cannot be read."""
    if not rejects:
        return {}
    try:
        with open_log(services) as reader:
            return read_sent_records(reader, rejects)
    except (RetriableError, OperatorError):
        return {}


def _parse_place(text: str) -> RejectPlace | None:
    """Return the place of the record that a page follows; None for the newest page."""
    try:
        return parse_reject_id(text)
    except OperatorError:
        return None


def _parse_cause_place(text: str) -> tuple[int, int] | None:
    """Return time and id of the cause that a page follows; None for the newest page."""
    at, _, cause_id = text.partition(".")
    time, number = parse_count(at), parse_id(cause_id)
    return None if time is None or number is None else (time, number)


OPERATOR: Final = ConsoleRole.OPERATOR
ROUTES: Final = (
    PageRoute("/rejects", show_causes),
    PageRoute("/rejects/records", show_records),
    PageRoute("/rejects/{cause}", show_cause),
    PageRoute("/rejects/{cause}/resend", show_resend, act_on_resend, OPERATOR),
)
