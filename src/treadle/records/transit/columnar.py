"""Reading of Transit maps with the same keys together: all values of a key in a few calls.

A body repeats records with few sets of keys. Most values need no interpretation: numbers, and
strings that begin with neither "~" nor "^". To look at the values of a key as one column finds
that out several times faster than to look at each.

Nothing here changes the given values or the cache of the body, so that the order in which values
are read makes no difference. Whatever would change the cache, and whatever is unusual or malformed,
is left to the reader of single values by a `NotColumnarError`.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from types import NoneType
from typing import Any

from treadle.records.json_decoder import HugeNumber
from treadle.records.transit.scalars import COLUMN_PARSERS, MalformedTransitError, make_key_name
from treadle.records.transit.written_count import WrittenCount

_MAP_MARK = "^ "
_PLAIN_TYPES = frozenset((int, float, bool, NoneType, HugeNumber))
"""Types of JSON values that stand for themselves."""

_MAPS_PER_SHAPE_MIN = 8
"""So many maps, on average, must share their keys; columns of fewer values are too short to pay."""

_DEPTH_MAX = 32
"""Deepest nesting that is read together."""


class NotColumnarError(Exception):
    """The values have to be read one by one."""


class ColumnReader:
    """Reads records that have the same keys.

    Args:
        interpret: interprets a string that begins with "~" or "^"; raises
            `MalformedTransitError`.
        key: the same for a string that is a key.
        written: counts what codes stand for.
        codes: the body uses the cache, so that changes of it matter.
    """

    __slots__ = (
        "_depth",
        "_interpret_key",
        "_interpret_text",
        "_readers",
        "_uses_cache",
        "_written",
    )

    def __init__(
        self,
        interpret: Callable[[str], Any],
        key: Callable[[str], Any],
        written: WrittenCount,
        *,
        codes: bool,
    ) -> None:
        self._interpret_text = interpret
        self._interpret_key = key
        self._written = written
        self._uses_cache = codes
        self._depth = 0
        self._readers: tuple[tuple[type, Callable[[Any], Sequence[Any]]], ...] = (
            (list, self._read_lists),
            (dict, self._read_objects),
        )

    def read_values(self, values: Sequence[Any]) -> Sequence[Any]:
        """Interpret values, in order.

        Raises:
            NotColumnarError: they have to be read one by one.
        """
        self._depth = 0
        try:
            return self._read_column(values)
        except (MalformedTransitError, RecursionError) as error:
            raise NotColumnarError from error

    def _read_column(self, values: Sequence[Any]) -> Sequence[Any]:
        kinds = set(map(type, values))
        if kinds <= _PLAIN_TYPES:
            return values
        made = self._read_texts(values, pure=len(kinds) == 1) if str in kinds else values
        for kind, read in self._readers:
            if kind not in kinds:
                continue
            self._depth += 1
            if self._depth > _DEPTH_MAX:
                raise NotColumnarError
            if len(kinds) == 1:
                made = read(values)
            else:
                found = iter(read([value for value in values if type(value) is kind]))
                made = [
                    next(found) if type(value) is kind else other
                    for value, other in zip(values, made, strict=True)
                ]
            self._depth -= 1
        return made

    def _read_texts(self, values: Sequence[Any], *, pure: bool) -> Sequence[Any]:
        texts = values if pure else [value for value in values if type(value) is str]
        # One search in the joined texts is faster than a look at each: a text that begins with a
        # mark shows as separator and mark. A text that holds the separator itself may show so, too,
        # which costs time and changes nothing.
        joined = "\0".join(texts)
        if not (joined[:1] in ("~", "^") or "\0~" in joined or "\0^" in joined):
            return values
        made = _parse_common(joined, texts)
        if made is None:
            made = [self._read_text(text) if text[:1] in ("~", "^") else text for text in texts]
        if pure:
            return made
        rest = iter(made)
        return [next(rest) if type(value) is str else value for value in values]

    def _read_text(self, text: str) -> Any:
        # Such a text goes into the cache, and only in document order do codes fit their texts.
        if self._uses_cache and len(text) >= 4 and text[:2] in ("~:", "~$", "~#"):
            raise NotColumnarError
        return self._interpret_text(text)

    def _read_lists(self, values: Sequence[list[Any]]) -> Sequence[Any]:
        maps = [bool(value) and value[0] == _MAP_MARK for value in values]
        if all(maps):
            return self._read_maps(values)
        if any(maps):
            raise NotColumnarError
        # An array with a tag at its head ends in `MalformedTransitError` here, since a tag is not a
        # value: that leaves it to the other reader, which knows arrays.
        flat = list(chain.from_iterable(values))
        read = self._read_column(flat)
        if read is flat:
            return values
        rest = iter(read)
        return [[next(rest) for _ in value] for value in values]

    def _read_maps(self, values: Sequence[list[Any]]) -> list[Any]:
        lengths = set(map(len, values))
        if not all(length % 2 for length in lengths):
            raise NotColumnarError
        if len(lengths) == 1:
            columns = list(zip(*values, strict=True))
            keys = columns[1::2]
            if all(column.count(column[0]) == len(column) for column in keys):
                return self._build_dicts([column[0] for column in keys], columns[2::2], len(values))
        try:
            shapes = [tuple(value[1::2]) for value in values]
            return self._read_grouped(values, shapes, lambda value: value[2::2])
        except TypeError as error:  # an array or an object as a key
            raise NotColumnarError from error

    def _read_objects(self, values: Sequence[dict[str, Any]]) -> list[Any]:
        return self._read_grouped(values, list(map(tuple, values)), lambda value: value.values())

    def _read_grouped(
        self,
        maps: Sequence[Any],
        shapes: list[tuple[Any, ...]],
        parts: Callable[[Any], Iterable[Any]],
    ) -> list[Any]:
        """Read maps as dictionaries.

        Args:
            maps: as sent.
            shapes: the keys of each.
            parts: gives the values of a map.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        if shapes.count(shapes[0]) == len(shapes):
            return self._build_dicts(
                shapes[0], list(zip(*map(parts, maps), strict=True)), len(maps)
            )
        for index, shape in enumerate(shapes):
            groups.setdefault(shape, []).append(index)
        if len(groups) > 1 + len(maps) // _MAPS_PER_SHAPE_MIN:
            raise NotColumnarError
        made: list[Any] = [None] * len(maps)
        for shape, indexes in groups.items():
            columns = list(zip(*(parts(maps[index]) for index in indexes), strict=True))
            for index, value in zip(
                indexes, self._build_dicts(shape, columns, len(indexes)), strict=True
            ):
                made[index] = value
        return made

    def _build_dicts(
        self, keys: Sequence[Any], columns: list[tuple[Any, ...]], count: int
    ) -> list[dict[str, Any]]:
        if not keys:
            return [{} for _ in range(count)]
        before = self._written.size
        names = list(map(self._make_name, keys))
        self._written.add((self._written.size - before) * (count - 1))
        # All are of one length; `strict` would double the time.
        rows = zip(*map(self._read_column, columns))  # noqa: B905
        return [dict(zip(names, row)) for row in rows]  # noqa: B905

    def _make_name(self, key: Any) -> str:
        if type(key) is not str or (self._uses_cache and len(key) >= 4):
            raise NotColumnarError
        return make_key_name(self._interpret_key(key))


def _parse_common(joined: str, texts: Sequence[str]) -> list[Any] | None:
    """Parse texts that all have one tag, if all have that tag's common format; else None."""
    parser = COLUMN_PARSERS.get(joined[:2])
    if parser is None or not parser.matches_all(joined + "\0"):
        return None
    parse = parser.parse
    try:
        return [parse(text[2:]) for text in texts]
    except ValueError:
        return None
