"""Planning asks the destination and changes nothing."""

import json
from typing import Any

from treadle.destinations.planning import execute_load, plan_with_session
from treadle.destinations.protocol import Session
from treadle.records.message_batch import MessageBatch
from treadle.tables.model import AddColumn, CreateRelation, LoadPlan, OffsetCommit, TableOptions
from treadle.tables.prepare.prepare import LogBatch, PreparedLoad, prepare_load
from treadle.tables.profile import DestinationProfile

LOG = "0d2c0e0e-0000-4000-8000-000000000002"
NOW = 1_700_000_000_000_000


def prepared(
    profile: DestinationProfile, position: int, *records: tuple[int, dict[str, Any]]
) -> PreparedLoad:
    batch = MessageBatch(
        "t",
        ("id",),
        "json",
        b"",
        (),
        [sequence for sequence, _ in records],
        0,
        None,
        [],
        json.dumps([record for _, record in records]).encode(),
    )
    return prepare_load(
        [LogBatch(batch, position, NOW)], profile=profile, options=TableOptions(), schema="web"
    )


class CountingSession:
    """A session that counts the questions it passes on."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.state = session.state
        self.questions = 0

    def sequences(self, *question: Any) -> list[int | None]:
        self.questions += 1
        return self._session.sequences(*question)


def tables(session: Session) -> list[str]:
    found = session.query(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'web'"
    )
    return sorted(name for (name,) in found.rows)


def planned_at(
    session: Session, profile: DestinationProfile, after: int, *records: tuple[int, dict[str, Any]]
) -> tuple[LoadPlan, CountingSession]:
    asked = CountingSession(session)
    mark = OffsetCommit(LOG, 1, "t", after, after + 1)
    found = plan_with_session(
        asked,
        prepared(profile, after + 1, *records),
        offset=mark,
        now=NOW,
    )
    return found, asked


def test_a_plan_does_nothing_and_a_load_does_the_plan(session: Session, destination: Any) -> None:
    profile = destination.profile
    announced, asked = planned_at(session, profile, -1, (1, {"id": 1, "a": "x"}))
    assert asked.questions == 0
    assert tables(session) == ["_sdc_rejected"]
    done, result = execute_load(
        session,
        prepared(profile, 0, (1, {"id": 1, "a": "x"})),
        offset=OffsetCommit(LOG, 1, "t", -1, 0),
        now=NOW,
    )
    assert done.changes == announced.changes
    assert [type(change) for change in done.changes] == [CreateRelation]
    assert result.rows == {"t": 1}
    assert tables(session) == ["_sdc_rejected", "t"]


def test_a_record_that_loses_in_the_table_plans_no_column(
    session: Session, destination: Any
) -> None:
    profile = destination.profile
    execute_load(
        session,
        prepared(profile, 0, (5, {"id": 1, "a": "x"})),
        offset=OffsetCommit(LOG, 1, "t", -1, 0),
        now=NOW,
    )
    lost, asked = planned_at(session, profile, 0, (4, {"id": 1, "b": "y"}))
    assert asked.questions == 1
    assert lost.changes == ()
    assert lost.superseded == {0: 1}
    won, _ = planned_at(session, profile, 0, (6, {"id": 1, "b": "y"}))
    assert [change.column.name for change in won.changes if isinstance(change, AddColumn)] == ["b"]


def test_a_destination_that_was_never_written_to_can_be_planned_for(destination: Any) -> None:
    with destination.open() as session:
        found, _ = planned_at(session, destination.profile, -1, (1, {"id": 1, "a": "x"}))
    assert [type(change) for change in found.changes] == [CreateRelation]
