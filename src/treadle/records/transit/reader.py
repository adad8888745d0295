"""Decoding of Transit: JSON with and without caching, and JSON-Verbose (import-api.md 12).

The reader works on decoded JSON, in document order, with one cache for a body. A common body
repeats records with the same keys, which are codes of cached names. Records are read together, a
column at a time, as long as they leave the cache alone (`columnar`), and the others one by one. A
list of keys that are codes is looked up once and remembered.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, ParamSpec

import msgspec

from treadle.records import json_decoder
from treadle.records.limits import DEPTH_MAX
from treadle.records.partial_decode import split_into_arrays
from treadle.records.transit.columnar import ColumnReader, NotColumnarError
from treadle.records.transit.scalars import (
    SCALAR_PARSERS,
    MalformedTransitError,
    UnstorableKeyError,
    make_key_name,
    make_uuid,
)
from treadle.records.transit.written_count import WrittenCount, measure_text
from treadle.step_check import StepCheck, pass_step

P = ParamSpec("P")

_CODE_CHARACTERS = 44
"""Number of characters that a cache code is written with, from "0"."""

_CACHE_SIZE = _CODE_CHARACTERS * _CODE_CHARACTERS
"""Number of entries after which the cache begins anew."""

_MAP_MARK = "^ "
_MARKS = frozenset("~^")

_VALUES_AT_ONCE = 4096
"""Values of one array that are read in a step."""


def decode_transit(body: bytes, check: StepCheck = pass_step) -> Any:
    """Decode a Transit body.

    Values are dict with string keys, list, str, int, float, bool, None, `datetime` in UTC,
    `ExactDecimal`, `WideInteger` and `DistantInstant` of `encoding`, and `HugeNumber`. Values that
    cache codes stand for are not copied.

    Args:
        body: as received, decompressed.
        check: called between steps.

    Raises:
        RequestRefusedError: 400, the body is not Transit (import-api.md 17.2).
    """
    value = json_decoder.decode_json(body, kind="transit", check=check)
    codes = may_have_cache_codes(body)
    if not (codes or b'"~' in body):
        if json_decoder.is_body_too_deep(body, check):
            json_decoder.refuse_malformed(RecursionError(), kind="transit")
        return value
    return _read_or_refuse(_BodyReader(check, codes=codes).read_value, value)


def decode_elements(
    elements: Sequence[msgspec.Raw], *, codes: bool, check: StepCheck = pass_step
) -> Iterator[list[Any]]:
    """Yield the values of an array's elements, some at a time, so that few are in memory.

    Args:
        elements: their texts; the first is not a tag.
        codes: whether any string begins with "^".
        check: called between steps.

    Raises:
        RequestRefusedError: as `decode_transit`.
    """
    body = _BodyReader(check, codes=codes)
    for part in split_into_arrays(elements, kind="transit", check=check):
        values = json_decoder.decode_json(part, kind="transit", check=check)
        yield _read_or_refuse(body.read_elements, values)


def may_have_cache_codes(body: bytes) -> bool:
    """Return whether any string may begin with "^", also as an escape."""
    return b'"^' in body or b'"\\u00' in body


def decode_exactly(body: bytes) -> Any:
    """Do the same as `decode_transit`, but read every value by itself."""
    return _read_or_refuse(
        _ValueReader(WrittenCount()).read_value, json_decoder.decode_json(body, kind="transit")
    )


def _read_or_refuse(read: Callable[P, Any], *arguments: P.args, **more: P.kwargs) -> Any:
    try:
        return read(*arguments, **more)
    except (MalformedTransitError, RecursionError) as error:
        json_decoder.refuse_malformed(error, kind="transit")


# Records are read together in chunks. A chunk that cannot be read so is read one by one, so chunks
# begin small and double while they succeed.
_CHUNK_MIN = 32
_CHUNK_MAX = 2048


class _BodyReader:
    """Reads the values of one body; reads records together where they have the same keys."""

    def __init__(self, check: StepCheck, *, codes: bool) -> None:
        self._check_step = check
        self._written = WrittenCount()
        self._values = _ValueReader(self._written, check)
        self._columns = ColumnReader(
            self._values.interpret_text, self._values.interpret_key, self._written, codes=codes
        )
        # The first record brings the names that are cached, so it is read by itself.
        self._chunk_size = 1 if codes else _CHUNK_MIN
        self._elements_read = 0  # of earlier parts of the body

    def read_value(self, value: Any) -> Any:
        """Interpret a decoded body."""
        if type(value) is list and value and type(value[0]) in (list, dict):
            return self.read_elements(value)
        return self._values.read_value(value)

    def read_elements(self, values: list[Any]) -> list[Any]:
        """Interpret the elements of an array, of which the first is not a tag."""
        self._values.depth = 1
        read: list[Any] = []
        while len(read) < len(values):
            self._check_step()
            part = values[len(read) : len(read) + self._chunk_size]
            written = self._written.size
            self._chunk_size = min(max(2 * self._chunk_size, _CHUNK_MIN), _CHUNK_MAX)
            try:
                read += self._columns.read_values(part)
            except NotColumnarError:
                self._written.size = written
                for value in part:
                    try:
                        read.append(self._values.read_value(value))
                    except UnstorableKeyError as error:
                        error.place.append(self._elements_read + len(read))
                        raise
                self._chunk_size = _CHUNK_MIN
        self._values.depth = 0
        self._elements_read += len(read)
        return read


class _TagName(str):
    """The name of a tag: the first element of an array, or the only key of an object."""

    __slots__ = ()


class _KnownShape(NamedTuple):
    """The keys of a map that are codes or short.

    Attributes:
        names: what they stand for.
        size: bytes that the codes among them stand for.
    """

    names: list[str]
    size: int


class _ValueReader:
    """Reads the values of one body, one by one.

    Attributes:
        cache: strings as sent, by index.
        cached_values: what they stand for, so that a code copies nothing.
        next_index: index of the next entry.
        depth: number of arrays and objects around the current value.
        known_keys: keys of maps as sent -> names, for keys that put nothing into the cache.
        written: counts what codes stand for.
        check_step: called between steps.
    """

    __slots__ = (
        "cache",
        "cached_values",
        "check_step",
        "depth",
        "known_keys",
        "next_index",
        "written",
    )

    def __init__(self, written: WrittenCount, check: StepCheck = pass_step) -> None:
        self.written = written
        self.check_step = check
        self.cache: list[str] = []
        self.cached_values: list[Any] = []
        self.next_index = 0
        self.depth = 0
        self.known_keys: dict[tuple[Any, ...], _KnownShape] = {}

    def read_value(self, value: Any) -> Any:
        """Interpret a value; lists may be changed in place."""
        kind = type(value)
        if kind is str:
            return self.interpret_text(value) if value[:1] in _MARKS else value
        if kind is list or kind is dict:
            self.depth += 1
            value = self._read_array(value) if kind is list else self._read_object(value)
            self.depth -= 1
        return value

    def _read_all(self, values: list[Any]) -> None:
        """Interpret values in their places; repeats `read_value`, for most values need nothing."""
        if len(values) > _VALUES_AT_ONCE:
            for begin in range(0, len(values), _VALUES_AT_ONCE):
                self.check_step()
                part = values[begin : begin + _VALUES_AT_ONCE]
                try:
                    self._read_all(part)
                except UnstorableKeyError as error:
                    error.place[-1] = begin + int(error.place[-1])
                    raise
                values[begin : begin + _VALUES_AT_ONCE] = part
            return
        index = 0
        try:
            for index, value in enumerate(values):
                kind = type(value)
                if kind is str:
                    if value[:1] in _MARKS:
                        values[index] = self.interpret_text(value)
                elif kind is list:
                    self.depth += 1
                    values[index] = self._read_array(value)
                    self.depth -= 1
                elif kind is dict:
                    self.depth += 1
                    values[index] = self._read_object(value)
                    self.depth -= 1
        except UnstorableKeyError as error:
            error.place.append(index)
            raise

    def _read_array(self, items: list[Any]) -> Any:
        if self.depth > DEPTH_MAX:
            raise RecursionError
        head = items[0] if items else None
        if type(head) is str and head[:1] in _MARKS:
            if head == _MAP_MARK:
                return self._read_map(items)
            first = self._interpret(head, is_key=False)
            if type(first) is _TagName:
                if len(items) != 2:
                    raise MalformedTransitError(f"{len(items) - 1} values with tag {first[:40]}")
                return _interpret_tagged(first, self.read_value(items[1]))
            rest = items[1:]
            try:
                self._read_all(rest)
            except UnstorableKeyError as error:
                error.place[-1] = 1 + int(error.place[-1])
                raise
            return [first, *rest]
        self._read_all(items)
        return items

    def _read_map(self, items: list[Any]) -> dict[str, Any]:
        if not len(items) % 2:
            raise MalformedTransitError("a map with a key and no value")
        keys = items[1::2]
        try:
            shape = self.known_keys.get(tuple(keys))
        except TypeError:  # an array or an object as a key
            shape = None
        values = items[2::2]
        if shape is None:
            return self._read_new_map(keys, values)
        names, size = shape
        if size:
            self.written.add(size)
        try:
            self._read_all(values)
        except UnstorableKeyError as error:
            error.place[-1] = names[int(error.place[-1])]
            raise
        return dict(zip(names, values))  # noqa: B905 - of one length; asking doubles the time

    def _read_new_map(self, keys: list[Any], values: list[Any]) -> dict[str, Any]:
        made = {}
        names = []
        known = True
        shapes = self.known_keys  # forgotten, not changed, when a value below changes the cache
        for key, value in zip(keys, values, strict=True):
            key_name = self._read_key(key)
            names.append(key_name)
            known = known and type(key) is str and (len(key) < 4)
            kind = type(value)
            if kind is list or kind is dict:
                # Not by `read_value`: with bodies of 256 levels, a further call per level would
                # come near the interpreter's recursion limit.
                self.depth += 1
                try:
                    value = self._read_array(value) if kind is list else self._read_object(value)
                except UnstorableKeyError as error:
                    error.place.append(key_name)
                    raise
                self.depth -= 1
            elif kind is str and value[:1] in _MARKS:
                value = self.interpret_text(value)
            made[key_name] = value
        # Keys of up to three characters are codes, or too short for the cache: they stand for the
        # same names until the cache begins anew, which also forgets what is known here.
        if known:
            coded = [name for key, name in zip(keys, names, strict=True) if key[:1] == "^"]
            shapes[tuple(keys)] = _KnownShape(names, sum(map(measure_text, coded)))
        return made

    def interpret_key(self, text: str) -> Any:
        """Interpret a string that is a key, before it becomes a name."""
        return self._interpret(text, is_key=True)

    def _read_key(self, key: Any) -> str:
        if type(key) is str:
            return make_key_name(self._interpret(key, is_key=True))
        return make_key_name(self.read_value(key))

    def _read_object(self, members: dict[str, Any]) -> Any:
        if self.depth > DEPTH_MAX:
            raise RecursionError
        if len(members) == 1:
            [(key, value)] = members.items()
            tag = self._interpret(key, is_key=True)
            if type(tag) is _TagName:
                return _interpret_tagged(tag, self.read_value(value))
            return {(name := make_key_name(tag)): self._read_member(name, value)}
        made = {}
        for key, value in members.items():
            key_name = self._read_key(key)
            made[key_name] = self._read_member(key_name, value)
        return made

    def _read_member(self, name: str, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self.interpret_text(value) if value[:1] in _MARKS else value
        if kind is list or kind is dict:
            self.depth += 1
            try:
                value = self._read_array(value) if kind is list else self._read_object(value)
            except UnstorableKeyError as error:
                error.place.append(name)
                raise
            self.depth -= 1
        return value

    def interpret_text(self, text: str) -> Any:
        """Interpret a string that begins with a mark."""
        scalar = SCALAR_PARSERS.get(text[1:2]) if text[0] == "~" else None
        if scalar is not None:
            return scalar(text[2:])
        value = self._interpret(text, is_key=False)
        if type(value) is _TagName:
            raise MalformedTransitError(f"tag {value[:40]} where a value must be")
        return value

    def _interpret(self, text: str, *, is_key: bool) -> Any:
        """Interpret a string: its value, or a tag's name as `_TagName`."""
        if text[:1] == "^" and text != _MAP_MARK:
            return self._look_up_code(text)
        value = _interpret_tilde(text) if text[:1] == "~" else text
        if len(text) >= 4 and (is_key or (text[0] == "~" and text[1] in ":$#")):
            self._add_to_cache(text, value)
        return value

    def _add_to_cache(self, text: str, value: Any) -> None:
        if self.next_index == _CACHE_SIZE:
            self.next_index = 0
        if self.next_index < len(self.cache):
            self.cache[self.next_index] = text
            self.cached_values[self.next_index] = value
            self.known_keys = {}  # one of them may hold the old name
        else:
            self.cache.append(text)
            self.cached_values.append(value)
        self.next_index += 1

    def _look_up_code(self, code: str) -> Any:
        index = -1
        if len(code) == 2:
            index = ord(code[1]) - 48
        elif len(code) == 3:
            index = (ord(code[1]) - 48) * _CODE_CHARACTERS + ord(code[2]) - 48
        if not 0 <= index < len(self.cache):
            raise MalformedTransitError(f"cache code {code[:40]} stands for nothing")
        self.written.add(measure_text(self.cache[index]))
        return self.cached_values[index]


