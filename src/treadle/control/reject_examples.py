"""Examples for the OpenAPI document of the calls about rejected records."""

from collections.abc import Callable
from typing import Final

from treadle.control import errors
from treadle.control.load_operations import invalid_parameter
from treadle.control.reject_responses import render_cause, render_reject
from treadle.store.rejects import RejectCause
from treadle.tables.rejection_reason import RejectionCode
from treadle.tracking.receipts import ReceiptCodec
from treadle.tracking.rejects import RejectedRecord

_AT: Final = 1_549_462_973_000_000
_REASON: Final = "integer out of range for DuckDB on 9223372036854775808"
_CAUSE: Final = RejectCause(
    *(3, 126_890, "orders", RejectionCode.INTEGER_OUT_OF_RANGE, "number", 3_214, 12, _AT, _AT),
    _REASON,
    1042,
    0,
)
_REJECT: Final = RejectedRecord(
    *(1042, 0, _CAUSE.source_id, _CAUSE.table_name, _REASON, _AT, _CAUSE.code, _CAUSE.field),
    _CAUSE.id,
)
_LATER: Final = "2019-02-06T14:23:50.000000Z"
_OPERATION: Final[dict[str, object]] = {
    "operation_id": 7,
    "kind": "resend",
    "state": "running",
    "total": 3_202,
    "done": 1_200,
    "failed": 0,
    "note": None,
    "errors": [],
    "result": None,
    "created_at": "2019-02-06T14:22:53.000000Z",
    "started_at": "2019-02-06T14:22:53.100000Z",
    "finished_at": None,
}
_REBUILD: Final = _OPERATION | {
    "operation_id": 9,
    "kind": "rebuild",
    "state": "done",
    "done": 3_202,
    "result": {
        "dry_run": True,
        "entries": 64,
        "records": 3_202,
        "tables": [
            {"table": "orders", "only_there": 0, "only_in_the_log": 3, "different": 1},
            {"table": "orders__tags", "only_there": 0, "only_in_the_log": 2, "different": 0},
        ],
        "differs": True,
        "doubts": [],
        "swapped": False,
        "built_in": None,
    },
}
_CODEC: Final = ReceiptCodec("", "")


def list_reject_examples(
    collect: Callable[..., dict[int, dict[str, object]]],
) -> dict[str, dict[int, dict[str, object]]]:
    """Return examples of the answers.

    Args:
        collect: refusals -> examples by status.
    """
    shown = render_reject(_REJECT, _CODEC, {}) | {
        "kept": True,
        "accepted_at": "2019-02-06T14:22:50.000000Z",
        "sequence": 1_549_462_970_000,
        "key": {"id": 7},
    }
    whole = shown | {
        "key_names": ["id"],
        "table_version": 0,
        "record": '{"id":7,"number":9223372036854775808}',
    }
    gone = render_reject(_REJECT, _CODEC, {_REJECT.id: None})
    bad = collect(errors.invalid_reject_request("limit is a number from 1 to 100"))
    return {
        "list_reject_causes": {
            200: {"one": {"causes": [render_cause(_CAUSE)], "next": None}},
            **bad,
        },
        "list_rejected_records": {200: {"one": {"rejects": [shown], "next": "1042.0"}}, **bad},
        "get_rejected_record": {
            200: {"kept": whole},
            **collect(
                errors.reject_not_found("1.0"),
                errors.rejected_record_gone(
                    "the log no longer keeps the rejected record 1042.0 (see retention_days); its "
                    "text, up to 64 KB, is in _sdc_rejected: push it again with `treadle push`",
                    gone,
                ),
            ),
        },
        "resend_rejected_records": {
            200: {
                "begun": _OPERATION | {"state": "waiting", "done": 0, "started_at": None},
                "a preview": {
                    "dry_run": True,
                    "records": 3_202,
                    "preview": [
                        {
                            "reject_id": "1042.0",
                            "before": whole["record"],
                            "after": '{"id":7,"number":12}',
                            "outcome": "loads",
                            "reason": None,
                            "code": None,
                            "field": None,
                        }
                    ],
                },
            },
            429: {
                "busy": {
                    "status": "ERROR",
                    "message": "Another dry run of this source is under way. Try again later.",
                }
            },
            **collect(
                errors.invalid_reject_request("the body has either a filter or ids"),
                errors.reject_not_found("1.0"),
                errors.reject_count_differs(3_214, 3_202),
                errors.source_takes_no_records("the source shop is paused; unpause it first"),
            ),
        },
        "get_operation": {
            200: {"running": _OPERATION, "a rebuild that is done": _REBUILD},
            **collect(errors.operation_not_found("8")),
        },
        "replay_table": {
            200: {"begun": _REBUILD | {"state": "waiting", "done": 0, "result": None}},
            **collect(
                invalid_parameter("dry_run", "true or false"),
                errors.source_not_found("7", status=404),
                errors.table_not_found("orders"),
                errors.rebuild_under_way("orders", 9),
            ),
        },
        "cancel_operation": {
            200: {"stopped": _OPERATION | {"state": "cancelled", "finished_at": _LATER}},
            **collect(errors.operation_not_found("8")),
        },
    }


def list_reject_bodies() -> dict[str, dict[str, object]]:
    """Return examples of the bodies."""
    return {
        "resend_rejected_records": {
            "a cause, with an edit": {
                "filter": {"cause_id": 3},
                "edit": {"set": {"number": 12}, "unset": ["note"]},
                "expected": 3_202,
            },
            "one record": {"ids": ["1042.0"], "expected": 1},
        }
    }
