"""What is there after a load into Iceberg ended between two of its commits.

The library is imported where it is used: every process of a run collects this file.
"""

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.destinations.deaths import die
from tests.integration.destinations.iceberg_loads import (
    first,
    open_catalog,
    run_by_hand,
    successor,
)
from tests.kinds import some_at_release

from treadle import failpoint
from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    LOG,
    ORDERS,
    TEXT,
    TableLoads,
    column,
    items,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import (
    CommitUnknownError,
    Destination,
    DestinationUnavailableError,
    FencedError,
    PlanOutdatedError,
    Session,
)
from treadle.destinations.registry import make_destination
from treadle.errors import OperatorError, TableStoppedError
from treadle.tables.model import (
    AddColumn,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    Rejection,
    Relation,
    StagedVersion,
    TableWrite,
)

if TYPE_CHECKING:
    from treadle.destinations.iceberg.table_load import IcebergLoad

POINTS = [
    "destination.part",
    *some_at_release(
        "destination.after-changes", "destination.after-rows", "destination.before-commit"
    ),
]
"""Between the commits of a load; around the others of its steps at a release."""

DRAFT = "treadle.destinations.iceberg.relation_draft"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"iceberg+sql://{tmp_path / 'lake.db'}"


@pytest.fixture
def destination(url: str) -> Destination:
    return make_destination(url)


def orders_and_items(loads: TableLoads) -> tuple[list[Any], list[Any]]:
    return loads.orders(), loads.items()


@pytest.mark.parametrize("point", POINTS)
def test_a_first_load_that_died_is_not_there_and_is_done_again(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads, point: str
) -> None:
    plan = first(loads)
    die(monkeypatch, session, plan, point)
    assert session.committed(LOG) == {}
    state = session.state("web", "orders")
    assert (state.revision, state.table, dict(state.physical)) == (0, None, {})
    again = successor(url, plan)
    again.run(first(again))
    assert orders_and_items(again) == (
        [(1, "x", 1), (2, "y", 1)],
        [(1, 0, 1, "a"), (2, 0, 1, "b")],
    )
    assert again.read("SELECT count(*) FROM web._sdc_rejected") == [(1,)]
    assert again.session.committed(LOG)[7, "orders"].position == 0


@pytest.mark.parametrize("point", POINTS)
def test_a_later_load_that_died_leaves_no_child_row(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads, point: str
) -> None:
    loads.run(first(loads))
    wider = relation("orders", {"id": BIGINT, "a": TEXT, "c": TEXT})
    items_wider = Relation(
        ITEMS.path, ITEMS.name, (*ITEMS.columns, column("size", BIGINT)), ITEMS.key, "items"
    )
    write = upsert(
        [(1, 2, "z", "c"), (3, 2, "z", "c")],
        ("id", "_sdc_sequence", "a", "c"),
        wider,
        children=[items([(1, 0, 2, "new"), (3, 0, 2, "new"), (3, 1, 2, "new")], items_wider)],
        stale=[items_wider],
    )
    plan = loads.plan(
        table(wider, items_wider),
        write,
        changes=[
            AddColumn("orders", column("c")),
            AddColumn("orders__items", column("size", BIGINT)),
        ],
    )
    die(monkeypatch, session, plan, point)
    assert session.committed(LOG)[7, "orders"].position == 0
    again = successor(url, plan)
    state = again.session.state("web", "orders")
    assert state.revision == 1
    assert state.table is not None
    known = {each.name for each in state.table.relations[1].columns}
    there = set(state.physical["orders__items"].columns)
    assert known == there  # no column that nobody knows of, and none that seems to be dropped
    # Others load the first half of these entries only: what is in no record of theirs goes.
    half = upsert(
        [(1, 2, "z")], children=[items([(1, 0, 2, "new")], state.table.relations[1])], stale=[ITEMS]
    )
    again.load(table(ORDERS, state.table.relations[1]), half)
    assert orders_and_items(again) == (
        [(1, "z", 2), (2, "y", 1)],
        [(1, 0, 2, "new"), (2, 0, 1, "b")],
    )


