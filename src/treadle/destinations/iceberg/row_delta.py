"""All that is taken from the private parts of pyiceberg, but those of its REST client.

pyiceberg 0.12 has no public way to commit position deletes, to write data files without a commit,
or to say that a commit that lost is not to be repeated on the snapshot of the winner. What is here
does that, by names that a release may change: so the minor version is fixed, and moved together
with `tests/unit/destinations/test_row_delta.py`. The REST client is in `rest_catalogue`.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchNamespaceError,
    NoSuchTableError,
)
from pyiceberg.expressions import BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriter,
    ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.table import (
    CommitTableResponse,
    FileScanTask,
    ManifestGroupPlanner,
    Table,
    Transaction,
)
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertCurrentSchemaId,
    AssertRefSnapshotId,
    AssertTableUUID,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.table.update.snapshot import _SnapshotProducer
from pyiceberg.typedef import Record

from treadle.destinations.iceberg.file_io import sync_folders

if TYPE_CHECKING:
    from pyiceberg.schema import Schema

PATH_ID: Final = 2147483546
POSITION_ID: Final = 2147483545

KEPT_TABLES: Final = 64
"""Tables whose metadata a session keeps, as it read or wrote them last."""

_PATHS: Any = pa.dictionary(pa.int32(), pa.string())
_PATH: Any = pa.field("file_path", _PATHS, False, {"PARQUET:field_id": str(PATH_ID)})
_POSITION: Any = pa.field("pos", pa.int64(), False, {"PARQUET:field_id": str(POSITION_ID)})

DELETES_SCHEMA: Final = pa.schema([_PATH, _POSITION])
"""The columns of a file of position deletes, with the ids that the format reserves for them.

