"""Transit to Python values: JSON with and without caching, and JSON-Verbose (import-api.md 12).

Over decoded JSON, in document order, with one cache for a body. The usual body repeats records of
one shape, whose keys are codes of cached names: records are read together as long as they leave
the cache alone (`alike`), the others one by one. In these a list of keys that are codes is looked
up once and then known.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec

import msgspec

from treadle.records import json
from treadle.records.alike import Columns, Unlike
from treadle.records.elements import parts
from treadle.records.limits import DEPTH, WRITTEN_CHARACTERS
from treadle.records.scalars import SCALARS, Malformed, name, uuid_of_halves

P = ParamSpec("P")

_CODES = 44
"""Characters a cache code is written with, from "0"."""

_CACHE = _CODES * _CODES
"""Entries after which the cache begins anew."""

_MAP = "^ "
_MARKS = frozenset("~^")


def decode(body: bytes) -> Any:
    """The value of a Transit body.

    Values are dict with string keys, list, str, int, float, bool, None, `datetime` in UTC, and of
    `typed` Exact, Wide, Instant, and `json.Huge`.

    Raises:
        Refused: 400, the body is no Transit (import-api.md 17.2).
    """
    value = json.decode(body, kind="transit")
    codes = has_codes(body)
    if not (codes or b'"~' in body):
        if json.body_too_deep(body):
            json.malformed(RecursionError(), kind="transit")
        return value
    return _interpreted(_Body(codes=codes).value, value, body)


def decode_parts(elements: Sequence[msgspec.Raw], *, codes: bool) -> Iterator[list[Any]]:
    """What the elements of an array stand for, some at a time, so that few are in memory.

    Args:
        elements: their texts; the first is no tag.
        codes: whether any string begins with "^".

    Raises:
        Refused: as `decode`.
    """
    body = _Body(codes=codes)
    for part in parts(elements, kind="transit"):
        yield _interpreted(body.elements, json.decode(part, kind="transit"), part)


def has_codes(body: bytes) -> bool:
    """Whether any string may begin with "^"; as an escape it may, too."""
    return b'"^' in body or b'"\\u00' in body


def decode_singly(body: bytes) -> Any:
    """What `decode` does, reading every value by itself."""
    return _interpreted(_Reader().read, json.decode(body, kind="transit"))


def _interpreted(read: Callable[P, Any], *arguments: P.args, **more: P.kwargs) -> Any:
    try:
        return read(*arguments, **more)
    except (Malformed, RecursionError) as error:
        json.malformed(error, kind="transit")


_TOGETHER_MIN = 32
_TOGETHER_MAX = 2048


class _Body:
    """Reads the values of one body, records together where they are alike."""

    def __init__(self, *, codes: bool) -> None:
        self._reader = _Reader()
        self._columns = Columns(self._reader.text, self._reader.key, codes=codes)
        # The first record brings the names that are cached.
        self._together = 1 if codes else _TOGETHER_MIN

    def value(self, value: Any, text: bytes) -> Any:
        """What a value stands for.

        Args:
            value: decoded JSON: the body, or an array of some of its elements.
            text: the same as text.
        """
        if type(value) is list and value and type(value[0]) in (list, dict):
            return self.elements(value, text)
        return self._bounded(self._reader.read(value), text)

    def elements(self, values: list[Any], text: bytes) -> list[Any]:
        """What elements of an array stand for; as `value`, but never is the first one a tag."""
        read = self._read(values)
        self._bounded(read, text)
        return read

    def _bounded(self, read: Any, text: bytes) -> Any:
        longest = max(map(len, self._reader.cache), default=0)
        if longest * text.count(b'"^') > WRITTEN_CHARACTERS and _written(read) > WRITTEN_CHARACTERS:
            raise Malformed(f"more than {WRITTEN_CHARACTERS} characters by cache codes")
        return read

    def _read(self, value: list[Any]) -> list[Any]:
        self._reader.depth = 1
        read: list[Any] = []
        while len(read) < len(value):
            part = value[len(read) : len(read) + self._together]
            self._together = min(max(2 * self._together, _TOGETHER_MIN), _TOGETHER_MAX)
            try:
                read += self._columns.read(part)
            except Unlike:
                read += map(self._reader.read, part)
                self._together = _TOGETHER_MIN
        self._reader.depth = 0
        return read


def _written(value: Any) -> int:
    """Characters of all strings in a value; stops at what is too many."""
    found = 0
    waiting = [value]
    while waiting and found <= WRITTEN_CHARACTERS:
        value = waiting.pop()
        if type(value) is str:
            found += len(value)
        elif type(value) is dict:
            waiting.extend(value)
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)
    return found


class _Tag(str):
    """The name of a tag, as the first element of an array or the only key of an object says it."""

    __slots__ = ()


class _Reader:
    """Reads one body.

    Attributes:
        cache: strings as sent, by index.
        count: index of the next.
        depth: how many arrays and objects are around the value that is read.
        shapes: keys of maps as sent -> names, for keys that put nothing into the cache.
    """

    __slots__ = ("cache", "count", "depth", "shapes")

    def __init__(self) -> None:
        self.cache: list[str] = []
        self.count = 0
        self.depth = 0
        self.shapes: dict[tuple[Any, ...], list[str]] = {}

    def read(self, value: Any) -> Any:
        """What a value stands for; lists may change in place."""
        kind = type(value)
        if kind is str:
            return self.text(value) if value[:1] in _MARKS else value
        if kind is list or kind is dict:
            self.depth += 1
            value = self._array(value) if kind is list else self._object(value)
            self.depth -= 1
        return value

    def _read_all(self, values: list[Any]) -> None:
        """Read values in their places; `read` in line, for most need nothing."""
        for index, value in enumerate(values):
            kind = type(value)
            if kind is str:
                if value[:1] in _MARKS:
                    values[index] = self.text(value)
            elif kind is list:
                self.depth += 1
                values[index] = self._array(value)
                self.depth -= 1
            elif kind is dict:
                self.depth += 1
                values[index] = self._object(value)
                self.depth -= 1

    def _array(self, items: list[Any]) -> Any:
        if self.depth > DEPTH:
            raise RecursionError
        head = items[0] if items else None
        if type(head) is str and head[:1] in _MARKS:
            if head == _MAP:
                return self._map(items)
            first = self._raw(head, is_key=False)
            if type(first) is _Tag:
                if len(items) != 2:
                    raise Malformed(f"{len(items) - 1} values with tag {first[:40]}")
                return _tagged(first, self.read(items[1]))
            rest = items[1:]
            self._read_all(rest)
            return [first, *rest]
        self._read_all(items)
        return items

    def _map(self, items: list[Any]) -> dict[str, Any]:
        if not len(items) % 2:
            raise Malformed("a map with a key and no value")
        keys = items[1::2]
        try:
            names = self.shapes.get(tuple(keys))
        except TypeError:  # an array or an object as a key
            names = None
        values = items[2::2]
        if names is None:
            return self._new_shape(keys, values)
        self._read_all(values)
        return dict(zip(names, values))  # noqa: B905 - of one length; asking doubles the time

    def _new_shape(self, keys: list[Any], values: list[Any]) -> dict[str, Any]:
        made = {}
        names = []
        known = True
        shapes = self.shapes  # forgotten, not changed, when a value below changes the cache
        for key, value in zip(keys, values, strict=True):
            key_name = self._key(key)
            names.append(key_name)
            known = known and type(key) is str and (len(key) < 4)
            kind = type(value)
            if kind is list or kind is dict:
                # Not by `read`: every call counts where bodies may be nested 256 levels deep.
                self.depth += 1
                value = self._array(value) if kind is list else self._object(value)
                self.depth -= 1
            elif kind is str and value[:1] in _MARKS:
                value = self.text(value)
            made[key_name] = value
        # Keys of up to three characters are codes, or too short for the cache: a second look
        # would find the same names, until the cache begins anew and the shapes are forgotten.
        if known:
            shapes[tuple(keys)] = names
        return made

    def key(self, text: str) -> Any:
        """What a string that is a key stands for, before it becomes a name."""
        return self._raw(text, is_key=True)

    def _key(self, key: Any) -> str:
        if type(key) is str:
            return name(self._raw(key, is_key=True))
        return name(self.read(key))

    def _object(self, members: dict[str, Any]) -> Any:
        if self.depth > DEPTH:
            raise RecursionError
        if len(members) == 1:
            [(key, value)] = members.items()
            tag = self._raw(key, is_key=True)
            if type(tag) is _Tag:
                return _tagged(tag, self.read(value))
            return {name(tag): self.read(value)}
        made = {}
        for key, value in members.items():
            key_name = self._key(key)
            made[key_name] = self.read(value)
        return made

    def text(self, text: str) -> Any:
        """What a string that begins with a mark stands for."""
        scalar = SCALARS.get(text[1:2]) if text[0] == "~" else None
        if scalar is not None:
            return scalar(text[2:])
        value = self._raw(text, is_key=False)
        if type(value) is _Tag:
            raise Malformed(f"tag {value[:40]} where a value must be")
        return value

    def _raw(self, text: str, *, is_key: bool) -> Any:
        """What a string stands for: a value, or a tag's name as `_Tag`."""
        if text[:1] == "^" and text != _MAP:
            text = self._cached(text)
        elif len(text) >= 4 and (is_key or (text[0] == "~" and text[1] in ":$#")):
            self._remember(text)
        if text[:1] != "~" or len(text) < 2:
            return text
        tag = text[1]
        if tag in "~^`":
            return text[1:]
        if tag == "#":
            return _Tag(text[2:])
        scalar = SCALARS.get(tag)
        return text[2:] if scalar is None else scalar(text[2:])

    def _remember(self, text: str) -> None:
        if self.count == _CACHE:
            self.count = 0
        if self.count < len(self.cache):
            self.cache[self.count] = text
            self.shapes = {}  # one of them may hold the old name
        else:
            self.cache.append(text)
        self.count += 1

    def _cached(self, code: str) -> str:
        index = -1
        if len(code) == 2:
            index = ord(code[1]) - 48
        elif len(code) == 3:
            index = (ord(code[1]) - 48) * _CODES + ord(code[2]) - 48
        if not 0 <= index < len(self.cache):
            raise Malformed(f"cache code {code[:40]} stands for nothing")
        return self.cache[index]


def _tagged(tag: str, value: Any) -> Any:
    """A value of a tag with more than a text behind it; of an unknown tag the value itself."""
    if tag in ("set", "list"):
        if type(value) is not list:
            raise Malformed(f"tag {tag} without an array")
        return value
    if tag == "cmap":
        if type(value) is not list or len(value) % 2:
            raise Malformed("tag cmap without an array of keys and values")
        return dict(zip(map(name, value[::2]), value[1::2], strict=True))
    if tag == "u" and type(value) is list:
        if len(value) != 2 or not all(isinstance(half, int) for half in value):
            raise Malformed("tag u without two integers")
        return uuid_of_halves(*value)
    scalar = SCALARS.get(tag)
    if scalar is None:
        return value
    if tag == "m" and isinstance(value, int) and type(value) is not bool:
        value = str(value)
    return scalar(value) if type(value) is str else value
