"""Whether records conform to a schema, asked of the fast validator before the nodes."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jsonschema_rs

from treadle.errors import Refused
from treadle.records import json
from treadle.records.validation.effort import UNROLLED_MAX, Effort, Exhausted
from treadle.records.validation.loading import SchemaError, load
from treadle.records.validation.node import Node, Plain, unrolled
from treadle.records.validation.swift import decoder

_CACHED = 256
_KEY_LISTS = 4
_CACHED_BYTES = 65_536
"""Schemas larger than this are compiled for each request, so the cache stays within 16 MB of
schema text."""


class Conformity:
    """A loaded schema.

    Attributes:
        node: explains what is wrong with a record.
        quick: whether a list of records conforms, never yes for what `node` refuses; None when the
            fast validator cannot say.
        effort: counts the steps through references.
    """

    __slots__ = ("_swift", "effort", "node", "quick")

    def __init__(self, schema: dict[str, Any]) -> None:
        """Load a decoded schema.

        Raises:
            SchemaError: it cannot be used.
        """
        self.effort = Effort()
        self.node = load(schema, self.effort)
        self.quick = _quick(self.node)
        self._swift: dict[tuple[str, ...], Callable[[bytes], object] | None] = {}

    def surely(self, key_names: tuple[str, ...], data: bytes) -> bool:
        """Whether all records surely conform and have their keys; the quickest look there is.

        Args:
            key_names: as sent.
            data: a valid JSON array text of objects.
        """
        if key_names not in self._swift:
            if len(self._swift) >= _KEY_LISTS:
                self._swift.clear()
            self._swift[key_names] = decoder(self.node, key_names)
        decode = self._swift[key_names]
        if decode is None:
            return False
        try:
            decode(data)
        except json.SYNTAX_ERRORS:
            return False
        return True

    def explain(self, record: Any) -> str | None:
        """The lines of what is wrong with a record, None when nothing is.

        Raises:
            SchemaError: the schema makes too much work of the record.
        """
        try:
            failure = self.node.check(record)
        except RecursionError as error:
            raise SchemaError("its references and the record are nested too deep") from error
        except Exhausted as error:
            raise SchemaError("its references lead to too many checks of one value") from error
        return None if failure is None else "".join(failure.lines())


def conformity(schema: bytes) -> Conformity:
    """The loaded form of a schema text; the latest are kept.

    Raises:
        SchemaError: it cannot be used.
    """
    return _kept(schema) if len(schema) <= _CACHED_BYTES else _compile(schema)


def _compile(schema: bytes) -> Conformity:
    return Conformity(json.decode(schema))


_kept = lru_cache(maxsize=_CACHED)(_compile)


def _quick(node: Node) -> Callable[[list[Any]], bool] | None:
    plain = Plain()
    try:
        if unrolled(node) > UNROLLED_MAX:
            return None
        schema = {"type": "array", "items": node.plain(plain), "definitions": plain.definitions}
        if not plain.sure:
            return None
        return jsonschema_rs.Draft4Validator(schema, validate_formats=True).is_valid
    except (
        jsonschema_rs.ValidationError,
        jsonschema_rs.ReferencingError,
        ValueError,
        TypeError,
        RecursionError,
    ):
        # What the nodes know and it does not: a negative minLength, an empty anyOf.
        return None


def refusal(error: SchemaError) -> Refused:
    """The answer to a request whose schema cannot be used (import-api.md 10.5)."""
    return Refused(400, {"error": f"Invalid JSON schema: {error}"})
