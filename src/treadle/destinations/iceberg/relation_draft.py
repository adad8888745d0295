"""What a load does to one Iceberg table, before it is committed: columns, files and deletes."""

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace
from pyiceberg.expressions import (
    AlwaysTrue,
    And,
    BooleanExpression,
    GreaterThanOrEqual,
    In,
    LessThanOrEqual,
)
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from treadle.destinations.iceberg.column_draft import ColumnDraft
from treadle.destinations.iceberg.errors import ERRORS, translate, translate_part
from treadle.destinations.iceberg.live_rows import LiveRows, gather_tasks
from treadle.destinations.iceberg.row_delta import (
    KeptTransaction,
    RowDelta,
    commit_once,
    get_metadata,
    order_positions,
    plan_files,
    read_manifests,
    stage_expiry,
    stage_rollback,
    write_position_deletes,
    write_rows,
)
from treadle.destinations.iceberg.row_format import fit_types, make_array
from treadle.destinations.iceberg.schema_types import (
    ICEBERG_TYPES,
    JSON_DOC,
    KEY_PROPERTY,
    list_arrow_types,
    list_key,
)
from treadle.destinations.iceberg.table_record import RELATION, PartNote, encode_part
from treadle.destinations.protocol import DestinationUnavailableError
from treadle.errors import TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Relation, WidenColumn
from treadle.tables.plan.column_split import widen_values

LISTED_MAX: Final = 100
"""Keys up to which each of them is compared with the bounds of a file; of more, the range is."""

CHUNK_ROWS: Final = 2_000_000
CHUNK_BYTES: Final = 128 * 1024 * 1024
"""Rows, and their size in memory, that become a data file while a table is written anew."""


