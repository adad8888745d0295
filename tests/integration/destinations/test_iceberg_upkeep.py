"""How few files and snapshots of an Iceberg table are left after many loads.

The library is imported where it is used: every process of a run collects this file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.destinations.deaths import die
from tests.integration.destinations.iceberg_loads import open_catalog, successor
from tests.kinds import some_at_release

from treadle.destinations.conformance.builders import (
    BIGINT,
    ORDERS,
    TEXT,
    TableLoads,
    relation,
    table,
    upsert,
)
from treadle.destinations.protocol import Destination, Session
from treadle.destinations.registry import make_destination
from treadle.tables.model import Rejection

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

REJECTED = [Rejection("{}", "why", "orders", 0, 0)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"iceberg+sql://{tmp_path / 'lake.db'}?compact-files=3&keep-hours=0.0000001"


@pytest.fixture
def destination(url: str) -> Destination:
    return make_destination(url)


def look(url: str, name: str) -> "IcebergTable":
    catalog = open_catalog(url)
    found = catalog.load_table(("web", name))
    catalog.close()
    return found


def count_files(found: "IcebergTable") -> tuple[int, int]:
    """Data files, and files of deletes."""
    snapshot = found.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return tuple(int(snapshot.summary[f"total-{each}-files"] or 0) for each in ("data", "delete"))  # type: ignore[return-value]


def test_rejections_are_compacted_and_their_past_goes(url: str, loads: TableLoads) -> None:
    for _ in range(9):
        loads.load(None, rejections=REJECTED)
    rejected = look(url, "_sdc_rejected")
    data, _ = count_files(rejected)
    assert data <= 4
    assert len(rejected.snapshots()) <= 5
    assert loads.read("SELECT count(*) FROM web._sdc_rejected") == [(9,)]


def test_rejections_of_a_dead_load_are_found_after_a_compaction(
    monkeypatch: pytest.MonkeyPatch, url: str, session: Session, loads: TableLoads
) -> None:
    plan = loads.plan(None, rejections=REJECTED)
    die(monkeypatch, session, plan, "destination.after-rows")
    others = TableLoads(session, "others", source_id=8)
    for _ in range(7):
        others.load(None, rejections=REJECTED)
    assert count_files(look(url, "_sdc_rejected"))[0] <= 5
    again = successor(url, plan)
    again.run(again.plan(None, rejections=REJECTED))
    assert again.read("SELECT count(*) FROM web._sdc_rejected") == [(8,)]


@pytest.mark.release
def test_the_past_of_a_table_goes_though_no_file_is_added(url: str, loads: TableLoads) -> None:
    loads.create(ORDERS)
    for _ in range(9):
        loads.load(table(ORDERS))
    found = look(url, "orders")
    assert len(found.snapshots()) <= 4
    held = list(Path(found.location().removeprefix("file://")).glob("metadata/snap-*"))
    assert len(held) == len(found.snapshots())


# --- files of deletes -----------------------------------------------------------------------------

BIG = relation("orders", {"id": BIGINT, "a": TEXT})


@pytest.fixture
def big_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are not small, and not worn by a few deletes."""
    from treadle.destinations.iceberg import compaction

    monkeypatch.setattr(compaction, "SMALL_BYTES", 1)


def replace_one(loads: TableLoads, key: int, sequence: int) -> None:
    loads.load(table(BIG), upsert([(key, sequence, "new")], of=BIG))


def list_deletes(found: "IcebergTable") -> dict[str, set[str]]:
    """Data files with their files of deletes."""
    tasks = found.scan().plan_files()
    return {task.file.file_path: {each.file_path for each in task.delete_files} for task in tasks}


@pytest.mark.release
@pytest.mark.usefixtures("big_files")
def test_each_data_file_has_one_file_of_deletes_that_stays(url: str, loads: TableLoads) -> None:
    loads.create(BIG)
    for part in range(2):
        values = [(number, 1, "x") for number in range(part * 40, part * 40 + 40)]
        loads.load(table(BIG), upsert(values, of=BIG))
    for number in range(4):  # the third load compacts, and so does the sixth
        replace_one(loads, number, 2)
    first = list_deletes(look(url, "orders"))
    for number in range(40, 46):
        replace_one(loads, number, 2)
    found = look(url, "orders")
    last = list_deletes(found)
    assert all(len(files) <= 4 for files in last.values())
    settled = [path for path in first if path in last and first[path] and first[path] == last[path]]
    assert settled  # the deletes of the first file were not written again
    expected = [
        (number, *(("new", 2) if number in {*range(4), *range(40, 46)} else ("x", 1)))
        for number in range(80)
    ]
    assert loads.orders() == expected


