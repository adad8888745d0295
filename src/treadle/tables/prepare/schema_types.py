"""Compiles the JSON schema of a batch to the type rules of its fields (loading.md 3.1).

The batch was validated against the schema before it was accepted; here the schema only says what
becomes of a value. Insides are compiled when a value asks for them, so a schema that refers to
itself costs what its data needs.

A few alternatives inside each other make any number of them. So the steps of a schema are counted,
and what would take more is typed by value, as if the schema said nothing about it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec

from treadle.records.validation.effort import Effort, EffortSpentError
from treadle.records.validation.schema_cache import SchemaCache
from treadle.tables.column_type import ColumnType
from treadle.tables.prepare.key_pattern import COMPILED_UNITS_MAX, KeyPattern
from treadle.tables.prepare.type_rules import VALUE_RULES, ObjectRules, TypeRules

STEPS_MAX: Final = 30_000
"""Steps that one schema may take: about 0.1 s. A property with three types takes less than ten."""

OBJECT_ALTERNATIVES_MAX: Final = 64
"""Most alternatives for the objects of one field: each record is compared with each of them."""

_KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Most memory of all compiled schemas that are kept."""

_BYTES_PER_CHARACTER: Final = 40
"""Memory of a decoded and compiled schema, for each byte of its text, at most."""

_ITEMS_PER_STEP: Final = 8
"""Keys or values of a schema that are copied in one step."""

_POSITION = re.compile("[0-9]{1,9}")

JsonSchema = Mapping[str, Any]


class CompiledSchema(NamedTuple):
    """The type rules of a schema.

    Attributes:
        rules: of a record.
        exact: some number becomes a decimal, so numbers are to be decoded exactly.
    """

    rules: TypeRules
    exact: bool


def _compile_schema(schema: bytes, _: Effort) -> tuple[CompiledSchema, int]:
    """Compile a JSON schema text; return it with its bytes of memory at most."""
    exact = b"multipleOf" in schema or b"singer.decimal" in schema
    try:
        document = msgspec.json.decode(schema) if schema else {}
    except msgspec.DecodeError:  # only with numbers or escapes that say nothing about types
        document = {}
    rules = _SchemaCompiler(document).compile_rules(document)
    return CompiledSchema(rules, exact), _BYTES_PER_CHARACTER * len(schema)


compile_schema = SchemaCache(
    _compile_schema, _KEPT_BYTES_MAX, schema_bytes_max=_KEPT_BYTES_MAX
).get_loaded
"""Schema text -> `CompiledSchema`; the last ones are remembered, within their memory."""


class _PropertyRules(Mapping[str, TypeRules]):
    """Type rules of properties, compiled at first use."""

    def __init__(self, schemas: Mapping[str, Any], compile_: Callable[[Any], TypeRules]) -> None:
        self._schemas = schemas
        self._compile = compile_
        self._known: dict[str, TypeRules] = {}

    def __getitem__(self, key: str) -> TypeRules:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._compile(self._schemas[key])
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)


