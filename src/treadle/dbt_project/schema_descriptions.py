"""Finds what the JSON schema of a table says of its fields, by the columns that they become."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from treadle.tables.names import SEPARATOR, VALUE

FieldDescriptions = Mapping[tuple[tuple[str, ...], str], str]
"""(Path of the relation, field) -> description."""


def find_descriptions(document: Any, make_name: Callable[[str], str]) -> FieldDescriptions:
    """Return the descriptions of the fields of a table and its subtables.

    Objects are flattened and arrays become subtables (loading.md 7). References are not followed.

    Args:
        document: a JSON schema for a record.
        make_name: the name of a field in the destination for one that a record has.
    """
    return dict(_walk(document, (), "", make_name))


def _walk(
    schema: Any, path: tuple[str, ...], prefix: str, make_name: Callable[[str], str]
) -> Iterator[tuple[tuple[tuple[str, ...], str], str]]:
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return
    for name, inner in properties.items():
        if isinstance(inner, Mapping):
            yield from _describe_field(inner, path, prefix + make_name(name), make_name)


def _describe_field(
    schema: Mapping[str, Any],
    path: tuple[str, ...],
    field: str,
    make_name: Callable[[str], str],
) -> Iterator[tuple[tuple[tuple[str, ...], str], str]]:
    said = schema.get("description")
    if isinstance(said, str) and said.strip():
        yield (path, field), said.strip()
    yield from _walk(schema, path, field + SEPARATOR, make_name)
    items = schema.get("items")
    if isinstance(items, Mapping):
        below = (*path, field)
        yield from _walk(items, below, "", make_name)
        # Elements that are no objects, and arrays in arrays, are called so.
        yield from _describe_field(
            {name: items[name] for name in ("description", "items") if name in items},
            below,
            VALUE,
            make_name,
        )
