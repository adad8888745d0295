import itertools
import logging
from collections.abc import Sequence
from typing import cast

import pytest
from tests.unit.loader.doubles import (
    LOG_ID,
    NOW,
    PROFILE,
    MemorySession,
    entry,
    share,
)

from treadle.destinations.planning import PLANS_MAX
from treadle.destinations.protocol import (
    ChangeRefusedError,
    DestinationUnavailableError,
    RowRefusedError,
    SearchUnfinishedError,
    Session,
)
from treadle.errors import TableStoppedError
from treadle.loader.chunk import EntryChunk
from treadle.loader.execution import SEARCH_US, LoadExecutor
from treadle.loader.load_report import decode_planned_report
from treadle.loader.pipeline import PreparedStep
from treadle.log.protocol import DamagedEntry, LogEntry
from treadle.records.message_batch import decode_batch
from treadle.store.model import RecordRejection
from treadle.tables.model import LoadPlan, TableOptions
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load
from treadle.tables.rejection_reason import RejectionCode

ENTRIES = (entry(4, records=2), entry(6))


def prepared(entries: Sequence[LogEntry] = ENTRIES) -> PreparedLoad:
    arrivals = [
        LogBatch(decode_batch(one.payload), one.position, one.received_at) for one in entries
    ]
    return prepare_load(arrivals, profile=PROFILE, options=TableOptions(), schema="web")


def step(prepared: PreparedLoad | Exception, *damaged: DamagedEntry) -> PreparedStep:
    return PreparedStep(EntryChunk((1, "t"), 3, ENTRIES, damaged), prepared, 100)


def executor() -> LoadExecutor:
    return LoadExecutor(lambda _: LOG_ID, share(), lambda: NOW, lambda: "load-1")


def test_a_step_is_loaded_with_its_offset_and_its_report() -> None:
    session = MemorySession()
    found = executor().load(cast(Session, session), step(prepared()))
    assert (found.key, found.position, found.outcomes) == ((1, "t"), 6, [])
    assert (found.load.id, found.load.first, found.load.last) == ("load-1", 4, 6)
    assert (found.load.rows_received, found.load.rows_loaded) == (3, 3)
    [plan] = session.plans
    assert (plan.offset.log_id, plan.offset.previous_position, plan.offset.position) == (
        LOG_ID,
        3,
        6,
    )
    assert plan.offset.fence == 7
    assert decode_planned_report(plan.offset.report).load_id == "load-1"


def refuse_record(record: int, reason: str) -> RecordRejection:
    return RecordRejection(record, reason, RejectionCode.REFUSED_BY_DESTINATION)


def test_what_the_engine_refuses_is_found_and_the_rest_is_loaded() -> None:
    def refuse(plan: LoadPlan, rehearse: bool) -> None:
        refused = {(rejection.entry, rejection.index) for rejection in plan.rejections}
        if (0, 1) not in refused:
            raise RowRefusedError("the engine does not take it")

    session = MemorySession(before_load=refuse)
    found = executor().load(cast(Session, session), step(prepared()))
    assert (found.load.rows_loaded, found.load.rows_rejected) == (2, 1)
    [outcome] = found.outcomes
    refused = refuse_record(1, "the engine does not take it")
    assert (outcome.position, outcome.rejected) == (4, (refused,))
    assert len(session.plans) == 1


def test_a_search_for_refused_records_takes_turns() -> None:
    tries: list[bool] = []

    def refuse(plan: LoadPlan, rehearse: bool) -> None:
        tries.append(rehearse)
        refused = {(rejection.entry, rejection.index) for rejection in plan.rejections}
        if (0, 1) not in refused or (1, 0) not in refused:
            raise RowRefusedError("the engine does not take it")

    now = itertools.count(NOW, SEARCH_US)
    its = LoadExecutor(lambda _: LOG_ID, share(), lambda: next(now), lambda: "load-1")
    session = cast(Session, MemorySession(before_load=refuse))
    turns = 0
    while True:
        tries.clear()
        try:
            found = its.load(session, step(prepared()))
        except SearchUnfinishedError:
            turns += 1
            # One rehearsal in a turn, and the load itself is tried in the first one only.
            assert tries == ([False, True] if turns == 1 else [True])
        else:
            break
    assert turns > 2
    assert (found.load.rows_loaded, found.load.rows_rejected) == (1, 2)
    tries.clear()
    with pytest.raises(SearchUnfinishedError):
        its.load(session, step(prepared()))
    assert tries == [False, True]  # nothing is kept of a search that is done


