"""What is taken from the private parts of pyiceberg does what this back-end needs of it."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from treadle.destinations.iceberg.file_io import SyncedFileIO, UnsyncedFolders
from treadle.destinations.iceberg.row_delta import (
    KEPT_TABLES,
    KeptSqlCatalog,
    RowDelta,
    commit_once,
    iterate_entries,
    order_positions,
    stage_expiry,
    stage_rollback,
    stage_schema,
    write_position_deletes,
    write_rows,
)
from treadle.files import make_folder

ID: Any = pa.field("id", pa.int64(), False)
SCHEMA = pa.schema([ID, pa.field("a", pa.string())])


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    made = SqlCatalog("t", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}/files")
    made.create_namespace("web")
    yield made
    made.engine.dispose()


@pytest.fixture
def table(catalog: SqlCatalog) -> Table:
    return catalog.create_table("web.orders", SCHEMA)


def rows(*pairs: tuple[int, str]) -> pa.Table:
    return pa.table([[id_ for id_, _ in pairs], [a for _, a in pairs]], schema=SCHEMA)


def commit(
    table: Table,
    *pairs: tuple[int, str],
    gone: list[tuple[str, int]] | None = None,
    **further: Any,
) -> list[DataFile]:
    """Commit rows, and deletes as (path, position); returns the files."""
    transaction = table.transaction()
    files = write_rows(table.metadata, table.io, rows(*pairs)) if pairs else []
    if gone:
        places = pa.table([[p for p, _ in gone], [n for _, n in gone]], names=["file_path", "pos"])
        files.append(write_position_deletes(table.metadata, table.io, places, f"d{len(gone)}"))
    RowDelta(transaction, files, **further).stage()
    commit_once(transaction)
    return files


def read(catalog: SqlCatalog) -> list[tuple[Any, ...]]:
    found = catalog.load_table("web.orders").scan().to_arrow()
    return sorted(zip(found["id"].to_pylist(), found["a"].to_pylist(), strict=True))


def test_rows_and_deletes_are_one_snapshot(catalog: SqlCatalog, table: Table) -> None:
    [file] = commit(table, (1, "x"), (2, "x"), (3, "x"))
    commit(table, (2, "y"), gone=[(file.file_path, 1)])
    assert read(catalog) == [(1, "x"), (2, "y"), (3, "x")]
    assert len(table.metadata.snapshots) == 2
    summary = table.metadata.snapshots[-1].summary
    assert summary is not None
    assert summary.operation.value == "overwrite"
    assert summary["total-data-files"] == "2"
    assert summary["total-delete-files"] == "1"
    assert summary["total-position-deletes"] == "1"


def test_rows_alone_are_an_append(table: Table) -> None:
    commit(table, (1, "x"))
    summary = table.metadata.snapshots[-1].summary
    assert summary is not None
    assert summary.operation.value == "append"


def test_a_commit_that_lost_is_not_repeated(catalog: SqlCatalog, table: Table) -> None:
    """With the property at its default, pyiceberg's own commit would land on the other's."""
    other = catalog.load_table("web.orders")
    commit(table, (1, "x"))
    with pytest.raises(CommitFailedException):
        commit(other, (1, "x"))
    assert read(catalog) == [(1, "x")]


def repeat_commits(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each commit sent twice, as by a proxy that lost the answer; the second one loses."""
    send = catalog.commit_table

    def send_twice(*given: Any) -> Any:
        send(*given)
        return send(*given)

    monkeypatch.setattr(catalog, "commit_table", send_twice)


