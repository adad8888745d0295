"""Writes TypeScript types of the schemas and operations of an OpenAPI document. Pure.

It knows the keywords that the server's document uses, and refuses any other one, so that nothing of
a schema is left out without a word. What only narrows a value, such as `minimum`, has no form in
TypeScript and is left to the server.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from treadle.errors import InternalError

JsonObject = dict[str, Any]

METHODS: Final = ("get", "put", "post", "delete")

NARROWING: Final = frozenset(
    {
        *("title", "description", "examples", "format", "pattern", "minimum", "maximum"),
        *("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"),
    }
)
"""Keywords that change no type."""

PLAIN_TYPES: Final = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}

HEAD: Final = """\
/**
 * Types of the bodies and answers of the server's APIs, and the operations of its control API.
 *
 * `make client-types` writes this file out of the server's OpenAPI document. Change the server
 * instead.
 */
"""

ROUTE: Final = """\
/** How an operation is asked for. */
export interface OperationRoute {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** With the names of its parameters in braces. */
  readonly path: string;
}
"""

WIDTH: Final = 96
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def write_types(document: JsonObject) -> str:
    """Return the text of a module with all schemas, and the operations of account tokens.

    Args:
        document: OpenAPI 3.1.

    Raises:
        InternalError: a schema uses a keyword that has no form here.
    """
    parts = [HEAD]
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(_write_declaration(name, schema))
    operations = sorted(list_operations(document), key=lambda one: one[2]["operationId"])
    entries = [_write_operation(document, *one) for one in operations]
    parts.append(
        "/** The operations of the control API that answer with JSON, by their names. */\n"
        "export interface Operations {\n" + "\n".join(entries) + "\n}\n"
    )
    parts.append(ROUTE)
    routes = [
        f'  {operation["operationId"]}: {{ method: "{method.upper()}", path: "{path}" }},'
        for method, path, operation in operations
    ]
    parts.append(
        "export const ROUTES: { readonly [Name in keyof Operations]: OperationRoute } = {\n"
        + "\n".join(routes)
        + "\n};\n"
    )
    return "\n".join(parts)


def list_operations(document: JsonObject) -> Iterator[tuple[str, str, JsonObject]]:
    """Yield method, path and description of what an account token may ask, with a JSON answer."""
    for path, item in document["paths"].items():
        for method in METHODS:
            operation = item.get(method)
            if operation is None:
                continue
            asks = any("account_token" in needed for needed in operation.get("security", ()))
            if asks and _find_answers(operation):
                yield method, path, operation


def _find_answers(operation: JsonObject) -> list[JsonObject]:
    """Return the schemas of successful JSON answers."""
    return [
        answer["content"]["application/json"]["schema"]
        for status, answer in sorted(operation["responses"].items())
        if status.startswith("2") and "application/json" in answer.get("content", {})
    ]


def _write_declaration(name: str, schema: JsonObject) -> str:
    text = write_type(schema, "")
    comment = _write_comment(schema.get("description"), "")
    if text.startswith("{\n"):
        return f"{comment}export interface {name} {text}\n"
    return f"{comment}export type {name} = {text};\n"


def _write_operation(document: JsonObject, method: str, path: str, operation: JsonObject) -> str:
    found: dict[str, dict[str, JsonObject]] = {"path": {}, "query": {}}
    for given in operation.get("parameters", ()):
        named = given.get("$ref", "").rpartition("/")[2]
        parameter = document["components"]["parameters"][named] if named else given
        if parameter["in"] in found:
            found[parameter["in"]][parameter["name"]] = parameter
    lines = [f"  {operation['operationId']}: {{"]
    lines += [
        f"    {place}{'' if _list_required(parameters) else '?'}: "
        f"{write_type(_make_object(parameters), '    ')};"
        for place, parameters in found.items()
        if parameters
    ]
    body = operation.get("requestBody")
    if body is not None:
        schema = body["content"]["application/json"]["schema"]
        mark = "" if body.get("required", False) else "?"
        lines.append(f"    body{mark}: {write_type(schema, '    ')};")
    lines.append(f"    answer: {_join_types(_find_answers(operation), '    ')};")
    lines.append("  };")
    about = operation.get("description") or operation.get("summary")
    return _write_comment(about, "  ") + "\n".join(lines)


def _list_required(parameters: dict[str, JsonObject]) -> list[str]:
    return [name for name, one in parameters.items() if one.get("required", False)]


def _make_object(parameters: dict[str, JsonObject]) -> JsonObject:
    """Return the schema of an object with the values of parameters."""
    return {
        "type": "object",
        "required": _list_required(parameters),
        "properties": {
            name: {"description": one.get("description", ""), **one["schema"]}
            for name, one in parameters.items()
        },
    }


def write_type(schema: JsonObject, indent: str) -> str:
    """Return the type of a schema.

    Args:
        schema: of JSON Schema 2020-12.
        indent: what stands before the lines of an object.

    Raises:
        InternalError: the schema uses a keyword that has no form here.
    """
    left = {name: value for name, value in schema.items() if name not in NARROWING}
    kind = left.pop("type", None)
    if "$ref" in left:
        text = str(left.pop("$ref")).rpartition("/")[2]
    elif "const" in left:
        text = _write_literal(left.pop("const"))
    elif "enum" in left:
        text = " | ".join(map(_write_literal, left.pop("enum")))
    elif "anyOf" in left or "oneOf" in left:
        text = _join_types(left.pop("anyOf" if "anyOf" in left else "oneOf"), indent)
    elif isinstance(kind, list):
        # The keywords of an array or an object say nothing of the other types of the list.
        plain = {one: {"type": one} for one in kind if one in PLAIN_TYPES}
        text = _join_types([plain.get(one, {**left, "type": one}) for one in kind], indent)
        left = {}
    elif kind == "array":
        text = _write_array(left.pop("items", {}), indent)
    elif kind == "object":
        text = _write_object(left, indent)
        left = {}
    elif kind is None:
        text = "unknown"
    else:
        text = PLAIN_TYPES[kind]
    if left:
        raise _make_error(left)
    return text


def _join_types(schemas: list[JsonObject], indent: str) -> str:
    """Return the union of some types, each once."""
    return " | ".join(dict.fromkeys(write_type(one, indent) for one in schemas))


def _make_error(left: JsonObject) -> InternalError:
    return InternalError(
        f"every keyword of a schema has a form in TypeScript, and {sorted(left)} has none; "
        "give it one in clients/typescript/codegen/type_writer.py"
    )


def _write_literal(value: Any) -> str:
    return json.dumps(value)


def _write_array(items: JsonObject, indent: str) -> str:
    text = write_type(items, indent)
    return f"({text})[]" if _is_union(text) else f"{text}[]"


def _is_union(text: str) -> bool:
    """Return whether there are alternatives outside of all brackets."""
    outside = re.sub(r'"(?:[^"\\]|\\.)*"|/\*.*?\*/', "", text, flags=re.DOTALL)
    while (inner := re.sub(r"\{[^{}]*\}|<[^<>]*>|\([^()]*\)", "", outside)) != outside:
        outside = inner
    return "|" in outside


def _write_object(left: JsonObject, indent: str) -> str:
    properties = left.pop("properties", {})
    required = left.pop("required", [])
    # A client may rely on what is named; without names, anything may be there.
    further = left.pop("additionalProperties", not properties)
    if left:
        raise _make_error(left)
    if not properties:
        return f"Record<string, {_write_further(further, indent)}>"
    inside = indent + "  "
    lines = []
    for name, schema in properties.items():
        shown = name if _NAME.fullmatch(name) else json.dumps(name)
        mark = "" if name in required else "?"
        lines.append(
            f"{_write_comment(schema.get('description'), inside)}"
            f"{inside}{shown}{mark}: {write_type(schema, inside)};"
        )
    if further is not False:
        lines.append(f"{inside}[field: string]: unknown;")
    return "{\n" + "\n".join(lines) + f"\n{indent}}}"


def _write_further(further: Any, indent: str) -> str:
    if isinstance(further, dict):
        return write_type(further, indent)
    return "unknown" if further else "never"


def _write_comment(text: str | None, indent: str) -> str:
    """Return a comment with its line break; empty for no text."""
    if not text:
        return ""
    lines = _wrap(text.strip().replace("*/", "* /"), WIDTH - len(indent))
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    inside = "\n".join(f"{indent} * {line}".rstrip() for line in lines)
    return f"{indent}/**\n{inside}\n{indent} */\n"


def _wrap(text: str, width: int) -> list[str]:
    """Return lines of at most that many characters, with the line breaks of the text."""
    lines: list[str] = []
    for given in text.split("\n"):
        line = ""
        for word in given.split():
            if line and len(line) + 1 + len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines
