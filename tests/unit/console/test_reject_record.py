"""What became of a record that was sent again."""

from dataclasses import replace

import pytest
from tests.unit.console.test_table_choice import ENTRY

from treadle.console.pages.lookups import describe_reason
from treadle.console.pages.operations import describe_operation
from treadle.console.pages.reject_record import decide_fate, find_fault, make_lookup
from treadle.console.pages.rejects import cut_preview, name_cause
from treadle.store.model import EntryOutcome, RecordRejection
from treadle.store.operations import ServerOperation
from treadle.store.rejects import RejectCause
from treadle.tables.rejection_reason import RejectionCode
from treadle.tracking.rejects import RejectedRecord

REJECT = RejectedRecord(4, 1, 2, "o'rders", "out of range", 1_800_000_000_000_000, resent=9)
OPERATION = ServerOperation(
    1, 1, "resend", "running", 1, 0, 0, {}, {}, (), None, 5, "account_token", 6, None
)


def test_a_resend_is_followed_to_its_end() -> None:
    open_one = replace(REJECT, resent=None)
    assert decide_fate(open_one, None, None, OPERATION, None).state.word == "being sent"
    failed = replace(OPERATION, state="done", errors=(("4.1", "the source is paused"),))
    fate = decide_fate(open_one, None, None, failed, None)
    assert (fate.state.word, fate.state.detail) == ("not sent", "the source is paused")
    assert fate.is_settled
    waits = decide_fate(REJECT, replace(ENTRY, position=8, error="down"), None, None, "rc_1")
    assert (waits.state.word, waits.state.detail) == ("waits to be loaded", "down")
    assert not waits.is_settled
    there = replace(ENTRY, position=9)
    assert decide_fate(REJECT, there, None, None, "rc_1").state.word == "loaded"
    again = EntryOutcome(9, 2, "o'rders", 0, (RecordRejection(0, "again"),))
    fate = decide_fate(REJECT, there, again, None, "rc_1")
    assert (fate.state.word, fate.next_id) == ("rejected again", "9.0")
    assert fate.state.detail == "again"
    fate = decide_fate(REJECT, there, again, None, "rc_1", may_see=False)
    assert fate.state.detail == "unknown"
    older = EntryOutcome(9, 2, "o'rders", 1, ())
    assert decide_fate(REJECT, there, older, None, "rc_1").state.word == "superseded"


def test_a_reason_without_its_value_is_the_cause() -> None:
    code = RejectionCode.INTEGER_OUT_OF_RANGE
    text = "integer out of range for DuckDB on 9223372036854775808"
    assert describe_reason(text, code, "n", may_see=True) == text
    assert describe_reason(text, code, "n", may_see=False) == "integer out of range: n"
    assert describe_reason(text, code, None, may_see=False) == "integer out of range"


@pytest.mark.parametrize("text", ["", "{", '{"a": }', "[1]", "12", '"text"'])
def test_what_is_no_record_is_said(text: str) -> None:
    assert find_fault(text) is not None


@pytest.mark.parametrize("text", ['{"a": 1}', '  {"a": NaN}', '{"a": "NaN"}'])
def test_what_may_be_a_record_goes_on(text: str) -> None:
    assert find_fault(text) is None


def test_a_forgotten_record_is_found_by_a_statement() -> None:
    said = make_lookup(None, REJECT)
    assert "table_name = 'o''rders'" in said
    assert "_sdc_rejected_at >= '2027-01-15T08:00:00Z'" in said


def test_a_preview_is_bounded() -> None:
    one = {"reject_id": "1.0", "before": "x" * 90_000, "after": None, "outcome": "refused"}
    lines = cut_preview([one] * 20)
    assert sum(len(line["before"]) for line in lines) <= 20_000
    assert lines[0]["state"].word == "cannot be sent"


def test_causes_and_operations_have_words() -> None:
    cause = RejectCause(
        1, 2, "t", RejectionCode.INTEGER_OUT_OF_RANGE, "n", 3, 1, 0, 0, "", 4, 1
    )  # fmt: skip
    assert name_cause(cause) == "Integer out of range: n"
    told = describe_operation(replace(OPERATION, state="done", done=3214, failed=1))
    assert told["result"] == "3,214 sent again, 1 failed"
    assert told["is_settled"]
