"""Loads into Iceberg that tests end, or let another loader overtake.

The library is imported where it is used: every process of a run collects this file.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from treadle import failpoint
from treadle.destinations.conformance.builders import (
    ITEMS,
    ORDERS,
    TableLoads,
    items,
    table,
    upsert,
)
from treadle.destinations.registry import make_destination
from treadle.tables.model import CreateRelation, LoadPlan, Rejection

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

BOTH = [CreateRelation(ORDERS), CreateRelation(ITEMS)]


def open_catalog(url: str) -> "Catalog":
    """A catalogue as a user opens it."""
    from tests.servers import iceberg_hand

    return iceberg_hand.open_catalog(url)


def run_by_hand(url: str, statement: str) -> None:
    """Carry out what only a user may do."""
    from tests.servers.iceberg_hand import IcebergHand

    IcebergHand(url).run(statement)


def successor(url: str, plan: LoadPlan) -> TableLoads:
    """Another process that goes on where a plan would have begun."""
    session = make_destination(url).open()
    session.prepare("web")
    loads = TableLoads(session, position=plan.offset.previous_position, revision=plan.revision)
    loads.batched_at = plan.batched_at + 5_000_000
    return loads


def first(loads: TableLoads) -> LoadPlan:
    """A load that makes a table with a subtable, and rejects a record."""
    return loads.plan(
        table(ORDERS, ITEMS),
        upsert([(1, 1, "x"), (2, 1, "y")], children=[items([(1, 0, 1, "a"), (2, 0, 1, "b")])]),
        changes=BOTH,
        rejections=[Rejection("{}", "why", "orders", 0, 0)],
        report="r",
    )


def interrupt(monkeypatch: pytest.MonkeyPatch, point: str, other: Callable[[], object]) -> None:
    """Let another loader do something when a failpoint is reached first."""

    def reach(name: str) -> None:
        if name == point:
            monkeypatch.setattr(failpoint, "reach", lambda name: None)
            other()

    monkeypatch.setattr(failpoint, "reach", reach)
