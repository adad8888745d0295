"""Names of treadle's own tables, and facts about a plan that every back-end needs.

Pure: names and plans in, names and column lists out.
"""

import re
from collections.abc import Mapping

import msgspec

from treadle.destinations.protocol import FencedError, LoadResult, PlanOutdatedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import (
    Column,
    CopyStage,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    OffsetCommit,
    Relation,
    RelationRows,
    Table,
    TableWrite,
)
from treadle.tables.names import DIGEST_CHARACTERS, STAGE, TOMBSTONES, pair_source_keys
from treadle.text import NulEscape, digest_text

PRIVATE_SCHEMA = "_treadle"
"""Where positions, the catalogue, stages and tombstones live."""

REJECTED = "_sdc_rejected"
"""The table of rejected records in every source's schema (loading.md 8.1)."""

SEQUENCE = "_sdc_sequence"
BATCHED_AT = "_sdc_batched_at"

REJECTED_COLUMNS: tuple[Column, ...] = tuple(
    Column(name, name, type_)
    for name, type_ in (
        ("record", ColumnType.TEXT),
        ("reason", ColumnType.TEXT),
        ("table_name", ColumnType.TEXT),
        ("_sdc_rejected_at", ColumnType.TIMESTAMP),
        ("code", ColumnType.TEXT),
        ("field", ColumnType.TEXT),
    )
)
"""Columns of `_sdc_rejected`, in order (loading.md 8.1)."""

CAUSE_COLUMNS: tuple[Column, ...] = REJECTED_COLUMNS[-2:]
"""Those of them that tables of earlier releases lack until a record is rejected."""

_LEVEL = re.compile(r"_sdc_level_(\d+)_id")


def digest_name(name: str) -> str:
    """Return a short text by which a name of any length and content can be a key of an index."""
    return digest_text(name).hex()


_ESCAPE = NulEscape("\\", "\\")


def escape_name(name: str) -> str:
    r"""Return a name as a text that every database stores: NUL as `\0`, a backslash doubled."""
    return _ESCAPE.escape(name)


def unescape_name(escaped: str) -> str:
    """Return the name that `escape_name` was given."""
    return _ESCAPE.unescape(escaped)


def order_key(key: tuple[str, ...]) -> tuple[str, ...]:
    """Return key columns in the order of their index: the parent's key, then the level ids.

    Child rows are looked up by their parent, so its key must lead the index.
    """

    def place(name: str) -> tuple[int, int]:
        level = _LEVEL.fullmatch(name)
        return (1, int(level[1])) if level else (0, 0)

    return tuple(sorted(key, key=place))


def pair_parent_key(root: Relation, child: Relation) -> tuple[tuple[str, str], ...]:
    """Return pairs of a root key column and the child column that repeats it (loading.md 7.3)."""
    return pair_source_keys(root.key, [column.name for column in child.columns])


def check_offset(mark: OffsetCommit, position: int, fence: int) -> None:
    """Refuse a mark that does not follow the one held.

    Args:
        mark: the plan's.
        position: the position held, -1 for none.
        fence: the fence held.

    Raises:
        FencedError: a later holder has written here.
        PlanOutdatedError: the entries are loaded already, or others were since the plan was made.
    """
    if mark.replaces_rows:
        if mark.previous_position != position:
            raise PlanOutdatedError(
                f"table {mark.table_name!r}: the rows to swap in end at position "
                f"{mark.previous_position}, the destination holds {position}"
            )
        return
    if mark.fence < fence:
        raise FencedError(
            f"table {mark.table_name!r}: the fence {mark.fence} was overtaken by {fence}, whose "
            "holder loads this table now",
            fence,
        )
    if mark.previous_position != position or mark.position <= position:
        raise PlanOutdatedError(
            f"table {mark.table_name!r}: the plan follows position {mark.previous_position} and "
            f"ends at {mark.position}, the destination holds {position}"
        )


def moves_offset(mark: OffsetCommit) -> bool:
    """Return whether a mark replaces the position that is held, with what is kept of its load."""
    return not (mark.replaces_rows and mark.previous_position == mark.position)


class _KeptResult(msgspec.Struct, array_like=True):
    """See `LoadResult`."""

    rows: dict[str, int]
    superseded: dict[int, int]
    objects: dict[str, list[str]] | None = None


def encode_result(result: LoadResult) -> str:
    """Return the result of a load as a text to keep beside its position."""
    parts: list[object] = [result.rows, result.superseded]
    if result.objects is not None:
        parts.append(result.objects)
    return msgspec.json.encode(parts).decode()


def decode_result(text: str) -> LoadResult:
    """Return the result that `encode_result` was given."""
    kept = msgspec.json.decode(text, type=_KeptResult)
    return LoadResult(kept.rows, kept.superseded, kept.objects)


def find_empty_relations(plan: LoadPlan) -> set[tuple[bool, str]]:
    """Return (private, name) of the relations that have no rows after the plan's changes."""
    empty: set[tuple[bool, str]] = set()
    for change in plan.changes:
        match change:
            case CreateRelation(relation, private):
                empty.add((private, relation.name))
            case EmptyRelation(name):
                empty.add((False, name))
            case CopyStage(relation=name):
                empty.discard((False, name))
    return empty


def map_report_names(after: Table | None, write: TableWrite) -> Mapping[str, str]:
    """Return relation names of a write -> names in the result: staged rows count as live ones."""
    relations = [write.root.relation, *(rows.relation for rows in write.children)]
    names = {relation.name: relation.name for relation in relations}
    if write.private and after is not None:
        live = {relation.path: relation.name for relation in after.relations}
        for relation in relations:
            names[relation.name] = live.get(relation.path, relation.name)
    return names


def partition_columns(rows: RelationRows) -> tuple[list[Column], list[Column]]:
    """Return the relation's columns in two parts: those that `rows` has values for, and others."""
    columns = rows.relation.columns
    return (
        [column for column in columns if column.name in rows.columns],
        [column for column in columns if column.name not in rows.columns],
    )


def tombstones_name(schema: str, root: str) -> str:
    """Return the name of the private table of deleted keys where no entry notes one.

    All of them were called so before entries noted it (hard_delete, loading.md 9.4).

    Args:
        schema: the root relation's, treadle's own for a stage.
        root: the root relation's name.
    """
    return f"{TOMBSTONES}{digest_name(f'{schema}/{root}')[:32]}"


def list_subtables(plan: LoadPlan, write: TableWrite) -> list[Relation]:
    """Return the subtables of the root that a write goes to, live or staged, after the changes."""
    if plan.table_after is None:
        return []
    groups = [plan.table_after.relations]
    if write.private:
        groups = [stage.relations for stage in plan.table_after.stages]
    name = write.root.relation.name
    return [
        relation
        for relations in groups
        if any(relation.name == name for relation in relations)
        for relation in relations
        if relation.path
    ]


def find_live_tombstones(table: Table | None, schema: str, root: str) -> str:
    """Return the name of the private table of the keys that were deleted from a live table.

    Args:
        table: the catalogue entry; None where there is none.
        schema: of the table.
        root: folded name of its root relation.
    """
    noted = table.tombstones_relation if table is not None else ""
    return noted or tombstones_name(schema, root)


def find_stage_tombstones(stage: str) -> str:
    """Return the name of the private table of the keys that were deleted from a stage.

    Args:
        stage: folded name of its root relation.
    """
    digest = stage.removeprefix(STAGE)
    if digest != stage and len(digest) == DIGEST_CHARACTERS:
        return TOMBSTONES + digest
    return tombstones_name(PRIVATE_SCHEMA, stage)
