"""Values that describe what a destination holds and how a load changes it.

`Table` is treadle's own catalogue entry for one table with its subtables; `LoadPlan` is one load,
computed and not yet done. A destination carries a plan out in one transaction and then holds
`LoadPlan.table_after`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from treadle.tables.column_type import ColumnType
from treadle.tables.rejection_reason import RejectionCode
from treadle.tables.schema_owner import UNOWNED, SchemaOwner

if TYPE_CHECKING:  # it takes pyarrow, which a process that only accepts records does without
    from treadle.tables.arrow_column import TypedColumn


@dataclass(frozen=True, slots=True)
class Column:
    """A column that treadle made.

    Attributes:
        name: as it is called in the destination.
        field: the canonical, flattened name of the field it holds; several columns of one field
            are a split. System columns have `field == name`.
        type: logical type.
        nullable: False for key columns.
    """

    name: str
    field: str
    type: ColumnType
    nullable: bool = True


@dataclass(frozen=True, slots=True)
class Relation:
    """One physical table: the root or a subtable (loading.md 7.3).

    Attributes:
        path: canonical names of the fields that lead to the array, flattened names of objects
            joined; () for the root, ("line_items", "tax_lines") for t__line_items__tax_lines.
        name: as it is called in the destination.
        columns: in the order they were made; columns of the user are not here.
        key: names of the primary key's columns, () when there is no constraint.
        source_name: the name as sent (the root's table name, a subtable's array key).
    """

    path: tuple[str, ...]
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    source_name: str


@dataclass(frozen=True, slots=True)
class StagedVersion:
    """Rows of a newer table version, invisible until it is activated (loading.md 9.2).

    Its relations are in treadle's private schema, in which their names are unique.
    """

    version: int
    keys: tuple[Column, ...]
    relations: tuple[Relation, ...]
    created_at: int


@dataclass(frozen=True, slots=True)
class Table:
    """treadle's catalogue entry for one top-level table of one schema.

    Attributes:
        schema: the destination schema (the source's name).
        name: canonical name, also the root relation's.
        keys: key columns by field, alphabetical by field; the generated key's column for a table
            born without a key.
        keyless: the table was born without key names and has `__sdc_primary_key`.
        append: rows are appended, never replaced (option, or the user removed the constraint).
        version: the active table version, 0 when none was ever given.
        relations: root first, then subtables by name. Empty when there are only stages.
        stages: newer versions, ascending.
        batched_at: `_sdc_batched_at` of the last load, microseconds since 1970; the next load's
            is greater.
        tombstones: the option hard_delete keeps (key, sequence) of deleted rows.
        tombstones_relation: name of the private table that holds them; "" for the name that they
            had before it was noted (`destinations.layout.tombstones_name`).
        adopted: treadle did not make the table, and has loaded nothing into it yet.
    """

    schema: str
    name: str
    keys: tuple[Column, ...]
    keyless: bool
    append: bool
    version: int
    relations: tuple[Relation, ...]
    stages: tuple[StagedVersion, ...] = ()
    batched_at: int = 0
    tombstones: bool = False
    tombstones_relation: str = ""
    adopted: bool = False


# --- what a load does -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateRelation:
    """Make a table with these columns, in this order, and this primary key."""

    relation: Relation
    private: bool = False


@dataclass(frozen=True, slots=True)
class RenameColumn:
    """Give a column its split name (rename profiles, loading.md 4.1)."""

    relation: str
    old: str
    new: str
    private: bool = False


@dataclass(frozen=True, slots=True)
class AddColumn:
    """Add a nullable column at the end."""

    relation: str
    column: Column
    private: bool = False


@dataclass(frozen=True, slots=True)
class WidenColumn:
    """Change a column's type in place to one that holds its values (option split_mode: widen)."""

    relation: str
    column: Column
    old: ColumnType
    private: bool = False


@dataclass(frozen=True, slots=True)
class ChangeKey:
    """Replace a primary key.

    The key of an empty table becomes another one when a new version has other keys (loading.md
    9.3). An empty `key` takes the constraint away and leaves the rows: rows are only appended to
    the table or subtable from then on (loading.md 5.2, 5.4). Columns that leave the key become
    nullable.
    """

    relation: str
    old: tuple[str, ...]
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmptyRelation:
    """Remove all rows (activation)."""

    relation: str


@dataclass(frozen=True, slots=True)
class CopyStage:
    """Insert the rows of a stage's relation into a live one.

    Attributes:
        columns: (name in the stage, name in the live relation).
        schema: where the stage relation is; None for treadle's private schema.
        tombstones: name of the private table of keys that were deleted from the stage relation; ""
            for the one that its name tells.
    """

    stage: str
    relation: str
    columns: tuple[tuple[str, str], ...]
    schema: str | None = None
    tombstones: str = ""


@dataclass(frozen=True, slots=True)
class DropStage:
    """Drop a stage relation."""

    relation: str


SchemaChange = (
    CreateRelation
    | RenameColumn
    | AddColumn
    | WidenColumn
    | ChangeKey
    | EmptyRelation
    | CopyStage
    | DropStage
)


@dataclass(slots=True)
class RelationRows:
    """Rows of one relation, by column.

    Attributes:
        relation: as it is after the plan's schema changes.
        columns: column name -> values, all of one length, in Python types by column type:
            int, bool, Decimal, float, str (TEXT and JSON text), int microseconds since 1970 UTC
            (TIMESTAMP); None for NULL. Long ones are `ArrowColumn`. Managed columns that are
            missing here are NULL.
        entries: root rows only: for each row the index of the log entry it came from.
    """

    relation: Relation
    columns: dict[str, "TypedColumn"]
    entries: Sequence[int] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


@dataclass(slots=True)
class TableWrite:
    """Rows of one version of a table, in which no key is there twice.

    Attributes:
        private: the rows go to a stage.
        mode: "upsert" by `root.relation.key` where the sequence is greater, or "append".
        root: parent rows.
        children: rows of subtables; their parents are all in `root`.
        stale: relations whose rows of the same key and a lower sequence go when a parent is
            written (option stale_children: delete); all subtables there are.
        tie: which record stays when sequences are equal.
        deletes: option hard_delete: names of the key columns -> values, with `_sdc_sequence`, of
            rows to remove with their children.
    """

    private: bool
    mode: Literal["upsert", "append"]
    root: RelationRows
    children: tuple[RelationRows, ...] = ()
    stale: tuple[Relation, ...] = ()
    tie: Literal["first", "last"] = "first"
    deletes: RelationRows | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row for `_sdc_rejected` (loading.md 8.1).

    Attributes:
        record: JSON text of `data` as sent, cut at 64 KB, without NUL characters.
        reason: one of the texts of loading.md 8.1.
        table_name: see loading.md 8.1.
        entry: index of the log entry, -1 for a left-out field (which rejects no record).
        index: index of the record in the entry, -1 for a left-out field.
        code: of the cause.
        field: the field to blame (`RejectionReason.field`), without NUL characters; for a left-out
            field, as in the table `table_name`.
    """

    record: str
    reason: str
    table_name: str
    entry: int
    index: int
    code: RejectionCode = RejectionCode.UNKNOWN
    field: str | None = None


@dataclass(frozen=True, slots=True)
class FieldNote:
    """A field that a load left out, or whose values it rounded, in records that it loads.

    Attributes:
        table: of the relation that the field is in, or would be in.
        field: canonical, flattened; as sent when that is empty.
        counts: index of the log entry in the load -> records without the field, or values.
        reason: why it is left out, as in `_sdc_rejected`; empty for a field with rounded values.
    """

    table: str
    field: str
    counts: Mapping[int, int]
    reason: str = ""

    @property
    def total(self) -> int:
        """Return the records, or values, of all entries."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """Records that were rejected since a key field has another type in them (loading.md 5.4).

    Attributes:
        field: the key field, canonical.
        table_type: that it has in the table.
        record_type: that it has in the records.
        records: how many they are.
        entry, index: the first of them: the index of its log entry in the load, and its index in
            that entry.
    """

    field: str
    table_type: ColumnType
    record_type: ColumnType
    records: int
    entry: int
    index: int


@dataclass(frozen=True, slots=True)
class OffsetCommit:
    """The log position up to which a table is loaded; committed with the rows.

    Attributes:
        previous_position: the position that the destination must hold before this load (-1 for no
            row yet).
        position: the position that it holds afterwards.
        fence: number of the loader that has the table; a destination refuses a lower one than it
            holds.
        report: what the loader needs to know of this load after a crash. The destination keeps it
            beside the position and does not look into it (see `Session.committed`).
        replaces_rows: the rows up to `previous_position` are replaced by others of the same
            entries. No lease is needed; a position that is its own previous one stays, with its
            report.
    """

    log_id: str
    source_id: int
    table_name: str
    previous_position: int
    position: int
    fence: int = 0
    report: str = ""
    replaces_rows: bool = False


@dataclass(slots=True)
class LoadPlan:
    """One load of one table, computed and not yet done.

    Attributes:
        revision: the catalogue revision this was computed from; the destination refuses the plan
            with `PlanOutdatedError` when it holds another.
        changes: in order, before any row is written.
        writes: in order.
        rejections: rows for `_sdc_rejected`.
        rejected_at, batched_at: microseconds since 1970, UTC.
        table_after: the catalogue entry once done; None when there is still no table.
        received: records in the entries; `ignored`: of an older version; `superseded`: per entry
            index, records that lost against another record of this load.
        left_out: fields left out; `rounded`: fields with values that were rounded; `nul_removed`:
            NUL characters removed.
        new_version: the load emptied the table for a newer version.
        extracted_max: greatest time_extracted, else greatest received time, microseconds.
        bookmarks: (field, least, greatest) as JSON texts, for bookmark_names.
        owner: of the schema; the destination refuses the plan when it has recorded another.
        key_conflicts: records that were rejected for the type of their key.
        origins: (relation, column that is added or widened, "" for a relation that is made) -> the
            first record that needed it: the index of its log entry in the load, and its index in
            that entry.
    """

    schema: str
    table_name: str
    offset: OffsetCommit
    revision: int
    changes: tuple[SchemaChange, ...]
    writes: tuple[TableWrite, ...]
    rejections: tuple[Rejection, ...]
    rejected_at: int
    batched_at: int
    table_after: Table | None
    received: int = 0
    ignored: dict[int, int] = field(default_factory=dict)
    superseded: dict[int, int] = field(default_factory=dict)
    left_out: tuple[FieldNote, ...] = ()
    rounded: tuple[FieldNote, ...] = ()
    nul_removed: int = 0
    new_version: bool = False
    extracted_max: int | None = None
    bookmarks: tuple[tuple[str, str, str], ...] = ()
    owner: SchemaOwner = UNOWNED
    key_conflicts: tuple[KeyConflict, ...] = ()
    origins: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


# --- what a destination says it holds -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhysicalRelation:
    """A relation as the destination's own catalogue shows it.

    Attributes:
        columns: name -> logical type, or None for a type treadle never makes.
        key: columns of the primary key constraint, as a set.
    """

    columns: Mapping[str, ColumnType | None]
    key: frozenset[str]


@dataclass(frozen=True, slots=True)
class TableState:
    """The state of one table in a destination: treadle's catalogue entry and the real relations.

    Attributes:
        revision: grows with every load of the table; 0 for none.
        table: the catalogue entry, None when treadle never made the table.
        physical: by relation name, for every relation of `table` that exists (in the source's
            schema), plus the relation of that name when treadle did not make it.
    """

    revision: int
    table: Table | None
    physical: Mapping[str, PhysicalRelation]


@dataclass(frozen=True, slots=True)
class TableOptions:
    """The options of one table (loading.md 12.2); the first value of each is the default."""

    split_mode: Literal["profile", "keep", "widen"] = "profile"
    on_bad_value: Literal["reject_record", "null_field"] = "reject_record"
    nested: Literal["profile", "flatten", "json"] = "profile"
    max_nesting: int | None = None
    contract_tables: Literal["evolve", "freeze", "discard_row", "discard_value"] = "evolve"
    contract_columns: Literal["evolve", "freeze", "discard_row", "discard_value"] = "evolve"
    contract_types: Literal["evolve", "freeze", "discard_row", "discard_value"] = "evolve"
    long_names: Literal["drop", "hash"] = "drop"
    collisions: Literal["reject", "hash"] = "reject"
    stale_children: Literal["delete", "keep"] = "delete"
    hard_delete: bool = False
    sequence_tie: Literal["first", "last"] = "first"
    leading_nonletter: Literal["keep", "strip"] = "keep"
    key_change: Literal["stop", "append"] = "stop"
    key_types: Literal["reject", "stop"] = "reject"
    loading_behavior: Literal["upsert", "append"] = "upsert"
    nul_characters: Literal["remove", "replace", "reject"] = "remove"
    decimals: Literal["round", "exact"] = "round"
    json_special_numbers: Literal["null", "text"] = "null"
