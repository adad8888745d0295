"""Records to frames, by column: flattening, naming, typing, range checks (loading.md 3, 6, 7).

Records of one shape are transposed in one call, and from then on every step looks at a whole
column: its classes by `set(map(type, column))`, its range by `min` and `max`. Objects become more
columns of the same frame, arrays become the rows of another one. Only a column with something odd
in it is looked at value by value.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, compress, repeat
from operator import itemgetter
from types import NoneType
from typing import Any

import msgspec

from treadle.records.shaped import Shape as Shaped
from treadle.tables import instants, names, values
from treadle.tables.alternatives import choose
from treadle.tables.frame import Frame, Path, join
from treadle.tables.model import ColumnType, Options
from treadle.tables.names import Name, Namer
from treadle.tables.profile import Profile
from treadle.tables.typing import BY_VALUE, Shape, Typing

Column = Sequence[Any]


def _show(value: object) -> object:
    if hasattr(value, "microseconds"):
        return instants.text(value.microseconds)
    return str(value)


_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=_show).encode


_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped NUL character in a JSON text: behind an even number of backslashes."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a walk needs to know besides the records.

    Attributes:
        root: the table's canonical name.
        source_name: as sent.
        keys: key names as sent; empty for a table with the generated key.
        typing: of the records as objects; its class for a field without one is by value.
        plain: typing of what no schema speaks of.
    """

    namer: Namer
    root: str
    source_name: str
    keys: frozenset[str]
    typing: Typing
    plain: Typing = BY_VALUE

    @property
    def options(self) -> Options:
        """The table's options."""
        return self.namer.options


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A field that was left out (loading.md 6.5).

    Attributes:
        table_name: of the relation it would have been in.
        name: canonical, flattened; as sent when that is empty.
        reason: text for `_sdc_rejected`.
        rows: root rows that hold it.
    """

    table_name: str
    name: str
    reason: str
    rows: tuple[int, ...]


CELLS_MAX = 4_000_000
"""Most values, missing ones counted, of objects that are transposed together: 32 MB of them.

