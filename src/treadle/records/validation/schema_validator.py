"""Validation of records by a schema: the fast ways first, then the nodes."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jsonschema_rs

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.validation.reference_budget import (
    UNROLLED_MAX,
    BudgetExceededError,
    ReferenceBudget,
)
from treadle.records.validation.schema_loader import SchemaError, load_schema
from treadle.records.validation.schema_node import Draft4Builder, SchemaNode, count_unrolled_nodes
from treadle.records.validation.typed_decoder import make_typed_decoder

_VALIDATORS_KEPT = 256
_KEY_LISTS_KEPT = 4
_KEPT_SCHEMA_BYTES_MAX = 65_536
"""Larger schemas are loaded for each request: the cache stays below 16 MB of schema text."""


class SchemaValidator:
    """A loaded schema.

    Attributes:
        node: explains what is wrong with a record.
        all_valid_fast: tells whether a list of records conforms by the fast validator, which never
            accepts what `node` refuses; None if that validator cannot tell.
        budget: counts the steps through references.
    """

    __slots__ = ("_typed_decoders", "all_valid_fast", "budget", "node")

    def __init__(self, schema: dict[str, Any]) -> None:
        """Load a decoded schema.

        Raises:
            SchemaError: it cannot be used.
        """
        self.budget = ReferenceBudget()
        self.node = load_schema(schema, self.budget)
        self.all_valid_fast = _make_fast_check(self.node)
        self._typed_decoders: dict[tuple[str, ...], Callable[[bytes], object] | None] = {}

    def decodes_all(self, key_names: tuple[str, ...], data: bytes) -> bool:
        """Return whether the typed decoder accepts all records, so that they conform and have keys.

        Args:
            key_names: as sent.
            data: a valid JSON array text of objects.
        """
        if key_names not in self._typed_decoders:
            if len(self._typed_decoders) >= _KEY_LISTS_KEPT:
                self._typed_decoders.clear()
            self._typed_decoders[key_names] = make_typed_decoder(self.node, key_names)
        decode = self._typed_decoders[key_names]
        if decode is None:
            return False
        try:
            decode(data)
        except json_decoder.SYNTAX_ERRORS:
            return False
        return True

    def explain_failure(self, record: Any) -> str | None:
        """Return the lines of what is wrong with a record; None if nothing is.

        Raises:
            SchemaError: the schema makes too much work of the record.
        """
        try:
            failure = self.node.check(record)
        except RecursionError as error:
            raise SchemaError("its references and the record are nested too deep") from error
        except BudgetExceededError as error:
            raise SchemaError("its references lead to too many checks of one value") from error
        return None if failure is None else "".join(failure.format_lines())


def get_validator(schema: bytes) -> SchemaValidator:
    """Return the validator of a schema text; the latest are kept.

    Raises:
        SchemaError: it cannot be used.
    """
    kept = len(schema) <= _KEPT_SCHEMA_BYTES_MAX
    return _get_kept_validator(schema) if kept else _make_validator(schema)


def _make_validator(schema: bytes) -> SchemaValidator:
    return SchemaValidator(json_decoder.decode_json(schema))


_get_kept_validator = lru_cache(maxsize=_VALIDATORS_KEPT)(_make_validator)


def _make_fast_check(node: SchemaNode) -> Callable[[list[Any]], bool] | None:
    builder = Draft4Builder()
    try:
        if count_unrolled_nodes(node) > UNROLLED_MAX:
            return None
        schema = {
            "type": "array",
            "items": node.to_draft4(builder),
            "definitions": builder.definitions,
        }
        if not builder.is_exact:
            return None
        return jsonschema_rs.Draft4Validator(schema, validate_formats=True).is_valid
    except (
        jsonschema_rs.ValidationError,
        jsonschema_rs.ReferencingError,
        ValueError,
        TypeError,
        RecursionError,
    ):
        # The fast validator refuses schemas that the nodes, like the original, accept: a negative
        # minLength, an empty anyOf.
        return None


def make_schema_refusal(error: SchemaError) -> RequestRefusedError:
    """Make the answer to a request whose schema cannot be used (import-api.md 10.5)."""
    return RequestRefusedError(400, {"error": f"Invalid JSON schema: {error}"})