def test_rows_that_are_only_appended_are_there_once(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    log = relation("orders", {"id": BIGINT, "a": TEXT}, key=())
    child = relation("orders__items", {c.name: c.type for c in ITEMS.columns[4:]}, (), ("items",))
    loads.create(log, child, append=True)

    def more(loads: TableLoads) -> LoadPlan:
        write = TableWrite(
            False,
            "append",
            rows(log, ("id", "_sdc_sequence", "a"), [(1, 1, "x"), (1, 2, "x")]),
            (items([(1, 0, 1, "a"), (1, 0, 2, "a")], child),),
        )
        rejections = [Rejection("{}", "why", "orders", 0, 0)]
        return loads.plan(table(log, child, append=True), write, rejections=rejections)

    plan = more(loads)
    for _ in range(2):
        die(monkeypatch, session, plan, "destination.before-commit")
    again = successor(url, plan)
    again.run(more(again))
    assert again.read("SELECT count(*) FROM web.orders") == [(2,)]
    assert again.read("SELECT count(*) FROM web.orders__items") == [(2,)]
    assert again.read("SELECT count(*) FROM web._sdc_rejected") == [(1,)]


def test_a_load_whose_end_was_not_told_is_found(
    monkeypatch: pytest.MonkeyPatch, session: Session, loads: TableLoads
) -> None:
    plan = first(loads)
    die(monkeypatch, session, plan, "destination.after-commit")
    assert session.committed(LOG)[7, "orders"].report == "r"
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    loads.position, loads.revision = 0, 1
    loads.batched_at = plan.batched_at
    loads.load(table(ORDERS, ITEMS), upsert([(1, 2, "z")], stale=[ITEMS]))
    assert loads.orders() == [(1, "z", 2), (2, "y", 1)]
    assert loads.items() == [(2, 0, 1, "b")]


def test_a_commit_without_an_answer_is_not_known(
    monkeypatch: pytest.MonkeyPatch, session: Session, loads: TableLoads
) -> None:
    import requests

    from treadle.destinations.iceberg.row_delta import commit_once

    loads.run(first(loads))

    def lose_the_answer(transaction: Any) -> Any:
        commit_once(transaction)
        raise requests.ConnectionError("reset")

    plan = loads.plan(table(ORDERS, ITEMS), upsert([(5, 1, "x")], stale=[]))
    with monkeypatch.context() as patch:
        patch.setattr(f"{DRAFT}.commit_once", lose_the_answer)
        with pytest.raises(CommitUnknownError):
            session.load(plan)
    assert session.committed(LOG)[7, "orders"].position == 1
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert (5, "x", 1) in loads.orders()


def test_a_child_whose_commit_was_not_answered_is_written_again(
    monkeypatch: pytest.MonkeyPatch, session: Session, loads: TableLoads
) -> None:
    from treadle.destinations.iceberg.relation_draft import RelationDraft

    loads.run(first(loads))
    commit = RelationDraft.commit

    def lose_the_answer(draft: Any, **how: Any) -> Any:
        commit(draft, **how)
        raise OSError("the connection broke")

    plan = loads.plan(
        table(ORDERS, ITEMS),
        upsert([(5, 1, "x")], children=[items([(5, 0, 1, "n")])], stale=[ITEMS]),
    )
    with monkeypatch.context() as patch:
        patch.setattr(RelationDraft, "commit", lose_the_answer)
        with pytest.raises(DestinationUnavailableError):
            session.load(plan)
    assert session.committed(LOG)[7, "orders"].position == 0
    session.load(plan)
    assert loads.items() == [(1, 0, 1, "a"), (2, 0, 1, "b"), (5, 0, 1, "n")]


def test_a_loader_that_was_overtaken_between_two_commits_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """It commits a child after its successor has begun, and its root is refused."""
    from treadle.destinations.iceberg.table_load import IcebergLoad

    loads.run(first(loads))
    plan = loads.plan(
        table(ORDERS, ITEMS),
        upsert(
            [(1, 2, "late")], children=[items([(1, 0, 2, "late"), (1, 1, 2, "late")])], stale=[]
        ),
    )
    other = successor(url, plan)
    other.fence = 2
    commit = IcebergLoad.commit

    def overtake(load: "IcebergLoad", result: Any) -> None:
        with monkeypatch.context() as inner:
            inner.setattr(IcebergLoad, "commit", commit)
            other.load(table(ORDERS, ITEMS), upsert([(2, 3, "other")], stale=[]))
        commit(load, result)

    with monkeypatch.context() as patch:
        patch.setattr(IcebergLoad, "commit", overtake)
        with pytest.raises(PlanOutdatedError):
            session.load(plan)
    assert len(other.items()) == 3  # for a moment: two children of a parent that did not come
    other.load(table(ORDERS, ITEMS), upsert([(3, 3, "other")], stale=[]))
    assert other.items() == [(1, 0, 1, "a"), (2, 0, 1, "b")]
    with pytest.raises(FencedError):
        session.load(replace(plan, offset=replace(plan.offset, fence=1)))
    other.load(
        table(ORDERS, ITEMS),
        upsert(
            [(1, 2, "late")], children=[items([(1, 0, 2, "late"), (1, 1, 2, "late")])], stale=[]
        ),
    )
    assert other.items() == [(1, 0, 2, "late"), (1, 1, 2, "late"), (2, 0, 1, "b")]
    assert other.orders() == [(1, "late", 2), (2, "other", 3), (3, "other", 3)]


def test_what_is_taken_back_belongs_to_no_load_that_could_still_be_done(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """A loader is stopped before its root; its successor takes its children back; it goes on."""
    loads.run(first(loads))
    plan = loads.plan(
        table(ORDERS, ITEMS), upsert([(7, 2, "n")], children=[items([(7, 0, 2, "n")])], stale=[])
    )
    other = successor(url, plan)

    def reach(name: str) -> None:
        if name == "destination.before-commit":
            monkeypatch.setattr(failpoint, "reach", lambda name: None)
            # Another table's records, so that only what is taken back stands in the way.
            state = other.session.state("web", "orders")
            assert state.revision == 1
            other.load(table(ORDERS, ITEMS), upsert([(8, 2, "m")], stale=[]))

    monkeypatch.setattr(failpoint, "reach", reach)
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    assert other.items() == [(1, 0, 1, "a"), (2, 0, 1, "b")]
    assert other.orders() == [(1, "x", 1), (2, "y", 1), (8, "m", 2)]


STAGED = relation("stage_ab12_200", {"id": BIGINT, "a": TEXT})


def test_an_activation_that_died_is_done_again(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    stage = StagedVersion(200, ORDERS.columns[4:5], (STAGED,), 0)
    loads.load(
        table(ORDERS, ITEMS, stages=(stage,)),
        upsert([(3, 1, "staged")], of=STAGED, private=True),
        changes=[CreateRelation(STAGED, private=True)],
    )

    def activate(loads: TableLoads) -> LoadPlan:
        return loads.plan(
            table(ORDERS, ITEMS, version=200),
            upsert([(4, 2, "now")], children=[items([(4, 0, 2, "c")])], stale=[ITEMS]),
            changes=[
                EmptyRelation("orders"),
                EmptyRelation("orders__items"),
                CopyStage(STAGED.name, "orders", tuple((c.name, c.name) for c in STAGED.columns)),
                DropStage(STAGED.name),
            ],
        )

    plan = activate(loads)
    die(monkeypatch, session, plan, "destination.before-commit")
    assert loads.orders() == [(1, "x", 1), (2, "y", 1)]
    again = successor(url, plan)
    again.run(activate(again))
    assert again.orders() == [(3, "staged", 1), (4, "now", 2)]
    assert again.items() == [(4, 0, 2, "c")]
    assert STAGED.name not in again.session.relations("_treadle")


def test_a_stage_that_a_dead_load_left_is_dropped_by_the_next(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    stage = StagedVersion(200, ORDERS.columns[4:5], (STAGED,), 0)
    loads.load(
        table(ORDERS, stages=(stage,)),
        upsert([(3, 1, "staged")], of=STAGED, private=True),
        changes=[CreateRelation(ORDERS), CreateRelation(STAGED, private=True)],
    )
    plan = loads.plan(table(ORDERS), changes=[DropStage(STAGED.name)])
    die(monkeypatch, session, plan, "destination.after-commit")
    assert STAGED.name in session.relations("_treadle")
    again = successor(url, plan)
    again.position, again.revision = plan.offset.position, plan.revision + 1
    again.load(table(ORDERS), upsert([(1, 1, "x")]))
    assert STAGED.name not in again.session.relations("_treadle")


@pytest.mark.release
def test_of_many_loaders_each_record_is_there_once(url: str, session: Session) -> None:
    """Loaders that know nothing of each other, on one table."""
    TableLoads(session).create(ORDERS)
    done: list[int] = []
    failures: list[BaseException] = []

    def carry_out(number: int) -> None:
        try:
            with make_destination(url).open() as own:
                for _ in range(200):
                    held = own.committed(LOG)[7, "orders"]
                    state = own.state("web", "orders")
                    loads = TableLoads(own, position=held.position, revision=state.revision)
                    loads.batched_at = 1_700_000_000_000_000 + 1000 * held.position + number
                    write = upsert([(held.position, held.position, f"{number}")])
                    try:
                        loads.load(table(ORDERS), write)
                    except (PlanOutdatedError, DestinationUnavailableError):
                        continue
                    done.append(held.position)
                    if len(done) >= 12:
                        return
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=carry_out, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert sorted(done) == list(range(len(done)))
    assert session.query("SELECT count(*), count(DISTINCT id) FROM web.orders").rows == [
        (len(done), len(done))
    ]


# --- what others did to a table -------------------------------------------------------------------


def test_a_root_that_the_user_dropped_is_known_by_its_ledger(
    url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    run_by_hand(url, "DROP TABLE web.orders")
    assert session.committed(LOG)[7, "orders"].position == 0
    state = session.state("web", "orders")
    assert state.revision == 1
    assert state.table is not None
    assert set(state.physical) == {"orders__items"}
    loads.load(table(ORDERS, ITEMS), upsert([(9, 1, "again")]), changes=[CreateRelation(ORDERS)])
    assert loads.orders() == [(9, "again", 1)]


def test_rows_that_a_user_adds_meanwhile_stay(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    plan = loads.plan(table(ORDERS, ITEMS), upsert([(1, 2, "z")]))

    def reach(name: str) -> None:
        if name == "destination.before-commit":
            monkeypatch.setattr(failpoint, "reach", lambda name: None)
            run_by_hand(url, "INSERT INTO web.orders (id, a) VALUES (77, 'mine')")

    monkeypatch.setattr(failpoint, "reach", reach)
    with pytest.raises(PlanOutdatedError):
        session.load(plan)
    session.load(plan)
    assert loads.orders() == [(1, "z", 2), (2, "y", 1), (77, "mine", None)]


def test_a_table_with_partitions_is_stopped(url: str, session: Session, loads: TableLoads) -> None:
    loads.run(first(loads))
    catalog = open_catalog(url)
    with catalog.load_table("web.orders").update_spec() as update:
        update.add_identity("a")
    catalog.close()
    with pytest.raises(TableStoppedError, match=r"web\.orders has partitions"):
        loads.load(table(ORDERS, ITEMS), upsert([(1, 2, "z")]))


def test_a_foreign_schema_is_not_written_into(url: str) -> None:
    catalog = open_catalog(url)
    catalog.create_namespace("web")
    catalog.close()
    with make_destination(url).open() as session:
        with pytest.raises(TableStoppedError, match="was not made for this one"):
            session.prepare("web")
        assert session.relations("web") == []


# --- files ----------------------------------------------------------------------------------------


def count_files(url: str, name: str = "orders") -> tuple[int, int, int]:
    """Data files, files of deletes, and snapshots of a table."""
    catalog = open_catalog(url)
    found = catalog.load_table(("web", name))
    snapshot = found.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    counted = (
        int(snapshot.summary["total-data-files"] or 0),
        int(snapshot.summary["total-delete-files"] or 0),
        len(found.snapshots()),
    )
    catalog.close()
    return counted


@pytest.mark.parametrize("count", [7, *some_at_release(23)])
def test_many_loads_leave_few_files(tmp_path: Path, count: int) -> None:
    url = f"iceberg+sql://{tmp_path / 'lake.db'}?compact-files=5&keep-hours=0.0000001"
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS, ITEMS)
        for sequence in range(1, count + 1):
            write = upsert(
                [(number, sequence, "x") for number in range(sequence)],
                children=[items([(number, 0, sequence, "c") for number in range(sequence)])],
                stale=[ITEMS],
            )
            loads.load(table(ORDERS, ITEMS), write)
        assert loads.orders() == [(number, "x", count) for number in range(count)]
        assert len(loads.items()) == count
    for name in ("orders", "orders__items"):
        data, deletes, snapshots = count_files(url, name)
        assert data <= 6
        assert deletes <= 6
        assert snapshots <= 8
    held = list((tmp_path / "lake_tables" / "web").glob("orders-*/data/*.parquet"))
    assert len(held) <= 20  # what no snapshot names is gone


def test_a_compaction_that_loses_against_another_commit_fails_no_load(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pyiceberg.exceptions import CommitFailedException

    from treadle.destinations.iceberg import session as module

    def lose(*given: Any, **named: Any) -> bool:
        raise CommitFailedException("another was first")

    monkeypatch.setattr(module, "compact_table", lose)
    with make_destination(f"iceberg+sql://{tmp_path / 'lake.db'}").open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        loads.load(table(ORDERS), upsert([(1, 1, "x")]))
        assert loads.orders() == [(1, "x", 1)]


def test_a_ledger_has_no_past(url: str, session: Session, loads: TableLoads) -> None:
    loads.create(ORDERS)
    for sequence in range(4):
        loads.load(table(ORDERS), upsert([(1, sequence, "x")]))
    catalog = open_catalog(url)
    for identifier in catalog.list_tables("_treadle"):
        assert len(catalog.load_table(identifier).snapshots()) <= 2
    catalog.close()


def test_a_catalogue_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(DestinationUnavailableError, match="does not exist yet"):
        make_destination(f"iceberg+sql://{tmp_path / 'none.db'}").open(read_only=True)
    with pytest.raises(OperatorError, match="its folder is missing"):
        make_destination(f"iceberg+sql://{tmp_path / 'no' / 'x.db'}").open()
    with make_destination(f"iceberg+sql://{tmp_path / 'none.db'}").preview() as session:
        assert session.state("web", "orders").table is None
    assert list(tmp_path.iterdir()) == []
