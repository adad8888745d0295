"""Rewrites small and worn files of a table, and lets go of its past.

Each load adds a data file, and a file that names the rows it replaced. Who reads a table opens all
of them. So after some loads small data files become one, files of which many rows are gone are
written anew, and what is still deleted in others is named in one file. All of it is one commit,
which changes no row (destinations.md 5.2).
"""

import contextlib
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.errors import ERRORS, translate_commit
from treadle.destinations.iceberg.live_rows import LiveRows, gather_tasks
from treadle.destinations.iceberg.relation_draft import list_past, read_chunks
from treadle.destinations.iceberg.row_delta import (
    KeptTransaction,
    RowDelta,
    commit_once,
    iterate_entries,
    order_positions,
    write_position_deletes,
    write_rows,
)
from treadle.destinations.protocol import CommitUnknownError
from treadle.destinations.upkeep import CrowdedTable

SMALL_BYTES: Final = 8 * 1024 * 1024
"""A data file below this is written together with others."""

WORN_PART: Final = 0.25
"""A data file is written anew when this part of its rows is gone."""

LOOKED_AT_MAX: Final = 500
"""Most tables of a schema that are looked at for their files."""

CROWDED_TIMES: Final = 4
"""A table is crowded when it has so many times the files at which it should have been compacted."""

COMPACTED: Final = "treadle.compacted"
"""Property: data files that the table had after it was compacted last."""


@dataclass(frozen=True, slots=True)
class CompactionRule:
    """The rule when a table is compacted.

    Attributes:
        files: after so many further data files, or so many files of deletes.
        keep_seconds: how long the past of a table can be read.
    """

    files: int = 24
    keep_seconds: float = 86_400.0


@dataclass(frozen=True, slots=True)
class FileCount:
    """The files of a table.

    Attributes:
        data: data files.
        deletes: files of position deletes.
        compacted: data files after the last compaction.
    """

    data: int
    deletes: int
    compacted: int = 0

    def is_due(self, rule: CompactionRule) -> bool:
        """Return whether the table is to be compacted."""
        return self.data - self.compacted >= rule.files or self.deletes >= rule.files


def count_files(table: Table) -> FileCount:
    """Return how many files a table has, as its last snapshot sums them up."""
    snapshot = table.current_snapshot()
    summary = None if snapshot is None else snapshot.summary
    if summary is None:
        return FileCount(0, 0)
    return FileCount(
        int(summary["total-data-files"] or 0),
        int(summary["total-delete-files"] or 0),
        int(table.properties.get(COMPACTED, "0")),
    )


def compact_table(table: Table, rule: CompactionRule, now: float | None = None) -> bool:
    """Compact a table if that is due; returns whether it was.

    Args:
        table: as it is now.
        rule: when it is due.
        now: seconds since 1970; None for the system's time.

    Raises:
        Exception: of pyiceberg, of the catalogue or of the store of files.
    """
    if not count_files(table).is_due(rule):
        return False
    _rewrite(table)
    expire_past(table, (time.time() if now is None else now) - rule.keep_seconds)
    return True


def choose_files(files: Collection[DataFile], gone: Mapping[str, int]) -> set[str]:
    """Return the paths of the data files that are written anew.

    Args:
        files: of the table.
        gone: path -> rows in it that are deleted.
    """
    small = {file.file_path for file in files if file.file_size_in_bytes < SMALL_BYTES}
    worn = {
        file.file_path
        for file in files
        if gone.get(file.file_path, 0) >= max(1, WORN_PART * file.record_count)
    }
    return (small if len(small) > 1 else set()) | worn


def _rewrite(table: Table) -> None:
    made: list[DataFile] = []
    try:
        transaction = _stage_rewrite(table, made)
    except Exception:
        _delete_files(table, made)
        raise
    try:
        commit_once(transaction)
    except ERRORS as error:
        if not isinstance(translate_commit(error), CommitUnknownError):
            _delete_files(table, made)
        raise