class RelationDraft(ColumnDraft):
    """Collects what a load does to a table.

    Args:
        table: as it was loaded; None while a load is rehearsed that would make it.
        relation: as it is after the load; None where rows are only taken away.
        rehearses: write nothing.
    """

    def __init__(
        self, table: Table | None, relation: Relation | None, *, rehearses: bool = False
    ) -> None:
        super().__init__(table, relation)
        self.note: PartNote | None = None
        """The load that writes here, for whom the head is another table."""
        self.added: list[DataFile] = []
        self._forgotten: list[str] = []
        self._restored: int | None = None
        self._rehearses = rehearses
        self._removed: list[tuple[list[str], pa.Table]] = []
        self._manifests: list[ManifestFile] | None = None
        if table is not None and not table.metadata.spec().is_unpartitioned():
            raise TableStoppedError(
                f"The Iceberg table {'.'.join(table.name())} has partitions by now, and treadle "
                "loads into tables without. Make it again without, or load into another one."
            )

    # --- columns ---

    def widen_column(self, change: WidenColumn) -> None:
        """Change the type of a column, for which the rows are written anew.

        The format has no way from one type to another one of treadle's. So a column of the new type
        takes the place of the old one, under the same name.
        """
        self.is_touched = True
        name = change.column.name
        self._require_columns([name])
        if self._transaction is None or self.table is None:
            return
        live = self.find_live(AlwaysTrue())
        names = [field.name for field in live.schema.fields]
        at = names.index(name)
        with self._transaction.update_schema(allow_incompatible_changes=True) as removal:
            removal.delete_column((name,))
        # In a second step, since a move looks for the column that was there.
        update = self._transaction.update_schema(allow_incompatible_changes=True)
        doc = JSON_DOC if change.column.type is ColumnType.JSON else None
        update.add_column((name,), ICEBERG_TYPES[change.column.type], doc)
        if at + 1 < len(names):
            update.move_before((name,), (names[at + 1],))
        update.commit()
        if self._rehearses:
            return

        def convert(rows: pa.Table) -> pa.Table:
            values = rows.column(at)
            if change.old is ColumnType.TIMESTAMP:
                values = values.cast(pa.int64())
            wide = widen_values(values.to_pylist(), change.old, change.column.type)
            return rows.set_column(at, name, make_array(wide, change.column.type))

        written = list(self._write_chunks(map(convert, read_chunks(live, names, names))))
        self.is_emptied = True
        self._removed.clear()
        self.added = written

    # --- rows ---

    def empty(self) -> None:
        """Take all rows away."""
        self.is_touched = self.is_emptied = True
        self.added.clear()
        self._removed.clear()

    def find_live(self, condition: BooleanExpression) -> LiveRows:
        """Return the rows that are there, of files that may hold such as meet a condition."""
        tasks: Sequence[Any] = ()
        if self.table is None:
            return LiveRows(None, self.schema)  # type: ignore[arg-type]  # it reads no file
        if not self.is_emptied and self.table.metadata.current_snapshot_id is not None:
            tasks = plan_files(self.table, condition, self._read_manifests(self.table))
        mapping = self.table.name_mapping()
        return gather_tasks(self.table.io, self.schema, tasks, self.added, mapping=mapping)

    def _read_manifests(self, table: Table) -> list[ManifestFile]:
        if self._manifests is None:
            self._manifests = read_manifests(table)
        return self._manifests

    def find_keys(self, key: Sequence[str], wanted: "pa.Table") -> LiveRows:
        """Return the rows that are there, of files that may hold one of the keys.

        Args:
            key: names of columns.
            wanted: as many columns, in this order, of the keys.
        """
        types = list_arrow_types(self.schema)
        held = set() if self.table is None else {f.name for f in self.table.schema().fields}
        if not held.issuperset(key):
            return self.find_live(AlwaysTrue())
        fitted = fit_types(wanted.rename_columns(list(key)), {name: types[name] for name in key})
        return self.find_live(make_condition(key, fitted))

    def add_rows(self, rows: "pa.Table") -> None:
        """Add rows; a column that they lack is NULL."""
        self.is_touched = True
        fitted = fit_types(rows, list_arrow_types(self.schema))
        if self._rehearses or self._transaction is None or self.table is None:
            return
        self.added += write_rows(get_metadata(self._transaction), self.table.io, fitted)

    def copy_rows(self, live: LiveRows, columns: Sequence[tuple[str, str]]) -> None:
        """Add the rows of another table.

        Args:
            live: of that table.
            columns: (name there, name here).
        """
        self.is_touched = True
        if self._rehearses or self._transaction is None:
            return
        chunks = read_chunks(live, [there for there, _ in columns], [here for _, here in columns])
        self.added += self._write_chunks(chunks)

    def _write_chunks(self, chunks: Iterable["pa.Table"]) -> Iterator[DataFile]:
        table, transaction = self._require()
        for rows in chunks:
            fitted = fit_types(rows, list_arrow_types(self.schema))
            yield from write_rows(get_metadata(transaction), table.io, fitted)

    def remove_rows(self, live: LiveRows, places: "pa.Table") -> None:
        """Take rows away.

        Args:
            live: that they were found in.
            places: `file` and `pos` of each.
        """
        if not places.num_rows:
            return
        self.is_touched = True
        self._removed.append((live.paths, places.select(["file", "pos"])))

    def remove_files(self, files: Mapping[str, int]) -> bool:
        """Take all rows of data files away; returns whether none of their rows can be left.

        A file that is not part of the table any more may have been written anew by another
        program. In a table without any file nothing can be left of it.

        Args:
            files: path -> rows in it.
        """
        live = self.find_live(AlwaysTrue())
        if live.paths and not files.keys() <= set(live.paths):
            return False
        for place, path in enumerate(live.paths):
            if path in files:
                size = files[path]
                file = pa.array([place] * size, pa.int32())
                self.remove_rows(live, pa.table([file, pa.arange(0, size)], names=["file", "pos"]))  # type: ignore[attr-defined]
        return True

    def restore_rows(self, snapshot_id: int | None) -> None:
        """Make an earlier snapshot the present one; None for a table that had none."""
        self.empty()
        self._restored = snapshot_id

    def imagine(self) -> Table:
        """Return the table with the columns and properties that the commit would give it."""
        table, transaction = self._require()
        self._stage_properties(self.properties)
        return Table(
            table.name(),
            get_metadata(transaction),
            table.metadata_location,
            table.io,
            table.catalog,
        )

    # --- commit ---

    def forget_properties(self, names: Iterable[str]) -> None:
        """Have properties removed."""
        self._forgotten += names

    @property
    def files(self) -> dict[str, int]:
        """The data files that are added, with the numbers of their rows."""
        return {file.file_path: file.record_count for file in self.added}

    def commit(self, *, keeps_history: bool = True) -> Table:
        """Commit everything as one snapshot.

        Args:
            keeps_history: keep what the table was before. Nobody looks into the past of a table
                that is only there for its properties.

        Raises:
            TreadleError: nothing was sent.
            Exception: of pyiceberg or of the catalogue; see `translate_commit`.
        """
        table, transaction = self._require()
        try:
            past = self._stage(table, transaction, keeps_history=keeps_history)
        except ERRORS as error:  # nothing was sent
            self.discard()
            raise translate(error) from error
        committed = commit_once(transaction)
        for snapshot in past:
            with contextlib.suppress(OSError):
                committed.io.delete(snapshot.manifest_list)
        return committed

    def _stage(
        self, table: Table, transaction: KeptTransaction, *, keeps_history: bool
    ) -> list[Snapshot]:
        """Stage everything; returns the snapshots that go."""
        metadata = get_metadata(transaction)
        files = list(self.added)
        if self._removed:
            gone = order_positions(self._removed)
            name = f"{uuid.uuid4()}-deletes"
            files.append(write_position_deletes(metadata, table.io, gone, name))
        past = [] if keeps_history else list_past(metadata)
        held = self._manifests if keeps_history else ()
        # Before the properties: it would have to work out the metadata with them first.
        if self._restored is None:
            delta = RowDelta(transaction, files, replaces_all=self.is_emptied, held=held)
            delta.stage()
            self._stage_properties(self.properties | self._encode_note(delta.snapshot_id))
        else:
            stage_rollback(transaction, self._restored)
            self._stage_properties(self.properties)
        stage_expiry(transaction, [snapshot.snapshot_id for snapshot in past])
        return past

    def _stage_properties(self, properties: dict[str, str]) -> None:
        _, transaction = self._require()
        if properties:
            transaction.set_properties(properties)
        if self._forgotten:
            transaction.remove_properties(*self._forgotten)

    def _encode_note(self, snapshot_id: int) -> dict[str, str]:
        """Return the note of the load, with all that it takes to undo its commit."""
        if self.note is None:
            return {}
        table, transaction = self._require()
        held = table.metadata
        made = self.properties | encode_part(self.note, self.relation)
        names = [name for name in (RELATION, KEY_PROPERTY) if name in made]
        note = replace(
            self.note,
            files=self.files,
            snapshot=snapshot_id,
            before=held.current_snapshot_id or 0,
            schemas=(held.current_schema_id, get_metadata(transaction).current_schema_id),
            properties={
                name: held.properties.get(name)
                for name in names
                if held.properties.get(name) != made[name]
            },
            replaces=self.is_emptied,
        )
        return encode_part(note, self.relation)

    def discard(self) -> None:
        """Delete the data files of a load that surely was not committed, as far as possible."""
        for file in self.added if self.table is not None else ():
            try:
                self.table.io.delete(file.file_path)  # type: ignore[union-attr]
            except OSError:
                return  # they stay, and no snapshot names them