class _SchemaCompiler:
    def __init__(self, document: object) -> None:
        self._document = document
        self._steps = Effort(STEPS_MAX)
        self._pattern_effort = Effort(COMPILED_UNITS_MAX)

    def compile_rules(self, schema: object) -> TypeRules:
        """Return the type rules of the values that a schema describes; by value if that is much."""
        try:
            simples = list(self._expand_alternatives(schema, frozenset()))
            self._steps.spend(sum(map(_measure_simple, simples)))
        except (EffortSpentError, RecursionError):
            return VALUE_RULES
        return TypeRules(
            integer=_choose_integer_type(simples),
            number=(number := _choose_number_type(simples)),
            decimal=number,
            texts=_choose_text_types(simples),
            listed_texts=_collect_listed_texts(simples),
            objects=self._make_object_rules(simples),
            elements=self._make_element_rules(simples),
            first_elements=self._make_tuple_rules(simples),
            classes=_allowed_classes(simples),
        )

    # --- alternatives without $ref, allOf, anyOf, oneOf ---

    def _expand_alternatives(self, schema: object, seen: frozenset[str]) -> Iterator[JsonSchema]:
        self._steps.spend(1 + len(seen) // _ITEMS_PER_STEP)
        if not isinstance(schema, dict):
            yield {}
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = None if reference in seen else self._resolve_reference(reference)
            yield from self._expand_alternatives(target, seen | {reference})
            return
        base = {k: v for k, v in schema.items() if k not in ("allOf", "anyOf", "oneOf")}
        found: list[JsonSchema] = [base]
        for part in _as_list(schema.get("allOf")):
            found = [
                self._intersect(a, b) for a in found for b in self._expand_alternatives(part, seen)
            ]
        for union in ("anyOf", "oneOf"):
            choices = [
                s
                for part in _as_list(schema.get(union))
                for s in self._expand_alternatives(part, seen)
            ]
            if choices:
                found = [self._intersect(a, b) for a in found for b in choices]
        yield from found

    def _intersect(self, first: JsonSchema, second: JsonSchema) -> JsonSchema:
        self._steps.spend(1 + (_count_items(first) + _count_items(second)) // _ITEMS_PER_STEP)
        return _intersect(first, second)

    def _resolve_reference(self, reference: str) -> object:
        if not reference.startswith("#"):
            return None
        at: Any = self._document
        for part in unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(at, dict):
                at = at.get(name)
            elif isinstance(at, list) and _POSITION.fullmatch(name) and int(name) < len(at):
                at = at[int(name)]
            else:
                return None
        return at

    def _make_object_rules(self, simples: Sequence[JsonSchema]) -> tuple[ObjectRules, ...]:
        shapes = []
        for simple in simples:
            types = _declared_types(simple)
            if types is not None and "object" not in types:
                continue
            properties = simple.get("properties")
            patterns = simple.get("patternProperties")
            others = simple.get("additionalProperties")
            shapes.append(
                ObjectRules(
                    _PropertyRules(
                        properties if isinstance(properties, dict) else {}, self.compile_rules
                    ),
                    tuple(
                        (
                            KeyPattern(pattern, self._pattern_effort),
                            cache(partial(self.compile_rules, inner)),
                        )
                        for pattern, inner in (
                            patterns.items() if isinstance(patterns, dict) else ()
                        )
                    ),
                    cache(partial(self.compile_rules, others))
                    if isinstance(others, dict) and others
                    else None,
                    frozenset(k for k in _as_list(simple.get("required")) if isinstance(k, str)),
                )
            )
        described = [s for s in shapes if s.properties or s.patterns or s.others]
        if len(described) > OBJECT_ALTERNATIVES_MAX:
            return ()
        return tuple(shapes) if len(described) > 1 else tuple(described)

    def _make_element_rules(self, simples: Sequence[JsonSchema]) -> Callable[[], TypeRules] | None:
        found: list[object] = []
        for simple in simples:
            types = _declared_types(simple)
            if types is not None and "array" not in types:
                continue
            items = simple.get("items")
            if isinstance(items, list):
                items = simple.get("additionalItems")
            if isinstance(items, dict):
                found.append(items)
        if not found:
            return None
        schema = found[0] if len(found) == 1 else {"anyOf": found}
        return cache(lambda: self.compile_rules(schema))

    def _make_tuple_rules(
        self, simples: Sequence[JsonSchema]
    ) -> tuple[Callable[[], TypeRules], ...]:
        for simple in simples:
            items = simple.get("items")
            if isinstance(items, list):
                return tuple(
                    cache(lambda schema=schema: self.compile_rules(schema)) for schema in items
                )
        return ()


def _count_items(simple: JsonSchema) -> int:
    """Count what is copied of a schema when it is merged with another."""
    inner = (simple.get(key) for key in ("properties", "patternProperties", "required"))
    return len(simple) + sum(len(each) for each in inner if isinstance(each, (dict, list)))


def _measure_simple(simple: JsonSchema) -> int:
    listed = simple.get("enum")
    return 1 + (len(listed) // _ITEMS_PER_STEP if isinstance(listed, list) else 0)


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _declared_types(simple: JsonSchema) -> frozenset[str] | None:
    type_ = simple.get("type")
    if isinstance(type_, str):
        return frozenset({type_})
    if isinstance(type_, list):
        return frozenset(t for t in type_ if isinstance(t, str))
    return None


def _intersect(first: JsonSchema, second: JsonSchema) -> JsonSchema:
    """Return the schema that says what two say together."""
    merged = {**first, **second}
    one, other = _declared_types(first), _declared_types(second)
    if one is not None and other is not None:
        common = one & other
        if "integer" in one | other and "number" in one | other:
            common |= {"integer"}
        merged["type"] = sorted(common or one)
    for key in ("properties", "patternProperties"):
        a, b = first.get(key), second.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            merged[key] = {
                **a,
                **{k: {"allOf": [a[k], v]} if k in a else v for k, v in b.items()},
            }
    merged["required"] = _as_list(first.get("required")) + _as_list(second.get("required"))
    return merged


def _allowed_classes(simples: Sequence[JsonSchema]) -> frozenset[str]:
    classes: set[str] = set()
    for simple in simples:
        types = _declared_types(simple)
        if types is None:
            return frozenset()
        classes |= types
    return frozenset(classes)


def _is_decimal(simple: JsonSchema) -> bool:
    return "multipleOf" in simple or simple.get("format") == "singer.decimal"


def _listed_values(simple: JsonSchema) -> list[Any] | None:
    """Return the values that a schema lists one by one."""
    if isinstance(simple.get("enum"), list):
        return list(simple["enum"])
    return [simple["const"]] if "const" in simple else None


def _choose_integer_type(simples: Sequence[JsonSchema]) -> ColumnType:
    for simple in simples:
        types = _declared_types(simple)
        if types is None:
            listed = _listed_values(simple)
            if listed is None or any(type(value) is int for value in listed):
                return ColumnType.BIGINT
        elif "number" in types:
            return ColumnType.DECIMAL if _is_decimal(simple) else ColumnType.DOUBLE
        elif "integer" in types:
            return ColumnType.BIGINT
    return VALUE_RULES.integer


def _choose_number_type(simples: Sequence[JsonSchema]) -> ColumnType:
    for simple in simples:
        types = _declared_types(simple)
        if types is None:
            listed = _listed_values(simple)
            if listed is None or any(type(value) is float for value in listed):
                return ColumnType.DOUBLE
        elif "number" in types:
            return ColumnType.DECIMAL if _is_decimal(simple) else ColumnType.DOUBLE
    if any("integer" in (_declared_types(simple) or ()) for simple in simples):
        return ColumnType.BIGINT
    return VALUE_RULES.number


def _choose_text_types(simples: Sequence[JsonSchema]) -> tuple[ColumnType, ...]:
    found: list[ColumnType] = []
    for simple in simples:
        types = _declared_types(simple)
        if types is None:
            if _listed_values(simple) is None:
                found.append(ColumnType.TEXT)
        elif "string" in types:
            formats = {
                "date-time": ColumnType.TIMESTAMP,
                "singer.decimal": ColumnType.DECIMAL,
            }
            format_ = simple.get("format")
            found.append(
                formats.get(format_, ColumnType.TEXT)
                if isinstance(format_, str)
                else ColumnType.TEXT
            )
        if ColumnType.TEXT in found:
            break
    return tuple(dict.fromkeys(found)) or VALUE_RULES.texts


def _collect_listed_texts(simples: Sequence[JsonSchema]) -> frozenset[str]:
    """Return the texts that an untyped alternative lists before one with a format."""
    if len(simples) < 2:
        return frozenset()
    found: set[str] = set()
    for simple in simples:
        types = _declared_types(simple)
        if types is None:
            found |= {value for value in _listed_values(simple) or () if isinstance(value, str)}
        elif "string" in types:
            break
    return frozenset(found)