Paths are numbers of texts here, and texts in the file."""

_PLACE_BITS: Final = 40
"""Bits of the row in a number that stands for a row of a file; those above are of the file."""


class KeptTransaction(Transaction):
    """A transaction that works out once what a table is after each thing that is staged.

    pyiceberg copies all metadata each time that it looks at them, some dozen times for a snapshot.
    """

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self._kept: tuple[tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """Return the metadata with what is staged."""
        if not self._updates:
            return self._table.metadata
        if self._kept is None or self._kept[0] is not self._updates:
            self._kept = (self._updates, super().table_metadata)
        return self._kept[1]


class DeleteManifestWriter(ManifestWriterV2):
    """Writes a manifest of delete files."""

    def content(self) -> ManifestContent:
        """Return what the files of the manifest hold."""
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class RowDelta(_SnapshotProducer["RowDelta"]):
    """One snapshot that adds data files and position deletes, and may take files away.

    Args:
        transaction: that the snapshot is staged in.
        added: data files and files of position deletes.
        dropped: paths of files that are not part of the table any more.
        replaces_all: no file of the snapshot before is part of the table any more.
        rewrites: write the entries of all files that stay into as few manifests as possible.
        held: the manifests of the snapshot before, where they are known; None to read them.
    """

    def __init__(
        self,
        transaction: Transaction,
        added: Sequence[DataFile] = (),
        *,
        dropped: Collection[str] = (),
        replaces_all: bool = False,
        rewrites: bool = False,
        held: Sequence[ManifestFile] | None = None,
    ) -> None:
        only_rows = all(file.content is DataFileContent.DATA for file in added)
        appends = only_rows and not dropped and not replaces_all
        super().__init__(
            Operation.APPEND if appends else Operation.OVERWRITE,
            transaction,
            transaction._table.io,
        )
        self._dropped = frozenset(dropped)
        self._replaces_all = replaces_all
        self._rewrites = rewrites or replaces_all or bool(dropped)
        self._held = held
        for file in added:
            self.append_data_file(file)

    @property
    def snapshot_id(self) -> int:
        """The id of the snapshot."""
        return self._snapshot_id

    def stage(self) -> None:
        """Write the manifests of the snapshot, and stage it in its transaction."""
        self._transaction._stage(*self._commit())

    def _manifests(self) -> list[ManifestFile]:
        spec = self._transaction.table_metadata.spec()
        made: list[ManifestFile] = []
        for content in (ManifestContent.DATA, ManifestContent.DELETES):
            entries = [
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED,
                    snapshot_id=self._snapshot_id,
                    sequence_number=None,
                    file_sequence_number=None,
                    data_file=file,
                )
                for file in self._added_data_files
                if _content_of(file) is content
            ]
            if entries:
                made.append(self._write(content, spec, entries))
        return [*made, *self._existing_manifests()]

    def _existing_manifests(self) -> list[ManifestFile]:
        if self._parent_snapshot_id is None:
            return []
        held: Sequence[ManifestFile] | None = self._held
        if held is None:
            parent = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id)
            held = [] if parent is None else parent.manifests(self._io)
        if not self._rewrites:
            return [each for each in held if each.has_added_files() or each.has_existing_files()]
        carried: dict[tuple[ManifestContent, int], list[ManifestEntry]] = {}
        for manifest in held:
            kept = carried.setdefault((manifest.content, manifest.partition_spec_id), [])
            kept += map(self._carry, self.fetch_manifest_entry(manifest))
        return [
            self._write(content, self.spec(spec_id), entries)
            for (content, spec_id), entries in carried.items()
            if entries
        ]

    def _carry(self, entry: ManifestEntry) -> ManifestEntry:
        """Return the entry of a file of the snapshot before: it stays, or it goes."""
        goes = self._replaces_all or entry.data_file.file_path in self._dropped
        if goes:
            self._deleted_data_files.add(entry.data_file)
        return ManifestEntry.from_args(
            status=ManifestEntryStatus.DELETED if goes else ManifestEntryStatus.EXISTING,
            snapshot_id=self._snapshot_id if goes else entry.snapshot_id,
            sequence_number=entry.sequence_number,
            file_sequence_number=entry.file_sequence_number,
            data_file=entry.data_file,
        )

    def _deleted_entries(self) -> list[ManifestEntry]:
        return []  # `_manifests` writes them with those that stay

    def _write(
        self, content: ManifestContent, spec: PartitionSpec, entries: Sequence[ManifestEntry]
    ) -> ManifestFile:
        writer: ManifestWriter = self.new_manifest_writer(spec)
        if content is ManifestContent.DELETES:
            writer = DeleteManifestWriter(
                spec,
                self.schema(),
                self.new_manifest_output(),
                self._snapshot_id,
                self._compression,
            )
        with writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()


def _content_of(file: DataFile) -> ManifestContent:
    is_data = file.content is DataFileContent.DATA
    return ManifestContent.DATA if is_data else ManifestContent.DELETES


def commit_once(transaction: Transaction) -> Table:
    """Commit a transaction without repeating it: one that lost against another has failed.

    pyiceberg would repeat it on the snapshot of the other one, so that two loaders with one plan
    could both write their rows.

    Whoever is between treadle and the catalogue may send a request twice. The first one succeeds
    then, and the answer is that of the second, which lost against the first. So the snapshot is
    looked for before a commit counts as one that lost.

    Raises:
        CommitFailedException: another commit was first, and this one is not part of the table.
        CommitStateUnknownException: one of both, and the table could not be read.
    """
    table = transaction._table
    if not isinstance(table.catalog, SqlCatalog):  # where the file of the metadata does it
        sync_folders()
    try:
        table._do_commit(
            updates=transaction._updates,
            requirements=(
                *transaction._requirements,
                AssertTableUUID(uuid=table.metadata.table_uuid),
            ),
        )
    except CommitFailedException as lost:
        _take_if_committed(table, transaction._updates, lost)
    return table


def _take_if_committed(
    table: Table, updates: Sequence[TableUpdate], lost: CommitFailedException
) -> None:
    """Give a table the metadata it has by now, if the snapshot of a commit is part of it.

    Raises:
        CommitFailedException: it is not.
        CommitStateUnknownException: the table could not be read.
    """
    staged = {each.snapshot.snapshot_id for each in updates if isinstance(each, AddSnapshotUpdate)}
    if not staged:
        raise lost
    try:
        now = table.catalog.load_table(table.name())
    except (NoSuchTableError, NoSuchNamespaceError):
        raise lost from None
    except Exception as error:
        raise CommitStateUnknownException(
            f"{lost}; whether an earlier try was done could not be read: {error}"
        ) from error
    is_same = now.metadata.table_uuid == table.metadata.table_uuid
    if not is_same or not staged.issubset(each.snapshot_id for each in now.metadata.snapshots):
        raise lost
    table.metadata, table.metadata_location, table.io = now.metadata, now.metadata_location, now.io


def read_manifests(table: Table) -> list[ManifestFile]:
    """Return the manifests of a table's present snapshot."""
    snapshot = table.current_snapshot()
    return [] if snapshot is None else list(snapshot.manifests(table.io))


