"""How a load into Iceberg that did not come to its end is undone, whatever it did to a table.

The library is imported where it is used: every process of a run collects this file.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.integration.destinations.deaths import die
from tests.integration.destinations.iceberg_loads import (
    first,
    open_catalog,
    run_by_hand,
    successor,
)
from tests.kinds import some_at_release

from treadle.destinations.conformance.builders import (
    BIGINT,
    ITEMS,
    LOG,
    ORDERS,
    TableLoads,
    column,
    items,
    relation,
    rows,
    table,
    upsert,
)
from treadle.destinations.protocol import Destination, Session
from treadle.destinations.registry import make_destination
from treadle.errors import TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    CopyStage,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    Rejection,
    Relation,
    RenameColumn,
    StagedVersion,
    TableWrite,
    WidenColumn,
)

PART = "destination.part"
"""Between the commit of a subtable or a stage and that of the head."""

REJECTION = Rejection("{}", "why", "orders", 0, 0)

A, B = (1, 0, 1, "a"), (2, 0, 1, "b")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"iceberg+sql://{tmp_path / 'lake.db'}"


@pytest.fixture
def destination(url: str) -> Destination:
    return make_destination(url)


COUNTS = relation(
    "orders__items",
    {"_sdc_level_0_id": BIGINT, "_sdc_source_key_id": BIGINT, "count": BIGINT},
    key=("_sdc_level_0_id", "_sdc_source_key_id"),
    path=("items",),
)
WIDE_COUNTS = replace(COUNTS, columns=(*COUNTS.columns[:-1], column("count")))


def counts(values: list[tuple[Any, ...]], of: Relation = COUNTS) -> Any:
    names = ("_sdc_source_key_id", "_sdc_level_0_id", "_sdc_sequence", "count")
    made = rows(of, names, values)
    made.entries = ()
    return made


def read_counts(loads: TableLoads) -> list[tuple[Any, ...]]:
    return loads.read('SELECT _sdc_source_key_id, "count" FROM web.orders__items ORDER BY 1')


def test_a_subtable_whose_column_was_widened_has_its_rows(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.load(
        table(ORDERS, COUNTS),
        upsert([(1, 1, "x"), (2, 1, "y")], children=[counts([(1, 0, 1, 10), (2, 0, 1, 20)])]),
        changes=[CreateRelation(ORDERS), CreateRelation(COUNTS)],
    )

    def widen(loads: TableLoads) -> LoadPlan:
        return loads.plan(
            table(ORDERS, WIDE_COUNTS),
            upsert(
                [(2, 2, "z")], children=[counts([(2, 0, 2, "many")], WIDE_COUNTS)], stale=[COUNTS]
            ),
            changes=[WidenColumn("orders__items", column("count"), BIGINT)],
        )

    plan = widen(loads)
    die(monkeypatch, session, plan, PART)
    assert read_counts(loads) == [(1, "10"), (2, "many")]  # for a moment
    again = successor(url, plan)
    state = again.session.state("web", "orders")
    assert state.table is not None
    assert state.table.relations == (ORDERS, COUNTS)
    assert state.physical["orders__items"].columns["count"] is BIGINT
    again.run(widen(again))
    assert read_counts(again) == [(1, "10"), (2, "many")]
    again.load(table(ORDERS, WIDE_COUNTS), upsert([(3, 3, "n")], stale=[WIDE_COUNTS]))
    assert read_counts(again) == [(1, "10"), (2, "many")]


@pytest.mark.release
def test_a_load_that_does_without_the_wider_column_is_done_as_well(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.load(
        table(ORDERS, COUNTS),
        upsert([(1, 1, "x")], children=[counts([(1, 0, 1, 10)])]),
        changes=[CreateRelation(ORDERS), CreateRelation(COUNTS)],
    )
    plan = loads.plan(
        table(ORDERS, WIDE_COUNTS),
        upsert([(2, 2, "z")], children=[counts([(2, 0, 2, "many")], WIDE_COUNTS)], stale=[COUNTS]),
        changes=[WidenColumn("orders__items", column("count"), BIGINT)],
    )
    die(monkeypatch, session, plan, PART)
    again = successor(url, plan)
    again.session.state("web", "orders")
    again.load(table(ORDERS, COUNTS), upsert([(3, 2, "n")], children=[counts([(3, 0, 2, 30)])]))
    assert read_counts(again) == [(1, 10), (3, 30)]


STAGED = relation("stage_ab12_200", {"id": BIGINT, "size": BIGINT})
WIDE_STAGED = replace(STAGED, columns=(*STAGED.columns[:-1], column("size")))


def make_stage(of: Relation) -> StagedVersion:
    return StagedVersion(200, ORDERS.columns[4:5], (of,), 0)


def test_a_stage_whose_column_was_widened_has_its_rows(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    names = ("id", "_sdc_sequence", "size")
    loads.load(
        table(ORDERS, stages=(make_stage(STAGED),)),
        upsert([(1, 1, 10), (2, 1, 20)], names, STAGED, private=True),
        changes=[CreateRelation(ORDERS), CreateRelation(STAGED, private=True)],
    )

    def widen(loads: TableLoads) -> LoadPlan:
        return loads.plan(
            table(ORDERS, stages=(make_stage(WIDE_STAGED),)),
            upsert([(2, 2, "many")], names, WIDE_STAGED, private=True),
            changes=[WidenColumn(STAGED.name, column("size"), BIGINT, private=True)],
        )

    plan = widen(loads)
    die(monkeypatch, session, plan, PART)
    again = successor(url, plan)
    again.run(widen(again))
    read = f"SELECT id, size FROM _treadle.{STAGED.name} ORDER BY id"
    assert again.read(read) == [(1, "10"), (2, "many")]


def test_a_swap_that_died_leaves_the_former_rows(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    session.prepare("rebuilt")
    rebuilt = TableLoads(session, log_id=LOG[:-1] + "2")
    made = rebuilt.plan(
        table(ORDERS, ITEMS),
        upsert([(1, 5, "r")], children=[items([(1, 0, 5, "rebuilt")])]),
        changes=[CreateRelation(ORDERS), CreateRelation(ITEMS)],
    )
    assert made.table_after is not None
    session.load(
        replace(made, schema="rebuilt", table_after=replace(made.table_after, schema="rebuilt"))
    )

    def swap(loads: TableLoads) -> LoadPlan:
        changes = [
            change
            for each in (ORDERS, ITEMS)
            for change in (
                EmptyRelation(each.name),
                CopyStage(
                    each.name, each.name, tuple((c.name, c.name) for c in each.columns), "rebuilt"
                ),
            )
        ]
        return loads.plan(table(ORDERS, ITEMS), changes=changes)

    plan = swap(loads)
    die(monkeypatch, session, plan, PART)
    assert loads.items() == [(1, 0, 5, "rebuilt")]  # for a moment
    again = successor(url, plan)
    again.load(table(ORDERS, ITEMS), upsert([(3, 2, "n")], children=[items([(3, 0, 2, "c")])]))
    assert again.orders() == [(1, "x", 1), (2, "y", 1), (3, "n", 2)]
    assert again.items() == [A, B, (3, 0, 2, "c")]
    again.run(swap(again))
    assert again.orders() == [(1, "r", 5)]
    assert again.items() == [(1, 0, 5, "rebuilt")]


@pytest.mark.release
def test_the_name_of_a_column_is_the_former_one(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    renamed = replace(ITEMS, columns=(*ITEMS.columns[:-1], column("content")))
    plan = loads.plan(
        table(ORDERS, renamed), changes=[RenameColumn("orders__items", "value", "content")]
    )
    die(monkeypatch, session, plan, PART)
    again = successor(url, plan)
    state = again.session.state("web", "orders")
    assert state.table is not None
    assert state.table.relations[1] == ITEMS
    again.load(table(ORDERS, ITEMS), upsert([(3, 2, "n")], children=[items([(3, 0, 2, "c")])]))
    assert again.items() == [A, B, (3, 0, 2, "c")]


def more(loads: TableLoads, of: Relation = ITEMS, **further: Any) -> LoadPlan:
    """A load that replaces a child and adds one."""
    write = upsert(
        [(1, 2, "z"), (3, 2, "z")],
        children=[items([(1, 0, 2, "new"), (3, 0, 2, "new")], of)],
        stale=[of],
    )
    return loads.plan(table(ORDERS, of), write, **further)


AFTER_MORE = [(1, 0, 2, "new"), B, (3, 0, 2, "new")]


@pytest.mark.release
@pytest.mark.parametrize("widens", [False, *some_at_release(True)])
def test_a_table_that_was_rolled_back_by_hand_stays_so(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads, widens: bool
) -> None:
    loads.run(first(loads))
    wider = replace(ITEMS, columns=(*ITEMS.columns, column("size", BIGINT)))
    changes = [AddColumn("orders__items", column("size", BIGINT))] if widens else []
    plan = more(loads, wider if widens else ITEMS, changes=changes)
    catalog = open_catalog(url)
    before = catalog.load_table("web.orders__items").current_snapshot()
    assert before is not None
    die(monkeypatch, session, plan, PART)
    child = catalog.load_table("web.orders__items")
    child.manage_snapshots().rollback_to_snapshot(before.snapshot_id).commit()
    catalog.close()
    again = successor(url, plan)
    again.run(more(again, wider if widens else ITEMS, changes=changes))
    assert again.items() == AFTER_MORE


@pytest.mark.release
def test_rows_that_others_added_since_stay(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    plan = more(loads)
    die(monkeypatch, session, plan, PART)
    append_child(url, 77)
    again = successor(url, plan)
    again.run(more(again))
    assert again.items() == [*AFTER_MORE, (77, 0, 1, "mine")]


def append_child(url: str, parent: int) -> None:
    """Add a row as another program does, in a file of its own."""
    import pyarrow as pa

    catalog = open_catalog(url)
    child = catalog.load_table("web.orders__items")
    made = {"_sdc_source_key_id": parent, "_sdc_level_0_id": 0, "_sdc_sequence": 1}
    child.append(pa.Table.from_pylist([{**made, "value": "mine"}], child.schema().as_arrow()))
    catalog.close()


def test_rows_that_were_rewritten_by_hand_are_not_doubled(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """Nobody knows what is left of the load, so nothing is done until somebody looks."""
    log = relation("orders", {"id": BIGINT, "a": ColumnType.TEXT}, key=())
    child = relation("orders__items", {c.name: c.type for c in ITEMS.columns[4:]}, (), ("items",))
    loads.create(log, child, append=True)

    def append(loads: TableLoads) -> LoadPlan:
        write = TableWrite(
            False,
            "append",
            rows(log, ("id", "_sdc_sequence", "a"), [(1, 1, "x")]),
            (items([(1, 0, 1, "a")], child),),
        )
        return loads.plan(table(log, child, append=True), write)

    plan = append(loads)
    die(monkeypatch, session, plan, PART)
    run_by_hand(url, "INSERT INTO web.orders__items (_sdc_source_key_id) VALUES (77)")
    again = successor(url, plan)
    for _ in range(2):
        with pytest.raises(TableStoppedError, match="Roll the table back to the snapshot") as told:
            again.run(append(again))
    assert "remove the property treadle.load of the table" in str(told.value)
    run_by_hand(url, "DELETE FROM web.orders__items WHERE _sdc_source_key_id = 1")
    catalog = open_catalog(url)
    with catalog.load_table("web.orders__items").transaction() as transaction:
        transaction.remove_properties("treadle.load")
    catalog.close()
    again.run(append(again))
    assert again.read("SELECT _sdc_source_key_id FROM web.orders__items ORDER BY 1") == [
        (1,),
        (77,),
    ]


def test_a_table_that_another_program_compacted_is_what_it_was(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    plan = more(loads)
    die(monkeypatch, session, plan, PART)
    rewrite_files(url, "web.orders__items")
    assert loads.items() == AFTER_MORE  # for a moment
    again = successor(url, plan)
    again.load(table(ORDERS, ITEMS), upsert([(4, 2, "n")], stale=[ITEMS]))
    assert again.items() == [A, B]


def rewrite_files(url: str, name: str) -> None:
    """Rewrite a table's files as one, as Spark's `rewrite_data_files` does."""
    import pyarrow as pa
    from pyiceberg.table.snapshots import Operation, Summary

    from treadle.destinations.iceberg.row_delta import RowDelta, commit_once, write_rows

    class Rewriting(RowDelta):
        def _summary(self, *given: Any) -> Summary:
            return Summary(Operation.REPLACE, **super()._summary(*given).additional_properties)

    catalog = open_catalog(url)
    table = catalog.load_table(name)
    held: pa.Table = table.scan().to_arrow()
    transaction = table.transaction()
    files = write_rows(table.metadata, table.io, held)
    Rewriting(transaction, files, replaces_all=True).stage()
    commit_once(transaction)
    catalog.close()


@pytest.mark.release
def test_an_undone_table_counts_its_files_as_before(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.run(first(loads))
    plan = more(loads)
    die(monkeypatch, session, plan, PART)
    again = successor(url, plan)
    again.load(table(ORDERS, ITEMS), upsert([(4, 2, "n")], stale=[]))
    catalog = open_catalog(url)
    snapshot = catalog.load_table("web.orders__items").current_snapshot()
    catalog.close()
    assert snapshot is not None
    assert snapshot.summary is not None
    counted = [snapshot.summary[f"total-{name}"] for name in ("data-files", "records")]
    assert counted == ["1", "2"]


# --- rejected records -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["add", *some_at_release("rename", "widen")])
def test_rejections_of_a_dead_load_do_not_stop_a_change_of_columns(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads, kind: str
) -> None:
    held = relation("orders", {"id": BIGINT, "size": BIGINT})
    loads.create(held)
    change: Any
    match kind:
        case "add":
            after = replace(held, columns=(*held.columns, column("c")))
            change = AddColumn("orders", column("c"))
        case "rename":
            after = replace(held, columns=(*held.columns[:-1], column("other", BIGINT)))
            change = RenameColumn("orders", "size", "other")
        case _:
            after = replace(held, columns=(*held.columns[:-1], column("size")))
            change = WidenColumn("orders", column("size"), BIGINT)

    def reject(loads: TableLoads) -> LoadPlan:
        return loads.plan(
            table(after),
            upsert([(1, 1)], ("id", "_sdc_sequence"), after),
            changes=[change],
            rejections=[REJECTION],
        )

    plan = reject(loads)
    die(monkeypatch, session, plan, "destination.after-rows")
    again = successor(url, plan)
    again.run(reject(again))
    assert again.read("SELECT id FROM web.orders") == [(1,)]
    assert again.read("SELECT count(*) FROM web._sdc_rejected") == [(1,)]
    assert set(again.session.state("web", "orders").physical["orders"].columns) == {
        each.name for each in after.columns
    }


@pytest.mark.release
def test_rejections_have_the_number_of_the_load_that_counts(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    """Also where another load was taken back first, which is a commit of the head as well."""
    from treadle.destinations.iceberg.table_record import decode_head, decode_part

    plan = first(loads)
    die(monkeypatch, session, plan, PART)
    again = successor(url, plan)
    again.run(first(again))
    catalog = open_catalog(url)
    head = decode_head(catalog.load_table("web.orders").properties)
    [note] = [
        decode_part(properties, name)
        for properties in [catalog.load_table("web._sdc_rejected").properties]
        for name in properties
        if name.startswith("treadle.load.")
    ]
    catalog.close()
    assert head is not None
    assert note is not None
    assert (note.number, note.load) == (head.note.number, head.note.loads[-1])


@pytest.mark.release
def test_rejections_that_were_rewritten_by_hand_are_not_doubled(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    loads.create(ORDERS)
    plan = loads.plan(None, rejections=[REJECTION])
    die(monkeypatch, session, plan, "destination.after-rows")
    run_by_hand(url, "INSERT INTO web._sdc_rejected (reason) VALUES ('mine')")
    again = successor(url, plan)
    with pytest.raises(TableStoppedError, match=r"remove the property treadle\.load\.table_"):
        again.load(None, rejections=[REJECTION])
    again.load(None)  # a load that rejects nothing does not look there
    assert again.read("SELECT count(*) FROM web._sdc_rejected") == [(2,)]
