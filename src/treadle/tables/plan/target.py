"""The relations that one version of a table is written to: their columns and their rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from treadle.errors import TableStoppedError
from treadle.tables import names
from treadle.tables.arrow_column import TypedColumn, find_present_rows
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    Relation,
    RelationRows,
    SchemaChange,
    TableOptions,
    TableWrite,
)
from treadle.tables.names import Namer
from treadle.tables.plan.column_split import (
    ColumnAllocation,
    ColumnAllocator,
    find_widest_type,
    widen_values,
)
from treadle.tables.plan.generated_keys import generate_keys
from treadle.tables.plan.keys import GENERATED_KEY_COLUMNS
from treadle.tables.plan.reconcile import SYSTEM_COLUMNS
from treadle.tables.prepare.frame import Frame, RelationPath, fill_gaps, make_row_picker
from treadle.tables.prepare.key_mismatch import KeyMismatches
from treadle.tables.prepare.prepare import PreparedLoad
from treadle.tables.prepare.schema_slice import TOO_MANY_COLUMNS
from treadle.tables.prepare.version_group import RecordRef, VersionGroup
from treadle.tables.profile import DestinationProfile
from treadle.tables.rejection_reason import RejectionCode, RejectionReason


@dataclass(frozen=True, slots=True)
class NeedsRejections:
    """Some records have to be rejected: the load is to be prepared again without them.

    Attributes:
        reasons: record -> why it is rejected.
        keys: records that are rejected for their key.
    """

    reasons: Mapping[RecordRef, RejectionReason]
    keys: KeyMismatches = frozenset()


@dataclass(slots=True, kw_only=True, eq=False)
class RelationTarget:
    """The live relations of a table, or those of a stage.

    Attributes:
        name: of the root relation.
        source_name: of the table, as sent.
        root: as it is, None when it is to be made.
        children: subtables as they are, by folded path.
        keys: key columns, by name; the generated one for a table without.
        append: rows are appended, whatever their key.
        root_key: the root's primary key afterwards.
        private: the relations are a stage's.
        version: of the rows.
        unknown_columns, column_counts: see `reconcile.LiveRelations`.
        namer: for names of subtables.
        batched_at: of the load.
        log_id, positions: what generated keys are made from.
        stage_name: (version, path) -> name of a stage's relation.
        changes: of the schema, once columns were allocated.
        keyless: the table has the generated key.
    """

    name: str
    source_name: str
    root: Relation | None
    children: Mapping[RelationPath, Relation]
    keys: tuple[Column, ...]
    append: bool
    root_key: tuple[str, ...]
    private: bool
    version: int
    unknown_columns: Mapping[str, Mapping[str, ColumnType | None]]
    column_counts: Mapping[str, int]
    namer: Namer
    batched_at: int
    log_id: str
    positions: Sequence[int]
    stage_name: Callable[[int, RelationPath], str]
    changes: list[SchemaChange] = field(default_factory=list, init=False)
    keyless: bool = field(init=False)
    _profile: DestinationProfile = field(init=False)
    _before: dict[RelationPath, Relation] = field(init=False)
    _after: dict[RelationPath, ColumnAllocation] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.keyless = self.keys == GENERATED_KEY_COLUMNS
        self._profile = self.namer.profile
        self._before = {**self.children, **({} if self.root is None else {(): self.root})}

    @property
    def upsert(self) -> bool:
        """Return whether rows replace those with the same key."""
        return not self.append and not self.keyless

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Return the relations as they are afterwards: root first, then subtables by name."""
        after = {path: allocation.relation for path, allocation in self._after.items()}
        root = after.pop((), None)
        children = sorted(after.values(), key=lambda relation: names.byte_order(relation.name))
        return (*((root,) if root is not None else ()), *children)

    def get_relation(
        self, path: RelationPath
    ) -> tuple[Relation, Mapping[tuple[str, ColumnType], str]]:
        """Return a relation as it is afterwards, and its columns by folded field and type."""
        allocation = self._after[path]
        fold = self._profile.fold
        held = {
            (fold(column.field), column.type): column.name for column in allocation.relation.columns
        }
        return allocation.relation, {**held, **allocation.columns}

    def find_new_columns(self, frame: Frame) -> list[tuple[str, ColumnType]] | None:
        """Return folded fields and types without a column; None when there is no relation."""
        before = self._before.get(self._fold_path(frame.path))
        if before is None:
            return None
        fold = self._profile.fold
        held = {(fold(column.field), column.type) for column in before.columns}
        widen = self.namer.options.split_mode == "widen"
        types = {fold(column.field): column.type for column in before.columns}
        return [
            (folded, type_)
            for folded, each in frame.fields.items()
            for type_ in each.columns
            if (folded, type_) not in held
            and not (
                widen
                and folded in types
                and find_widest_type([types[folded], type_]) is types[folded]
            )
        ]

    def find_rows_with_new_columns(self, group: VersionGroup) -> list[int]:
        """Return the root rows with a value that has no column yet, ascending."""
        rows: set[int] = set()
        for frame in group.frames:
            new = self.find_new_columns(frame)
            if new is None:
                rows.update(frame.root_rows)
                continue
            for folded, type_ in new:
                rows.update(find_rows_with_type(frame, folded, type_))
        return sorted(rows)

    def _fold_path(self, path: RelationPath) -> RelationPath:
        return tuple(map(self._profile.fold, path))

    def allocate(
        self, group: VersionGroup | None, staged: Sequence[Relation], options: TableOptions
    ) -> None:
        """Find a column for everything in the rows and in the staged relations."""
        needs: dict[RelationPath, dict[str, tuple[str, list[ColumnType]]]] = {}
        shapes: dict[RelationPath, tuple[RelationPath, str]] = {
            path: (relation.path, relation.source_name) for path, relation in self._before.items()
        }
        needs[()] = {}
        shapes.setdefault((), ((), self.source_name))
        fold = self._profile.fold
        for relation in staged:
            path = self._fold_path(relation.path)
            shapes.setdefault(path, (relation.path, relation.source_name))
            fields = needs.setdefault(path, {})
            for column in relation.columns:
                if not is_system_column(column):
                    _add_need(fields, fold(column.field), column.field, column.type)
        for frame in group.frames if group is not None else ():
            path = self._fold_path(frame.path)
            shapes.setdefault(path, (frame.path, frame.source_name))
            fields = needs.setdefault(path, {})
            for folded, each in frame.fields.items():
                for type_ in each.columns:
                    _add_need(fields, folded, each.name, type_)
        for path in self._before:
            needs.setdefault(path, {})
        # A version with other keys may hold nothing but deletes, so no row brings the new columns.
        live = self._before.get(())
        for column in self.keys if not self.keyless else ():
            if live is None or (live.key != self.root_key and column.name in self.root_key):
                _add_need(needs[()], fold(column.field), column.field, column.type)
        for path in sorted(needs):
            self._allocate_relation(path, *shapes[path], needs[path], options)

    def _allocate_relation(
        self,
        folded: RelationPath,
        path: RelationPath,
        source_name: str,
        needs: dict[str, tuple[str, list[ColumnType]]],
        options: TableOptions,
    ) -> None:
        before = self._before.get(folded)
        keys = self.root_key if not path else self._child_key(len(path))
        if before is None:
            name = self._name_relation(path)
            relation = Relation(path, name, (), keys, source_name)
        else:
            relation = before if path and not before.key else replace(before, key=keys)
            if path:
                held = {column.name for column in before.columns}
                for column in self._child_columns(len(path)):
                    if column.name not in held:
                        _add_need(needs, self._profile.fold(column.name), column.name, column.type)
        allocation = ColumnAllocator(
            relation,
            new=before is None,
            private=self.private,
            profile=self._profile,
            options=options,
            system=self._system_columns(len(path)),
            others=self.unknown_columns.get(relation.name),
        ).allocate(
            needs,
            required=frozenset(self._profile.fold(column.field) for column in self.keys)
            if not path
            else frozenset(),
        )
        self._after[folded] = allocation
        self.changes += allocation.changes

    def _name_relation(self, path: RelationPath) -> str:
        if self.private:
            return self.stage_name(self.version, path)
        return self.namer.name_subtable(self.name, path)[0] if path else self.name

    def _system_columns(self, depth: int) -> tuple[Column, ...]:
        if depth:
            return (*SYSTEM_COLUMNS, *self._child_columns(depth))
        return (*SYSTEM_COLUMNS, *self.keys) if self.keyless else SYSTEM_COLUMNS

    def _child_columns(self, depth: int) -> list[Column]:
        sources = [self.namer.name_source_key(key.name)[0] for key in self.keys]
        return [
            *(
                Column(name, name, key.type, nullable=False)
                for name, key in zip(sources, self.keys, strict=True)
            ),
            *(
                Column(
                    names.level_column(n), names.level_column(n), ColumnType.BIGINT, nullable=False
                )
                for n in range(depth)
            ),
        ]

    def _child_key(self, depth: int) -> tuple[str, ...]:
        if self.append:
            return ()
        columns = (column.name for column in self._child_columns(depth))
        return tuple(sorted(columns, key=names.byte_order))

    def check_columns(
        self, group: VersionGroup | None, prepared: PreparedLoad
    ) -> NeedsRejections | None:
        """Return the records to reject because their columns cannot be made, if there are any.

        Raises:
            TableStoppedError: a column that only a staged version has cannot be made.
        """
        refused = self._clashing(group)
        if self._is_too_wide():
            gone = {RecordRef(r.entry, r.index) for r in prepared.rejections}
            return NeedsRejections(
                {
                    RecordRef(entry, index): TOO_MANY_COLUMNS
                    for entry, arrival in enumerate(prepared.log_batches)
                    for index in range(len(arrival.batch))
                    if RecordRef(entry, index) not in gone
                }
            )
        return NeedsRejections(refused) if refused else None

    def find_origins(self, group: VersionGroup) -> dict[tuple[str, str], RecordRef]:
        """Return the first record of each thing that the changes make; see `LoadPlan.origins`.

        Looks at the values of new columns alone, so it costs nothing while a table stays as it is.
        """
        frames = {self._fold_path(frame.path): frame for frame in group.frames}
        found: dict[tuple[str, str], RecordRef] = {}
        for path, allocation in self._after.items():
            frame = frames.get(path)
            if frame is None:
                continue
            needed: list[tuple[str, Sequence[int]]] = []
            if allocation.create is not None:
                needed.append(("", frame.root_rows if path else range(group.size)))
            for added in allocation.adds:
                folded = self._profile.fold(added.column.field)
                types = [
                    type_
                    for (field_, type_), name in allocation.columns.items()
                    if field_ == folded and name == added.column.name
                ]
                needed.append((added.column.name, _find_rows_with_types(frame, folded, types)))
            for widened in allocation.widens:
                folded = self._profile.fold(widened.column.field)
                types = [type_ for type_ in frame.fields[folded].columns if type_ != widened.old]
                needed.append((widened.column.name, _find_rows_with_types(frame, folded, types)))
            for name, rows in needed:
                if rows:
                    found[allocation.relation.name, name] = group.find_first_ref(rows)
        return found

    def _clashing(self, group: VersionGroup | None) -> dict[RecordRef, RejectionReason]:
        """Return the records with a value for which there can be no column, and why."""
        refused: dict[RecordRef, RejectionReason] = {}
        for path, allocation in self._after.items():
            for (folded, type_), reason in allocation.clashes.items():
                frames = [
                    frame
                    for frame in (group.frames if group is not None else ())
                    if self._fold_path(frame.path) == path and folded in frame.fields
                ]
                rows = [row for each in frames for row in find_rows_with_type(each, folded, type_)]
                if not rows:
                    raise TableStoppedError(
                        f'Table "{allocation.relation.name}" cannot take a column that a newer '
                        f"version of it has: {reason}. Rename or drop that column."
                    )
                place = (*frames[0].path, frames[0].fields[folded].name)
                why = RejectionReason(
                    reason, RejectionCode.FIELD_COLLISION, names.SEPARATOR.join(place)
                )
                for row in rows:
                    refused.setdefault(_record_ref(group, row), why)
        return refused

    def _is_too_wide(self) -> bool:
        """Return whether a relation would get more columns than the destination allows."""
        limit = self._profile.columns_max
        for path, allocation in self._after.items():
            relation = allocation.relation
            before = self._before.get(path)
            if before is not None and not allocation.adds:
                continue
            width = len(relation.columns)
            if before is not None:
                width = self.column_counts.get(before.name, len(before.columns)) + len(
                    allocation.adds
                )
            if limit is not None and width > limit:
                return True
        return False

    def make_write(
        self,
        group: VersionGroup | None,
        deletes: VersionGroup | None,
        options: TableOptions,
        *,
        fresh: bool,
    ) -> TableWrite | None:
        """Make the rows by column, as the destination gets them.

        Args:
            group: rows to write.
            deletes: rows to remove.
            options: of the table.
            fresh: no row of this version is in the relations yet.
        """
        if group is None and deletes is None:
            return None
        root = self._after[()]
        upsert = self.upsert
        stale: tuple[Relation, ...] = ()
        if upsert and not fresh and options.stale_children == "delete":
            stale = tuple(relation for relation in self.relations if relation.path)
        rows = RelationRows(root.relation, {})
        children: list[RelationRows] = []
        if group is not None:
            rows, children = self._make_rows(group)
        return TableWrite(
            private=self.private,
            mode="upsert" if upsert else "append",
            root=rows,
            children=tuple(children),
            stale=stale,
            tie=options.sequence_tie,
            deletes=None if deletes is None else self._make_deletes(deletes),
        )

    def _make_rows(self, group: VersionGroup) -> tuple[RelationRows, list[RelationRows]]:
        system: dict[str, Sequence[int]] = {
            names.RECEIVED_AT: group.received,
            names.SEQUENCE: group.sequences,
            names.VERSION: self._list_versions(group),
        }
        key_columns: list[TypedColumn]
        if self.keyless:
            generated = generate_keys(self.log_id, self.positions, group.entries, group.indexes)
            key_columns = [generated]
        else:
            key_columns = [self._key_column(group.frames[0], key) for key in self.keys]
        out = []
        for frame in group.frames:
            allocation = self._after[self._fold_path(frame.path)]
            columns = _place_columns(frame, allocation)
            columns[names.BATCHED_AT] = [self.batched_at] * frame.size
            if frame.path:
                at = frame.root_rows
                for name, numbers in system.items():
                    columns[name] = list(map(numbers.__getitem__, at))
                for key, column in zip(self.keys, key_columns, strict=True):
                    name = self.namer.name_source_key(key.name)[0]
                    columns[name] = make_row_picker(at)(column)
                for n, level in enumerate(frame.levels):
                    columns[names.level_column(n)] = level
            else:
                columns |= system
                if self.keyless:
                    columns[names.GENERATED_KEY] = key_columns[0]
            out.append(
                RelationRows(allocation.relation, columns, () if frame.path else group.entries)
            )
        return out[0], out[1:]

    def _list_versions(self, group: VersionGroup) -> list[int]:
        """Return the version of each root row: where rows are only added, as it was sent."""
        if not self._profile.append_only:
            return [self.version] * group.size
        sent = group.versions or [group.version] * group.size
        return [version or self.version for version in sent]

    def _key_column(self, root: Frame, key: Column) -> TypedColumn:
        held = root.fields.get(self._profile.fold(key.field))
        if held is None or key.type not in held.columns:  # option key_change: append
            return [None] * root.size
        return held.columns[key.type]

    def _make_deletes(self, group: VersionGroup) -> RelationRows:
        fields = group.frames[0].fields
        columns: dict[str, TypedColumn] = {
            key.name: fields[self._profile.fold(key.field)].columns[key.type] for key in self.keys
        }
        columns[names.SEQUENCE] = group.sequences
        return RelationRows(self._after[()].relation, columns, group.entries)


