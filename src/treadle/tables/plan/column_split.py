"""The rule that splits a column: finds a column for each type of each field (loading.md 4, 5.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from treadle.tables.arrow_column import TypedColumn, to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    AddColumn,
    Column,
    CreateRelation,
    Relation,
    RenameColumn,
    SchemaChange,
    TableOptions,
    WidenColumn,
)
from treadle.tables.names import byte_order
from treadle.tables.profile import DestinationProfile
from treadle.timestamps import format_exact

ColumnNeeds = Mapping[str, tuple[str, Sequence[ColumnType]]]
"""Folded field -> (its name, the logical types it comes with)."""


@dataclass(slots=True)
class ColumnAllocation:
    """The columns of a relation, and the changes that make them.

    Attributes:
        relation: as it is afterwards.
        renames, adds, widens: what changes, each in order.
        columns: (folded field, type) -> column name.
        types: column name -> its type afterwards.
        clashes: (folded field, type) -> why records with such a value are rejected.
    """

    relation: Relation
    create: CreateRelation | None = None
    renames: list[RenameColumn] = field(default_factory=list)
    adds: list[AddColumn] = field(default_factory=list)
    widens: list[WidenColumn] = field(default_factory=list)
    columns: dict[tuple[str, ColumnType], str] = field(default_factory=dict)
    types: dict[str, ColumnType] = field(default_factory=dict)
    clashes: dict[tuple[str, ColumnType], str] = field(default_factory=dict)

    @property
    def changes(self) -> list[SchemaChange]:
        """Return the changes in the order of loading.md 5.3."""
        if self.create is not None:
            return [self.create]
        return [*self.renames, *self.widens, *self.adds]


class ColumnAllocator:
    """Finds the columns for the fields of one relation: the rule that splits a column.

    Args:
        relation: as it is, or as it is to be but for its columns when `new`.
        system: columns every such relation has; made with it.
        others: names and types of columns in the destination that treadle did not make.
    """

    def __init__(
        self,
        relation: Relation,
        *,
        new: bool,
        private: bool,
        profile: DestinationProfile,
        options: TableOptions,
        system: Sequence[Column] = (),
        others: Mapping[str, ColumnType | None] | None = None,
    ) -> None:
        self._relation = relation
        self._new = new
        self._private = private
        self._fold = profile.fold
        self._suffixes = profile.split_suffixes
        self._mode = profile.split if options.split_mode == "profile" else options.split_mode
        self._system = () if not new else tuple(system)
        self._unknown_columns = {self._fold(n): (n, t) for n, t in (others or {}).items()}
        self._columns: list[Column] = [] if new else list(relation.columns)
        if new:
            self._columns = list(self._system)
        self._taken = {self._fold(column.name) for column in self._columns}
        self._key = {self._fold(name) for name in relation.key}
        self._out = ColumnAllocation(relation)
        self._added: list[Column] = []

    def allocate(
        self, needs: ColumnNeeds, *, required: frozenset[str] = frozenset()
    ) -> ColumnAllocation:
        """Find a column for every type of every field.

        Args:
            needs: what the rows carry.
            required: folded fields whose columns are NOT NULL (keys of a new relation).
        """
        by_field: dict[str, list[Column]] = {}
        for column in self._columns:
            by_field.setdefault(self._fold(column.field), []).append(column)
        # Bare names first: a split column gives way to a field of that very name, and not the
        # other way round.
        later: list[tuple[str, str, ColumnType, str]] = []
        for folded, (name, types) in sorted(needs.items(), key=lambda i: byte_order(i[1][0])):
            held = by_field.get(folded, [])
            self._allocate_field(folded, name, list(types), held, required, later)
        for folded, name, type_, wanted in later:
            self._make_column(folded, name, type_, wanted, nullable=True)
        return self._finish()

    def _allocate_field(
        self,
        folded: str,
        name: str,
        types: list[ColumnType],
        held: list[Column],
        required: frozenset[str],
        later: list[tuple[str, str, ColumnType, str]],
    ) -> None:
        by_type = {column.type: column for column in held}
        for type_ in types:
            if type_ in by_type:
                self._out.columns[folded, type_] = by_type[type_].name
        fresh = sorted((t for t in types if t not in by_type), key=self._suffixes.__getitem__)
        if not fresh:
            return
        if self._mode == "widen" and len(held) <= 1 and folded not in required:
            self._widen_field(folded, name, fresh, held, types)
            return
        if not held:
            if len(fresh) == 1:
                self._make_column(folded, name, fresh[0], name, nullable=folded not in required)
                return
            if self._mode != "rename":
                self._make_column(folded, name, fresh[0], name, nullable=True)
                fresh = fresh[1:]
        else:
            name = held[0].field
            if self._mode == "rename" and len(held) == 1 and held[0].name == name:
                split = f"{name}__{self._suffixes[held[0].type]}"
                if self._fold(split) in self._taken or self._fold(split) in self._unknown_columns:
                    for type_ in fresh:
                        self._out.clashes[folded, type_] = f"Field collision on {split}"
                    return
                self._rename_column(held[0], split, folded)
        later += [(folded, name, type_, f"{name}__{self._suffixes[type_]}") for type_ in fresh]

    def _rename_column(self, column: Column, name: str, folded: str) -> None:
        at = self._columns.index(column)
        renamed = Column(name, column.field, column.type, column.nullable)
        self._columns[at] = renamed
        self._taken.discard(self._fold(column.name))
        self._taken.add(self._fold(name))
        self._out.columns[folded, column.type] = name
        self._out.renames.append(
            RenameColumn(self._relation.name, column.name, name, self._private)
        )

    def _make_column(
        self, folded: str, field_: str, type_: ColumnType, name: str, *, nullable: bool
    ) -> None:
        wanted = self._fold(name)
        other = self._unknown_columns.get(wanted)
        if wanted in self._taken or (other is not None and other[1] is not type_):
            self._out.clashes[folded, type_] = f"Field collision on {name}"
            return
        column = Column(name if other is None else other[0], field_, type_, nullable)
        self._taken.add(wanted)
        self._columns.append(column)
        self._out.columns[folded, type_] = column.name
        if other is None:
            self._added.append(column)

    def _widen_field(
        self,
        folded: str,
        name: str,
        fresh: list[ColumnType],
        held: list[Column],
        types: list[ColumnType],
    ) -> None:
        wide = find_widest_type([*fresh, *(column.type for column in held)])
        if not held:
            self._make_column(folded, name, wide, name, nullable=True)
            if (folded, wide) in self._out.clashes:
                reason = self._out.clashes.pop((folded, wide))
                self._out.clashes.update({(folded, type_): reason for type_ in types})
                return
            column_name = self._out.columns[folded, wide]
        else:
            column = held[0]
            column_name = column.name
            if wide is not column.type:
                widened = Column(column.name, column.field, wide, column.nullable)
                self._columns[self._columns.index(column)] = widened
                self._out.widens.append(
                    WidenColumn(self._relation.name, widened, column.type, self._private)
                )
        for type_ in types:
            self._out.columns[folded, type_] = column_name

    def _finish(self) -> ColumnAllocation:
        out = self._out
        order = sorted(self._added, key=lambda column: byte_order(column.name))
        if self._new:
            columns = sorted(self._columns, key=lambda column: byte_order(column.name))
        else:
            fixed = [column for column in self._columns if column not in order]
            columns = [*fixed, *order]
            out.adds = [AddColumn(self._relation.name, c, self._private) for c in order]
            out.renames.sort(key=lambda change: byte_order(change.old))
        old = self._relation
        out.relation = Relation(old.path, old.name, tuple(columns), old.key, old.source_name)
        if self._new:
            out.create = CreateRelation(out.relation, self._private)
        out.types = {column.name: column.type for column in columns}
        return out


# --- one column for several types (option split_mode: widen) --------------------------------------


def find_widest_type(types: Sequence[ColumnType]) -> ColumnType:
    """Return the type that holds the values of all of these (loading.md 12.2)."""
    distinct = set(types)
    if len(distinct) == 1:
        return types[0]
    if distinct == {ColumnType.BIGINT, ColumnType.DOUBLE}:
        return ColumnType.DOUBLE
    if distinct == {ColumnType.BIGINT, ColumnType.DECIMAL}:
        return ColumnType.DECIMAL
    return ColumnType.TEXT


def widen_values(column: TypedColumn, old: ColumnType, new: ColumnType) -> TypedColumn:
    """Convert a column's values to a wider type.

    A number without a fraction is spelled in digits as text, whether it was a bigint, a double or
    a decimal: what a column was before it became text does not show. Destinations spell the values
    that are in a column already in the same way.
    """
    if old is new:
        return column
    values = to_values(column)
    if new is ColumnType.DOUBLE:
        return [None if v is None else float(v) for v in values]
    if new is ColumnType.DECIMAL:
        return [None if v is None else Decimal(v) for v in values]
    if old is ColumnType.BOOLEAN:
        return [None if v is None else "true" if v else "false" for v in values]
    if old is ColumnType.TIMESTAMP:
        return [None if v is None else format_exact(v) for v in values]
    if old is ColumnType.DECIMAL:
        return [None if v is None else _format_decimal(v) for v in values]
    if old is ColumnType.DOUBLE:
        return [None if v is None else _format_double(v) for v in values]
    return [None if v is None else str(v) for v in values]


def _format_decimal(value: Decimal) -> str:
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) if value else "0"


def _format_double(value: float) -> str:
    return str(int(value)) if abs(value) < 1e16 and value.is_integer() else repr(value)
