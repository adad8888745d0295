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
        "SELECT lower(table_name) FROM information_schema.tables"
        " WHERE lower(table_schema) = 'web' AND table_type = 'BASE TABLE'"
    )
    # That of the keys is in each schema of some destinations (loading.md 8.2).
    return sorted(name for (name,) in found.rows if name != "_sdc_primary_keys")


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


def test_a_new_version_with_other_keys_may_hold_nothing_but_deletes(
    session: Session, destination: Any
) -> None:
    def run(position: int, version: int, keys: tuple[str, ...], record: dict[str, Any]) -> LoadPlan:
        batch = MessageBatch(
            "t",
            keys,
            "json",
            b"",
            (),
            [version],
            version,
            None,
            [(1, version)],
            json.dumps([record]).encode(),
        )
        loaded, _ = execute_load(
            session,
            prepare_load(
                [LogBatch(batch, position, NOW + position)],
                profile=destination.profile,
                options=TableOptions(hard_delete=True),
                schema="web",
            ),
            offset=OffsetCommit(LOG, 1, "t", position - 1, position),
            now=NOW + position,
        )
        return loaded

    run(0, 1, ("id",), {"id": 5, "f": "x"})
    deleted = {"id": 7, "k": 3, "_sdc_deleted_at": "2024-01-01T00:00:00Z"}
    changes = run(1, 2, ("id", "k"), deleted).changes
    assert [change.column.name for change in changes if isinstance(change, AddColumn)] == ["k"]
    run(2, 2, ("id", "k"), {"id": 7, "k": 4, "f": "y"})
    assert session.query("SELECT id, k, f FROM web.t").rows == [(7, 4, "y")]