def test_a_step_that_could_not_be_prepared_raises_why() -> None:
    session = MemorySession()
    error = ValueError("no batch")
    with pytest.raises(ValueError, match="no batch") as raised:
        executor().load(cast(Session, session), step(error))
    assert raised.value is error
    assert session.plans == []


def test_damaged_entries_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    damaged = DamagedEntry(5, 1, "t", NOW, 9, "its checksum differs")
    with caplog.at_level(logging.ERROR, "treadle.loader"):
        found = executor().load(cast(Session, MemorySession()), step(prepared(), damaged))
    assert (found.load.rows_received, found.load.rows_rejected) == (12, 9)
    assert "entry 5 of 't' of source 1 is damaged and left out, 9 records" in caplog.text


def test_errors_of_the_destination_are_the_callers() -> None:
    def gone(plan: LoadPlan, rehearse: bool) -> None:
        raise DestinationUnavailableError("gone")

    with pytest.raises(DestinationUnavailableError, match="gone"):
        executor().load(cast(Session, MemorySession(before_load=gone)), step(prepared()))


def test_a_refused_change_is_due_to_a_record_or_to_none() -> None:
    fault = TableStoppedError("no table may be changed")
    tries = 0

    def refuse(plan: LoadPlan, rehearse: bool) -> None:
        nonlocal tries
        tries += 1
        raise ChangeRefusedError("refused", fault)

    session = MemorySession(before_load=refuse)
    with pytest.raises(TableStoppedError, match="no table may be changed"):
        executor().load(cast(Session, session), step(prepared()))
    assert tries == 2 * PLANS_MAX  # the load, and the same without a record

    def refuse_one(plan: LoadPlan, rehearse: bool) -> None:
        if (0, 1) not in {(rejection.entry, rejection.index) for rejection in plan.rejections}:
            raise ChangeRefusedError("an odd name", fault)

    session = MemorySession(before_load=refuse_one)
    found = executor().load(cast(Session, session), step(prepared()))
    [outcome] = found.outcomes
    assert (outcome.position, outcome.rejected) == (4, (refuse_record(1, "an odd name"),))


def test_a_change_that_only_a_rehearsal_can_do_stops_the_table() -> None:
    def refuse(plan: LoadPlan, rehearse: bool) -> None:
        if not rehearse:
            raise ChangeRefusedError("refused", TableStoppedError("no such name"))

    session = MemorySession(before_load=refuse)
    with pytest.raises(TableStoppedError, match="no such name"):
        executor().load(cast(Session, session), step(prepared()))


def test_records_that_are_refused_together_are_found() -> None:
    def refuse(plan: LoadPlan, rehearse: bool) -> None:
        rejected = {(rejection.entry, rejection.index) for rejection in plan.rejections}
        if not {(0, 0), (1, 0)} & rejected:
            raise RowRefusedError("one of both")

    session = MemorySession(before_load=refuse)
    found = executor().load(cast(Session, session), step(prepared()))
    assert (found.load.rows_loaded, found.load.rows_rejected) == (2, 1)
    [outcome] = found.outcomes
    assert (outcome.position, outcome.rejected) == (6, (refuse_record(0, "one of both"),))


def test_a_record_that_comes_after_both_searches_is_searched_too() -> None:
    is_gone = False

    def refuse(plan: LoadPlan, rehearse: bool) -> None:
        rejected = {(rejection.entry, rejection.index) for rejection in plan.rejections}
        if not {(0, 0), (1, 0)} & rejected:
            raise RowRefusedError("one of both")
        if is_gone and not rehearse:
            raise DestinationUnavailableError("gone")
        if plan.received > 3 and (2, 0) not in rejected:
            raise RowRefusedError("the late one")

    its, session = executor(), cast(Session, MemorySession(before_load=refuse))
    is_gone = True
    with pytest.raises(DestinationUnavailableError):
        its.load(session, step(prepared()))
    is_gone = False
    entries = (*ENTRIES, entry(7))
    late = PreparedStep(EntryChunk((1, "t"), 3, entries, ()), prepared(entries), 100)
    found = its.load(session, late)
    assert (found.load.rows_loaded, found.load.rows_rejected) == (2, 2)
    assert [one.position for one in found.outcomes] == [6, 7]
