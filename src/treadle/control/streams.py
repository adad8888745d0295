"""Tables as streams, with their schemas (connect-api.md 3.11, 3.12).

Pure functions: what the store knows -> a JSON value. A stream is what Stitch pulls from a source;
here it is a table that was pushed. All of its fields are loaded, and nothing of it can be selected.
"""

from collections.abc import Iterable
from typing import Any, Final

from treadle.control import schemas
from treadle.http.responses import encode_json
from treadle.store.model import KeptColumns, KeptRelation, PushedTable
from treadle.tables.column_type import ColumnType

JsonSchema = dict[str, Any]

_TYPES: Final[dict[str, tuple[tuple[str, ...], JsonSchema]]] = {
    ColumnType.BIGINT: (("integer",), {}),
    ColumnType.BOOLEAN: (("boolean",), {}),
    ColumnType.DECIMAL: (("number",), {}),
    ColumnType.DOUBLE: (("number",), {}),
    ColumnType.JSON: (("object", "array"), {}),
    ColumnType.TEXT: (("string",), {}),
    ColumnType.TIMESTAMP: (("string",), {"format": "date-time"}),
}
"""Logical type of a column -> the types of JSON that its values have, and what else says so."""


def render_stream(table: PushedTable) -> schemas.StreamAnswer:
    """Return a table as an element of the list of streams."""
    return {
        "selected": True,
        "stream_id": table.id,
        "tap_stream_id": table.name,
        "stream_name": table.name,
        "metadata": _render_table_metadata(table.key_fields),
    }


def render_stream_schema(kept: KeptColumns) -> schemas.StreamSchema:
    """Return the schema of a table and the metadata of its fields."""
    schema = make_schema(kept)
    whole: schemas.StreamPart = {
        "breadcrumb": [],
        "metadata": _render_table_metadata(kept.key_fields),
    }
    parts: list[schemas.StreamPart] = [
        {
            "breadcrumb": ["properties", name],
            "metadata": {"inclusion": "automatic", "selected": True},
        }
        for name in schema["properties"]
    ]
    return {
        "schema": encode_json(schema).decode(),
        "metadata": [whole, *parts],
        "non-discoverable-metadata-keys": [],
    }


def make_schema(kept: KeptColumns) -> JsonSchema:
    """Return the JSON schema of the records of a table, made from its columns.

    Fields have the names that they have in the destination, those of objects flattened:
    `address__city`. A split field has all of its types. A subtable is an array, and its elements
    are objects; elements that are none have the field `value` (loading.md 7.4).
    """
    root: JsonSchema = {"type": "object", "properties": {}}
    objects: dict[tuple[str, ...], JsonSchema] = {(): root}
    # A relation comes after the one that it is inside of: its path is longer.
    for relation in sorted(kept.relations, key=lambda one: (len(one.path), one.path)):
        _require_object(objects, relation.path)["properties"].update(_list_fields(relation))
    for found in objects.values():
        found["properties"] = dict(sorted(found["properties"].items()))
    return root


def _require_object(
    objects: dict[tuple[str, ...], JsonSchema], path: tuple[str, ...]
) -> JsonSchema:
    """Return the schema of the elements of an array; it is put into its parent at first."""
    found = objects.get(path)
    if found is None:
        found = objects[path] = {"type": ["null", "object"], "properties": {}}
        properties = _require_object(objects, path[:-1])["properties"]
        array = properties.setdefault(path[-1], {"type": ["null"]})
        array["type"].append("array")
        array["items"] = found
    return found


def _list_fields(relation: KeptRelation) -> dict[str, JsonSchema]:
    """Return the fields of a relation by name, each with its types."""
    columns = [column for column in relation.columns if not column.system]
    fields: dict[str, JsonSchema] = {}
    for column in columns:
        types, more = _TYPES[column.type]
        known = fields.get(column.field)
        if known is None:
            nullable = ("null",) if column.nullable else ()
            fields[column.field] = {"type": [*nullable, *types], **more}
            continue
        known["type"] += [type_ for type_ in types if type_ not in known["type"]]
        if known.get("format") != more.get("format"):
            known.pop("format", None)  # it would be said of values of all types
    return fields


def _render_table_metadata(key_fields: Iterable[str]) -> dict[str, Any]:
    return {"selected": True, "table-key-properties": list(key_fields)}
