"""Reads the rows of a table that are part of it: those of its data files that no delete names.

Columns are found in a file by the ids of their fields, so a file that was written before a column
was added or renamed is read as the table is now. A file without any, which another program added to
the table as it was, is read by the names that the table keeps for such files.
"""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.name_mapping import NameMapping

from treadle.destinations.iceberg.schema_types import list_arrow_types
from treadle.errors import TableStoppedError

KEY_ROWS: Final = 131_072
"""Rows whose keys are decoded at once."""

WHOLE_ROWS: Final = 16_384
"""Rows that are decoded at once with all their columns, which may hold long texts."""

FIELD_ID: Final = b"PARQUET:field_id"

GONE_SCHEMA: Final = pa.schema([("file", pa.int32()), ("pos", pa.int64())])


@dataclass
class LiveRows:
    """The rows of a table at a snapshot, or of some of its files.

    Attributes:
        io: of the table.
        schema: that rows are read with.
        files: data files, in order; `file` in what is read is the place of one here.
        deletes: files of position deletes that may be of them.
        mapping: the fields of names in files that have no ids of fields; None for a table without.
    """

    io: FileIO
    schema: Schema
    files: Sequence[DataFile] = ()
    deletes: Sequence[DataFile] = ()
    mapping: NameMapping | None = None
    failure: Exception | None = field(default=None, init=False)
    """What reading rows ended with. An engine that reads them has but the text of it."""
    _types: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._types = list_arrow_types(self.schema)

    @cached_property
    def paths(self) -> list[str]:
        """The paths of the data files."""
        return [file.file_path for file in self.files]

    @cached_property
    def gone(self) -> "pa.Table":
        """The rows that are deleted: place of the file, and row in it."""
        pieces = [GONE_SCHEMA.empty_table()]
        places = pa.array(self.paths, pa.string())
        for deletes in self.deletes:
            with open_parquet(self.io, deletes) as stream:
                parquet = pq.ParquetFile(stream, read_dictionary=["file_path"])
                found = parquet.read(columns=["file_path", "pos"])
            # Each path is there once, and the rows have its number.
            for batch in found.to_batches():
                paths: Any = batch.column("file_path")
                place: Any = pc.index_in(paths.dictionary.cast(pa.string()), value_set=places)
                piece = pa.table(
                    [place.take(paths.indices), batch.column("pos")], schema=GONE_SCHEMA
                )
                pieces.append(piece.filter(pc.is_valid(piece["file"])))
        return pa.concat_tables(pieces)

    def get_type(self, name: str) -> Any:
        """Return the Arrow type of a column."""
        return self._types[name]

    def read_places(self, names: Sequence[str]) -> "pa.RecordBatchReader":
        """Read columns of all rows, deleted ones as well, with the place of each row.

        Args:
            names: of columns. They are called c0, c1, ... in what is read, `file` and `pos` follow.
        """
        types = [self._types[name] for name in names]
        schema = pa.schema([*((f"c{at}", type_) for at, type_ in enumerate(types)), *GONE_SCHEMA])

        def give() -> Iterator["pa.RecordBatch"]:
            for place, file in enumerate(self.files):
                at = 0
                for batch in self._read_file(file, names, KEY_ROWS):
                    size = batch.num_rows
                    columns = [
                        *batch.columns,
                        pa.repeat(pa.scalar(place, pa.int32()), size),
                        make_range(at, size),
                    ]
                    yield pa.record_batch(columns, schema=schema)
                    at += size

        return pa.RecordBatchReader.from_batches(schema, self._note_failure(give()))

    def read_rows(
        self, names: Sequence[str], called: Sequence[str] | None = None
    ) -> "pa.RecordBatchReader":
        """Read columns of the rows that are part of the table.

        Args:
            names: of columns.
            called: what they are called in what is read, where that is something else.
        """
        schema = pa.schema(
            list(zip(called or names, (self._types[name] for name in names), strict=True))
        )

        def give() -> Iterator["pa.RecordBatch"]:
            for place, file in enumerate(self.files):
                gone = self.find_gone(place)
                at = 0
                for batch in self._read_file(file, names, WHOLE_ROWS):
                    rows = pa.record_batch(batch.columns, schema=schema)
                    if len(gone):
                        places = make_range(at, rows.num_rows)
                        rows = rows.filter(pc.invert(pc.is_in(places, value_set=gone)))
                    at += batch.num_rows
                    yield rows

        return pa.RecordBatchReader.from_batches(schema, self._note_failure(give()))

    def _note_failure(self, batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
        try:
            yield from batches
        except Exception as error:
            self.failure = error
            raise

    def find_gone(self, place: int) -> "pa.Array[Any]":
        """Return the rows of a file that are deleted; some may be there twice."""
        start, size = self._gone_slices.get(place, (0, 0))
        return self._gone_in_order.slice(start, size)

    @cached_property
    def _gone_in_order(self) -> "pa.Array[Any]":
        return self.gone.sort_by("file")["pos"].combine_chunks()

    @cached_property
    def _gone_slices(self) -> dict[int, tuple[int, int]]:
        """Place of a file -> start and size of its part of the rows in order."""
        counted = self.gone.group_by("file").aggregate([("pos", "count")]).to_pylist()
        sizes = {int(row["file"]): int(row["pos_count"]) for row in counted}
        found: dict[int, tuple[int, int]] = {}
        start = 0
        for place in sorted(sizes):
            found[place] = (start, sizes[place])
            start += sizes[place]
        return found

    def _read_file(
        self, file: DataFile, names: Sequence[str], size: int
    ) -> Iterator["pa.RecordBatch"]:
        """Read columns of a file, in order; one that it lacks is NULL."""
        with open_parquet(self.io, file) as stream:
            parquet = pq.ParquetFile(stream, pre_buffer=True)
            by_id = find_fields(parquet.schema_arrow, self.mapping, file.file_path)
            held = [by_id.get(self.schema.find_field(name).field_id) for name in names]
            wanted = [name for name in held if name is not None]
            if not wanted:  # how many rows there are has to be known all the same
                yield from self._make_missing(parquet.metadata.num_rows, names)
                return
            for batch in parquet.iter_batches(size, columns=wanted):
                yield pa.record_batch(
                    [
                        pa.nulls(batch.num_rows, self._types[name])
                        if there is None
                        else fit_array(batch.column(there), self._types[name])
                        for name, there in zip(names, held, strict=True)
                    ],
                    names=[f"c{at}" for at in range(len(names))],
                )

    def _make_missing(self, rows: int, names: Sequence[str]) -> Iterator["pa.RecordBatch"]:
        for at in range(0, rows, KEY_ROWS):
            size = min(KEY_ROWS, rows - at)
            nulls = [pa.nulls(size, self._types[name]) for name in names]
            yield pa.record_batch(nulls, names=[f"c{n}" for n in range(len(nulls))])


def find_fields(columns: "pa.Schema", mapping: NameMapping | None, path: str) -> Mapping[int, str]:
    """Return id of the field -> name of the column in a file.

    Args:
        columns: of the file.
        mapping: of the table; see `LiveRows`.
        path: of the file.

    Raises:
        TableStoppedError: nothing says of which fields the columns are.
    """
    found = {
        int(each.metadata[FIELD_ID]): each.name
        for each in columns
        if each.metadata is not None and FIELD_ID in each.metadata
    }
    if found or not columns.names:
        return found
    if mapping is None:
        raise TableStoppedError(
            f"Another program added the file {path} to the table, whose columns have no ids of "
            "fields, and the table has no property schema.name-mapping.default that says which "
            "columns they are. Set that property, or write the file anew with field ids."
        )
    named = {name: each.field_id for each in mapping for name in each.names}
    return {field_id: name for name in columns.names if (field_id := named.get(name)) is not None}


def fit_array(array: "pa.Array[Any]", type_: Any) -> "pa.Array[Any]":
    """Return an array with the type that the table has by now for the column."""
    return array if array.type == type_ else array.cast(type_)


def make_range(start: int, size: int) -> "pa.Array[Any]":
    """Return consecutive numbers."""
    numbers: pa.Array[Any] = pa.arange(start, start + size)  # type: ignore[attr-defined]
    return numbers


def require_parquet(file: DataFile) -> None:
    """Check that a file is one that treadle reads.

    Raises:
        TableStoppedError: another program wrote it in another format.
    """
    if file.file_format != FileFormat.PARQUET:
        raise TableStoppedError(
            f"Another program wrote the file {file.file_path} of the table in the format "
            f"{file.file_format.value}, and treadle reads Parquet only. Have that program write "
            "Parquet, and rewrite the file with it."
        )


@contextlib.contextmanager
def open_parquet(io: FileIO, file: DataFile) -> Iterator[Any]:
    """Open a file of a table.

    Raises:
        TableStoppedError: it is not what treadle reads.
        OSError: the store does not give it.
    """
    require_parquet(file)
    with io.new_input(file.file_path).open() as stream:
        try:
            yield stream
        except pa.ArrowInvalid as error:
            raise TableStoppedError(
                f"The file {file.file_path} of the table cannot be read: {error} Restore the file, "
                "or go back to a snapshot of the table that does not have it."
            ) from error


def gather_tasks(
    io: FileIO,
    schema: Schema,
    tasks: Iterable[FileScanTask],
    added: Collection[DataFile] = (),
    *,
    mapping: NameMapping | None,
) -> LiveRows:
    """Return the rows of planned files, and of files that are not committed yet."""
    found = list(tasks)
    deletes: Mapping[str, DataFile] = {
        each.file_path: each for task in found for each in task.delete_files
    }
    files = [*(task.file for task in found), *added]
    return LiveRows(io, schema, files, list(deletes.values()), mapping)


def read_all(table: Table) -> LiveRows:
    """Return all rows of a table."""
    tasks: Sequence[Any] = ()
    if table.metadata.current_snapshot_id is not None:
        tasks = list(table.scan(row_filter=AlwaysTrue()).plan_files())
    return gather_tasks(table.io, table.schema(), tasks, mapping=table.name_mapping())