def test_a_commit_that_lost_against_itself_is_done(
    catalog: SqlCatalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeat_commits(catalog, monkeypatch)
    [file] = commit(table, (1, "x"))
    assert table.metadata == catalog.load_table("web.orders").metadata
    commit(table, (1, "y"), gone=[(file.file_path, 0)])
    assert read(catalog) == [(1, "y")]


def test_a_commit_that_lost_and_cannot_be_looked_for_is_not_known(
    catalog: SqlCatalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise CommitFailedException("somebody was first")

    def be_away(*_: Any) -> Any:
        raise OSError("the host is down")

    monkeypatch.setattr(catalog, "commit_table", fail)
    with pytest.raises(CommitFailedException):
        commit(table, (1, "x"))
    monkeypatch.setattr(catalog, "load_table", be_away)
    with pytest.raises(CommitStateUnknownException, match="the host is down"):
        commit(table, (1, "x"))


def test_a_commit_to_a_table_that_was_made_anew_has_lost(catalog: SqlCatalog, table: Table) -> None:
    catalog.drop_table("web.orders")
    catalog.create_table("web.orders", SCHEMA)
    with pytest.raises(CommitFailedException):
        commit(table, (1, "x"))
    assert read(catalog) == []


def test_a_snapshot_without_files_lets_others_lose(catalog: SqlCatalog, table: Table) -> None:
    other = catalog.load_table("web.orders")
    commit(table)
    with pytest.raises(CommitFailedException):
        commit(other)
    assert read(catalog) == []


def test_all_files_are_replaced(catalog: SqlCatalog, table: Table) -> None:
    [file] = commit(table, (1, "x"), (2, "x"))
    commit(table, gone=[(file.file_path, 0)])
    commit(table, (7, "z"), replaces_all=True)
    assert read(catalog) == [(7, "z")]
    summary = table.metadata.snapshots[-1].summary
    assert summary is not None
    assert summary["total-data-files"] == "1"
    assert summary["total-delete-files"] == "0"


def test_some_files_are_dropped_and_the_others_are_listed_together(
    catalog: SqlCatalog, table: Table
) -> None:
    files = [commit(table, (number, "x"))[0] for number in range(4)]
    commit(table, (9, "z"), dropped=[files[1].file_path], rewrites=True)
    assert read(catalog) == [(0, "x"), (2, "x"), (3, "x"), (9, "z")]
    snapshot = table.current_snapshot()
    assert snapshot is not None
    held = list(iterate_entries(table, snapshot.snapshot_id))
    assert len(held) == 2  # the new file, and all that were there
    assert files[1].file_path not in {file.file_path for _, some in held for file in some}


def test_deletes_that_are_kept_still_hold_after_a_rewrite(
    catalog: SqlCatalog, table: Table
) -> None:
    [first] = commit(table, (1, "x"), (2, "x"))
    [second] = commit(table, (3, "x"), (4, "x"))
    commit(table, gone=[(first.file_path, 0)])
    commit(table, dropped=[second.file_path], rewrites=True)
    assert read(catalog) == [(2, "x")]


def test_a_deleted_row_in_a_file_of_the_same_commit(catalog: SqlCatalog, table: Table) -> None:
    files = write_rows(table.metadata, table.io, rows((1, "x"), (2, "x")))
    places = pa.table([[files[0].file_path], [1]], names=["file_path", "pos"])
    deletes = write_position_deletes(table.metadata, table.io, places, "d")
    transaction = table.transaction()
    RowDelta(transaction, [*files, deletes]).stage()
    commit_once(transaction)
    assert read(catalog) == [(1, "x")]


def test_a_new_column_comes_in_the_commit_of_its_rows(catalog: SqlCatalog, table: Table) -> None:
    commit(table, (1, "x"))
    transaction = table.transaction()
    with transaction.update_schema() as update:
        from pyiceberg.types import LongType

        update.add_column(("a.b",), LongType())
    made = rows((2, "y")).append_column("a.b", pa.array([5]))
    RowDelta(transaction, write_rows(transaction.table_metadata, table.io, made)).stage()
    assert len(catalog.load_table("web.orders").schema().fields) == 2
    commit_once(transaction)
    found = catalog.load_table("web.orders").scan().to_arrow()
    assert sorted(found["a.b"].to_pylist(), key=str) == [5, None]


def test_the_past_of_a_table_goes_in_the_same_commit(table: Table) -> None:
    commit(table, (1, "x"))
    commit(table, (2, "x"))
    transaction = table.transaction()
    old = [each.snapshot_id for each in table.metadata.snapshots[:1]]
    RowDelta(transaction).stage()
    stage_expiry(transaction, old)
    commit_once(transaction)
    assert [each.snapshot_id in old for each in table.metadata.snapshots] == [False, False]


def test_deleted_rows_are_in_order_and_none_twice() -> None:
    def places(*pairs: tuple[int, int]) -> pa.Table:
        files, rows = [file for file, _ in pairs], [row for _, row in pairs]
        return pa.table(
            [pa.array(files, pa.int32()), pa.array(rows, pa.int64())], names=["file", "pos"]
        )

    far = (1 << 40) - 1
    found = order_positions(
        [
            (["b", "a", "unused"], places((0, 3), (1, far), (0, 0), (1, 0))),
            (["c", "b"], places((1, 3), (0, 7), (1, 2))),
        ]
    )
    assert list(zip(found["file_path"].to_pylist(), found["pos"].to_pylist(), strict=True)) == [
        ("a", 0),
        ("a", far),
        ("b", 0),
        ("b", 2),
        ("b", 3),
        ("c", 7),
    ]
    paths: Any = found["file_path"].chunk(0)
    assert paths.dictionary.to_pylist() == ["a", "b", "c"]


@pytest.fixture
def kept(catalog: SqlCatalog) -> Any:
    made = KeptSqlCatalog("t", **catalog.properties)
    yield made
    made.engine.dispose()


def test_a_commit_of_somebody_else_is_seen(
    catalog: SqlCatalog, table: Table, kept: KeptSqlCatalog
) -> None:
    before = kept.load_table("web.orders")
    assert kept.load_table("web.orders").metadata is before.metadata  # read once
    commit(table, (1, "x"))
    after = kept.load_table("web.orders")
    assert after.metadata.current_snapshot_id == table.metadata.current_snapshot_id
    with pytest.raises(CommitFailedException):
        commit(before, (1, "x"))
    commit(after, (2, "x"))
    assert read(catalog) == [(1, "x"), (2, "x")]
    again = catalog.load_table("web.orders")
    mine = kept.load_table("web.orders")
    assert mine.metadata == again.metadata
    assert (mine.name(), mine.metadata_location) == (again.name(), again.metadata_location)


def test_the_metadata_of_few_tables_is_kept(kept: KeptSqlCatalog) -> None:
    for number in range(KEPT_TABLES + 3):
        kept.create_table(f"web.t{number}", SCHEMA)
    assert len(kept._kept) == KEPT_TABLES


def test_the_folders_of_a_commit_are_synced_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("treadle.destinations.iceberg.file_io.sync_folder", synced.append)
    monkeypatch.setattr("treadle.destinations.iceberg.file_io._unsynced", UnsyncedFolders())
    files = SyncedFileIO()
    for name in ("data/a.parquet", "data/b.parquet", "metadata/m.avro"):
        with files.new_output(f"file://{tmp_path}/t/{name}").create() as stream:
            stream.write(b"x")
    assert synced == []
    with files.new_output(f"file://{tmp_path}/t/metadata/1.metadata.json").create() as stream:
        stream.write(b"x")
    folders = [tmp_path, tmp_path / "t", tmp_path / "t/data", tmp_path / "t/metadata"]
    assert synced == folders
    with files.new_output(f"file://{tmp_path}/t/metadata/2.metadata.json").create() as stream:
        stream.write(b"x")
    assert synced == [*folders, tmp_path / "t/metadata"]


def test_a_folder_that_was_not_synced_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = UnsyncedFolders()
    assert make_folder(tmp_path / "a/b") == [tmp_path / "a", tmp_path]
    folders.add(tmp_path / "a")
    folders.add(tmp_path / "gone")  # dropped with its table
    synced: list[Path] = []

    def fail(folder: Path) -> None:
        raise OSError("no space")

    with monkeypatch.context() as broken:
        broken.setattr("treadle.destinations.iceberg.file_io.sync_folder", fail)
        with pytest.raises(OSError, match="no space"):
            folders.sync()
    folders.sync()
    monkeypatch.setattr("treadle.destinations.iceberg.file_io.sync_folder", synced.append)
    folders.sync()
    assert synced == []


def test_a_table_is_set_back_if_nobody_changed_it(catalog: SqlCatalog, table: Table) -> None:
    commit(table, (1, "x"))
    before = table.current_snapshot()
    assert before is not None
    commit(table, (2, "x"), replaces_all=True)
    late = catalog.load_table("web.orders").transaction()
    stage_rollback(late, before.snapshot_id)
    transaction = table.transaction()
    stage_rollback(transaction, before.snapshot_id)
    commit_once(transaction)
    assert read(catalog) == [(1, "x")]
    with pytest.raises(CommitFailedException):
        commit_once(late)
    assert catalog.load_table("web.orders").current_snapshot() == before


def test_the_columns_of_a_table_are_set_back(catalog: SqlCatalog, table: Table) -> None:
    commit(table, (1, "x"))
    held = table.metadata.current_schema_id
    with table.update_schema() as update:
        update.rename_column("a", "b")
    transaction = table.transaction()
    stage_schema(transaction, held)
    commit_once(transaction)
    assert catalog.load_table("web.orders").schema().column_names == ["id", "a"]
