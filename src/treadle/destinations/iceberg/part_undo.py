"""How a table becomes again what it was before a load that did not come to its head.

The commit of a part notes the snapshot and the schema that it followed (`PartNote`). So it is
undone as a whole: whatever the load did, that snapshot and that schema are the present ones again.
"""

from collections.abc import Iterator, Mapping
from enum import Enum, auto

from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot

from treadle.destinations.iceberg.relation_draft import RelationDraft
from treadle.destinations.iceberg.table_record import PART, PartNote, encode_part
from treadle.errors import TableStoppedError


class UndoWay(Enum):
    """How the commit of a part is undone."""

    NOTHING = auto()
    """Its rows are not part of the table: somebody rolled the table back."""
    SNAPSHOT = auto()
    """The snapshot before is the present one again."""
    FILES = auto()
    """The rows that it added are deleted; those that it deleted come again with their records."""
    NONE = auto()
    """There is no way that keeps what others did since."""


def find_way(metadata: TableMetadata, part: PartNote) -> UndoWay:
    """Return how the commit of a part is undone.

    Args:
        metadata: of the table as it is.
        part: the note of the load.
    """
    fallback = UndoWay.NONE if part.replaces else UndoWay.FILES
    if not part.snapshot:
        return fallback
    since: list[Snapshot] = []
    for snapshot in _list_ancestors(metadata):
        if snapshot is None:
            return fallback  # it is not known what happened
        if snapshot.snapshot_id in (part.snapshot, part.before):
            break
        since.append(snapshot)
    else:
        return UndoWay.NOTHING
    if snapshot.snapshot_id == part.before:
        return UndoWay.NOTHING
    is_known = not part.before or metadata.snapshot_by_id(part.before) is not None
    changed_columns = part.schemas[0] != part.schemas[1]
    if not is_known or (changed_columns and not keeps_columns(metadata, part)):
        return fallback
    # Such a commit changes files and no row: of a tool that compacts.
    only_rewritten = all(
        each.summary is not None and each.summary.operation is Operation.REPLACE for each in since
    )
    return UndoWay.SNAPSHOT if only_rewritten else fallback


def keeps_columns(metadata: TableMetadata, part: PartNote) -> bool:
    """Return whether nobody has changed the columns since a load."""
    return metadata.current_schema_id == part.schemas[1]


def _list_ancestors(metadata: TableMetadata) -> Iterator[Snapshot | None]:
    """Give the present snapshot and those that it follows; None where one is not known."""
    wanted = metadata.current_snapshot_id
    while wanted is not None:
        snapshot = metadata.snapshot_by_id(wanted)
        yield snapshot
        wanted = None if snapshot is None else snapshot.parent_snapshot_id


def _gives_columns_back(metadata: TableMetadata, part: PartNote) -> bool:
    is_whole = find_way(metadata, part) in (UndoWay.SNAPSHOT, UndoWay.NOTHING)
    return is_whole and bool(part.snapshot) and keeps_columns(metadata, part)


def describe_before(table: Table, part: PartNote | None) -> tuple[Schema, Mapping[str, str]]:
    """Return the columns and properties that a table has once a part is undone.

    Args:
        table: as it is.
        part: the note of the load; None for one that nothing is undone of.
    """
    metadata = table.metadata
    if part is None or not _gives_columns_back(metadata, part):
        return table.schema(), table.properties
    schemas = {schema.schema_id: schema for schema in metadata.schemas}
    changed = {**table.properties, **part.properties}
    properties = {name: value for name, value in changed.items() if value is not None}
    return schemas[part.schemas[0]], properties


def draft_undo(table: Table, part: PartNote, number: int) -> RelationDraft:
    """Return a draft that undoes the commit of a part.

    Args:
        table: as it is.
        part: its note.
        number: of the present commit of the head.

    Raises:
        TableStoppedError: somebody else changed the table since, in a way that forbids it.
    """
    draft, metadata = RelationDraft(table, None), table.metadata
    draft.is_touched = True
    way = find_way(metadata, part)
    if way is UndoWay.SNAPSHOT:
        draft.restore_rows(part.before or None)
    elif way is UndoWay.NONE or (way is UndoWay.FILES and not draft.remove_files(part.files)):
        raise TableStoppedError(describe_stop(table, part))
    if _gives_columns_back(metadata, part):
        draft.restore_columns(part.schemas[0])
        draft.properties |= {n: value for n, value in part.properties.items() if value is not None}
        draft.forget_properties(name for name, value in part.properties.items() if value is None)
    draft.properties |= encode_part(PartNote("", number), None)
    return draft


def describe_stop(table: Table, part: PartNote, name: str = PART) -> str:
    """Return why the commit of a part cannot be undone, and what to do.

    Args:
        table: as it is.
        part: its note.
        name: of the property that the note is in.
    """
    way = (
        f"Roll the table back to the snapshot {part.before}. Or delete" if part.before else "Delete"
    )
    files = ", ".join(sorted(part.files)) or "none"
    return (
        f"A load into the Iceberg table {'.'.join(table.name())} ended early, and another program "
        f"changed the table before treadle could undo that load. {way} what is left of it, and "
        f"remove the property {name} of the table. The files that the load added: {files}."
    )
