"""Positions, revisions, fences, rehearsals, rejections: what makes a load repeatable."""

import threading
from dataclasses import replace

import pytest

from treadle.destinations.conformance.builders import (
    LOG,
    ORDERS,
    TableLoads,
    table,
    upsert,
)
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.protocol import (
    CommittedOffset,
    Destination,
    DestinationUnavailableError,
    FencedError,
    PlanOutdatedError,
    Session,
)
from treadle.tables.model import CreateRelation, LoadPlan, OffsetCommit, Rejection
from treadle.tables.rejection_reason import RejectionCode

ODD_NAMES = ["orders", "a\0b", "back\\0slash\\", "x" * 20_000, "ümläut 🧵", "%s {} ; --", ""]


def _first(loads: TableLoads) -> LoadPlan:
    return loads.plan(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])


def test_a_load_leaves_its_mark_and_report(session: Session, loads: TableLoads) -> None:
    plan = loads.plan(
        table(ORDERS),
        upsert([(1, 1, "x")]),
        changes=[CreateRelation(ORDERS)],
        report='{"received": 1}\0',
    )
    result = loads.run(plan)
    assert session.committed(LOG) == {
        (7, "orders"): CommittedOffset(0, '{"received": 1}\0', result)
    }
    assert session.committed("another log") == {}
    assert (dict(result.rows), dict(result.superseded)) == ({"orders": 1}, {})


def test_the_report_tells_what_was_superseded(session: Session, loads: TableLoads) -> None:
    loads.run(_first(loads))
    done = loads.load(table(ORDERS), upsert([(1, 1, "x")]))
    assert session.committed(LOG)[7, "orders"].result == done
    assert dict(done.superseded) == {0: 1}


def test_a_table_that_options_call_otherwise_goes_on_after_its_mark(
    session: Session, loads: TableLoads
) -> None:
    loads.run(_first(loads))
    overtaken = loads.plan(table(ORDERS), upsert([(2, 1, "y")]))  # by the former options
    named = replace(ORDERS, name="orders_2")
    loads.fence += 1
    plan = loads.plan(
        replace(table(named), name="orders_2"),
        upsert([(2, 1, "y")], of=named),
        changes=[CreateRelation(named)],
    )
    session.load(replace(plan, revision=0))
    assert session.committed(LOG)[7, "orders"].position == 1
    with pytest.raises((FencedError, PlanOutdatedError)):
        session.load(overtaken)
    assert loads.orders() == [(1, "x", 1)]
    assert loads.read("SELECT id FROM web.orders_2") == [(2,)]
    # And back again.
    loads.position = 1
    loads.load(table(ORDERS), upsert([(3, 1, "z")]))
    assert session.committed(LOG)[7, "orders"].position == 2
    assert loads.orders() == [(1, "x", 1), (3, "z", 1)]


def test_a_plan_is_carried_out_once(session: Session, loads: TableLoads) -> None:
    plan = _first(loads)
    loads.run(plan)
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert loads.orders() == [(1, "x", 1)]
    assert session.state("web", "orders").revision == 1


def test_a_group_is_loaded_as_each_plan_alone(session: Session) -> None:
    orders = TableLoads(session)
    items = TableLoads(session, table_name="items")
    others = replace(ORDERS, name="items")
    makes = [
        orders.plan(
            table(ORDERS), upsert([(1, 1, "x"), (2, 1, "y")]), changes=[CreateRelation(ORDERS)]
        ),
        items.plan(
            table(others),
            upsert([(1, 1, "z")], of=others),
            changes=[CreateRelation(others)],
        ),
    ]
    assert [dict(done.rows) for done in session.load_group(makes)] == [{"orders": 2}, {"items": 1}]
    assert orders.orders() == [(1, "x", 1), (2, "y", 1)]
    assert orders.read("SELECT id, a FROM web.items") == [(1, "z")]
    assert set(session.committed(LOG)) == {(7, "orders"), (7, "items")}


def test_a_group_with_a_plan_that_does_not_follow_changes_nothing(
    session: Session, loads: TableLoads
) -> None:
    plan, other = _first(loads), _first(TableLoads(session, table_name="items"))
    other.revision, other.table_name = 3, "items"
    with pytest.raises(PlanOutdatedError, match="revision 3"):
        session.load_group([plan, other])
    assert session.committed(LOG) == {}
    assert session.state("web", "orders").physical == {}
    loads.run(plan)
    assert loads.orders() == [(1, "x", 1)]


def test_a_gap_before_the_plan_is_refused(session: Session, loads: TableLoads) -> None:
    plan = _first(loads)
    plan.offset = replace(plan.offset, previous_position=4, position=5)
    with pytest.raises(PlanOutdatedError, match="follows position 4"):
        session.load(plan)
    assert session.state("web", "orders").physical == {}
    assert session.committed(LOG) == {}


def test_a_plan_from_another_revision_is_refused(session: Session, loads: TableLoads) -> None:
    loads.run(_first(loads))
    plan = loads.plan(table(ORDERS), upsert([(1, 2, "y")]))
    plan.revision = 0
    with pytest.raises(PlanOutdatedError, match="revision 0"):
        session.load(plan)
    assert loads.orders() == [(1, "x", 1)]


def test_a_lower_fence_is_refused(session: Session, loads: TableLoads) -> None:
    loads.fence = 3
    loads.run(_first(loads))
    loads.fence = 2
    with pytest.raises(FencedError):
        loads.load(table(ORDERS), upsert([(1, 2, "late")]))
    assert loads.orders() == [(1, "x", 1)]
    loads.fence = 3
    loads.load(table(ORDERS), upsert([(1, 3, "mine")]))
    loads.fence = 4
    loads.load(table(ORDERS), upsert([(1, 4, "next")]))
    assert loads.orders() == [(1, "next", 4)]


def test_logs_sources_and_names_have_their_own_positions(
    session: Session, loads: TableLoads
) -> None:
    for log in ("log a", "log b"):
        for source in (1, 2**62):
            for name in ODD_NAMES:
                plan = loads.plan(None)
                plan.offset = OffsetCommit(log, source, name, -1, 5)
                session.load(plan)
    expected = {(source, name): 5 for source in (1, 2**62) for name in ODD_NAMES}
    for log in ("log a", "log b"):
        assert {place: held.position for place, held in session.committed(log).items()} == expected


def test_a_rehearsal_changes_nothing(session: Session, loads: TableLoads) -> None:
    plan = _first(loads)
    assert dict(session.load(plan, rehearse=True).rows) == {"orders": 1}
    assert session.committed(LOG) == {}
    assert session.state("web", "orders").physical == {}
    loads.run(plan)
    assert loads.orders() == [(1, "x", 1)]


