"""Two loaders into Iceberg of which neither knows of the other: what one has made is not emptied.

The library is imported where it is used: every process of a run collects this file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.destinations.deaths import die
from tests.integration.destinations.iceberg_loads import (
    BOTH,
    first,
    interrupt,
    open_catalog,
    successor,
)
from tests.kinds import some_at_release

from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    ORDERS,
    TEXT,
    TableLoads,
    items,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import Destination, PlanOutdatedError, Session
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation, LoadPlan, Rejection, StagedVersion
from treadle.tables.schema_owner import UNOWNED

FIRST = ([(1, "x", 1), (2, "y", 1)], [(1, 0, 1, "a"), (2, 0, 1, "b")])
STAGED = relation("stage_ab12_200", {"id": BIGINT, "a": TEXT})
STAGE = StagedVersion(200, ORDERS.columns[4:5], (STAGED,), 0)
KEPT = table(ORDERS, tombstones=True)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"iceberg+sql://{tmp_path / 'lake.db'}"


@pytest.fixture
def destination(url: str) -> Destination:
    return make_destination(url)


def read_all(loads: TableLoads) -> tuple[list[Any], list[Any]]:
    return loads.orders(), loads.items()


def add_child(loads: TableLoads) -> LoadPlan:
    """A load that makes a subtable of a table that is there."""
    return loads.plan(
        table(ORDERS, ITEMS),
        upsert([(1, 1, "x"), (2, 1, "y")], children=[items([(1, 0, 1, "a"), (2, 0, 1, "b")])]),
        changes=[CreateRelation(ITEMS)],
    )


def make_stage(loads: TableLoads) -> LoadPlan:
    return loads.plan(
        table(ORDERS, stages=(STAGE,)),
        upsert([(3, 1, "staged")], of=STAGED, private=True),
        changes=[CreateRelation(STAGED, private=True)],
    )


def read_stage(loads: TableLoads) -> list[tuple[Any, ...]]:
    return loads.read(f"SELECT id, a FROM _treadle.{STAGED.name}")


def delete_key(loads: TableLoads) -> LoadPlan:
    gone = rows(ORDERS, ("id", "_sdc_sequence"), [(1, 9)])
    return loads.plan(KEPT, upsert([], deletes=gone))


Plan = Callable[[TableLoads], LoadPlan]


@dataclass(frozen=True)
class Making:
    """A plan that makes tables, what was there before, and what is there once it is done."""

    plan: Plan
    prepare: Callable[[TableLoads], object]
    read: Callable[[TableLoads], Any]
    expected: Any


MAKINGS = [
    Making(add_child, lambda loads: loads.create(ORDERS), read_all, FIRST),
    *some_at_release(
        Making(first, lambda loads: None, read_all, FIRST),
        Making(make_stage, lambda loads: loads.create(ORDERS), read_stage, [(3, "staged")]),
    ),
]


@pytest.mark.parametrize("making", MAKINGS)
def test_a_table_that_another_has_made_and_filled_is_not_emptied(
    url: str,
    session: Session,
    loads: TableLoads,
    making: Making,
) -> None:
    """A loader looks, and another one with the same plan does the whole load before it goes on."""
    making.prepare(loads)
    session.state("web", "orders")  # what the loader goes by
    plan = making.plan(loads)
    other = successor(url, plan)
    other.run(making.plan(other))
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert making.read(other) == making.expected
    other.load(None)
    assert making.read(other) == making.expected


@pytest.mark.parametrize("making", MAKINGS)
@pytest.mark.parametrize(
    "point",
    [
        "destination.before-commit",
        *some_at_release("destination.after-changes", "destination.part"),
    ],
)
def test_a_table_is_taken_only_from_a_load_that_cannot_be_done_any_more(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    session: Session,
    loads: TableLoads,
    making: Making,
    point: str,
) -> None:
    """A loader is stopped; another with the same plan does all of it; the first one goes on."""
    making.prepare(loads)
    plan = making.plan(loads)
    other = successor(url, plan)
    interrupt(monkeypatch, point, lambda: other.run(making.plan(other)))
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert making.read(other) == making.expected
    other.load(None)
    assert making.read(other) == making.expected
    assert other.read("SELECT count(*) FROM web._sdc_rejected") == [(int(making.plan is first),)]


@pytest.mark.parametrize("making", MAKINGS)
def test_a_load_whose_tables_were_taken_is_not_done(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    session: Session,
    loads: TableLoads,
    making: Making,
) -> None:
    """A loader is stopped before its head; another one takes its tables and dies; it goes on."""
    making.prepare(loads)
    plan = making.plan(loads)
    other = successor(url, plan)

    def take_and_die() -> None:
        die(monkeypatch, other.session, making.plan(other), "destination.part")

    interrupt(monkeypatch, "destination.before-commit", take_and_die)
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    third = successor(url, plan)
    third.run(making.plan(third))
    assert making.read(third) == making.expected


@pytest.mark.release
@pytest.mark.parametrize("making", MAKINGS)
def test_a_load_that_is_done_before_the_claim_is_not_taken_back(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    session: Session,
    loads: TableLoads,
    making: Making,
) -> None:
    """A loader has looked at the tables, and another one makes and fills them before its claim."""
    from treadle.destinations.iceberg.table_load import IcebergLoad

    making.prepare(loads)
    plan = making.plan(loads)
    other = successor(url, plan)
    take_back = IcebergLoad._take_back

    def overtake(load: IcebergLoad, *given: Any) -> None:
        monkeypatch.setattr(IcebergLoad, "_take_back", take_back)
        other.run(making.plan(other))
        take_back(load, *given)

    monkeypatch.setattr(IcebergLoad, "_take_back", overtake)
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert making.read(other) == making.expected
    other.load(None)
    assert making.read(other) == making.expected


@pytest.mark.release
def test_a_load_that_was_claimed_does_not_come_back_by_a_root_of_its_own(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """A loader has made a subtable and not yet the root, when another one takes the subtable."""
    from treadle.destinations.iceberg.load_drafts import LoadDrafts

    plan = replace(first(loads), changes=tuple(BOTH[::-1]))
    other = successor(url, plan)
    make = LoadDrafts._make

    def overtake(drafts: LoadDrafts, *given: Any) -> Any:
        made = make(drafts, *given)
        monkeypatch.setattr(LoadDrafts, "_make", make)
        other.run(first(other))
        return made

    monkeypatch.setattr(LoadDrafts, "_make", overtake)
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert read_all(other) == FIRST
    other.load(table(ORDERS, ITEMS), upsert([(3, 1, "z")], stale=[ITEMS]))
    assert other.items() == FIRST[1]


def test_keys_that_another_load_noted_as_deleted_are_kept(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """Both make the table of deleted keys; the one that is late would empty it."""
    loads.load(KEPT, upsert([(1, 1, "x"), (2, 1, "y")]), changes=[CreateRelation(ORDERS)])
    plan = delete_key(loads)
    other = successor(url, plan)
    interrupt(monkeypatch, "destination.after-changes", lambda: other.run(delete_key(other)))
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    other.load(KEPT, upsert([(1, 5, "older than the delete")]))
    assert other.orders() == [(2, "y", 1)]


@pytest.mark.release
def test_keys_that_a_dead_load_noted_as_deleted_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.load(KEPT, upsert([(1, 1, "x"), (2, 1, "y")]), changes=[CreateRelation(ORDERS)])
    plan = delete_key(loads)
    die(monkeypatch, session, plan, "destination.part")
    again = successor(url, plan)
    again.load(KEPT, upsert([(1, 5, "z")]))
    assert again.orders() == [(1, "z", 5), (2, "y", 1)]
    again.run(delete_key(again))
    assert again.orders() == [(2, "y", 1)]


def reject(loads: TableLoads) -> LoadPlan:
    return loads.plan(None, rejections=[Rejection("{}", "why", "orders", 0, 0)])


@pytest.mark.parametrize(
    "point", ["destination.after-rows", *some_at_release("destination.after-changes")]
)
@pytest.mark.parametrize("has_root", [True, *some_at_release(False)])
def test_rejections_of_two_loads_with_one_plan_are_there_once(
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    session: Session,
    loads: TableLoads,
    point: str,
    has_root: bool,
) -> None:
    if has_root:
        loads.create(ORDERS)
    plan = reject(loads)
    other = successor(url, plan)
    interrupt(monkeypatch, point, lambda: other.run(reject(other)))
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    other.load(None)
    assert other.read("SELECT count(*) FROM web._sdc_rejected") == [(1,)]


def test_a_load_that_only_rejects_claims_a_root_as_well(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """It read the head before another one made the root, and rejected the same record."""
    loads.run(reject(loads))
    plan = reject(loads)
    other = successor(url, plan)

    def make_and_die() -> None:
        die(monkeypatch, other.session, first(other), "destination.after-rows")

    interrupt(monkeypatch, "destination.after-lock", make_and_die)
    with pytest.raises(PlanOutdatedError, match="is there by now"):
        session.load(plan)
    third = successor(url, plan)
    third.run(reject(third))
    assert third.read("SELECT count(*) FROM web._sdc_rejected") == [(2,)]


@pytest.mark.parametrize("is_first", [True, *some_at_release(False)])
def test_the_head_moves_from_the_ledger_to_the_root_once(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads, is_first: bool
) -> None:
    """A load has the ledger for its head; another that makes the root is done before it."""
    if not is_first:
        loads.run(reject(loads))
    plan = make_only_stage(loads)
    other = successor(url, plan)
    interrupt(monkeypatch, "destination.before-commit", lambda: other.run(first(other)))
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert read_all(other) == FIRST
    assert other.session.state("web", "orders").revision == 1 + plan.revision


def make_only_stage(loads: TableLoads) -> LoadPlan:
    return loads.plan(
        replace(table(ORDERS), relations=(), stages=(STAGE,)),
        upsert([(3, 1, "staged")], of=STAGED, private=True),
        changes=[CreateRelation(STAGED, private=True)],
    )


@pytest.mark.release
def test_an_adopted_root_is_claimed_as_well(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """Its entry is in the ledger, and the first load moves the head to it."""
    loads.run(first(loads))
    catalog = open_catalog(url)
    for known in ("web.orders", "web.orders__items"):
        with catalog.load_table(known).transaction() as transaction:
            names = [each for each in transaction.table_metadata.properties if "treadle." in each]
            transaction.remove_properties(*names)
    for name in catalog.list_tables("_treadle"):
        if name[-1].startswith("table_"):
            catalog.drop_table(name)
    catalog.close()
    session.adopt("web", UNOWNED, [table(ORDERS, ITEMS)])
    adopted = TableLoads(session, revision=1, batched_at=1_700_000_009_000_000)
    plan = more(adopted)
    other = successor(url, plan)

    def claim_and_die() -> None:
        die(monkeypatch, other.session, more(other), "destination.after-changes")

    interrupt(monkeypatch, "destination.before-commit", claim_and_die)
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    third = successor(url, plan)
    assert read_all(third) == FIRST
    third.run(more(third))
    assert third.orders() == [(1, "x", 1), (2, "y", 1), (3, "z", 2)]
    assert third.items() == [*FIRST[1], (3, 0, 2, "c")]


def more(loads: TableLoads) -> LoadPlan:
    return loads.plan(
        table(ORDERS, ITEMS), upsert([(3, 2, "z")], children=[items([(3, 0, 2, "c")])])
    )
