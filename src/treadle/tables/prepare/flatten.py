"""Flattens records to frames, column by column (loading.md 3, 6, 7).

Records with the same keys are transposed in one call. From then on every step looks at a whole
column: its classes by `set(map(type, column))`, its range by `min` and `max`. Objects become more
columns of the same frame, arrays become the rows of another frame. Only a column with an unusual
value is looked at value by value. This is several times as fast as a loop over records and fields.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, repeat
from operator import itemgetter
from types import NoneType
from typing import Any

from treadle.records.row_decoder import RowDecoder as Shaped
from treadle.tables import names
from treadle.tables.arrow_column import TypedColumn, to_values
from treadle.tables.column_type import ColumnType
from treadle.tables.model import TableOptions
from treadle.tables.names import FieldName, Namer
from treadle.tables.prepare import convert
from treadle.tables.prepare.alternatives import choose_alternative
from treadle.tables.prepare.frame import Frame, RelationPath, is_blank, join_frames
from treadle.tables.prepare.type_rules import VALUE_RULES, ObjectRules, TypeRules
from treadle.tables.profile import DestinationProfile
from treadle.tables.rejection_reason import RejectionCode, RejectionReason

ColumnValues = Sequence[Any]


@dataclass(frozen=True, slots=True)
class FlattenContext:
    """The rules and names by which records are flattened.

    Attributes:
        table_name: the table's canonical name.
        source_name: as sent.
        keys: key names as sent; empty for a table with the generated key.
        rules: of the records as objects.
        default_rules: of fields that no schema describes.
    """

    namer: Namer
    table_name: str
    source_name: str
    keys: frozenset[str]
    rules: TypeRules
    default_rules: TypeRules = VALUE_RULES

    @property
    def options(self) -> TableOptions:
        """Return the table's options."""
        return self.namer.options


@dataclass(frozen=True, slots=True)
class OmittedField:
    """A field that was left out (loading.md 6.5).

    Attributes:
        table_name: of the relation it would have been in.
        name: canonical, flattened; as sent when that is empty.
        rows: root rows that hold it.
    """

    table_name: str
    name: str
    reason: RejectionReason
    rows: tuple[int, ...]


CELLS_MAX = 4_000_000
"""Most values, missing ones counted, of objects that are transposed together: 32 MB of them.

Records with thousands of fields each, and each with others, would need far more than they hold.
"""


class SparseRecordsError(Exception):
    """The records have too many different fields to be flattened together."""


_FieldTask = tuple[Frame, FieldName, ColumnValues, TypeRules, int, bool]