def test_of_two_sessions_with_one_plan_one_wins(
    destination: Destination, session: Session, loads: TableLoads
) -> None:
    outcomes: list[str] = []
    plan = loads.plan(
        table(ORDERS),
        upsert([(number, 1, "x") for number in range(20_000)]),
        changes=[CreateRelation(ORDERS)],
    )
    together = threading.Barrier(2)

    def carry_out() -> None:
        with destination.open() as own:
            together.wait(10)
            try:
                own.load(plan)
                outcomes.append("done")
            except PlanOutdatedError:
                outcomes.append("outdated")

    threads = [threading.Thread(target=carry_out) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["done", "outdated"]
    assert loads.read("SELECT count(*) FROM web.orders") == [(20_000,)]


def test_tables_load_side_by_side(destination: Destination, session: Session) -> None:
    failures: list[BaseException] = []

    def carry_out(number: int) -> None:
        try:
            with destination.open() as own:
                own.prepare("web")
                mine = replace(ORDERS, name=f"t{number}", source_name=f"t{number}")
                loads = TableLoads(own, table_name=f"t{number}")
                loads.load(table(mine), changes=[CreateRelation(mine)])
                for sequence in range(5):
                    loads.load(table(mine), upsert([(1, sequence, "x")], of=mine))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=carry_out, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(session.committed(LOG)) == 4


def test_two_literal_names_of_one_table_follow_each_other(
    session: Session, loads: TableLoads
) -> None:
    loads.run(_first(loads))
    other = TableLoads(session, table_name="or-ders", revision=loads.revision)
    other.load(table(ORDERS), upsert([(2, 1, "y")]))
    assert loads.orders() == [(1, "x", 1), (2, "y", 1)]
    assert {name for _, name in session.committed(LOG)} == {"orders", "or-ders"}


# --- rejections -----------------------------------------------------------------------------------


def test_rejections_are_written_with_the_rows(loads: TableLoads) -> None:
    loads.load(
        table(ORDERS),
        upsert([(1, 1, "x")]),
        changes=[CreateRelation(ORDERS)],
        rejections=[
            Rejection('{"id":2,"n":1e400}', "decimal out of range for X on 1e400", "orders", 0, 1),
            Rejection("{}", 'Column name "\0" is empty', "or🧵ders\0", 0, -1),
        ],
    )
    found = loads.read(
        "SELECT record, reason, table_name, _sdc_rejected_at FROM web._sdc_rejected ORDER BY 1"
    )
    assert [row[:3] for row in found] == [
        ('{"id":2,"n":1e400}', "decimal out of range for X on 1e400", "orders"),
        ("{}", 'Column name "" is empty', "or🧵ders"),
    ]
    assert {int(row[3].timestamp() * 1_000_000) for row in found} == {loads.batched_at}


def test_a_load_of_rejections_only_makes_no_table(session: Session, loads: TableLoads) -> None:
    loads.load(None, rejections=[Rejection("{}", "why", "orders", 0, 0)])
    assert loads.read("SELECT count(*) FROM web._sdc_rejected") == [(1,)]
    assert session.state("web", "orders").physical == {}
    assert session.committed(LOG)[7, "orders"].position == 0


def test_a_dropped_table_of_rejections_is_made_again(loads: TableLoads) -> None:
    loads.read("DROP TABLE web._sdc_rejected")
    loads.load(None, rejections=[Rejection("{}", "why", "orders", 0, 0)])
    assert loads.read("SELECT record, reason FROM web._sdc_rejected") == [("{}", "why")]


def test_a_table_that_went_since_the_plan_is_outdated(session: Session, loads: TableLoads) -> None:
    loads.run(_first(loads))
    loads.read("DROP TABLE web.orders")
    with pytest.raises(PlanOutdatedError):
        loads.load(table(ORDERS), upsert([(1, 2, "y")]))


def test_a_session_goes_on_after_a_failed_load(session: Session, loads: TableLoads) -> None:
    loads.run(_first(loads))
    with pytest.raises(PlanOutdatedError):
        loads.load(table(ORDERS), upsert([(1, 2, "y")]), changes=[CreateRelation(ORDERS)])
    loads.load(table(ORDERS), upsert([(1, 2, "z")]))
    assert loads.orders() == [(1, "z", 2)]


def test_loads_survive_closing_and_opening(
    destination: Destination, same_destination: Destination
) -> None:
    with destination.open() as session:
        session.prepare("web")
        TableLoads(session).load(
            table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)]
        )
    with same_destination.open(read_only=True) as session:
        assert TableLoads(session).orders() == [(1, "x", 1)]
        assert session.committed(LOG)[7, "orders"].position == 0


def test_a_closed_session_is_unavailable(destination: Destination) -> None:
    session = destination.open()
    session.prepare("web")
    session.close()
    with pytest.raises(DestinationUnavailableError):
        session.committed(LOG)


def test_a_table_of_rejections_of_an_earlier_release_gets_its_columns(loads: TableLoads) -> None:
    for column in ("code", "field"):
        loads.read(f"ALTER TABLE web._sdc_rejected DROP COLUMN {column}")
    rejected = Rejection("{}", "why", "orders", 0, 0, RejectionCode.FIELD_COLLISION, "id")
    loads.load(None, rejections=[rejected])
    told = loads.read("SELECT reason, code, field FROM web._sdc_rejected")
    assert told == [("why", "field_collision", "id")]


def test_a_column_of_the_user_with_such_a_name_stays(
    loads: TableLoads, traits: DestinationTraits
) -> None:
    loads.read("ALTER TABLE web._sdc_rejected DROP COLUMN code")
    bigint = traits.nullable.format(type="BIGINT")
    loads.read(f"ALTER TABLE web._sdc_rejected ADD COLUMN code {bigint}")
    rejected = Rejection("{}", "why", "orders", 0, 0, RejectionCode.FIELD_COLLISION, "id")
    loads.load(None, rejections=[rejected])
    told = loads.read("SELECT reason, code, field FROM web._sdc_rejected")
    assert told == [("why", None, "id")]
