"""The answers about rejected records: their shapes, and the functions that make them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from treadle.control.schemas import Id, component
from treadle.store.operations import REBUILD, ServerOperation
from treadle.store.rejects import RejectCause
from treadle.timestamps import format_microseconds
from treadle.tracking.receipts import Receipt, ReceiptCodec
from treadle.tracking.rejected_records import SentRecord
from treadle.tracking.rejects import RejectedRecord, RejectPlace, format_reject_id

_Count = Annotated[int, Field(ge=0)]
_Time = Annotated[str | None, Field(description="RFC 3339, UTC, microseconds; null if unknown")]
_Code = Annotated[str, Field(description="of the cause, such as integer_out_of_range")]
_FieldName = Annotated[
    str | None,
    Field(description="to blame, flattened, with the arrays it is in; null where it is none alone"),
]


@component("RejectExample")
class RejectExample(TypedDict):
    """The newest record of a cause."""

    reject_id: str
    reason: Annotated[str, Field(description="as in _sdc_rejected, cut at 500 characters")]


@component("RejectCause")
class RejectCauseAnswer(TypedDict):
    """Why records of a table were rejected."""

    cause_id: Id
    source_id: Id
    table: Annotated[str, Field(description="as sent")]
    code: _Code
    field: _FieldName
    records: Annotated[int, Field(ge=0, description="known ones")]
    open: Annotated[int, Field(ge=0, description="not sent again")]
    first_at: _Time
    newest_at: _Time
    example: RejectExample


@component("RejectCauses")
class RejectCausePage(TypedDict):
    """Causes, that with the newest record first."""

    causes: list[RejectCauseAnswer]
    next: Annotated[str | None, Field(description="`before` of the next page; null on the last")]


@component("Reject")
class RejectAnswer(TypedDict):
    """A record that was accepted and could not be loaded."""

    reject_id: str
    cause_id: Id
    source_id: Id
    table: Annotated[str, Field(description="as sent")]
    code: _Code
    field: _FieldName
    reason: Annotated[str, Field(description="as in _sdc_rejected")]
    rejected_at: _Time
    resent: Annotated[
        str | None, Field(description="receipt of the request that it was sent again with")
    ]
    kept: Annotated[
        bool | None,
        Field(description="whether the log has the record; null where that was not looked at"),
    ]
    accepted_at: _Time
    sequence: int | None
    key: Annotated[
        dict[str, Any] | None, Field(description="its key fields; null for more than 1 KiB")
    ]


@component("Rejects")
class RejectPageAnswer(TypedDict):
    """Rejected records, newest first."""

    rejects: list[RejectAnswer]
    next: Annotated[
        str | None,
        Field(description="`before` of the next page, also of a page that is not full; or null"),
    ]


@component("RejectedRecord")
class RejectedRecordAnswer(RejectAnswer):
    """A rejected record whole."""

    key_names: list[str]
    table_version: int
    record: Annotated[str, Field(description="the JSON text of the record, as sent")]


@component("RecordGoneData")
class RecordGoneData(TypedDict):
    """What is known of a record that the log does not keep any more."""

    message: str
    reject: RejectAnswer


@component("RecordGone")
class RecordGoneAnswer(TypedDict):
    """The log does not keep the record any more."""

    error: str
    data: RecordGoneData


@component("Busy")
class BusyAnswer(TypedDict):
    """Something of the kind is under way."""

    status: str
    message: str


@component("CountDiffersData")
class CountDiffersData(TypedDict):
    """How many records are open now."""

    message: str
    records: _Count


@component("CountDiffers")
class CountDiffersAnswer(TypedDict):
    """Another number of records is open than was expected."""

    error: str
    data: CountDiffersData


@component("OperationError")
class OperationErrorAnswer(TypedDict):
    """A record that an operation could not deal with."""

    reject_id: str
    message: str


@component("ComparedRelation")
class ComparedRelation(TypedDict):
    """How what was built of a table or subtable differs from what is there."""

    table: Annotated[str, Field(description="in the destination")]
    only_there: Annotated[int, Field(ge=0, description="rows in the table but not in the log")]
    only_in_the_log: Annotated[int, Field(ge=0, description="rows in the log but not in the table")]
    different: Annotated[int, Field(ge=0, description="rows with one key and other values")]


@component("RebuildResult")
class RebuildResult(TypedDict):
    """What a rebuild of a table found."""

    dry_run: bool
    entries: _Count
    records: _Count
    tables: list[ComparedRelation]
    differs: bool
    doubts: Annotated[list[str], Field(description="why rows may be missing in what was built")]
    swapped: Annotated[bool, Field(description="the table now holds the rebuilt rows")]
    built_in: Annotated[str | None, Field(description="the schema where what was built stays")]


@component("Operation")
class OperationAnswer(TypedDict):
    """Work that the server does for an account."""

    operation_id: Id
    kind: Literal["resend", "rebuild"]
    state: Literal["waiting", "running", "done", "cancelled", "failed"]
    total: Annotated[int, Field(ge=0, description="records that were meant")]
    done: Annotated[int, Field(ge=0, description="sent again, or read to build a table")]
    failed: Annotated[int, Field(ge=0, description="that cannot be sent again")]
    note: Annotated[str | None, Field(description="why it waits or failed")]
    errors: Annotated[list[OperationErrorAnswer], Field(description="the first 20")]
    result: Annotated[
        RebuildResult | None, Field(description="of a rebuild that is done; null otherwise")
    ]
    created_at: str
    started_at: str | None
    finished_at: str | None


@component("PreviewedRecord")
class PreviewedRecord(TypedDict):
    """A rejected record before and after an edit, and what a load would do with it."""

    reject_id: str
    before: Annotated[str | None, Field(description="JSON text; null if the log has it no more")]
    after: Annotated[str | None, Field(description="JSON text; null if the edit fails")]
    outcome: Annotated[
        Literal["loads", "rejected", "refused"],
        Field(description="`refused`: it cannot be sent again as it is"),
    ]
    reason: Annotated[str | None, Field(description="why it would not be loaded")]
    code: Annotated[str | None, Field(description="of the cause, if it would be rejected")]
    field: str | None


@component("ResendPreview")
class ResendPreview(TypedDict):
    """What a resend would do; nothing is sent."""

    dry_run: Literal[True]
    records: Annotated[int, Field(ge=0, description="open ones that are meant")]
    preview: Annotated[list[PreviewedRecord], Field(description="of the first 20, newest first")]


class AskedRecords(TypedDict, total=False):
    """The records that a resend is about; what is left out chooses nothing."""

    source_id: Id
    table: str
    cause_id: Id
    code: str
    field: str
    since: Annotated[str, Field(description="a time such as 2027-01-01T00:00:00Z")]
    until: str


class AskedEdit(TypedDict, total=False):
    """The edit of each record."""

    set: Annotated[dict[str, Any], Field(description="field -> its new value")]
    unset: Annotated[list[str], Field(description="fields to leave out")]
    record: Annotated[str, Field(description="JSON text that replaces the only record of `ids`")]


class ResendRecords(TypedDict, total=False):
    """The body of a resend: a filter or ids, and how many open records that are."""

    filter: AskedRecords
    ids: Annotated[list[str], Field(max_length=1000)]
    edit: AskedEdit
    expected: Annotated[int, Field(ge=0)]


def render_operation(operation: ServerOperation) -> dict[str, Any]:
    """Return an operation as JSON."""
    return {
        "operation_id": operation.id,
        "kind": operation.kind,
        "state": operation.state,
        "total": operation.total,
        "done": operation.done,
        "failed": operation.failed,
        "note": operation.note,
        "errors": [{"reject_id": one, "message": why} for one, why in operation.errors],
        "result": {"built_in": None, **operation.progress}
        if operation.kind == REBUILD and operation.progress
        else None,
        "created_at": format_microseconds(operation.created_at),
        "started_at": _format_time(operation.started_at or 0),
        "finished_at": _format_time(operation.finished_at or 0),
    }


def render_cause(cause: RejectCause) -> dict[str, Any]:
    """Return a cause as JSON."""
    return {
        "cause_id": cause.id,
        "source_id": cause.source_id,
        "table": cause.table_name,
        "code": cause.code.value,
        "field": cause.field,
        "records": cause.records,
        "open": cause.records - cause.resent,
        "first_at": _format_time(cause.first_at),
        "newest_at": _format_time(cause.last_at),
        "example": {
            "reject_id": format_reject_id(
                RejectPlace(cause.log, cause.example_position, cause.example_index)
            ),
            "reason": cause.example,
        },
    }


def render_reject(
    reject: RejectedRecord, codec: ReceiptCodec, sent: Mapping[str, SentRecord | None]
) -> dict[str, Any]:
    """Return a rejected record as a list shows it.

    Args:
        reject: the record.
        codec: encodes receipts.
        sent: id -> record as sent, None for one that is not kept; others were not looked at.
    """
    record = sent.get(reject.id)
    resent = None
    if reject.resent is not None:
        resent = codec.encode(Receipt(reject.source_id, reject.resent, 1))
    return {
        "reject_id": reject.id,
        "cause_id": reject.cause_id,
        "source_id": reject.source_id,
        "table": reject.table_name,
        "code": reject.code.value,
        "field": reject.field,
        "reason": reject.reason,
        "rejected_at": _format_time(reject.rejected_at),
        "resent": resent,
        "kept": record is not None if reject.id in sent else None,
        "accepted_at": None if record is None else format_microseconds(record.accepted_at),
        "sequence": None if record is None else record.sequence,
        "key": None if record is None or record.key is None else msgspec.Raw(record.key),
    }


def render_rejected_record(
    reject: RejectedRecord, codec: ReceiptCodec, sent: SentRecord
) -> dict[str, Any]:
    """Return a rejected record whole."""
    return render_reject(reject, codec, {reject.id: sent}) | {
        "key_names": list(sent.key_names),
        "table_version": sent.table_version,
        "record": sent.text,
    }


def _format_time(at: int) -> str | None:
    return format_microseconds(at) if at else None
