"""Validation of records by a schema: the fast ways first, then the nodes."""

from collections.abc import Callable
from typing import Any

import jsonschema_rs

from treadle.errors import RequestRefusedError
from treadle.records import json_decoder
from treadle.records.validation.effort import ENDLESS, UNROLLED_MAX, Effort
from treadle.records.validation.failure import cut_text
from treadle.records.validation.schema_cache import SchemaCache
from treadle.records.validation.schema_cost import SchemaCost, measure_schema
from treadle.records.validation.schema_loader import SchemaError, load_schema
from treadle.records.validation.schema_node import Draft4Builder, SchemaNode
from treadle.records.validation.string_pattern import PATTERN_OPTIONS, PatternError
from treadle.records.validation.typed_decoder import FIELDS_MAX, make_typed_decoder

# Clients choose key names, so decoders are kept for few lists of them, and none for a long one.
_KEY_LISTS_KEPT = 4
_KEY_CHARACTERS_MAX = 4096
_KEY_DECODER_BYTES = 1024
"""Memory of one field of a typed decoder."""

_UNIT_BYTES = 256
"""Memory of what is made in one unit of effort. A node takes eight units, and up to 2 KB here and
in the fast validator; a state of a pattern takes one unit and up to 200 bytes."""

_COMPARISONS_PER_UNIT = 3_000
"""Bytes of records times fields of their schema that are decoded in a unit, at least."""

_LOADING_UNITS_MAX = 10**12
"""For an endless effort: a finite number, from which the units that were spent can be computed."""


class SchemaValidator:
    """A loaded schema. It is not changed by use, so that threads can share it.

    Attributes:
        node: explains what is wrong with a record.
        cost: what records can cost.
        held_bytes: of memory, at most.
        all_valid_fast: tells whether a list of records conforms by the fast validator, which never
            accepts what `node` refuses; None if that validator cannot tell.
    """

    __slots__ = ("_fields", "_typed_decoders", "all_valid_fast", "cost", "held_bytes", "node")

    def __init__(self, schema: dict[str, Any], effort: Effort = ENDLESS) -> None:
        """Load a decoded schema.

        Raises:
            SchemaError: it cannot be used.
            EffortSpentError: it takes more effort than is left.
        """
        before = min(effort.units_left, _LOADING_UNITS_MAX)
        loading = Effort(before)
        try:
            self.node = load_schema(schema, loading)
            self.cost: SchemaCost = measure_schema(self.node)
            self.all_valid_fast = _make_fast_check(self.node, self.cost, loading)
        finally:
            spent = before - loading.units_left
            effort.units_left -= spent
        self._fields = int(min(self.cost.nodes, FIELDS_MAX))
        fields = _KEY_LISTS_KEPT * self._fields
        self.held_bytes = int(_UNIT_BYTES * spent + _KEY_DECODER_BYTES * fields)
        self._typed_decoders: dict[tuple[str, ...], Callable[[bytes], object] | None] = {}

    def decodes_all(self, key_names: tuple[str, ...], data: bytes, effort: Effort) -> bool:
        """Return whether the typed decoder accepts all records, so that they conform and have keys.

        Args:
            key_names: as sent.
            data: a valid JSON array text of objects.
            effort: what may be spent.

        Raises:
            EffortSpentError: where other requests wait, it is not sure that this ends soon.
        """
        if key_names not in self._typed_decoders:
            if sum(map(len, key_names)) + len(key_names) > _KEY_CHARACTERS_MAX:
                return False
            if len(self._typed_decoders) >= _KEY_LISTS_KEPT:
                self._typed_decoders.clear()
            self._typed_decoders[key_names] = make_typed_decoder(self.node, key_names)
        decode = self._typed_decoders[key_names]
        # The decoder compares an unknown key with all fields, so the bound is bytes times fields.
        if decode is None or not effort.try_spend(
            len(data) * self._fields // _COMPARISONS_PER_UNIT
        ):
            return False
        try:
            decode(data)
        except json_decoder.SYNTAX_ERRORS:
            return False
        return True

    def explain_failure(self, record: Any, effort: Effort = ENDLESS) -> str | None:
        """Return the lines of what is wrong with a record; None if nothing is.

        Raises:
            SchemaError: the schema makes too much work of one value.
            EffortSpentError: nothing is left to find out.
        """
        try:
            failure = self.node.check(record, effort)
        except RecursionError as error:
            raise SchemaError("its references and the record are nested too deep") from error
        except PatternError as error:
            raise SchemaError(str(error)) from error
        return None if failure is None else "".join(failure.format_lines())


def _load_validator(schema: bytes, effort: Effort) -> tuple[SchemaValidator, int]:
    validator = SchemaValidator(json_decoder.decode_json(schema), effort)
    # Names and the values of `enum` come from the text, a few times.
    return validator, validator.held_bytes + 8 * len(schema)


get_validator = SchemaCache(_load_validator).get_loaded
"""Schema text and effort -> its validator; the latest are kept. It raises `SchemaError` where the
schema cannot be used, and `EffortSpentError`."""


def _make_fast_check(
    node: SchemaNode, cost: SchemaCost, effort: Effort
) -> Callable[[list[Any]], bool] | None:
    if cost.nodes > UNROLLED_MAX:
        return None
    builder = Draft4Builder()
    try:
        schema = {
            "type": "array",
            "items": node.to_draft4(builder),
            "definitions": builder.definitions,
        }
        if not builder.is_exact:
            return None
        effort.spend(cost.nodes + builder.pattern_states)
        return jsonschema_rs.Draft4Validator(
            schema, validate_formats=True, pattern_options=PATTERN_OPTIONS
        ).is_valid
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
    return RequestRefusedError(400, {"error": f"Invalid JSON schema: {cut_text(str(error))}"})


TOO_MUCH_WORK = (
    "it makes too much work of these records: use fewer alternatives, references and patterns, or"
    " send fewer records at once"
)
"""Follows "Invalid JSON schema: " where the effort of a request is spent."""