def test_deletes_that_another_program_left_go(url: str, loads: TableLoads) -> None:
    """They are of a file that is no longer there, and would have every load compact the table."""
    loads.create(ORDERS)
    loads.load(table(ORDERS), upsert([(1, 1, "x"), (2, 1, "x")]))
    leave_deletes(url, 3)
    replace_one(loads, 1, 2)
    assert count_files(look(url, "orders")) == (1, 0)
    before = [each.snapshot_id for each in look(url, "orders").snapshots()]
    replace_one(loads, 1, 3)
    after = [each.snapshot_id for each in look(url, "orders").snapshots()]
    assert len(set(after) - set(before)) == 1  # the load, and no compaction
    assert loads.orders() == [(1, "new", 3), (2, "x", 1)]


def leave_deletes(url: str, count: int) -> None:
    """Add files of deletes of a data file that is not part of the table."""
    import pyarrow as pa

    from treadle.destinations.iceberg.row_delta import (
        RowDelta,
        commit_once,
        write_position_deletes,
    )

    catalog = open_catalog(url)
    found = catalog.load_table("web.orders")
    path = f"{found.location()}/data/gone.parquet"
    places = pa.table({"file_path": [path], "pos": [0]})
    files = [
        write_position_deletes(found.metadata, found.io, places, f"left-{number}")
        for number in range(count)
    ]
    transaction = found.transaction()
    RowDelta(transaction, files).stage()
    commit_once(transaction)
    catalog.close()


@pytest.mark.release
def test_a_compaction_that_loses_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, url: str, loads: TableLoads
) -> None:
    from pyiceberg.exceptions import CommitFailedException

    from treadle.destinations.iceberg import compaction

    loads.create(ORDERS)
    for number in range(2):
        replace_one(loads, number, 1)

    def lose(transaction: Any) -> None:
        raise CommitFailedException("another was first")

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "commit_once", lose)
        replace_one(loads, 2, 1)
    found = look(url, "orders")
    there = {
        f"file://{path}"
        for path in Path(found.location().removeprefix("file://")).glob("data/*.parquet")
    }
    assert there == {task.file.file_path for task in found.scan().plan_files()}
    assert len(there) == 3


# --- the past -------------------------------------------------------------------------------------


def append_by_hand(url: str, key: int) -> None:
    import pyarrow as pa

    catalog = open_catalog(url)
    found = catalog.load_table("web.orders")
    rows = pa.Table.from_pylist([{"id": key, "_sdc_sequence": 1}], found.schema().as_arrow())
    found.append(rows)
    catalog.close()


@pytest.mark.parametrize("is_linear", [False, *some_at_release(True)])
def test_of_the_past_no_file_goes_that_a_snapshot_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_linear: bool
) -> None:
    """Some go, and every other one can be read: also of a table that somebody set back."""
    from treadle.destinations.iceberg.compaction import choose_held, expire_past

    url = f"iceberg+sql://{tmp_path / 'lake.db'}"
    with make_destination(url).open() as session:
        session.prepare("web")
        loads = TableLoads(session)
        loads.create(ORDERS)
        loads.load(table(ORDERS), upsert([(1, 1, "x"), (2, 1, "x")]))
        replace_one(loads, 1, 2)
        if not is_linear:
            catalog = open_catalog(url)
            before = catalog.load_table("web.orders")
            back = before.snapshots()[-2].snapshot_id
            before.manage_snapshots().rollback_to_snapshot(back).commit()
            catalog.close()
        append_by_hand(url, 8)
        append_by_hand(url, 9)
    found = look(url, "orders")
    present = found.current_snapshot()
    assert present is not None
    order = [each.snapshot_id for each in found.snapshots()]
    past = order[:2]
    held = choose_held(found.metadata, past)
    assert held == ([order[2], order[-1]] if is_linear else order[2:])
    oldest_that_stays = found.snapshots()[2].timestamp_ms
    for each in order[2:]:
        assert found.scan(snapshot_id=each).to_arrow().num_rows >= 2
    went = expire_past(found, oldest_that_stays / 1000)
    assert went == 2
    found = look(url, "orders")
    assert [each.snapshot_id for each in found.snapshots()] == order[2:]
    for each in order[2:]:
        assert found.scan(snapshot_id=each).to_arrow().num_rows >= 2
