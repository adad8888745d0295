"""Carries a load of a table out: files that nobody sees, a record, files that readers see.

The record is the load (`docs/explanation/decisions/files-that-a-mark-names.md`). What is shown
follows from the newest record, so whoever finds a file that is not shown yet may show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from treadle import failpoint
from treadle.destinations.files.object_names import (
    JSON_LINES,
    PARQUET,
    name_attempt_folder,
    name_file,
    name_pending_folder,
    name_relation_folder,
    name_schema_records,
    name_table_records,
    read_attempt,
)
from treadle.destinations.files.object_store import ObjectStore
from treadle.destinations.files.parquet_format import (
    encode_parquet,
    encode_rejections,
    make_table,
)
from treadle.destinations.files.record_chain import RecordChain
from treadle.destinations.files.stored_tables import list_relations
from treadle.destinations.files.table_record import ShownFile, TableRecord, count_files
from treadle.destinations.layout import REJECTED, check_offset, moves_offset
from treadle.destinations.load_counter import LoadCounter
from treadle.destinations.load_mark import LoadMark, digest_mark, make_mark
from treadle.destinations.protocol import LoadResult, PlanOutdatedError
from treadle.errors import InternalError, TableStoppedError
from treadle.tables import table_codec
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    Relation,
    RenameColumn,
    WidenColumn,
)
from treadle.tables.names import VERSION
from treadle.tables.profiles import FILES

_REMEDY: Final = (
    "Rows in files are only added, and no file is changed. Remove the table's folders from the "
    "destination, and the next load makes it anew with what is sent then."
)


@dataclass(eq=False)
class AttemptSight:
    """The attempts to load tables that a session has looked for.

    Attributes:
        store: of the files.
        settled: folder of records -> the attempt of the newest record whose files are shown.
        leftovers: folder of records -> keys of files of other attempts.
    """

    store: ObjectStore
    settled: dict[str, str] = field(default_factory=dict)
    leftovers: dict[str, list[str]] = field(default_factory=dict)

    def settle(self, schema: str, folded: str, record: TableRecord | None) -> None:
        """Show what the newest record of a table names and is not shown yet."""
        folder = name_table_records(schema, folded)
        attempt = "" if record is None else record.attempt
        if self.settled.get(folder) == attempt:
            return
        keys = self.store.list_keys(name_pending_folder(schema, folded))
        if record is not None:
            self.show(folder, record, keys)
        named = set() if record is None else {file.pending for file in record.files}
        self.leftovers[folder] = [key for key in keys if key not in named]
        self.settled[folder] = attempt

    def show(self, folder: str, record: TableRecord, keys: Sequence[str]) -> None:
        """Show the files of a record, those that are pending still.

        Args:
            folder: of the record.
            record: the newest one.
            keys: that are pending.
        """
        waiting = set(keys)
        for file in record.files:
            if file.pending in waiting:
                self.store.show(file.pending, file.shown)
                failpoint.reach("destination.shown")
        self.settled[folder] = record.attempt

    def sweep(self, folder: str, number: int) -> None:
        """Remove files of attempts that cannot be committed any more.

        Args:
            folder: of the records.
            number: of a record that is committed. An attempt that began from an older one cannot
                take its place.
        """
        found = self.leftovers.pop(folder, [])
        gone = [key for key in found if read_attempt(key)[0] < number]
        self.store.remove(gone)


class FilesLoad:
    """One load.

    Args:
        store: of the files.
        chain: of the records of tables.
        sight: of attempts.
        plan: to be carried out.
        held: the newest record of the table; None for none.
        attempt: the name of this one.
    """

    def __init__(
        self,
        store: ObjectStore,
        chain: RecordChain[TableRecord],
        sight: AttemptSight,
        plan: LoadPlan,
        held: TableRecord | None,
        attempt: str,
    ) -> None:
        self._store = store
        self._chain = chain
        self._sight = sight
        self._plan = plan
        name = plan.table_name if plan.table_after is None else plan.table_after.name
        self._held = held or TableRecord(plan.schema, name)
        self._folded = FILES.fold(name)
        self._folder = name_table_records(plan.schema, self._folded)
        self._attempt = attempt
        self._files: list[ShownFile] = []
        self._relations: list[str] = []
        self._objects: dict[str, list[str]] = {}

    def check(self, mark: LoadMark | None) -> None:
        """Check that the plan follows what is there.

        Args:
            mark: what is held for the offset of the plan.

        Raises:
            PlanOutdatedError, FencedError: it does not.
        """
        plan, held = self._plan, self._held
        check_offset(plan.offset, *((-1, 0) if mark is None else (mark.position, mark.fence)))
        if plan.table_after is not None and held.revision != plan.revision:
            raise PlanOutdatedError(
                f"table {plan.table_name!r}: planned from revision {plan.revision}, the "
                f"destination holds {held.revision}"
            )

    def change(self) -> None:
        """Check that the columns can be as the plan has them; they are in the files that come.

        Raises:
            PlanOutdatedError: what is to be made is there.
            TableStoppedError: a file would have to be changed.
        """
        entry = self._held.table
        known = {relation.name: relation for relation in entry.relations} if entry else {}
        for change in self._plan.changes:
            match change:
                case CreateRelation(relation, False):
                    self._check_creation(relation, known)
                case AddColumn(name, column, False):
                    self._check_column(known.get(name), name, column.name)
                case ChangeKey():  # files have none
                    pass
                case EmptyRelation(name):
                    self._check_empty(name)
                case DropStage():
                    pass
                case RenameColumn() | WidenColumn() | CopyStage() | CreateRelation() | AddColumn():
                    raise TableStoppedError(
                        f'The table "{self._plan.table_name}" would have to be written anew for '
                        f"this load. {_REMEDY}"
                    )

    def _check_creation(self, relation: Relation, known: Mapping[str, Relation]) -> None:
        name = relation.name
        if name not in known:
            self._check_owners(name)
        if not self._is_filled(name):
            return
        if name in known or not relation.path:
            raise PlanOutdatedError(f"the table {name!r} is there by now")
        raise TableStoppedError(
            f'Files that treadle did not write are where the subtable "{name}" of '
            f'"{self._plan.table_name}" is to be. Move them elsewhere.'
        )

    def _check_owners(self, name: str) -> None:
        """Check that no other table has a relation of a name: one folder is one relation's."""
        folded = FILES.fold(name)
        for record in self._chain.read_all(name_schema_records(self._plan.schema)):
            if FILES.fold(record.name) != self._folded and any(
                FILES.fold(each.name) == folded for each in list_relations(record.table)
            ):
                raise TableStoppedError(
                    f'"{name}", which "{self._plan.table_name}" needs, is a table of '
                    f'"{record.name}" already. Send one of the two under another name.'
                )

    def _check_column(self, relation: Relation | None, name: str, column: str) -> None:
        if relation is None:
            return  # it is made by this load
        if FILES.fold(column) in {FILES.fold(each.name) for each in relation.columns}:
            raise PlanOutdatedError(f"the column {column!r} of {name!r} is there by now")

    def _check_empty(self, name: str) -> None:
        if self._is_filled(name):
            raise TableStoppedError(
                f'The rows of "{name}" would have to be removed for this load, since the table '
                f'"{self._plan.table_name}" was removed, or is to be replaced. {_REMEDY}'
            )

    def _is_filled(self, relation: str) -> bool:
        return self._store.holds_any(name_relation_folder(self._plan.schema, relation))

    def write(self, *, rehearses: bool) -> LoadResult:
        """Write the files of the load where nobody looks.

        Args:
            rehearses: make them, and put them nowhere.

        Raises:
            RowRefusedError: the format cannot hold a value.
        """
        counter = LoadCounter(self._plan)
        tables: dict[str, list[pa.Table]] = {}
        for write in counter.writes():
            if write.private:
                raise InternalError("rows of a version that waits were to be written to files")
            # Readers are to find children before their parents, never a parent without them.
            for rows in (*write.children, write.root):
                if len(rows):
                    tables.setdefault(rows.relation.name, []).append(make_table(rows))
                counter.count(rows.relation, len(rows))
        if self._plan.rejections:
            self._add_file(REJECTED, encode_rejections(self._plan), rehearses, JSON_LINES)
        for name, parts in self._order(tables):
            table = pa.concat_tables(parts, promote_options="default")
            self._add_file(name, encode_parquet(table), rehearses, PARQUET, find_version(table))
            self._relations.append(name)
        return replace(counter.result, objects=self._objects)

    def _order(self, tables: dict[str, list["pa.Table"]]) -> list[tuple[str, list["pa.Table"]]]:
        roots = {write.root.relation.name for write in self._plan.writes}
        return sorted(tables.items(), key=lambda each: each[0] in roots)

    def _add_file(
        self,
        relation: str,
        data: bytes | memoryview,
        rehearses: bool,
        ending: str,
        version: int | None = None,
    ) -> None:
        plan = self._plan
        if version is None:
            version = 0 if plan.table_after is None else plan.table_after.version
        folder = name_attempt_folder(plan.schema, self._folded, self._held.number, self._attempt)
        shown = name_file(
            plan.offset,
            relation,
            version=version,
            batched_at=plan.batched_at,
            ending=ending,
        )
        file = ShownFile(
            f"{folder}/{len(self._files):04d}.{ending}",
            f"{name_relation_folder(plan.schema, relation)}/{shown}",
        )
        if not rehearses:
            # Noted first: an attempt that is given up removes what may be there.
            self._files.append(file)
            if ending == PARQUET:
                self._objects.setdefault(relation, []).append(f"{self._store.place}/{file.shown}")
            self._store.put(file.pending, data)
            failpoint.reach("destination.part")

    def commit(self, result: LoadResult) -> None:
        """Put the record that makes the files those of the table.

        Raises:
            PlanOutdatedError: somebody else was first.
            CommitUnknownError: the end is not known.
        """
        plan, held = self._plan, self._held
        marks = dict(held.marks)
        mark = plan.offset
        if moves_offset(mark):
            marks[digest_mark(mark.log_id, mark.source_id, mark.table_name)] = make_mark(
                mark, result
            )
        after = plan.table_after
        entry = held.entry if after is None else table_codec.encode_table(after)
        record = msgspec.structs.replace(
            held.follow(self._attempt),
            revision=held.revision if after is None else held.revision + 1,
            marks=marks,
            entry=entry,
            files=tuple(self._files),
            filled=count_files(self._count_remaining(), self._relations),
        )
        failpoint.reach("destination.before-commit")
        self._chain.append(self._folder, record)
        failpoint.reach("destination.after-commit")
        self._held = record

    def _count_remaining(self) -> dict[str, int]:
        """Return the files of relations, without those of relations that are made anew."""
        made = {
            change.relation.name
            for change in self._plan.changes
            if isinstance(change, CreateRelation)
        }
        return {name: count for name, count in self._held.filled.items() if name not in made}

    def finish(self) -> None:
        """Show the files of the load that is committed, and remove leftovers of others."""
        self._sight.show(self._folder, self._held, [file.pending for file in self._files])
        self._sight.sweep(self._folder, self._held.number)

    def discard(self) -> None:
        """Remove the files of a load that is given up.

        It must not have reached `commit`.
        """
        self._store.remove([file.pending for file in self._files])


def find_version(table: "pa.Table") -> int | None:
    """Return the table version of all rows; None where there are several, or none is known."""
    if VERSION not in table.column_names:
        return None
    found = pc.unique(table[VERSION])
    return found[0].as_py() if len(found) == 1 else None