def _add_need(
    fields: dict[str, tuple[str, list[ColumnType]]], folded: str, name: str, type_: ColumnType
) -> None:
    types = fields.setdefault(folded, (name, []))[1]
    if type_ not in types:
        types.append(type_)


def is_system_column(column: Column) -> bool:
    """Return whether a column holds no field of the records."""
    return column.field == column.name and names.is_system_name(column.name)


def find_rows_with_type(frame: Frame, folded: str, type_: ColumnType) -> Sequence[int]:
    """Return the root rows that have a value of a type in a field."""
    each = frame.fields.get(folded)
    rows = find_present_rows(each.columns.get(type_, ()) if each is not None else ())
    return list(map(frame.root_rows.__getitem__, rows)) if frame.path else rows


def _find_rows_with_types(frame: Frame, folded: str, types: Sequence[ColumnType]) -> Sequence[int]:
    found = [find_rows_with_type(frame, folded, type_) for type_ in types]
    return found[0] if len(found) == 1 else list(chain.from_iterable(found))


def _record_ref(group: VersionGroup | None, row: int) -> RecordRef:
    return RecordRef(0, 0) if group is None else RecordRef(group.entries[row], group.indexes[row])


def _place_columns(frame: Frame, allocation: ColumnAllocation) -> dict[str, TypedColumn]:
    columns: dict[str, TypedColumn] = {}
    for folded, each in frame.fields.items():
        for type_, column in each.columns.items():
            name = allocation.columns[folded, type_]
            values = widen_values(column, type_, allocation.types[name])
            held = columns.get(name)
            if held is not None:
                values = fill_gaps(held, values)
            columns[name] = values
    return columns
