"""The first load of a table, and what may be in its way."""

from dataclasses import replace

import pytest

from treadle.destinations.conformance.builders import (
    ITEMS,
    LOG,
    ORDERS,
    TableLoads,
    items,
    table,
    upsert,
)
from treadle.destinations.conformance.traits import DestinationTraits
from treadle.destinations.layout import tombstones_name
from treadle.destinations.protocol import (
    CommittedOffset,
    FencedError,
    PlanOutdatedError,
    Session,
)
from treadle.tables.model import CreateRelation, LoadPlan, Rejection

BOTH = (CreateRelation(ORDERS), CreateRelation(ITEMS))


def first(loads: TableLoads) -> LoadPlan:
    """Two orders, one with two items, and a rejected record."""
    write = upsert([(1, 1, "x"), (2, 1, "y")], children=[items([(1, 0, 1, "a"), (1, 1, 1, "b")])])
    rejected = Rejection("{}", "why not", "orders", 0, 0)
    return loads.plan(table(ORDERS, ITEMS), write, changes=BOTH, rejections=[rejected], report="r")


def test_a_first_load_leaves_what_every_load_does(session: Session, loads: TableLoads) -> None:
    result = loads.run(first(loads))
    assert dict(result.rows) == {"orders": 2, "orders__items": 2}
    assert not result.superseded
    assert session.committed(LOG) == {(7, "orders"): CommittedOffset(0, "r", result)}
    state = session.state("web", "orders")
    assert state.revision == 1
    assert state.table == table(ORDERS, ITEMS, batched_at=loads.batched_at)
    assert set(state.physical) == {"orders", "orders__items"}
    assert loads.orders() == [(1, "x", 1), (2, "y", 1)]
    assert loads.items() == [(1, 0, 1, "a"), (1, 1, 1, "b")]
    assert loads.read("SELECT reason FROM web._sdc_rejected") == [("why not",)]
    loads.load(table(ORDERS, ITEMS), upsert([(1, 2, "z")]))
    assert loads.orders() == [(1, "z", 2), (2, "y", 1)]


def test_a_table_that_appeared_meanwhile_is_found(
    session: Session, loads: TableLoads, traits: DestinationTraits
) -> None:
    plan = first(loads)
    loads.read(f"CREATE TABLE web.orders__items (a BIGINT){traits.table_options}")
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert set(session.state("web", "orders").physical) == set()
    assert session.committed(LOG) == {}
    loads.read("DROP TABLE web.orders__items")
    loads.run(plan)
    assert len(loads.items()) == 2


def test_an_entry_of_another_log_is_found(session: Session, loads: TableLoads) -> None:
    plan = first(loads)
    TableLoads(session, log_id="another").create(ORDERS)
    with pytest.raises(PlanOutdatedError, match="planned from revision 0, the destination holds 1"):
        session.load(plan)
    assert session.committed(LOG) == {}
    assert loads.orders() == []


def test_a_loader_that_was_overtaken_is_told_so(session: Session, loads: TableLoads) -> None:
    loads.fence = 3
    plan = first(loads)
    loads.run(plan)
    plan.offset = replace(plan.offset, fence=2)
    with pytest.raises(FencedError, match="fence 2 was overtaken by 3"):
        session.load(plan)
    assert len(loads.orders()) == 2


def test_keys_that_were_deleted_from_an_older_table_are_forgotten(
    session: Session, loads: TableLoads
) -> None:
    name = tombstones_name("web", "orders")
    loads.read(f"CREATE TABLE _treadle.{name} (id BIGINT PRIMARY KEY, _sdc_sequence BIGINT)")
    loads.run(first(loads))
    assert name not in session.relations("_treadle")
    assert len(loads.orders()) == 2
