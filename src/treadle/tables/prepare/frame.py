"""Flattened records by column, as the flattener makes them and a plan writes them.

A `Frame` holds the rows of one relation. Every field has one full-length column per logical type it
came with, so a field of one type is one column, as it will be in the destination.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any

from treadle.tables import arrow_column
from treadle.tables.arrow_column import ArrowColumn, TypedColumn, to_values
from treadle.tables.column_type import ColumnType

RelationPath = tuple[str, ...]


@dataclass(slots=True)
class FrameField:
    """A field of a relation.

    Attributes:
        name: its canonical, flattened name in the first spelling seen.
        columns: by logical type; None where a row has no value of that type.
        spellings: (name, column) of each spelling, when there are several.
    """

    name: str
    columns: dict[ColumnType, TypedColumn]
    spellings: list[tuple[str, TypedColumn]] = field(default_factory=list)

    def find_missing(self) -> list[bool]:
        """Return for each row whether it has no value of any type."""
        rows = zip(*map(to_values, self.columns.values()), strict=True)
        return [values.count(None) == len(values) for values in rows]

    def choose_spelling(self) -> None:
        """Take the spelling that the first row with a value uses."""
        if len(self.spellings) > 1:
            firsts = [(_first_row(column), name) for name, column in self.spellings]
            self.name = min(firsts, key=itemgetter(0))[1]


def _first_row(column: TypedColumn) -> int:
    return next((i for i, value in enumerate(to_values(column)) if value is not None), len(column))


@dataclass(slots=True)
class Frame:
    """Rows of one relation.

    Attributes:
        path: of the relation, see `model.Relation`.
        source_name: the array's key as sent; the table's name for the root.
        root_rows: for each row of a subtable the row of the root it belongs to; empty for the root.
        size: number of rows.
        levels: a subtable's array indexes, outermost first.
        fields: by folded name.
    """

    path: RelationPath
    source_name: str
    size: int
    root_rows: Sequence[int] = ()
    levels: tuple[Sequence[int], ...] = ()
    fields: dict[str, FrameField] = field(default_factory=dict)

    def add_column(self, folded: str, name: str, type_: ColumnType, column: TypedColumn) -> None:
        """Add a column; where the field has one of that type, fill its gaps."""
        known = self.fields.get(folded)
        if known is None:
            self.fields[folded] = FrameField(name, {type_: column})
            return
        if name != known.name or known.spellings:
            if not known.spellings:
                known.spellings = [(known.name, each) for each in known.columns.values()]
            known.spellings.append((name, column))
        before = known.columns.get(type_)
        known.columns[type_] = column if before is None else fill_gaps(before, column)

    def drop_blank_columns(self) -> None:
        """Drop columns and fields without values; choose spellings."""
        for folded, each in list(self.fields.items()):
            each.columns = {
                type_: column for type_, column in each.columns.items() if not is_blank(column)
            }
            if not each.columns:
                del self.fields[folded]
            else:
                each.choose_spelling()


def fill_gaps(first: TypedColumn, second: TypedColumn) -> list[Any]:
    """Return the first column with its gaps filled by the second."""
    pairs = zip(to_values(first), to_values(second), strict=True)
    return [b if a is None else a for a, b in pairs]


def is_blank(column: TypedColumn) -> bool:
    """Return whether every value is None."""
    if isinstance(column, ArrowColumn):
        return column.null_count == len(column)
    return (not column) or (column[0] is None and column.count(None) == len(column))


def make_row_picker(rows: Sequence[int]) -> Callable[[TypedColumn], TypedColumn]:
    """Return a function that takes these rows of a column."""
    several = itemgetter(*rows) if len(rows) > 1 else None

    def pick(column: TypedColumn) -> TypedColumn:
        if isinstance(column, ArrowColumn):
            return column.take(rows)
        return [column[row] for row in rows] if several is None else several(column)

    return pick


def take_rows(frames: Sequence[Frame], rows: Sequence[int]) -> list[Frame]:
    """Return these rows of the root frame, in that order, and the rows of their children."""
    root = frames[0]
    new = [-1] * root.size
    for at, row in enumerate(rows):
        new[row] = at
    taken = [_take_frame(root, make_row_picker(rows), len(rows), ())]
    for child in frames[1:]:
        parents = list(map(new.__getitem__, child.root_rows))
        kept = [row for row, parent in enumerate(parents) if parent >= 0]
        if not kept:
            continue
        choose = make_row_picker(kept)
        taken.append(_take_frame(child, choose, len(kept), to_values(choose(parents))))
    for frame in taken:
        frame.drop_blank_columns()
    return taken


def _take_frame(
    frame: Frame,
    choose: Callable[[TypedColumn], TypedColumn],
    size: int,
    root: Sequence[int],
) -> Frame:
    return Frame(
        frame.path,
        frame.source_name,
        size,
        root,
        tuple(to_values(choose(column)) for column in frame.levels),
        {
            folded: FrameField(
                each.name,
                {type_: choose(column) for type_, column in each.columns.items()},
                [(name, choose(column)) for name, column in each.spellings],
            )
            for folded, each in frame.fields.items()
        },
    )


def concatenate_frames(sets: Sequence[Sequence[Frame]], fold: Callable[[str], str]) -> list[Frame]:
    """Join several sets of frames (root first); rows of the first set come first."""
    if len(sets) == 1:
        return list(sets[0])
    by_path: dict[RelationPath, list[tuple[int, Frame]]] = {}
    offset = 0
    for frames in sets:
        for frame in frames:
            path = tuple(map(fold, frame.path))
            by_path.setdefault(path, []).append((offset, frame))
        offset += frames[0].size
    return [_concatenate(pieces) for pieces in by_path.values()]


def join_frames(pieces: Sequence[Frame]) -> Frame:
    """Join frames of one subtable whose rows belong to the same root rows."""
    return pieces[0] if len(pieces) == 1 else _concatenate([(0, piece) for piece in pieces])


def _concatenate(pieces: Sequence[tuple[int, Frame]]) -> Frame:
    first = pieces[0][1]
    if len(pieces) == 1 and not pieces[0][0]:
        return first
    size = sum(frame.size for _, frame in pieces)
    joined = Frame(
        first.path,
        first.source_name,
        size,
        list(chain.from_iterable(map(offset.__add__, frame.root_rows) for offset, frame in pieces)),
        tuple(
            list(chain.from_iterable(frame.levels[number] for _, frame in pieces))
            for number in range(len(first.levels))
        ),
    )
    names: dict[str, dict[ColumnType, None]] = {}
    for _, frame in pieces:
        for folded, each in frame.fields.items():
            names.setdefault(folded, {}).update(dict.fromkeys(each.columns))
    for folded, types in names.items():
        columns: dict[ColumnType, TypedColumn] = {
            type_: _concatenate_column(
                [_get_column(frame, folded, type_) for _, frame in pieces], type_
            )
            for type_ in types
        }
        fields = [(frame.size, frame.fields.get(folded)) for _, frame in pieces]
        named = next(each.name for _, each in fields if each is not None)
        joined.fields[folded] = FrameField(named, columns, _concatenate_spellings(fields))
    return joined


def _concatenate_spellings(
    pieces: Sequence[tuple[int, FrameField | None]],
) -> list[tuple[str, TypedColumn]]:
    """Return the spellings of a field whose pieces have these sizes; nothing of one spelling.

    Rows may be taken from the joined frame later, and the row that named the field may go.
    """
    found: list[list[tuple[str, TypedColumn]]] = [
        []
        if each is None
        else each.spellings or [(each.name, column) for column in each.columns.values()]
        for _, each in pieces
    ]
    names = dict.fromkeys(name for spellings in found for name, _ in spellings)
    if len(names) < 2:
        return []
    joined: dict[str, list[Any]] = {name: [] for name in names}
    for (size, _), spellings in zip(pieces, found, strict=True):
        of_piece: dict[str, TypedColumn] = {}
        for name, column in spellings:
            before = of_piece.get(name)
            of_piece[name] = column if before is None else fill_gaps(before, column)
        for name, values in joined.items():
            values.extend(to_values(of_piece[name]) if name in of_piece else [None] * size)
    return list(joined.items())


def _get_column(frame: Frame, folded: str, type_: ColumnType) -> TypedColumn:
    each = frame.fields.get(folded)
    column = each.columns.get(type_) if each is not None else None
    return arrow_column.make_null_column(frame.size, type_) if column is None else column


def _concatenate_column(pieces: Sequence[TypedColumn], type_: ColumnType) -> TypedColumn:
    found = arrow_column.concatenate_arrow(pieces, type_)
    return list(chain.from_iterable(map(to_values, pieces))) if found is None else found
