"""The types of the TypeScript client, written of schemas by value."""

from typing import Any

import pytest
from clients.typescript.codegen.type_writer import write_type, write_types

from treadle.errors import InternalError


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string", "pattern": "^a", "maxLength": 3}, "string"),
        ({"type": "integer", "minimum": 1}, "number"),
        ({"type": ["string", "null"], "format": "date-time"}, "string | null"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "null"}]}, "number | null"),
        ({"const": "a"}, '"a"'),
        ({"type": "integer", "const": 0}, "0"),
        ({"enum": ["OK", 'a"b']}, '"OK" | "a\\"b"'),
        ({"$ref": "#/components/schemas/Source"}, "Source"),
        ({"type": "array", "items": {"type": "string"}}, "string[]"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"type": "array", "items": {"enum": ["a | b"]}}, '"a | b"[]'),
        ({"type": "array", "items": {"type": ["array", "null"]}}, "(unknown[] | null)[]"),
        ({"type": ["array", "null"], "items": {"type": "string"}}, "string[] | null"),
        ({"type": "array"}, "unknown[]"),
        ({"description": "anything"}, "unknown"),
        ({"type": "object"}, "Record<string, unknown>"),
        (
            {"type": "object", "additionalProperties": {"type": "boolean"}},
            "Record<string, boolean>",
        ),
        ({"type": "object", "additionalProperties": False}, "Record<string, never>"),
        (
            {
                "type": "object",
                "required": ["a"],
                "properties": {
                    "a": {"type": "integer", "description": "ends a */ comment"},
                    "b-c": {"type": "object", "properties": {"d": {"type": "null"}}},
                },
            },
            '{\n  /** ends a * / comment */\n  a: number;\n  "b-c"?: {\n    d?: null;\n  };\n}',
        ),
        (
            {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
            "{\n  a?: unknown;\n  [field: string]: unknown;\n}",
        ),
        (
            {
                "type": "array",
                "items": {
                    "oneOf": [
                        {"type": "object", "properties": {"a": {}}},
                        {"type": "object", "properties": {"b": {}}},
                    ]
                },
            },
            "({\n  a?: unknown;\n} | {\n  b?: unknown;\n})[]",
        ),
        (
            {"type": "array", "items": {"type": "object", "properties": {"a": {"enum": [1, 2]}}}},
            "{\n  a?: 1 | 2;\n}[]",
        ),
    ],
)
def test_a_schema_becomes_a_type(schema: dict[str, Any], text: str) -> None:
    assert write_type(schema, "") == text


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"type": "string"}]},
        {"type": "string", "if": {}},
        {"type": "object", "patternProperties": {}},
        {"type": "object", "properties": {"a": {"not": {}}}},
    ],
)
def test_a_keyword_without_a_form_is_told(schema: dict[str, Any]) -> None:
    with pytest.raises(InternalError, match="give it one in"):
        write_type(schema, "")


def make_document() -> dict[str, Any]:
    def answer(schema: Any, kind: str = "application/json") -> dict[str, Any]:
        return {"description": "", "content": {kind: {"schema": schema}}}

    needs: list[dict[str, list[str]]] = [{"account_token": []}]
    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    return {
        "components": {
            "parameters": {"since": {"name": "since", "in": "query", "schema": {"type": "string"}}},
            "schemas": {
                "Shop": {
                    "type": "object",
                    "description": "A shop.",
                    "properties": {"name": {"type": "string"}},
                },
                "Kind": {"enum": ["a", "b"]},
            },
        },
        "paths": {
            "/shops/{id}": {
                "get": {
                    "operationId": "get_shop",
                    "description": "One shop.",
                    "security": needs,
                    "parameters": [number, {"$ref": "#/components/parameters/since"}],
                    "responses": {
                        "200": answer({"$ref": "#/components/schemas/Shop"}),
                        "404": answer({"type": "null"}),
                    },
                },
                "put": {
                    "operationId": "change_shop",
                    "security": needs,
                    "parameters": [number],
                    "requestBody": {"required": True, **answer({"$ref": "#/x/Shop"})},
                    "responses": {"200": answer({"type": "null"})},
                },
                "delete": {
                    "operationId": "refuse_always",
                    "security": needs,
                    "responses": {"400": answer({"type": "null"})},
                },
            },
            "/events": {
                "get": {
                    "operationId": "stream",
                    "security": needs,
                    "responses": {"200": answer({}, "text/event-stream")},
                }
            },
            "/push": {
                "post": {
                    "operationId": "push",
                    "security": [{"import_token": []}],
                    "responses": {"200": answer({})},
                }
            },
        },
    }


def test_a_document_becomes_a_module() -> None:
    text = write_types(make_document())
    assert text.startswith("/**\n * Types of the bodies")
    _, _, rest = text.partition(" */\n\n")
    assert rest == (
        'export type Kind = "a" | "b";\n'
        "\n"
        "/** A shop. */\n"
        "export interface Shop {\n"
        "  name?: string;\n"
        "}\n"
        "\n"
        "/** The operations of the control API that answer with JSON, by their names. */\n"
        "export interface Operations {\n"
        "  change_shop: {\n"
        "    path: {\n"
        "      id: number;\n"
        "    };\n"
        "    body: Shop;\n"
        "    answer: null;\n"
        "  };\n"
        "  /** One shop. */\n"
        "  get_shop: {\n"
        "    path: {\n"
        "      id: number;\n"
        "    };\n"
        "    query?: {\n"
        "      since?: string;\n"
        "    };\n"
        "    answer: Shop;\n"
        "  };\n"
        "}\n"
        "\n"
        "/** How an operation is asked for. */\n"
        "export interface OperationRoute {\n"
        '  readonly method: "GET" | "PUT" | "POST" | "DELETE";\n'
        "  /** With the names of its parameters in braces. */\n"
        "  readonly path: string;\n"
        "}\n"
        "\n"
        "export const ROUTES: { readonly [Name in keyof Operations]: OperationRoute } = {\n"
        '  change_shop: { method: "PUT", path: "/shops/{id}" },\n'
        '  get_shop: { method: "GET", path: "/shops/{id}" },\n'
        "};\n"
    )