def _interpret_tilde(text: str) -> Any:
    """Interpret a string that begins with "~": its value, or a tag's name as `_TagName`."""
    if len(text) < 2:
        return text
    tag = text[1]
    if tag in "~^`":
        return text[1:]
    if tag == "#":
        return _TagName(text[2:])
    scalar = SCALAR_PARSERS.get(tag)
    return text[2:] if scalar is None else scalar(text[2:])


def _interpret_tagged(tag: str, value: Any) -> Any:
    """Interpret a tag with a value that is not just text; an unknown tag gives the value itself."""
    if tag in ("set", "list"):
        if type(value) is not list:
            raise MalformedTransitError(f"tag {tag} without an array")
        return value
    if tag == "cmap":
        if type(value) is not list or len(value) % 2:
            raise MalformedTransitError("tag cmap without an array of keys and values")
        return dict(zip(map(make_key_name, value[::2]), value[1::2], strict=True))
    if tag == "u" and type(value) is list:
        if len(value) != 2 or not all(isinstance(half, int) for half in value):
            raise MalformedTransitError("tag u without two integers")
        return make_uuid(*value)
    scalar = SCALAR_PARSERS.get(tag)
    if scalar is None:
        return value
    if tag == "m" and isinstance(value, int) and type(value) is not bool:
        value = str(value)
    return scalar(value) if type(value) is str else value