Records with thousands of fields each, and each with others, would need far more than they hold.
"""


class TooSparse(Exception):  # noqa: N818 - says what the records are
    """The records have too many different fields to be walked together."""


_Task = tuple[Frame, Name, Column, Typing, int, bool]


class Walk:
    """One pass over some records.

    Attributes:
        frames: root first, then subtables by path; after `run`.
        bad: root row -> reason it is rejected.
        left_out: fields left out.
        nul_removed: NUL characters removed.
    """

    def __init__(
        self,
        setting: Setting,
        records: Sequence[Any],
        shape: Shaped | None = None,
        original: Callable[[int], dict[str, Any]] | None = None,
    ) -> None:
        """Nothing is looked at yet.

        Args:
            setting: what else to know.
            records: dictionaries, or rows of a shape.
            shape: of the records that are rows.
            original: with a shape, gives the record of a row as a dictionary.
        """
        self._shape = shape
        self._original = original or records.__getitem__
        self._setting = setting
        self._namer = setting.namer
        self._options = setting.options
        self.profile: Profile = setting.namer.profile
        self.nul_characters: str = setting.options.nul_characters
        self.key: str | None = None
        self.bad: dict[int, str] = {}
        self.left_out: list[LeftOut] = []
        self.nul_removed = 0
        self._records = records
        self._root = Frame((), setting.source_name, len(records))
        self._children: dict[Path, list[Frame]] = {}
        self._fields: dict[int, dict[str, list[tuple[str, Column]]]] = {}
        self._tasks: list[_Task] = []
        self._frame = self._root
        self._field = ""
        self._several: set[int] = set()
        self._notes: dict[int, list[dict[str, str]]] = {}
        self.frames: list[Frame] = []

    def run(self) -> "Walk":
        """Do it; gives itself.

        Raises:
            TooSparse: there are several records, to be walked in smaller numbers.
        """
        setting = self._setting
        if self._shape is not None:
            shapes = setting.typing.shapes
            columns = self._shape.columns(self._records)
            self._parts(
                self._root, None, self._shape.keys, columns, shapes[0] if shapes else None, 0
            )
        elif self._records:
            self._object(self._root, None, self._records, setting.typing, 0)
        while self._tasks:
            self._column(*self._tasks.pop())
        self._note()
        self.frames = [self._root]
        for path in sorted(self._children):
            self.frames.append(join(self._children[path]))
        # Columns are not walked in the order of each record's fields, so which of several reasons
        # comes first is found by walking the record alone.
        for row in self._several if len(self._records) > 1 else ():
            self.bad[row] = _first_reason(setting, self._original(row))
        # A value that became NULL (on_bad_value), or moved (collisions), makes no column.
        for frame in self.frames:
            frame.settle()
        return self

    # --- what converters report (values.Sink) ---

    def fail(self, row: int, reason: str) -> None:
        """A value of the present column cannot be stored."""
        at = self._frame.root[row] if self._frame.path else row
        if self._options.on_bad_value == "null_field" and self.key is None:
            self._notes.setdefault(at, []).append({"field": self._field, "reason": reason})
            return
        self._reject(at, reason)

    def nul(self, count: int) -> None:
        """So many NUL characters were removed."""
        self.nul_removed += count

    def _reject(self, at: int, reason: str) -> None:
        if self.bad.setdefault(at, reason) != reason:
            self._several.add(at)

    def _reject_all(self, frame: Frame, column: Column, reason: str) -> None:
        for row, value in enumerate(column):
            if value is not None:
                self._reject(frame.root[row] if frame.path else row, reason)

    def _omit(self, frame: Frame, name: Name, column: Column, reason: str) -> None:
        rows = tuple(
            frame.root[row] if frame.path else row
            for row, value in enumerate(column)
            if value is not None
        )
        if rows:
            table = self._namer.subtable(self._setting.root, frame.path)[0]
            self.left_out.append(LeftOut(table, name.full, reason, rows))

    def _note(self) -> None:
        if self._notes:
            column: list[str | None] = [None] * self._root.size
            for row, notes in self._notes.items():
                column[row] = _encode(notes).decode()
            self._root.put(self.profile.fold(names.META), names.META, ColumnType.JSON, column)

    # --- the walk ---

    def _object(
        self, frame: Frame, prefix: str | None, column: Column, typing: Typing, depth: int
    ) -> None:
        """Objects of one field, and None, as columns of the same frame."""
        if len(typing.shapes) > 1:
            for shape, part in _by_shape(column, typing.shapes):
                self._shaped(frame, prefix, part, shape, depth)
        else:
            self._shaped(frame, prefix, column, typing.shapes[0] if typing.shapes else None, depth)

    def _shaped(
        self, frame: Frame, prefix: str | None, column: Column, shape: Shape | None, depth: int
    ) -> None:
        self._parts(frame, prefix, *_transposed(column), shape, depth)

    def _parts(
        self,
        frame: Frame,
        prefix: str | None,
        keys: Sequence[str],
        columns: Sequence[Column],
        shape: Shape | None,
        depth: int,
    ) -> None:
        """The fields of objects, to be walked."""
        keyless = not frame.path and not self._setting.keys
        parts = [self._namer.field(prefix, key, keyless) for key in keys]
        top = not frame.path and prefix is None
        if len({part.folded for part in parts}) < len(parts):
            self._siblings(frame, parts, columns)
        tasks = [
            (
                frame,
                part,
                each,
                self._setting.plain if shape is None else _typing(shape, key, self._setting.plain),
                depth,
                top and key in self._setting.keys,
            )
            for key, part, each in zip(keys, parts, columns, strict=True)
        ]
        tasks.reverse()
        self._tasks += tasks

    def _siblings(self, frame: Frame, parts: Sequence[Name], columns: Sequence[Column]) -> None:
        """Two fields of one object with one canonical name."""
        if self._options.collisions == "hash":
            return
        seen: dict[str, list[tuple[Name, Column]]] = {}
        for part, column in zip(parts, columns, strict=True):
            if part.refused or part.omitted:
                continue
            for first, other in seen.get(part.folded, ()):
                self._collide(frame, first.full, other, column)
            seen.setdefault(part.folded, []).append((part, column))

    def _collide(self, frame: Frame, name: str, first: Column, second: Column) -> None:
        for row, (a, b) in enumerate(zip(first, second, strict=True)):
            if a is not None and b is not None:
                at = frame.root[row] if frame.path else row
                self._reject(at, f"Field collision on {name}")
                self._several.add(at)  # which of the two came first differs by record

    def _column(
        self, frame: Frame, name: Name, column: Column, typing: Typing, depth: int, key: bool
    ) -> None:
        """One field: scalars are stored, objects and arrays walked further."""
        classes = set(map(type, column))
        classes.discard(NoneType)
        if not classes:
            return
        if name.refused:
            self._reject_all(frame, column, name.refused)
            return
        if name.omitted:
            if key:
                self._reject_all(frame, column, name.omitted)
            else:
                self._omit(frame, name, column, name.omitted)
            return
        self._frame, self._field = frame, name.full
        if len(classes) == 1:
            (only,) = classes
            self._one_class(frame, name, only, column, typing, depth, key)
            return
        for each in sorted(classes, key=lambda c: c.__name__):
            part = [value if type(value) is each else None for value in column]
            self._one_class(frame, name, each, part, typing, depth, key)

    def _one_class(
        self,
        frame: Frame,
        name: Name,
        kind: type,
        column: Column,
        typing: Typing,
        depth: int,
        key: bool,
    ) -> None:
        if kind is dict or kind is list:
            if key:
                self._reject_all(frame, column, f"Key field {name.full} holds no single value")
            elif self._options.nested == "json":
                self._whole(frame, name, column, ColumnType.JSON)
            elif self._options.max_nesting is not None and depth >= self._options.max_nesting:
                self._whole(frame, name, column, ColumnType.TEXT)
            elif kind is dict:
                prefix = None if name is _ELEMENT else name.full
                self._object(frame, prefix, column, typing, depth + 1)
            else:
                self._array(frame, name, column, typing, depth + 1)
            return
        if name.column_refused:
            self._reject_all(frame, column, name.column_refused)
            return
        if name.column_omitted:
            if key:
                self._reject_all(frame, column, name.column_omitted)
            else:
                self._omit(frame, name, column, name.column_omitted)
            return
        taken = self._register(frame, name, column)
        self._frame, self.key = frame, name.full if key else None
        for type_, converted in self._converted(kind, column, typing).items():
            if taken is None:
                frame.put(name.folded, name.full, type_, converted)
            else:
                self._put_apart(frame, name, type_, converted, taken)
        self.key = None

    def _converted(self, kind: type, column: Column, typing: Typing) -> dict[ColumnType, Column]:
        if kind is str:
            if typing.only:
                return self._listed(column, typing)
            return values.strings(column, typing.texts, self)
        if kind is int:
            return {typing.integer: _INTEGERS[typing.integer](column, self)}
        if kind is float:
            return self._numbers(column, typing.number, values.doubles)
        if kind is bool:
            return {ColumnType.BOOLEAN: values.booleans(column, self)}
        if kind is Decimal:
            return self._numbers(column, typing.decimal, values.to_doubles)
        if issubclass(kind, Decimal):  # a number too large for a double
            return self._numbers(column, typing.number, values.to_doubles)
        return {ColumnType.TIMESTAMP: values.moments(column, self)}

    def _numbers(
        self, column: Column, target: ColumnType, doubles: Callable[[Column, values.Sink], Column]
    ) -> dict[ColumnType, Column]:
        if target is ColumnType.DECIMAL:
            return {target: values.to_decimals(column, self)}
        if target is ColumnType.BIGINT:
            whole = [v if v is not None and v % 1 == 0 else None for v in column]
            if whole.count(None) == column.count(None):
                return {target: values.whole(column, self)}
            rest = [None if a is not None else v for a, v in zip(whole, column, strict=True)]
            return {
                target: values.whole(whole, self),
                ColumnType.DOUBLE: doubles(rest, self),
            }
        return {target: doubles(column, self)}

    def _listed(self, column: Column, typing: Typing) -> dict[ColumnType, Column]:
        """Texts that an alternative lists one by one are TEXT, the others as the rest says."""
        listed = [v if v in typing.only else None for v in column]
        rest = [v if v not in typing.only else None for v in column]
        found = values.strings(rest, typing.texts, self) if any(map(_present, rest)) else {}
        if any(map(_present, listed)):
            text = values.texts(listed, self)
            known = found.get(ColumnType.TEXT)
            found[ColumnType.TEXT] = (
                text
                if known is None
                else [b if a is None else a for a, b in zip(text, known, strict=True)]
            )
        return found

    def _whole(self, frame: Frame, name: Name, column: Column, type_: ColumnType) -> None:
        """Objects and arrays as JSON text (options nested, max_nesting)."""
        if name.column_refused:
            self._reject_all(frame, column, name.column_refused)
        elif name.column_omitted:
            self._omit(frame, name, column, name.column_omitted)
        else:
            self._register(frame, name, column)
            encoded = [None if v is None else _encode(v).decode() for v in column]
            self._frame, self._field = frame, name.full
            for row, text in enumerate(encoded):
                if text is not None and "\\u0000" in text:
                    encoded[row] = self._without_nul(row, text)
            frame.put(name.folded, name.full, type_, encoded)

    def _without_nul(self, row: int, text: str) -> str | None:
        """A JSON text without NUL characters, which jsonb refuses, as the option says."""
        other = "\N{REPLACEMENT CHARACTER}" if self.nul_characters == "replace" else ""
        cleaned, count = _NUL.subn(rf"\1{other}", text)
        if count and self.nul_characters == "reject":
            self.fail(row, "NUL character in text")
            return None
        if self.nul_characters == "remove":
            self.nul(count)
        return cleaned

    def _register(self, frame: Frame, name: Name, column: Column) -> list[bool] | None:
        """Note a field of the frame; find rows where another field has its name.

        Returns:
            With the option `collisions: hash`, which rows have both; else None.
        """
        seen = self._fields.setdefault(id(frame), {}).setdefault(name.folded, [])
        both = None
        for first, other in seen:
            if self._options.collisions == "hash":
                both = [a is not None and b is not None for a, b in zip(other, column, strict=True)]
                both = both if any(both) else None
            else:
                self._collide(frame, first, other, column)
        seen.append((name.full, column))
        return both

    def _put_apart(
        self, frame: Frame, name: Name, type_: ColumnType, column: Column, both: list[bool]
    ) -> None:
        other = self._namer.other(name)
        apart = [v if b else None for v, b in zip(column, both, strict=True)]
        frame.put(other.folded, other.full, type_, apart)
        alone = [None if b else v for v, b in zip(column, both, strict=True)]
        frame.put(name.folded, name.full, type_, alone)

    def _array(self, frame: Frame, name: Name, column: Column, typing: Typing, depth: int) -> None:
        """Arrays of one field, and None, as rows of a subtable (loading.md 7.3, 7.4)."""
        self._register(frame, name, column)
        path = (*frame.path, name.full)
        refused = self._namer.subtable(self._setting.root, path)[1] or self._source_keys()
        if refused:
            self._omit(frame, name, [value or None for value in column], refused)
            return
        rows: Sequence[int] = range(frame.size)
        if None in column:
            rows = [row for row, value in enumerate(column) if value is not None]
            column = [value for value in column if value is not None]
        lengths = list(map(len, column))
        elements = list(chain.from_iterable(column))
        parents = list(chain.from_iterable(map(repeat, rows, lengths)))
        level = list(chain.from_iterable(map(range, lengths)))
        if None in elements:
            present = [element is not None for element in elements]
            elements = list(compress(elements, present))
            parents = list(compress(parents, present))
            level = list(compress(level, present))
        if not elements:
            return
        child = Frame(
            path,
            name.literal,
            len(elements),
            list(map(frame.root.__getitem__, parents)) if frame.path else parents,
            (*(list(map(each.__getitem__, parents)) for each in frame.levels), level),
        )
        folded = tuple(map(self.profile.fold, path))
        self._children.setdefault(folded, []).append(child)
        items = self._setting.plain if typing.items is None else typing.items()
        if typing.tuple_items:
            for number, each in enumerate(typing.tuple_items):
                part = [v if at == number else None for v, at in zip(elements, level, strict=True)]
                self._tasks.append((child, _ELEMENT, part, each(), depth, False))
            known = len(typing.tuple_items)
            elements = [v if at >= known else None for v, at in zip(elements, level, strict=True)]
        self._tasks.append((child, _ELEMENT, elements, items, depth, False))

    def _source_keys(self) -> str | None:
        keys = self._setting.keys or {names.GENERATED_KEY}
        for key in sorted(keys):
            reason = self._namer.source_key(
                key if key == names.GENERATED_KEY else self._namer.canonical(key)
            )[1]
            if reason:
                return reason
        return None


_ELEMENT = Name(names.VALUE, names.VALUE, names.VALUE)
"""The elements of an array: `value` as a column, no part of a name for their fields."""

_INTEGERS: dict[ColumnType, Callable[[Column, values.Sink], Column]] = {
    ColumnType.BIGINT: values.integers,
    ColumnType.DOUBLE: values.to_doubles,
    ColumnType.DECIMAL: values.to_decimals,
}


def _present(value: object) -> bool:
    return value is not None


def _first_reason(setting: Setting, record: dict[str, Any]) -> str:
    return Walk(setting, [record]).run().bad[0]


def _transposed(column: Column) -> tuple[list[str], list[Column]]:
    """Keys in order of appearance, and for each its values, None where it is missing."""
    first = next(value for value in column if value is not None)
    keys = list(first)
    if None in column:
        gap = dict.fromkeys(keys)
        column = [gap if value is None else value for value in column]
    # Objects as long as the first that have its keys have no other.
    if set(map(len, column)) == {len(keys)}:
        try:
            return keys, [list(map(itemgetter(key), column)) for key in keys]
        except KeyError:
            pass
    keys = list(dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, column)))))
    if len(keys) * len(column) > CELLS_MAX and len(column) > 1:
        raise TooSparse
    return keys, [[value.get(key) for value in column] for key in keys]


def _typing(shape: Shape, key: str, plain: Typing) -> Typing:
    found = shape.properties.get(key)
    if found is not None:
        return found
    for pattern, typing in shape.patterns:
        if re.search(pattern, key):
            return typing
    return plain if shape.others is None else shape.others


def _by_shape(column: Column, shapes: Sequence[Shape]) -> Iterator[tuple[Shape, Column]]:
    chosen = [None if value is None else choose(value, shapes) for value in column]
    for number, shape in enumerate(shapes):
        part = [value if at == number else None for value, at in zip(column, chosen, strict=True)]
        if any(map(_present, part)):
            yield shape, part