def commit_part(draft: RelationDraft) -> Table:
    """Commit what a load does to a table that is no head.

    Raises:
        PlanOutdatedError: somebody else changed the table.
        AccessDeniedError, TableStoppedError: the catalogue refused it.
        DestinationUnavailableError: it was not answered. The load is not done, whatever became of
            this commit: the next one takes it back.
    """
    try:
        return draft.commit()
    except ERRORS as error:
        meaning = translate_part(error)
        if not isinstance(meaning, DestinationUnavailableError):
            draft.discard()
        raise meaning from error


def commit_properties(table: Table, properties: dict[str, str]) -> Table:
    """Commit properties alone; see `commit_part`."""
    draft = RelationDraft(table, None)
    draft.properties = properties
    return commit_part(draft)


def list_past(metadata: TableMetadata) -> list[Snapshot]:
    """Return the snapshots that no branch or tag names."""
    named = {ref.snapshot_id for ref in metadata.refs.values()}
    return [each for each in metadata.snapshots if each.snapshot_id not in named]


def read_chunks(
    live: LiveRows, names: Sequence[str], called: Sequence[str]
) -> Iterator["pa.Table"]:
    """Read rows in pieces of some size.

    Args:
        live: the rows.
        names: of their columns.
        called: what the columns are called in what is read.
    """
    reader = live.read_rows(names, called)
    found: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in reader:
        found.append(batch)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield pa.Table.from_batches(found, reader.schema)
            found, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(found, reader.schema)


def make_condition(key: Sequence[str], wanted: "pa.Table") -> BooleanExpression:
    """Return a condition that all wanted keys meet, by which files are left out.

    Args:
        key: names of columns.
        wanted: the keys, with the types of the table.
    """
    condition: BooleanExpression = AlwaysTrue()
    for at, name in enumerate(key):
        values: Any = wanted.column(at)
        if not len(values) or not _is_ordered(values.type):
            continue
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        if len(values) <= LISTED_MAX:
            condition = And(condition, _IN(name, set(values.to_pylist())))
            continue
        bounds: Any = pc.min_max(values).as_py()
        condition = And(
            condition, And(_AT_LEAST(name, bounds["min"]), _AT_MOST(name, bounds["max"]))
        )
    return condition


_IN: Final[Any] = In
_AT_LEAST: Final[Any] = GreaterThanOrEqual
_AT_MOST: Final[Any] = LessThanOrEqual
"""Conditions of pyiceberg, whose annotations are not those of how they are made."""


def _is_ordered(type_: Any) -> bool:
    """Return whether the bounds of a file tell something of values of a type."""
    return bool(
        pa.types.is_integer(type_)
        or pa.types.is_string(type_)
        or pa.types.is_decimal(type_)
        or (pa.types.is_timestamp(type_) and type_.tz is not None)
    )


def describe_key(table: Table) -> frozenset[str]:
    """Return the key of a table as it is."""
    return list_key(table.schema(), table.properties)
