"""Rewrites small and worn files of a table, and lets go of its past.

Each load adds a data file, and a file that names the rows it replaced. Who reads a table opens all
of them. So after some loads small data files become one, files of which many rows are gone are
written anew, and what is still deleted in each other one is named in one file beside it. All of it
is one commit, which changes no row (destinations.md 5.2).
"""

import contextlib
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from treadle.destinations.iceberg.catalogue import IcebergCatalogue
from treadle.destinations.iceberg.errors import ERRORS, translate_commit
from treadle.destinations.iceberg.live_rows import LiveRows, gather_tasks
from treadle.destinations.iceberg.relation_draft import list_past, read_chunks
from treadle.destinations.iceberg.row_delta import (
    PATH_ID,
    KeptTransaction,
    RowDelta,
    commit_once,
    iterate_entries,
    stage_expiry,
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

COMPACTED_DELETES: Final = "treadle.compacted-deletes"
"""Property: files of deletes that it had then."""


@dataclass(frozen=True, slots=True)
class CompactionRule:
    """The rule when a table is compacted.

    Attributes:
        files: after so many further data files, or so many further files of deletes. So many
            snapshots that are too old are let go of together as well.
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
        compacted_deletes: files of position deletes after it.
    """

    data: int
    deletes: int
    compacted: int = 0
    compacted_deletes: int = 0

    def is_due(self, rule: CompactionRule) -> bool:
        """Return whether the table is to be compacted."""
        return max(self.data - self.compacted, self.further_deletes) >= rule.files

    @property
    def further_deletes(self) -> int:
        """Files of deletes that came since; another program may have taken some away."""
        return max(0, self.deletes - self.compacted_deletes)


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
        int(table.properties.get(COMPACTED_DELETES, "0")),
    )


def compact_table(
    table: Table,
    rule: CompactionRule,
    now: float | None = None,
    *,
    kept: Collection[str] = (),
) -> bool:
    """Compact a table if that is due, and let go of its past; returns whether it was compacted.

    Args:
        table: as it is now, after a load that is done.
        rule: when it is due.
        now: seconds since 1970; None for the system's time.
        kept: paths of data files that stay as they are.

    Raises:
        Exception: of pyiceberg, of the catalogue or of the store of files.
    """
    is_due = count_files(table).is_due(rule)
    if is_due:
        _rewrite(table, kept)
    before = (time.time() if now is None else now) - rule.keep_seconds
    # Loads that only commit properties make snapshots as well, and no file.
    if is_due or len(list_old(table, before)) >= rule.files:
        expire_past(table, before)
    return is_due


def choose_files(
    files: Collection[DataFile], gone: Mapping[str, int], kept: Collection[str] = ()
) -> set[str]:
    """Return the paths of the data files that are written anew.

    Args:
        files: of the table.
        gone: path -> rows in it that are deleted.
        kept: paths of files that stay as they are.
    """
    free = [file for file in files if file.file_path not in kept]
    small = {file.file_path for file in free if file.file_size_in_bytes < SMALL_BYTES}
    worn = {
        file.file_path
        for file in free
        if gone.get(file.file_path, 0) >= max(1, WORN_PART * file.record_count)
    }
    return (small if len(small) > 1 else set()) | worn


def find_settled(tasks: Iterable[FileScanTask], chosen: Collection[str]) -> dict[str, str]:
    """Return the data files whose deletes need not be written anew, each with their only file.

    Args:
        tasks: all data files of the table, with their files of deletes.
        chosen: paths of data files that are written anew.
    """
    found: dict[str, str] = {}
    for task in tasks:
        path, deletes = task.file.file_path, list(task.delete_files)
        if len(deletes) == 1 and path not in chosen and names_one_file(deletes[0], path):
            found[path] = deletes[0].file_path
    return found


def names_one_file(deletes: DataFile, path: str) -> bool:
    """Return whether a file of position deletes tells of one data file alone, by its bounds."""
    bounds = [(each or {}).get(PATH_ID) for each in (deletes.lower_bounds, deletes.upper_bounds)]
    return bounds == [path.encode()] * 2


def _rewrite(table: Table, kept: Collection[str]) -> None:
    made: list[DataFile] = []
    try:
        transaction = _stage_rewrite(table, kept, made)
    except Exception:
        delete_files(table, (file.file_path for file in made))
        raise
    try:
        commit_once(transaction)
    except ERRORS as error:
        if not isinstance(translate_commit(error), CommitUnknownError):
            delete_files(table, (file.file_path for file in made))
        raise


def _stage_rewrite(table: Table, kept: Collection[str], made: list[DataFile]) -> KeptTransaction:
    """Write the files anew, and return what is to be committed.

    Args:
        table: as it is now.
        kept: paths of data files that stay as they are.
        made: gets the files that are written.
    """
    tasks = list(table.scan(row_filter=AlwaysTrue()).plan_files())
    mapping = table.name_mapping()
    live = gather_tasks(table.io, table.schema(), tasks, mapping=mapping)
    counted = live.gone.group_by("file").aggregate([("pos", "count_distinct")]).to_pylist()
    gone = {live.paths[row["file"]]: int(row["pos_count_distinct"]) for row in counted}
    chosen = choose_files(live.files, gone, kept)
    settled = find_settled(tasks, chosen)
    rewritten = [task for task in tasks if task.file.file_path in chosen]
    names = [field.name for field in table.schema().fields]
    worn = gather_tasks(table.io, table.schema(), rewritten, mapping=mapping)
    for rows in read_chunks(worn, names, names):
        made += write_rows(table.metadata, table.io, rows)
    data = len(live.files) - len(chosen) + len(made)
    # A reader finds the deletes of a data file by the path, where they tell of no other one.
    for positions in split_deletes(live, {*chosen, *settled}):
        name = f"{uuid.uuid4()}-deletes"
        made.append(write_position_deletes(table.metadata, table.io, positions, name))
    # Those that tell of no data file any more go as well: of one that another program rewrote.
    dropped = {*chosen, *(_list_deletes(table) - set(settled.values()))}
    deletes = len(settled) + sum(file.content is not DataFileContent.DATA for file in made)
    transaction = KeptTransaction(table)
    transaction.set_properties({COMPACTED: str(data), COMPACTED_DELETES: str(deletes)})
    RowDelta(transaction, made, dropped=dropped, rewrites=True).stage()
    return transaction


