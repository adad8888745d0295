"""What two processes do to one table of ClickHouse, and to one database.

The sessions here name the server in two ways, so that the locks of one process are none between
them, as between two processes whose locks were lost.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.destinations.deaths import die, pause_at

from treadle import load_locks
from treadle.destinations.conformance.builders import (
    BIGINT,
    LOG,
    ORDERS,
    TEXT,
    TableLoads,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import (
    FencedError,
    PlanOutdatedError,
    Session,
    TableHeldError,
)
from treadle.destinations.registry import make_destination
from treadle.destinations.sql import process_locks
from treadle.load_locks import FolderLocks
from treadle.tables.model import CreateRelation, EmptyRelation, LoadPlan, TableWrite

ADDED = relation("orders", {"id": BIGINT, "a": TEXT}, key=())


@pytest.fixture
def session(clickhouse_url: str) -> Iterator[Session]:
    with make_destination(clickhouse_url).open() as opened:
        yield opened


@pytest.fixture
def rival(clickhouse_url: str) -> Iterator[Session]:
    """A session of another process."""
    with make_destination(clickhouse_url.replace("127.0.0.1", "localhost")).open() as opened:
        yield opened


def follow(loads: TableLoads, session: Session) -> TableLoads:
    """The loads of another process that knows what was loaded so far."""
    return TableLoads(
        session,
        position=loads.position,
        revision=loads.revision,
        batched_at=loads.batched_at + 10_000_000,
        fence=loads.fence + 1,
    )


def plan_swap(loads: TableLoads) -> LoadPlan:
    """A rebuild that keeps the position."""
    plan = loads.plan(table(ORDERS), upsert([(1, 1, "rebuilt")]), changes=[EmptyRelation("orders")])
    stands = plan.offset.previous_position
    return replace(plan, offset=replace(plan.offset, position=stands, replaces_rows=True))


def add(loads: TableLoads) -> LoadPlan:
    found = rows(ADDED, ("id", "_sdc_sequence", "a"), [(1, 5, "x"), (1, 5, "x")])
    return loads.plan(table(ADDED, append=True), TableWrite(False, "append", found))


def test_a_swap_beside_which_something_was_loaded_is_none(
    session: Session, rival: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.prepare("web")
    loader = TableLoads(session)
    loader.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    swap = plan_swap(follow(loader, rival))
    pause_at(
        monkeypatch,
        "destination.before-commit",
        lambda: loader.load(table(ORDERS), upsert([(2, 1, "y")])),
    )
    with pytest.raises(PlanOutdatedError):
        rival.load(swap)
    assert loader.orders() == [(1, "x", 1), (2, "y", 1)]
    assert session.committed(LOG)[7, "orders"].position == 1
    loader.load(table(ORDERS), upsert([(3, 1, "z")]))
    assert len(loader.orders()) == 3


@pytest.mark.release
def test_a_load_ends_no_intent_of_another(
    session: Session, rival: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.prepare("web")
    loader = TableLoads(session)
    loader.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    swap = plan_swap(follow(loader, rival))
    late = loader.plan(table(ORDERS), upsert([(2, 1, "y")]))
    pause_at(
        monkeypatch,
        "destination.after-rows",
        lambda: die(monkeypatch, rival, swap, "destination.before-commit"),
    )
    with pytest.raises(PlanOutdatedError):
        session.load(late)
    assert loader.orders()[0] == (1, "x", 1)
    assert session.committed(LOG)[7, "orders"].position == 0
    assert session.state("web", "orders").revision == 1
    loader.batched_at += 20_000_000
    result = loader.load(table(ORDERS), upsert([(2, 1, "y")]))
    assert dict(result.superseded) == {}
    assert loader.orders() == [(1, "x", 1), (2, "y", 1)]


@pytest.mark.release
@pytest.mark.parametrize("point", ["destination.after-changes", "destination.before-commit"])
def test_a_load_that_was_overtaken_adds_nothing(
    session: Session, rival: Session, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    session.prepare("web")
    loader = TableLoads(session)
    loader.create(ADDED, append=True)
    late = add(loader)
    successor = follow(loader, rival)
    pause_at(monkeypatch, point, lambda: successor.run(add(successor)))
    with pytest.raises(FencedError):
        session.load(late)
    assert loader.read("SELECT count() FROM web.orders") == [(2,)]
    assert session.committed(LOG)[7, "orders"].position == 1


@pytest.mark.release
def test_an_offset_that_did_not_stay_is_no_commit(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.prepare("web")
    loader = TableLoads(session)
    loader.create(ADDED, append=True)
    taken = "INSERT INTO _treadle.positions SELECT * REPLACE (9 AS fence) FROM _treadle.positions"
    pause_at(monkeypatch, "destination.after-offset", lambda: loader.read(taken))
    with pytest.raises(FencedError, match="overtaken by 9"):
        session.load(add(loader))


@pytest.mark.release
def test_a_rehearsal_drops_no_database_that_was_filled_meanwhile(
    session: Session, rival: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = TableLoads(rival)
    rehearsed = TableLoads(session).plan(
        table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)]
    )

    def load() -> None:
        rival.prepare("web")
        loader.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])

    pause_at(monkeypatch, "destination.after-rows", load)
    session.load(rehearsed, rehearse=True)
    assert loader.orders() == [(1, "x", 1)]
    loader.load(table(ORDERS), upsert([(2, 1, "y")]))


@pytest.mark.release
def test_processes_of_an_installation_wait_for_each_other(
    session: Session,
    clickhouse_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_locks, "_used", FolderLocks(tmp_path / "turns"))
    monkeypatch.setattr(process_locks, "LOCK_SECONDS_MAX", 0.1)
    session.prepare("web")
    loader = TableLoads(session)
    loader.load(table(ORDERS), upsert([(1, 1, "x")]), changes=[CreateRelation(ORDERS)])
    plan = loader.plan(table(ORDERS), upsert([(2, 1, "y")]))
    with make_destination(clickhouse_url).open() as other:
        swap = plan_swap(follow(loader, other))

        def load_in_another_process() -> None:
            with monkeypatch.context() as patch:
                patch.setattr(load_locks, "_used", FolderLocks(tmp_path / "turns"))
                patch.setattr(process_locks, "LOCK_SECONDS_MAX", 0.1)
                patch.setattr(process_locks, "_LOCKS", {})
                with pytest.raises(TableHeldError, match="still running"):
                    other.load(swap)

        pause_at(monkeypatch, "destination.before-commit", load_in_another_process)
        loader.run(plan)
        assert loader.orders() == [(1, "x", 1), (2, "y", 1)]