def plan_files(
    table: Table, condition: BooleanExpression, manifests: Sequence[ManifestFile]
) -> list[FileScanTask]:
    """Return the files of a table that may hold rows that meet a condition, with their deletes.

    Args:
        table: as it is.
        condition: over the columns.
        manifests: of its present snapshot.
    """
    planner = ManifestGroupPlanner(table.metadata, table.io, condition)
    return list(planner.plan_files(manifests))


def has_changes(transaction: Transaction) -> bool:
    """Return whether anything is staged in a transaction."""
    return bool(transaction._updates)


def get_metadata(transaction: Transaction) -> TableMetadata:
    """Return the metadata that a table has after what is staged."""
    return transaction.table_metadata


def stage_expiry(
    transaction: Transaction, snapshot_ids: Collection[int], *, present: int | None = None
) -> None:
    """Stage that snapshots are no longer part of a table; their files stay.

    Args:
        transaction: of the table.
        snapshot_ids: that go.
        present: the snapshot that has to be the present one; None for any.
    """
    if snapshot_ids:
        ids: Any = {"snapshot_ids": sorted(snapshot_ids)}  # it has another name on the wire
        required = () if present is None else (require_main(present),)
        transaction._stage((RemoveSnapshotsUpdate(**ids),), required)


def stage_rollback(transaction: Transaction, snapshot_id: int) -> None:
    """Stage that an earlier snapshot is the present one, if the present one still is."""
    main = transaction.table_metadata.refs[MAIN_BRANCH]
    named = {"ref-name": MAIN_BRANCH, "type": "branch", "snapshot-id": snapshot_id}
    kept = main.model_dump(by_alias=True, exclude={"snapshot_id", "snapshot_ref_type"})
    update = SetSnapshotRefUpdate.model_validate({**kept, **named})
    transaction._stage((update,), (require_main(main.snapshot_id),))


def require_main(snapshot_id: int) -> AssertRefSnapshotId:
    """Return the requirement of a commit that a snapshot is the present one."""
    return AssertRefSnapshotId.model_validate({"snapshot-id": snapshot_id, "ref": MAIN_BRANCH})


def stage_schema(transaction: Transaction, schema_id: int) -> None:
    """Stage that a table has the columns of an earlier schema again."""
    present = transaction.table_metadata.current_schema_id
    if present != schema_id:
        transaction._stage(
            (SetCurrentSchemaUpdate.model_validate({"schema-id": schema_id}),),
            (AssertCurrentSchemaId.model_validate({"current-schema-id": present}),),
        )


def write_rows(metadata: TableMetadata, io: FileIO, rows: "pa.Table") -> list[DataFile]:
    """Write rows as data files, which no snapshot names yet.

    Args:
        metadata: of the table, with the schema that the files get.
        io: of the table.
        rows: some or all columns, by name. A column that is missing is NULL.
    """
    if not rows.num_rows:
        return []
    return list(_dataframe_to_data_files(table_metadata=metadata, df=rows, io=io))