def _delete_files(table: Table, files: Collection[DataFile]) -> None:
    """Delete files that no snapshot names, as far as possible."""
    for file in files:
        with contextlib.suppress(OSError):
            table.io.delete(file.file_path)


def _stage_rewrite(table: Table, made: list[DataFile]) -> KeptTransaction:
    """Write the files anew, and return what is to be committed.

    Args:
        table: as it is now.
        made: gets the files that are written.
    """
    tasks = list(table.scan(row_filter=AlwaysTrue()).plan_files())
    mapping = table.name_mapping()
    live = gather_tasks(table.io, table.schema(), tasks, mapping=mapping)
    counted = live.gone.group_by("file").aggregate([("pos", "count_distinct")]).to_pylist()
    gone = {live.paths[row["file"]]: int(row["pos_count_distinct"]) for row in counted}
    chosen = choose_files(live.files, gone)
    transaction = KeptTransaction(table)
    names = [field.name for field in table.schema().fields]
    rewritten = [task for task in tasks if task.file.file_path in chosen]
    worn = gather_tasks(table.io, table.schema(), rewritten, mapping=mapping)
    for rows in read_chunks(worn, names, names):
        made += write_rows(table.metadata, table.io, rows)
    left = list_deletes(live, chosen)
    kept = len(live.files) - len(chosen) + len(made)
    if left.num_rows:
        made.append(
            write_position_deletes(table.metadata, table.io, left, f"{uuid.uuid4()}-deletes")
        )
    dropped = {*chosen, *(file.file_path for file in live.deletes)}
    transaction.set_properties({COMPACTED: str(kept)})
    RowDelta(transaction, made, dropped=dropped, rewrites=True).stage()
    return transaction


def list_deletes(live: LiveRows, chosen: Collection[str]) -> "pa.Table":
    """Return the deleted rows of the files that are not chosen, in order."""
    stays = pa.array([path not in chosen for path in live.paths], pa.bool_())
    gone = live.gone.filter(stays.take(live.gone["file"].combine_chunks()))
    return order_positions([(live.paths, gone)])


def expire_past(table: Table, before: float) -> int:
    """Let go of snapshots, and delete the files that no other one has; returns how many went.

    Args:
        table: as it is now.
        before: snapshots that were made before this time go, in seconds since 1970. The present
            one stays, and those that a branch or a tag names.
    """
    past = [each for each in list_past(table.metadata) if each.timestamp_ms < before * 1000]
    if not past:
        return 0
    ids = [each.snapshot_id for each in past]
    held = [each.snapshot_id for each in table.metadata.snapshots if each.snapshot_id not in ids]
    unneeded = _list_files(table, ids) - _list_files(table, held)
    table.maintenance.expire_snapshots().by_ids(ids).commit()
    for path in unneeded:
        with contextlib.suppress(OSError):
            table.io.delete(path)
    return len(past)


def _list_files(table: Table, snapshot_ids: Collection[int]) -> set[str]:
    """Return the paths of all files that snapshots are made of."""
    found: set[str] = set()
    for snapshot_id in snapshot_ids:
        snapshot = table.metadata.snapshot_by_id(snapshot_id)
        if snapshot is not None:
            found.add(snapshot.manifest_list)
        for manifest, files in iterate_entries(table, snapshot_id, skip=found):
            found.add(manifest.manifest_path)
            found |= {file.file_path for file in files}
    return found


def list_crowded(catalogue: IcebergCatalogue, rule: CompactionRule) -> list[CrowdedTable]:
    """Return the tables with several times the files that a compaction is due at, most first."""
    found: list[CrowdedTable] = []
    for schema in catalogue.list_schemas():
        for name in catalogue.list_tables(schema)[:LOOKED_AT_MAX]:
            table = catalogue.load(schema, name)
            if table is None:
                continue
            count = count_files(table)
            extra = max(0, count.data - count.compacted) + count.deletes
            if extra >= CROWDED_TIMES * rule.files:
                found.append(CrowdedTable(f"{schema}.{name}", count.data + count.deletes))
    return sorted(found, key=lambda table: -table.files)
