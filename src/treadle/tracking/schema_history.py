"""The history of a table as JSON and in words, for the API and the console.

Pure functions: what the store has -> values. The texts name columns and fields as they are, so
whoever shows them has to escape them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from treadle.counting import count_noun
from treadle.store.schema_event import SchemaChangeKind, SchemaEvent, SchemaEventKind
from treadle.timestamps import format_microseconds

_PARTS: Final = ("relation", "column", "field", "type", "record")
"""The parts that a change has in an answer, null where it has none; others are in `detail`."""


def render_event(event: SchemaEvent) -> dict[str, Any]:
    """Return the JSON value of an event."""
    return {
        "event_id": event.id,
        "source_id": event.source_id,
        "table": event.table_name,
        "at": format_microseconds(event.at),
        "kind": event.kind,
        "load_id": event.load_id,
        "reason": event.reason,
        "text": describe_event(event),
        "changes": render_changes(event.changes),
    }


def render_changes(changes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the JSON value of the changes of an event, or of a load report."""
    return [
        {
            "kind": change["kind"],
            "text": describe_change(change),
            **{part: change.get(part) for part in _PARTS},
            "detail": {
                name: value
                for name, value in change.items()
                if name != "kind" and name not in _PARTS
            },
        }
        for change in changes
    ]


def describe_event(event: SchemaEvent) -> str:
    """Say on one line what an event is."""
    match event.kind:
        case SchemaEventKind.TABLE_STOPPED:
            return "the table stopped"
        case SchemaEventKind.TABLE_RESUMED:
            return "the table is loaded again"
        case SchemaEventKind.TABLE_REBUILT:
            return "the rows were made again from the log"
    first, *rest = event.changes or ({"kind": event.kind},)
    more = f", and {len(rest)} more" if rest else ""
    return describe_change(first) + more


def describe_change(change: Mapping[str, Any]) -> str:
    """Say on one line what a change is, with the record that brought it where that is known."""
    said = _describe(change)
    record = change.get("record")
    return said if record is None else f"{said}, first in record {record}"


def _count_columns(change: Mapping[str, Any]) -> str:
    return count_noun(change.get("columns", 0), "column")


def _describe(change: Mapping[str, Any]) -> str:
    relation, column = change.get("relation"), change.get("column")
    match change["kind"]:
        case SchemaChangeKind.TABLE_ADDED:
            return f"table {relation} made with {_count_columns(change)}"
        case SchemaChangeKind.SUBTABLE_ADDED:
            return f"subtable {relation} made with {_count_columns(change)}"
        case SchemaChangeKind.COLUMN_ADDED:
            return f"column {column} ({change.get('type')}) added to {relation}"
        case SchemaChangeKind.COLUMN_SPLIT:
            beside = ", ".join(f"{name} ({type_})" for name, type_ in change.get("beside", ()))
            return (
                f"column {column} ({change.get('type')}) added to {relation} beside {beside}, "
                f"since field {change.get('field')} has values of both types"
            )
        case SchemaChangeKind.COLUMN_RENAMED:
            return f"column {change.get('from')} of {relation} renamed to {column}"
        case SchemaChangeKind.COLUMN_WIDENED:
            return (
                f"column {column} of {relation} changed from {change.get('from')} to "
                f"{change.get('type')}"
            )
        case SchemaChangeKind.COLUMN_NULLABLE:
            return f"column {column} of {relation} may be NULL from now on"
        case SchemaChangeKind.KEY_CHANGED:
            before, after = (", ".join(change.get(name, ())) or "none" for name in ("from", "key"))
            return f"key of {relation} changed from {before} to {after}"
        case SchemaChangeKind.VERSION_SWITCHED:
            return f"table version {change.get('version')} replaced the rows"
        case SchemaChangeKind.FIELD_LEFT_OUT:
            return f"field {change.get('field')} of {relation} left out: {change.get('reason')}"
    return str(change["kind"])