def write_position_deletes(
    metadata: TableMetadata, io: FileIO, positions: "pa.Table", name: str
) -> DataFile:
    """Write a file of position deletes, which no snapshot names yet.

    Args:
        metadata: of the table.
        io: of the table.
        positions: `file_path` and `pos`, in this order.
        name: of the file, unique in the table.
    """
    path = f"{metadata.location.rstrip('/')}/data/{name}.parquet"
    output = io.new_output(path)
    with output.create() as stream:
        pq.write_table(
            positions.cast(DELETES_SCHEMA),
            cast("Any", stream),
            compression="zstd",
            compression_level=1,
            use_dictionary=cast("Any", ["file_path"]),
            store_schema=False,  # the paths are texts for whoever reads them
        )
    paths = positions.column("file_path")
    # Sorted, so that a reader can leave a file out that tells of none of its data files.
    bounds = (paths[0].as_py().encode(), paths[-1].as_py().encode())
    made = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=positions.num_rows,
        file_size_in_bytes=len(output),
        column_sizes={},
        value_counts={},
        null_value_counts={},
        nan_value_counts={},
        lower_bounds={PATH_ID: bounds[0]},
        upper_bounds={PATH_ID: bounds[1]},
        _table_format_version=2,
    )
    made.spec_id = metadata.default_spec_id
    return made


def order_positions(pieces: Sequence[tuple[Sequence[str], "pa.Table"]]) -> "pa.Table":
    """Return deleted rows as a file of position deletes has them: in order, and none twice.

    Args:
        pieces: paths of data files, and rows of them: `file`, the place of its path, and `pos`.

    Returns:
        `file_path`, as a dictionary, and `pos`.
    """
    used = [(some, cast("list[int]", pc.unique(rows["file"]).to_pylist())) for some, rows in pieces]
    paths = pa.array(sorted({some[file] for some, files in used for file in files}), pa.string())
    found: list[pa.Array[Any]] = []
    for some, rows in pieces:
        place: Any = pc.index_in(pa.array(some, pa.string()), value_set=paths)
        file: Any = place.take(rows["file"].combine_chunks()).cast(pa.int64())
        position: Any = rows["pos"].combine_chunks().cast(pa.int64())
        found.append(pc.add(pc.shift_left(file, _PLACE_BITS), position))
    numbers: Any = pc.unique(pa.concat_arrays(found))
    numbers = numbers.take(pc.sort_indices(numbers))
    file = pc.shift_right(numbers, _PLACE_BITS).cast(pa.int32())
    position = pc.bit_wise_and(numbers, (1 << _PLACE_BITS) - 1)
    return pa.table(
        [pa.DictionaryArray.from_arrays(file, paths), position], names=["file_path", "pos"]
    )


def iterate_entries(
    table: Table, snapshot_id: int, *, skip: Collection[str] = ()
) -> Iterator[tuple[ManifestFile, list[DataFile]]]:
    """Give each manifest of a snapshot with the files that it has as part of the table.

    Args:
        table: of the snapshot.
        snapshot_id: of it.
        skip: paths of manifests that are left out.
    """
    snapshot = table.metadata.snapshot_by_id(snapshot_id)
    for manifest in [] if snapshot is None else snapshot.manifests(table.io):
        if manifest.manifest_path not in skip:
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
            yield manifest, [entry.data_file for entry in entries]


class KeptSqlCatalog(SqlCatalog):
    """A catalogue in SQL that does not read again what it knows of a table.

    The catalogue's row names the file of a table's metadata, which never changes: what a table is
    by now is in a file of another name. So a row is asked for each time, and a file is read once.
    """

    def __init__(self, name: str, **properties: str) -> None:
        self._kept: OrderedDict[str, TableMetadata] = OrderedDict()
        super().__init__(name, **properties)

    def _keep(self, location: str, metadata: TableMetadata) -> None:
        self._kept[location] = metadata
        self._kept.move_to_end(location)
        while len(self._kept) > KEPT_TABLES:
            self._kept.popitem(last=False)

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        location = orm_table.metadata_location
        metadata = self._kept.get(location or "")
        if location is None or metadata is None:
            read = super()._convert_orm_to_iceberg(orm_table)
            self._keep(read.metadata_location, read.metadata)
            return read
        self._kept.move_to_end(location)
        return Table(
            identifier=(
                *self.identifier_to_tuple(orm_table.table_namespace),
                orm_table.table_name,
            ),
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """Commit updates to a table; see `Catalog.commit_table`."""
        response = super().commit_table(table, requirements, updates)
        self._kept.pop(table.metadata_location, None)
        self._keep(response.metadata_location, response.metadata)
        return response


def schema_of(transaction: Transaction) -> "Schema":
    """Return the schema that a table has after what is staged."""
    return transaction.table_metadata.schema()
