"""JSON schema of a batch to the typing of its fields (loading.md 3.1).

The batch was validated against the schema before it was accepted; here the schema only says what
becomes of a value. Insides are compiled when a value asks for them, so a schema that refers to
itself costs what its data needs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from treadle.tables.model import ColumnType
from treadle.tables.typing import BY_VALUE, Shape, Typing

Schema = Mapping[str, Any]


class Compiled(NamedTuple):
    """A schema, ready for use.

    Attributes:
        typing: of a record.
        exact: some number becomes a decimal, so numbers are to be decoded exactly.
    """

    typing: Typing
    exact: bool


@lru_cache(maxsize=256)
def compiled(schema: bytes) -> Compiled:
    """Compile a JSON schema text; the last ones are remembered."""
    exact = b"multipleOf" in schema or b"singer.decimal" in schema
    try:
        document = msgspec.json.decode(schema) if schema else {}
    except msgspec.DecodeError:  # only with numbers or escapes that say nothing about types
        document = {}
    return Compiled(_Compiler(document).typing(document), exact)


class _Properties(Mapping[str, Typing]):
    """Typings of properties, compiled at first use."""

    def __init__(self, schemas: Mapping[str, Any], compile_: Callable[[Any], Typing]) -> None:
        self._schemas = schemas
        self._compile = compile_
        self._known: dict[str, Typing] = {}

    def __getitem__(self, key: str) -> Typing:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._compile(self._schemas[key])
        return known

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)


class _Compiler:
    def __init__(self, document: object) -> None:
        self._document = document

    def typing(self, schema: object) -> Typing:
        """The typing of values a schema describes."""
        simples = list(self._simples(schema, frozenset()))
        return Typing(
            integer=_integer(simples),
            number=(number := _number(simples)),
            decimal=number,
            texts=_texts(simples),
            only=_listed(simples),
            shapes=self._shapes(simples),
            items=self._items(simples),
            tuple_items=self._tuple_items(simples),
            classes=_classes(simples),
        )

    # --- alternatives without $ref, allOf, anyOf, oneOf ---

    def _simples(self, schema: object, seen: frozenset[str]) -> Iterator[Schema]:
        if not isinstance(schema, dict):
            yield {}
            return
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = None if reference in seen else self._target(reference)
            yield from self._simples(target, seen | {reference})
            return
        base = {k: v for k, v in schema.items() if k not in ("allOf", "anyOf", "oneOf")}
        found: list[Schema] = [base]
        for part in _list(schema.get("allOf")):
            found = [_both(a, b) for a in found for b in self._simples(part, seen)]
        for union in ("anyOf", "oneOf"):
            choices = [s for part in _list(schema.get(union)) for s in self._simples(part, seen)]
            if choices:
                found = [_both(a, b) for a in found for b in choices]
        yield from found

    def _target(self, reference: str) -> object:
        if not reference.startswith("#"):
            return None
        at: Any = self._document
        for part in unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(at, dict):
                at = at.get(name)
            elif isinstance(at, list) and name.isdigit() and int(name) < len(at):
                at = at[int(name)]
            else:
                return None
        return at

    # --- insides ---

    def _shapes(self, simples: Sequence[Schema]) -> tuple[Shape, ...]:
        shapes = []
        for simple in simples:
            types = _types(simple)
            if types is not None and "object" not in types:
                continue
            properties = simple.get("properties")
            patterns = simple.get("patternProperties")
            others = simple.get("additionalProperties")
            shapes.append(
                Shape(
                    _Properties(properties if isinstance(properties, dict) else {}, self.typing),
                    tuple(
                        (pattern, self.typing(inner))
                        for pattern, inner in (
                            patterns.items() if isinstance(patterns, dict) else ()
                        )
                    ),
                    self.typing(others) if isinstance(others, dict) and others else None,
                    frozenset(k for k in _list(simple.get("required")) if isinstance(k, str)),
                )
            )
        described = [s for s in shapes if s.properties or s.patterns or s.others]
        return tuple(shapes) if len(described) > 1 else tuple(described)

    def _items(self, simples: Sequence[Schema]) -> Callable[[], Typing] | None:
        found: list[object] = []
        for simple in simples:
            types = _types(simple)
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
        return cache(lambda: self.typing(schema))

    def _tuple_items(self, simples: Sequence[Schema]) -> tuple[Callable[[], Typing], ...]:
        for simple in simples:
            items = simple.get("items")
            if isinstance(items, list):
                return tuple(cache(lambda schema=schema: self.typing(schema)) for schema in items)
        return ()


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _types(simple: Schema) -> frozenset[str] | None:
    type_ = simple.get("type")
    if isinstance(type_, str):
        return frozenset({type_})
    if isinstance(type_, list):
        return frozenset(t for t in type_ if isinstance(t, str))
    return None


def _both(first: Schema, second: Schema) -> Schema:
    """What two schemas together say, where both apply."""
    merged = {**first, **second}
    one, other = _types(first), _types(second)
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
    merged["required"] = _list(first.get("required")) + _list(second.get("required"))
    return merged


def _classes(simples: Sequence[Schema]) -> frozenset[str]:
    classes: set[str] = set()
    for simple in simples:
        types = _types(simple)
        if types is None:
            return frozenset()
        classes |= types
    return frozenset(classes)


def _is_decimal(simple: Schema) -> bool:
    return "multipleOf" in simple or simple.get("format") == "singer.decimal"


def _lists(simple: Schema) -> list[Any] | None:
    """The values a schema lists one by one."""
    if isinstance(simple.get("enum"), list):
        return list(simple["enum"])
    return [simple["const"]] if "const" in simple else None


def _integer(simples: Sequence[Schema]) -> ColumnType:
    for simple in simples:
        types = _types(simple)
        if types is None:
            listed = _lists(simple)
            if listed is None or any(type(value) is int for value in listed):
                return ColumnType.BIGINT
        elif "number" in types:
            return ColumnType.DECIMAL if _is_decimal(simple) else ColumnType.DOUBLE
        elif "integer" in types:
            return ColumnType.BIGINT
    return BY_VALUE.integer


def _number(simples: Sequence[Schema]) -> ColumnType:
    for simple in simples:
        types = _types(simple)
        if types is None:
            listed = _lists(simple)
            if listed is None or any(type(value) is float for value in listed):
                return ColumnType.DOUBLE
        elif "number" in types:
            return ColumnType.DECIMAL if _is_decimal(simple) else ColumnType.DOUBLE
    if any("integer" in (_types(simple) or ()) for simple in simples):
        return ColumnType.BIGINT
    return BY_VALUE.number


def _texts(simples: Sequence[Schema]) -> tuple[ColumnType, ...]:
    found: list[ColumnType] = []
    for simple in simples:
        types = _types(simple)
        if types is None:
            if _lists(simple) is None:
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
    return tuple(dict.fromkeys(found)) or BY_VALUE.texts


def _listed(simples: Sequence[Schema]) -> frozenset[str]:
    """Texts listed by an alternative without a type that stands before one with a format."""
    if len(simples) < 2:
        return frozenset()
    found: set[str] = set()
    for simple in simples:
        types = _types(simple)
        if types is None:
            found |= {value for value in _lists(simple) or () if isinstance(value, str)}
        elif "string" in types:
            break
    return frozenset(found)
