"""One OpenAPI document of a server out of those of its rooms."""

from typing import Any

from treadle.errors import InternalError

JsonObject = dict[str, Any]


def merge_documents(
    title: str, version: str, documents: list[JsonObject], public_path: str = ""
) -> JsonObject:
    """Return all paths and components of several documents; the descriptions follow each other.

    Args:
        title: of the whole.
        version: of the whole.
        documents: OpenAPI 3.1; none is changed.
        public_path: what a proxy puts before every path; empty for nothing.

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
        **({"servers": [{"url": public_path}]} if public_path else {}),
        "tags": list(tags.values()),
        "paths": paths,
        "components": components,
    }


def _add_unique(into: JsonObject, name: str, value: JsonObject) -> None:
    if into.setdefault(name, value) != value:
        raise InternalError(f"{name!r} means one thing in the OpenAPI document, not two")