class Flattener:
    """Flattens some records in one pass.

    Attributes:
        frames: root first, then subtables by path; after `flatten`.
        rejected: root row -> the reason, which names the field.
        omitted: fields left out.
        rounded: (table, field) -> the root row of each value that was rounded.
        nul_removed: NUL characters removed.
    """

    def __init__(
        self,
        context: FlattenContext,
        records: Sequence[Any],
        shape: Shaped | None = None,
        original: Callable[[int], dict[str, Any]] | None = None,
    ) -> None:
        """Look at nothing yet.

        Args:
            context: the rules and names.
            records: dictionaries, or rows of a shape.
            shape: of the records that are rows.
            original: with a shape, gives the record of a row as a dictionary.
        """
        self._decoder = shape
        self._original = original or records.__getitem__
        self._context = context
        self._namer = context.namer
        self._options = context.options
        nested = context.options.nested
        kept = context.namer.profile.nested if nested == "profile" else nested
        self._keeps_nested = kept == "json"
        self.profile: DestinationProfile = context.namer.profile
        self.nul_characters: str = context.options.nul_characters
        self.decimals: str = context.options.decimals
        self.json_special_numbers: str = context.options.json_special_numbers
        self.key: str | None = None
        self.rejected: dict[int, RejectionReason] = {}
        self.omitted: list[OmittedField] = []
        self.rounded: dict[tuple[str, str], list[int]] = {}
        self.nul_removed = 0
        self._records = records
        self._root = Frame((), context.source_name, len(records))
        self._children: dict[RelationPath, list[Frame]] = {}
        self._fields: dict[int, dict[str, list[tuple[str, ColumnValues]]]] = {}
        self._tasks: list[_FieldTask] = []
        self._frame = self._root
        self._field = ""
        self._rows_with_reasons: set[int] = set()
        self._null_notes: dict[int, list[dict[str, str]]] = {}
        self.frames: list[Frame] = []

    def flatten(self) -> "Flattener":
        """Flatten the records; return this flattener.

        Raises:
            SparseRecordsError: there are several records, to be flattened in smaller numbers.
        """
        context = self._context
        if self._decoder is not None:
            shapes = context.rules.objects
            columns = self._decoder.transpose_rows(self._records)
            self._add_tasks(
                self._root, None, self._decoder.keys, columns, shapes[0] if shapes else None, 0
            )
        elif self._records:
            self._flatten_objects(self._root, None, self._records, context.rules, 0)
        while self._tasks:
            self._flatten_field(*self._tasks.pop())
        self._add_null_notes()
        self.frames = [self._root]
        for path in sorted(self._children):
            self.frames.append(join_frames(self._children[path]))
        # Columns are not flattened in the order of each record's fields, so a record that has
        # several reasons is flattened alone to find the first one.
        for row in self._rows_with_reasons if len(self._records) > 1 else ():
            self.rejected[row] = Flattener(context, [self._original(row)]).flatten().rejected[0]
        # A value that became NULL (on_bad_value), or moved (collisions), makes no column.
        for frame in self.frames:
            frame.drop_blank_columns()
        return self

    # --- reports of converters (convert.ConversionSink) ---

    def reject_value(self, row: int, reason: RejectionReason) -> None:
        """Report a value of the present column that cannot be stored."""
        at = self._frame.root_rows[row] if self._frame.path else row
        if self._options.on_bad_value == "null_field" and self.key is None:
            self._null_notes.setdefault(at, []).append(
                {"field": self._field, "reason": reason.text}
            )
            return
        self._reject_row(at, reason.with_field(_name_place(self._frame, self._field)))

    def count_rounded(self, row: int) -> None:
        """Report a value of the present column that its column does not hold exactly."""
        table = self._namer.name_subtable(self._context.table_name, self._frame.path)[0]
        at = self._frame.root_rows[row] if self._frame.path else row
        self.rounded.setdefault((table, self._field), []).append(at)

    def count_nul_removed(self, count: int) -> None:
        """Report how many NUL characters were removed."""
        self.nul_removed += count

    def _reject_row(self, at: int, reason: RejectionReason) -> None:
        if self.rejected.setdefault(at, reason) != reason:
            self._rows_with_reasons.add(at)

    def _reject_rows(
        self, frame: Frame, name: FieldName, column: ColumnValues, reason: RejectionReason
    ) -> None:
        reason = reason.with_field(_name_place(frame, reason.field or name.full))
        for row, value in enumerate(column):
            if value is not None:
                self._reject_row(frame.root_rows[row] if frame.path else row, reason)

    def _omit_field(
        self, frame: Frame, name: FieldName, column: ColumnValues, reason: RejectionReason
    ) -> None:
        rows = tuple(
            frame.root_rows[row] if frame.path else row
            for row, value in enumerate(column)
            if value is not None
        )
        if rows:
            table = self._namer.name_subtable(self._context.table_name, frame.path)[0]
            self.omitted.append(OmittedField(table, name.full, reason.with_field(name.full), rows))

    def _add_null_notes(self) -> None:
        if self._null_notes:
            column: list[str | None] = [None] * self._root.size
            for row, notes in self._null_notes.items():
                column[row] = convert.encode_json(notes)
            self._root.add_column(
                self.profile.fold(names.META_COLUMN), names.META_COLUMN, ColumnType.JSON, column
            )

    def _flatten_objects(
        self, frame: Frame, prefix: str | None, column: ColumnValues, rules: TypeRules, depth: int
    ) -> None:
        """Add the fields of objects as columns of the same frame."""
        if len(rules.objects) > 1:
            for shape, part in _split_by_alternative(column, rules.objects):
                self._add_tasks(frame, prefix, *_transpose(part), shape, depth)
        else:
            only = rules.objects[0] if rules.objects else None
            self._add_tasks(frame, prefix, *_transpose(column), only, depth)

    def _add_tasks(
        self,
        frame: Frame,
        prefix: str | None,
        keys: Sequence[str],
        columns: Sequence[ColumnValues],
        shape: ObjectRules | None,
        depth: int,
    ) -> None:
        """Add a task for each field of some objects."""
        parts = [self._namer.name_field(prefix, key) for key in keys]
        top = not frame.path and prefix is None
        if len({part.folded for part in parts}) < len(parts):
            self._check_siblings(frame, parts, columns)
        tasks = [
            (
                frame,
                part,
                each,
                self._context.default_rules
                if shape is None
                else _rules_for_key(shape, key, self._context.default_rules),
                depth,
                top and key in self._context.keys,
            )
            for key, part, each in zip(keys, parts, columns, strict=True)
        ]
        tasks.reverse()
        self._tasks += tasks

    def _check_siblings(
        self, frame: Frame, parts: Sequence[FieldName], columns: Sequence[ColumnValues]
    ) -> None:
        """Reject records in which two fields of one object have one canonical name."""
        if self._options.collisions == "hash":
            return
        seen: dict[str, list[tuple[FieldName, ColumnValues]]] = {}
        for part, column in zip(parts, columns, strict=True):
            if part.rejection or part.omission:
                continue
            for first, other in seen.get(part.folded, ()):
                self._reject_collisions(frame, first.full, other, column)
            seen.setdefault(part.folded, []).append((part, column))

    def _reject_collisions(
        self, frame: Frame, name: str, first: ColumnValues, second: ColumnValues
    ) -> None:
        reason = RejectionReason(
            f"Field collision on {name}", RejectionCode.FIELD_COLLISION, _name_place(frame, name)
        )
        for row, (a, b) in enumerate(zip(first, second, strict=True)):
            if a is not None and b is not None:
                at = frame.root_rows[row] if frame.path else row
                self._reject_row(at, reason)
                self._rows_with_reasons.add(at)  # which of the two came first differs by record

    def _flatten_field(
        self,
        frame: Frame,
        name: FieldName,
        column: ColumnValues,
        rules: TypeRules,
        depth: int,
        key: bool,
    ) -> None:
        """Store the scalars of one field, and go on into its objects and arrays."""
        classes = set(map(type, column))
        classes.discard(NoneType)
        if not classes:
            return
        if name.rejection:
            self._reject_rows(frame, name, column, name.rejection)
            return
        if name.omission:
            if key:
                self._reject_rows(frame, name, column, name.omission)
            else:
                self._omit_field(frame, name, column, name.omission)
            return
        self._frame, self._field = frame, name.full
        if len(classes) == 1:
            (only,) = classes
            self._flatten_class(frame, name, only, column, rules, depth, key)
            return
        for each in sorted(classes, key=lambda c: c.__name__):
            part = [value if type(value) is each else None for value in column]
            self._flatten_class(frame, name, each, part, rules, depth, key)

    def _flatten_class(
        self,
        frame: Frame,
        name: FieldName,
        kind: type,
        column: ColumnValues,
        rules: TypeRules,
        depth: int,
        key: bool,
    ) -> None:
        if kind is dict or kind is list:
            if key:
                self._reject_rows(frame, name, column, make_key_reason(name.full))
            elif self._keeps_nested:
                self._store_as_json(frame, name, column, ColumnType.JSON)
            elif self._options.max_nesting is not None and depth >= self._options.max_nesting:
                self._store_as_json(frame, name, column, ColumnType.TEXT)
            elif kind is dict:
                prefix = None if name is _ELEMENT else name.full
                self._flatten_objects(frame, prefix, column, rules, depth + 1)
            else:
                self._flatten_arrays(frame, name, column, rules, depth + 1)
            return
        if name.column_rejection:
            self._reject_rows(frame, name, column, name.column_rejection)
            return
        if name.column_omission:
            if key:
                self._reject_rows(frame, name, column, name.column_omission)
            else:
                self._omit_field(frame, name, column, name.column_omission)
            return
        taken = self._register_field(frame, name, column)
        self._frame, self.key = frame, name.full if key else None
        for type_, converted in convert.convert_values(kind, column, rules, self).items():
            if taken is None:
                frame.add_column(name.folded, name.full, type_, converted)
            else:
                self._split_collision(frame, name, type_, converted, taken)
        self.key = None

    def _store_as_json(
        self, frame: Frame, name: FieldName, column: ColumnValues, type_: ColumnType
    ) -> None:
        """Store objects and arrays as JSON texts (options nested, max_nesting)."""
        if name.column_rejection:
            self._reject_rows(frame, name, column, name.column_rejection)
        elif name.column_omission:
            self._omit_field(frame, name, column, name.column_omission)
        else:
            self._register_field(frame, name, column)
            self._frame, self._field = frame, name.full
            frame.add_column(name.folded, name.full, type_, convert.convert_to_json(column, self))

    def _register_field(
        self, frame: Frame, name: FieldName, column: ColumnValues
    ) -> list[bool] | None:
        """Note a field of the frame, and find rows where another field has its name.

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
                self._reject_collisions(frame, first, other, column)
        seen.append((name.full, column))
        return both

    def _split_collision(
        self,
        frame: Frame,
        name: FieldName,
        type_: ColumnType,
        column: TypedColumn,
        both: list[bool],
    ) -> None:
        other = self._namer.name_collision(name)
        apart = [v if b else None for v, b in zip(to_values(column), both, strict=True)]
        frame.add_column(other.folded, other.full, type_, apart)
        alone = [None if b else v for v, b in zip(to_values(column), both, strict=True)]
        frame.add_column(name.folded, name.full, type_, alone)

    def _flatten_arrays(
        self, frame: Frame, name: FieldName, column: ColumnValues, rules: TypeRules, depth: int
    ) -> None:
        """Make rows of a subtable of the arrays of one field (loading.md 7.3, 7.4)."""
        self._register_field(frame, name, column)
        path = (*frame.path, name.full)
        refused = (
            self._namer.name_subtable(self._context.table_name, path)[1]
            or self._find_source_key_problem()
        )
        if refused:
            self._omit_field(frame, name, [value or None for value in column], refused)
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
            list(map(frame.root_rows.__getitem__, parents)) if frame.path else parents,
            (*(list(map(each.__getitem__, parents)) for each in frame.levels), level),
        )
        folded = tuple(map(self.profile.fold, path))
        self._children.setdefault(folded, []).append(child)
        items = self._context.default_rules if rules.elements is None else rules.elements()
        if rules.first_elements:
            for number, each in enumerate(rules.first_elements):
                part = [v if at == number else None for v, at in zip(elements, level, strict=True)]
                self._tasks.append((child, _ELEMENT, part, each(), depth, False))
            known = len(rules.first_elements)
            elements = [v if at >= known else None for v, at in zip(elements, level, strict=True)]
        self._tasks.append((child, _ELEMENT, elements, items, depth, False))

    def _find_source_key_problem(self) -> RejectionReason | None:
        keys = self._context.keys or {names.GENERATED_KEY}
        for key in sorted(keys):
            reason = self._namer.name_source_key(
                key if key == names.GENERATED_KEY else self._namer.make_canonical(key)
            )[1]
            if reason:
                return reason
        return None


_ELEMENT = FieldName(names.VALUE, names.VALUE, names.VALUE)
"""The elements of an array: `value` as a column, no part of a name for their fields."""


def make_key_reason(name: str) -> RejectionReason:
    """Return why a record without a single value in a key field is rejected."""
    return RejectionReason(
        f"Key field {name} holds no single value", RejectionCode.KEY_MISSING, name
    )


def _name_place(frame: Frame, name: str) -> str:
    """Return the name of a field with the path of the array that it is in."""
    return names.SEPARATOR.join((*frame.path, name))


def _transpose(column: ColumnValues) -> tuple[list[str], list[ColumnValues]]:
    """Return the keys in order of appearance, and the values of each, None where it is missing."""
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
        raise SparseRecordsError
    return keys, [[value.get(key) for value in column] for key in keys]


def _rules_for_key(shape: ObjectRules, key: str, default_rules: TypeRules) -> TypeRules:
    found = shape.properties.get(key)
    if found is not None:
        return found
    for pattern, make_rules in shape.patterns:
        if pattern.matches(key):
            return make_rules()
    return default_rules if shape.others is None else shape.others()


def _split_by_alternative(
    column: ColumnValues, shapes: Sequence[ObjectRules]
) -> Iterator[tuple[ObjectRules, ColumnValues]]:
    chosen = [None if value is None else choose_alternative(value, shapes) for value in column]
    for number, shape in enumerate(shapes):
        part = [value if at == number else None for value, at in zip(column, chosen, strict=True)]
        if not is_blank(part):
            yield shape, part
