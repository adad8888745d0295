"""The Import API's part of the OpenAPI document: `import_api.json`.

The file is the document, but that parts which stand in several places are written once: an object
with `$use` has all keys of those parts as well, and `$headers` adds headers to every answer. Tests
hold its numbers and examples against the constants of the program.
"""

from importlib import resources
from typing import Any, Final

import msgspec

from treadle import __version__
from treadle.http.openapi import JsonObject

_FILE: Final = "import_api.json"


def load_document() -> JsonObject:
    """Return an OpenAPI 3.1 document of the Import API alone; a fresh value each time."""
    written: JsonObject = msgspec.json.decode(
        resources.files(__package__).joinpath(_FILE).read_bytes()
    )
    parts = written.pop("parts")
    found: JsonObject = _resolve(written, parts)
    found["info"]["version"] = __version__
    found["info"]["description"] = "\n" + "\n".join(written["info"]["description"]) + "\n"
    for item in found["paths"].values():
        for operation in item.values():
            answers = operation["responses"]
            operation["responses"] = {status: answers[status] for status in sorted(answers)}
    return found


def _resolve(value: Any, parts: JsonObject) -> Any:
    """Return the value with everything that it uses of the parts."""
    if isinstance(value, list):
        return [_resolve(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    found: JsonObject = {}
    for name in value.get("$use", ()):
        found |= _resolve(parts[name], parts)
    found |= {k: _resolve(v, parts) for k, v in value.items() if k not in ("$use", "$headers")}
    added = {name: {"$ref": f"#/components/headers/{name}"} for name in value.get("$headers", ())}
    if added:
        found = {k: v | {"headers": v.get("headers", {}) | added} for k, v in found.items()}
    return found
