"""One OpenAPI document of a server out of those of its rooms.

A room's document is a JSON file beside its code. Parts which stand in several places are written
once, under `parts`: an object with `$use` has all keys of those parts as well, in the place of
`$use` and unless it has them itself; `$headers` adds headers to every answer. Parts that depend on
a setting stand under `settings` by the setting's value.
"""

from importlib import resources
from typing import Any

import msgspec

from treadle import __version__
from treadle.errors import InternalError

JsonObject = dict[str, Any]


def load_document(package: str, file: str, *settings: str) -> JsonObject:
    """Return the OpenAPI 3.1 document of one room; a fresh value each time.

    Args:
        package: that contains the file.
        file: name of the file.
        settings: values of the settings that the document depends on.
    """
    written: JsonObject = msgspec.json.decode(resources.files(package).joinpath(file).read_bytes())
    parts = written.pop("parts")
    by_setting = written.pop("settings", {})
    for value in settings:
        parts |= by_setting[value]
    found: JsonObject = _resolve(written, parts)
    found["info"]["version"] = __version__
    found["info"]["description"] = "\n" + "\n".join(written["info"]["description"]) + "\n"
    return found


def _resolve(value: Any, parts: JsonObject) -> Any:
    """Return the value with everything that it uses of the parts."""
    if isinstance(value, list):
        return [_resolve(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    found: JsonObject = {}
    for key, inner in value.items():
        if key == "$use":
            for name in inner:
                for part_key, part in _resolve(parts[name], parts).items():
                    found.setdefault(part_key, part)
        elif key != "$headers":
            found[key] = _resolve(inner, parts)
    added = {name: {"$ref": f"#/components/headers/{name}"} for name in value.get("$headers", ())}
    if added:
        found = {k: v | {"headers": v.get("headers", {}) | added} for k, v in found.items()}
    return found


def merge_documents(title: str, version: str, documents: list[JsonObject]) -> JsonObject:
    """Return all paths and components of several documents; the descriptions follow each other.

    Args:
        title: of the whole.
        version: of the whole.
        documents: OpenAPI 3.1; none is changed.

    Raises:
        InternalError: two documents describe a path, an operation or a component differently.
    """
    tags: dict[str, JsonObject] = {}
    paths: JsonObject = {}
    components: JsonObject = {}
    for document in documents:
        for tag in document.get("tags", []):
            _add_unique(tags, tag["name"], tag)
        for path, item in document["paths"].items():
            _add_unique(paths, path, item)
        for kind, named in document.get("components", {}).items():
            for name, component in named.items():
                _add_unique(components.setdefault(kind, {}), name, component)
    names = [operation["operationId"] for item in paths.values() for operation in item.values()]
    if len(set(names)) < len(names):
        raise InternalError(
            f"operations have names of their own in the OpenAPI document: {sorted(names)}"
        )
    about = [
        f"## {document['info']['title']}\n\n{document['info']['description'].strip()}\n"
        for document in documents
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": "\n".join(about)},
        "tags": list(tags.values()),
        "paths": paths,
        "components": components,
    }


def _add_unique(into: JsonObject, name: str, value: JsonObject) -> None:
    if into.setdefault(name, value) != value:
        raise InternalError(f"{name!r} means one thing in the OpenAPI document, not two")
