"""Schemas of the OpenAPI document that are named in many places and described once."""

import json
import re
from typing import Any, Final

from treadle.errors import InternalError
from treadle.http.openapi import JsonObject

_models: Final[dict[str, type[Any]]] = {}
"""The classes that `refer_to_schema` named, by the names of their schemas."""

_REFERENCE: Final = re.compile(r"#/components/schemas/([^\"]+)")


def refer_to_schema(model: type[Any]) -> JsonObject:
    """Return the content of a JSON answer, by the name of its schema.

    Raises:
        InternalError: another class has that name.
    """
    name = model.__name__
    if _models.setdefault(name, model) is not model:
        raise InternalError(f"two classes of the OpenAPI document are called {name}")
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}


def add_named_schemas(document: JsonObject) -> None:
    """Describe the schemas that a document names and does not describe, and put all in order."""
    # Imported here: the server's processes start without the document.
    from pydantic import TypeAdapter

    schemas: JsonObject = document["components"]["schemas"]
    for name in set(_REFERENCE.findall(json.dumps(document))) - schemas.keys():
        schema = TypeAdapter(_models[name]).json_schema(
            mode="serialization", ref_template="#/components/schemas/{model}"
        )
        inner: JsonObject = schema.pop("$defs", {})
        schemas.update({**inner, name: schema})
    document["components"]["schemas"] = dict(sorted(schemas.items()))