def _list_deletes(table: Table) -> set[str]:
    """Return the paths of all files of position deletes that the present snapshot names."""
    present = table.metadata.current_snapshot_id
    found = iterate_entries(table, present) if present is not None else ()
    return {
        file.file_path
        for manifest, files in found
        if manifest.content is ManifestContent.DELETES
        for file in files
        if file.content is DataFileContent.POSITION_DELETES
    }


def split_deletes(live: LiveRows, left_out: Collection[str]) -> Iterator["pa.Table"]:
    """Give the deleted rows of one data file after the other.

    Args:
        live: all rows of the table.
        left_out: paths of data files that are not wanted.

    Returns:
        `file_path` and `pos` of each row, in order, and none twice.
    """
    for place, path in enumerate(live.paths):
        if path not in left_out:
            positions: Any = pc.unique(live.find_gone(place))
            if len(positions):
                names = pa.DictionaryArray.from_arrays(
                    pa.repeat(pa.scalar(0, pa.int32()), len(positions)), pa.array([path])
                )
                ordered = positions.take(pc.sort_indices(positions))
                yield pa.table([names, ordered], names=["file_path", "pos"])


def delete_files(table: Table, paths: Iterable[str]) -> None:
    """Delete files that no snapshot names, as far as possible."""
    for path in paths:
        with contextlib.suppress(OSError):
            table.io.delete(path)


def list_old(table: Table, before: float) -> list[Snapshot]:
    """Return the snapshots that can go.

    Args:
        table: as it is now.
        before: snapshots that were made before this time go, in seconds since 1970. The present
            one stays, and those that a branch or a tag names.
    """
    return [each for each in list_past(table.metadata) if each.timestamp_ms < before * 1000]


def expire_past(table: Table, before: float) -> int:
    """Let go of snapshots, and delete the files that no other one has; returns how many went.

    Args:
        table: as it is now.
        before: see `list_old`.
    """
    past = [each.snapshot_id for each in list_old(table, before)]
    if not past:
        return 0
    held = _list_files(table, choose_held(table.metadata, past))
    unneeded = _list_files(table, past, skip=held) - held
    transaction = KeptTransaction(table)
    # Nobody may have set the table back to one of them meanwhile.
    stage_expiry(transaction, past, present=table.metadata.current_snapshot_id)
    commit_once(transaction)
    delete_files(table, unneeded)
    return len(past)


def choose_held(metadata: TableMetadata, past: Collection[int]) -> list[int]:
    """Return snapshots that together have all files which any one has that stays.

    Args:
        metadata: of the table.
        past: the snapshots that go.
    """
    held = [each.snapshot_id for each in metadata.snapshots if each.snapshot_id not in past]
    if not is_linear(metadata, past):
        return held
    # A file that a snapshot takes away does not come again: of those that go, what stays at all is
    # in the oldest that stays.
    named = {ref.snapshot_id for ref in metadata.refs.values()}
    return list(dict.fromkeys([*held[:1], *(each for each in held if each in named)]))


def is_linear(metadata: TableMetadata, past: Collection[int]) -> bool:
    """Return whether each snapshot follows the one before it, and those that go come first."""
    snapshots = metadata.snapshots
    follows = all(
        each.parent_snapshot_id == before.snapshot_id and not _is_picked(each)
        for before, each in pairwise(snapshots)
    )
    first = [each.snapshot_id for each in snapshots[: len(past)]]
    return follows and set(first) == set(past)


def _is_picked(snapshot: Snapshot) -> bool:
    """Return whether a snapshot has the files of another one that it does not follow."""
    summary = snapshot.summary
    return summary is not None and summary["source-snapshot-id"] is not None


def _list_files(
    table: Table, snapshot_ids: Collection[int], *, skip: Collection[str] = ()
) -> set[str]:
    """Return the paths of all files that snapshots are made of.

    Args:
        table: of the snapshots.
        snapshot_ids: of them.
        skip: paths of manifests whose files are not wanted.
    """
    found: set[str] = set()
    read = set(skip)
    for snapshot_id in snapshot_ids:
        snapshot = table.metadata.snapshot_by_id(snapshot_id)
        if snapshot is not None:
            found.add(snapshot.manifest_list)
        for manifest, files in iterate_entries(table, snapshot_id, skip=read):
            read.add(manifest.manifest_path)
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
            extra = max(0, count.data - count.compacted) + count.further_deletes
            if extra >= CROWDED_TIMES * rule.files:
                found.append(CrowdedTable(f"{schema}.{name}", count.data + count.deletes))
    return sorted(found, key=lambda table: -table.files)
