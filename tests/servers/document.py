"""An OpenAPI document that answers are held to."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema_rs

NOT_FOUND = {"status": "NOT FOUND"}
JSON_TYPE = "application/json"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


class Document:
    """An OpenAPI document that answers are held to; undocumented keys are errors, too."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.value = document
        self._paths = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), operations)
            for path, operations in document["paths"].items()
        ]
        self._tables = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path.replace("{table}", ".+"))), operations)
            for path, operations in document["paths"].items()
            if "{table}" in path
        ]
        self._components = {
            name: _closed(schema) for name, schema in document["components"]["schemas"].items()
        }
        self._headers = {
            name.lower(): header
            for name, header in document["components"].get("headers", {}).items()
        }
        self._validators: dict[str, Any] = {}

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Method, path and description of every operation."""
        for path, operations in self.value["paths"].items():
            for method, operation in operations.items():
                yield method.upper(), path, operation

    def operation(self, method: str, path: str) -> Any:
        """The described operation, None where the document has none.

        The name of a table may have slashes. A path whose parts fit without them comes first.
        """
        with_slashes = [each for pattern, each in self._tables if pattern.fullmatch(path)]
        for operations in (*self._of(path), *with_slashes):
            if method.lower() in operations:
                return operations[method.lower()]
        return None

    def _of(self, path: str) -> list[Any]:
        return [operations for pattern, operations in self._paths if pattern.fullmatch(path)]

    def errors(self, schema: dict[str, Any], value: object) -> list[str]:
        """What about a value contradicts a schema of the document."""
        key = json.dumps(schema)
        validator = self._validators.get(key)
        if validator is None:
            whole = {
                "$schema": DRAFT,
                **_closed(schema),
                "components": {"schemas": self._components},
            }
            validator = self._validators[key] = jsonschema_rs.validator_for(whole)
        return [error.message for error in validator.iter_errors(value)]

    def check(self, method: str, path: str, status: int, value: object) -> None:
        """Fails for a JSON answer of the control API that the document does not describe."""
        operation = self.operation(method, path)
        if operation is None:
            assert (status, value) == (404, NOT_FOUND)
            return
        self._check(f"{method} {path}", operation, status, JSON_TYPE, value)

    def check_import(
        self,
        method: str,
        target: str,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> None:
        """Fails for an answer of the Import API that the document does not describe.

        Args:
            method: of the request.
            target: path and query.
            status: of the answer.
            headers: of the answer, names in lower case.
            body: of the answer.
        """
        path = target.partition("?")[0]
        of_path = self._of(path)
        if not of_path:
            assert status == 404, f"{method} {path} is not documented and answered {status}"
            return
        operation = of_path[0].get(method.lower())
        if operation is None:
            if method in ("HEAD", "OPTIONS"):
                of_get = of_path[0].get("get", {}).get("responses", {}) if method == "HEAD" else {}
                assert status in (200, 405) or str(status) in of_get, f"{method} {path}: {status}"
                return
            assert status == 405, f"{method} {path} is not documented and answered {status}"
            operation = next(iter(of_path[0].values()))
        where = f"{method} {path}"
        of = dict(headers)
        kind = of["content-type"].partition(";")[0]
        value = json.loads(body) if kind == JSON_TYPE else body.decode()
        self._check(where, operation, status, kind, value)
        declared = operation["responses"][str(status)].get("headers", {})
        for name in self._headers.keys() & of.keys():
            assert name in {known.lower() for known in declared}, f"{where}: {name} of {status}"
            errors = self.errors(self._headers[name]["schema"], of[name])
            assert not errors, f"{where}: {name}: {errors}"

    def _check(
        self, where: str, operation: dict[str, Any], status: int, kind: str, value: object
    ) -> None:
        described = operation["responses"].get(str(status))
        assert described is not None, f"{where}: {status} is not documented"
        assert kind in described["content"], f"{where}: {status} as {kind} is not documented"
        errors = self.errors(described["content"][kind]["schema"], value)
        assert not errors, f"{where}: {status} {value}: {errors}"


def _closed(schema: Any) -> Any:
    """The schema with every object closed against keys that it does not name."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(item) for key, item in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed
