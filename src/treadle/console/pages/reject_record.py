"""One rejected record: as it was sent, edited, checked by a dry run, and sent again (P8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from treadle.console import view
from treadle.console.access import has_role
from treadle.console.edit_lines import encode_record_resend, lay_out_record
from treadle.console.page_request import (
    ConsoleServices,
    PageAnswer,
    PageNotFoundError,
    PageRequest,
    PageRoute,
    lead_on,
)
from treadle.console.pages.lookups import describe_reason, sees_records
from treadle.console.pages.rejects import (
    ask_preview,
    describe_outcome,
    open_log,
    start_resend,
)
from treadle.console.pages.tables import make_path
from treadle.control.lookups import find_source, parse_id
from treadle.control.query_operations import QueryOperations
from treadle.control.query_requests import StatementRequest
from treadle.control.reject_operations import RejectOperations
from treadle.errors import OperatorError, RequestRefusedError, RetriableError
from treadle.questions import refusals
from treadle.questions.orders import AnswerFormat
from treadle.store.model import (
    ConsoleRole,
    EntryOutcome,
    RecordRejection,
    Source,
    TableEntry,
)
from treadle.store.operations import OPEN_STATES, ServerOperation
from treadle.timestamps import format_seconds
from treadle.tracking.receipts import Receipt, make_receipt_codec
from treadle.tracking.rejected_records import SentRecord, read_sent_record
from treadle.tracking.rejects import (
    RecordGoneError,
    RejectedRecord,
    RejectPlace,
    format_reject_id,
    get_reject,
)

EDITED_CHARACTERS_MAX: Final = 6_000
"""Longest record that is edited on the page: it is on it twice, with its marks escaped."""

KEPT_TEXTS_MAX: Final = 5
KEPT_CHARACTERS: Final = 2_000
"""Records of `_sdc_rejected` that are shown, and characters of each."""

SHOWN_CHARACTERS: Final = 4_000
"""Of a longer one, as much as is shown."""


@dataclass(frozen=True, slots=True)
class ResentFate:
    """What became of a record that was sent again.

    Attributes:
        state: of it.
        receipt: of the resend; None while there is none.
        next_id: of the rejected record that it became, if it was rejected again.
        is_settled: nothing more becomes of it.
    """

    state: view.StateWord
    receipt: str | None = None
    next_id: str | None = None
    is_settled: bool = False


def show_record(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show one rejected record."""
    return _render(services, request, require_reject(services, request))


def act_on_record(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Say what the dry run makes of the text of a record, or send it again."""
    reject = require_reject(services, request)
    if request.get_text("step") != "send" and not sees_records(services, request):
        return _render(services, request, reject, status=403)  # it is about values
    is_whole = request.get_text("whole") == "1"  # one that is too long to be edited here
    text = request.form.get("record", "").replace("\r\n", "\n")
    fault = None if is_whole else find_fault(text)
    if fault is not None:
        return _render(services, request, reject, text=text, fault=fault)
    try:
        with open_log(services) as reader:
            original = read_sent_record(reader, reject).text
        is_same = is_whole or text.strip() in (original.strip(), lay_out_record(original).strip())
        raw = encode_record_resend(reject.id, None if is_same else text)
        if request.get_text("step") != "send":
            found = ask_preview(services, request, raw)
            checked = found["preview"][0] if found["preview"] else None
            return _render(services, request, reject, text=text, checked=checked)
        operations = RejectOperations(services.store, services.reach.open_reader)
        _, [edited] = operations.prepare_preview(request.account, raw)
        if edited.refusal is not None:
            return _render(services, request, reject, text=text, fault=edited.refusal)
        made = start_resend(services, request, raw)
    except RequestRefusedError as refused:
        error = view.describe_refusal(refused.body)
        return _render(services, request, reject, text=text, error=error, status=refused.status)
    except RecordGoneError:
        return _render(services, request, reject)
    return lead_on(f"/rejects/records/{reject.id}", operation=made["operation_id"])


def follow_record(services: ConsoleServices, request: PageRequest) -> PageAnswer:
    """Show the part of the page that follows a record that was sent again."""
    reject = require_reject(services, request)
    return PageAnswer("regions/reject-record.html", _follow(services, request, reject))


def require_reject(services: ConsoleServices, request: PageRequest) -> RejectedRecord:
    """Return the rejected record that a path names.

    Raises:
        PageNotFoundError: the account has none with it.
    """
    wanted = request.parts["reject"]
    try:
        return get_reject(services.store, wanted, request.account.id)
    except OperatorError:
        raise PageNotFoundError(
            f"Your account has no rejected record {wanted!r}. Records are forgotten with the "
            "report of their load, after report_days or more."
        ) from None


def find_fault(text: str) -> str | None:
    """Return why a text is no record; None for one that may be. Pure."""
    try:
        msgspec.json.decode(text.encode("utf-8", "replace"), type=msgspec.Raw)
    except ValueError as error:
        # What clients of Python send has NaN and Infinity, which the server reads.
        if "NaN" not in text and "Infinity" not in text:
            return f"This is no JSON: {error}."
    if not text.lstrip().startswith("{"):
        return 'A record is a JSON object, such as {"id": 1}.'
    return None


def decide_fate(
    reject: RejectedRecord,
    entry: TableEntry | None,
    outcome: EntryOutcome | None,
    operation: ServerOperation | None,
    receipt: str | None,
    *,
    may_see: bool = True,
) -> ResentFate:
    """Return what became of a record that was sent again, or is being sent. Pure.

    Args:
        reject: the record as it was rejected.
        entry: what the store has of its table.
        outcome: of the entry that it was sent again with; None where there is none.
        operation: that sends it; None where none is known.
        receipt: of the resend, if it has one.
        may_see: the session sees the values of records, which a reason may hold.
    """
    if reject.resent is None:
        if operation is None or operation.state in OPEN_STATES:
            note = "" if operation is None or operation.note is None else operation.note
            return ResentFate(view.StateWord("being sent", "busy", note))
        why = dict(operation.errors).get(reject.id) or operation.note or "nothing was sent"
        return ResentFate(view.StateWord("not sent", "bad", why), is_settled=True)
    if entry is None or entry.position < reject.resent:
        detail = "" if entry is None or entry.error is None else entry.error
        return ResentFate(view.StateWord("waits to be loaded", "busy", detail), receipt)
    if outcome is not None and outcome.rejected:
        again = outcome.rejected[0]
        return ResentFate(
            view.StateWord("rejected again", "bad", tell_why(again, may_see=may_see)),
            receipt,
            format_reject_id(RejectPlace(reject.log, reject.resent, again.record)),
            is_settled=True,
        )
    if outcome is not None and outcome.superseded:
        why = "A newer record of its key is the row."
        return ResentFate(view.StateWord("superseded", "good", why), receipt, is_settled=True)
    return ResentFate(view.StateWord("loaded", "good"), receipt, is_settled=True)


def tell_why(one: RejectedRecord | RecordRejection, *, may_see: bool) -> str:
    """Return the whole reason of a rejection as a session may see it. Pure."""
    if may_see:
        return one.reason
    return describe_reason(one.reason, one.code, one.field, may_see=False)


def _follow(
    services: ConsoleServices, request: PageRequest, reject: RejectedRecord
) -> dict[str, Any]:
    number = parse_id(request.query.get("operation", ""))
    operation = (
        None
        if number is None
        else services.store.operations.find_operation(request.account.id, number)
    )
    entry = services.store.tables.find_entry(reject.source_id, reject.table_name)
    outcome = None
    if reject.resent is not None:
        found = services.store.outcomes.list_outcomes(reject.log, [reject.resent])
        outcome = next(iter(found), None)
    fate = None
    may_see = sees_records(services, request)
    if reject.resent is not None or operation is not None:
        receipt = _encode_receipt(services, reject)
        fate = decide_fate(reject, entry, outcome, operation, receipt, may_see=may_see)
    return {
        "reject": reject,
        "fate": fate,
        "base": services.places.base,
        "now": request.now,
        "table_path": make_path(reject.source_id, reject.table_name),
        "may_see": may_see,
    }


def _encode_receipt(services: ConsoleServices, reject: RejectedRecord) -> str | None:
    if reject.resent is None:
        return None
    try:
        with open_log(services) as reader:
            codec = make_receipt_codec(services.store.installation_id, reader)
            return codec.encode(Receipt(reject.source_id, reject.resent, 1))
    except (RetriableError, OperatorError):
        return None


def _render(
    services: ConsoleServices,
    request: PageRequest,
    reject: RejectedRecord,
    *,
    text: str | None = None,
    fault: str | None = None,
    checked: Mapping[str, Any] | None = None,
    error: str | None = None,
    status: int = 200,
) -> PageAnswer:
    source = find_source(services.store, request.account, str(reject.source_id))
    sent: SentRecord | None = None
    gone: str | None = None
    try:
        with open_log(services) as reader:
            sent = read_sent_record(reader, reject)
    except RecordGoneError as found:
        gone, status = str(found), 410
    except (RetriableError, OperatorError) as found:
        error, status = error or str(found), 503
    if fault is not None:
        status = 400
    kept_texts: list[str] | None = None
    if gone is not None and request.query.get("text") == "1":
        try:
            kept_texts = _read_kept_texts(services, request, reject)
        except RequestRefusedError as refused:
            error = view.describe_refusal(refused.body)
    original = "" if sent is None else lay_out_record(sent.text)
    may_see = sees_records(services, request)
    name = str(reject.source_id) if source is None else source.name
    verb = "show" if reject.resent is not None or sent is None else "resend"
    following = _follow(services, request, reject)
    fate: ResentFate | None = following["fate"]
    return PageAnswer(
        "reject-record.html",
        {
            **following,
            "title": f"Rejected record {reject.id}",
            "section": "rejects",
            "command": f"treadle rejects {verb} {reject.id}{services.data_flag}",
            "source": source,
            "table_name": f"{name}.{reject.table_name}",
            "why": tell_why(reject, may_see=may_see),
            "is_paused": source is None or source.deleted_at is not None or not source.active,
            "sent": sent,
            "gone": gone,
            "kept_texts": kept_texts,
            "find_sql": make_lookup(source, reject),
            "original": original[:SHOWN_CHARACTERS]
            if len(original) > EDITED_CHARACTERS_MAX
            else original,
            "is_long": len(original) > EDITED_CHARACTERS_MAX,
            "text": original if text is None else text,
            "fault": fault,
            "checked": checked,
            "check_state": None if checked is None else describe_outcome(checked["outcome"]),
            "after": None
            if checked is None or checked["after"] is None
            else lay_out_record(checked["after"])[:SHOWN_CHARACTERS],
            "kept_until": _find_end(services, reject),
            "is_followed": fate is not None and not fate.is_settled,
            "follow_path": f"/regions/rejects/{reject.id}"
            + (f"?operation={request.query['operation']}" if _names_operation(request) else ""),
            "may_edit": reject.resent is None
            and sent is not None
            and may_see
            and has_role(request.session, ConsoleRole.OPERATOR)
            and (fate is None or fate.is_settled),
            "error": error,
        },
        status,
    )


def _names_operation(request: PageRequest) -> bool:
    return parse_id(request.query.get("operation", "")) is not None


def _read_kept_texts(
    services: ConsoleServices, request: PageRequest, reject: RejectedRecord
) -> list[str]:
    """Return the texts of records in `_sdc_rejected` that were rejected with this one.

    Raises:
        RequestRefusedError: the destination cannot be asked, or not by statements.
    """
    reach = services.reach
    source = find_source(services.store, request.account, str(reject.source_id))
    if reach.desk is None or not sees_records(services, request):
        raise refusals.desk_missing()
    row = services.store.destinations.find_destination_of_source(reject.source_id)
    asked = StatementRequest(
        make_lookup(source, reject), KEPT_TEXTS_MAX, destination_id=None if row is None else row.id
    )
    planned = QueryOperations(services.store, reach.query).plan_statement(
        request.account, asked, AnswerFormat.JSON
    )
    found = reach.desk.make_call(planned).ask().read_value()
    return [str(values[0])[:KEPT_CHARACTERS] for values in found["rows"]]


def _find_end(services: ConsoleServices, reject: RejectedRecord) -> int | None:
    """Return about when the log forgets a record; None where that is not known."""
    if not reject.rejected_at:
        return None
    return reject.rejected_at + int(services.retention_days * view.DAY_US)


def make_lookup(source: Source | None, reject: RejectedRecord) -> str:
    """Return the statement that finds the text of a record in `_sdc_rejected`. Pure."""
    schema = "" if source is None else source.schema
    quoted = {
        name: "'" + value.replace("'", "''") + "'"
        for name, value in (("table", reject.table_name), ("code", reject.code.value))
    }
    schema = '"' + schema.replace('"', '""') + '"'
    found = (  # shown, and run by nobody here
        f"SELECT record FROM {schema}._sdc_rejected "  # noqa: S608
        f"WHERE table_name = {quoted['table']} AND code = {quoted['code']}"
    )
    if reject.rejected_at:
        begin = format_seconds(reject.rejected_at)
        end = format_seconds(reject.rejected_at + view.SECOND_US)
        found += f" AND _sdc_rejected_at >= '{begin}' AND _sdc_rejected_at < '{end}'"
    return found


OPERATOR: Final = ConsoleRole.OPERATOR
ROUTES: Final = (
    PageRoute("/rejects/records/{reject}", show_record, act_on_record, act_role=OPERATOR),
    PageRoute("/regions/rejects/{reject}", follow_record),
)
