"""Rows of a destination as cells of a page, within a bound of characters. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from treadle.console.view import show_text
from treadle.questions.column_order import order_columns

COLUMNS_MAX: Final = 40
CELL_CHARACTERS_MAX: Final = 120
GRID_CHARACTERS_MAX: Final = 36_000
"""Characters of a grid with what is around each cell."""

CELL_CHARACTERS: Final = 10
"""Of the tags around a cell."""


class GridColumn(msgspec.Struct, frozen=True):
    """A column of an answer of the desk."""

    name: str
    type: str


class GridAnswer(msgspec.Struct, frozen=True):
    """What a page needs of an answer of the desk; each value as the JSON text that came."""

    columns: tuple[GridColumn, ...]
    rows: tuple[tuple[msgspec.Raw, ...], ...]
    truncated: bool
    milliseconds: float


@dataclass(frozen=True, slots=True)
class RowGrid:
    """Rows as cells.

    Attributes:
        columns: that are shown; `columns_left` more are not.
        rows: a cell is None for NULL.
        rows_left: rows of the answer that are not shown.
    """

    columns: Sequence[GridColumn]
    columns_left: int
    rows: Sequence[Sequence[str | None]]
    rows_left: int


def make_grid(answer: bytes, keys: Collection[str] = ()) -> tuple[RowGrid, float]:
    """Return the cells of an answer in JSON, and the milliseconds that it took.

    Numbers keep all their digits. What is longer than a cell is cut, and rows that do not fit into
    the bound are left out.

    Args:
        answer: of the desk, with all columns of a table.
        keys: columns of the key, which come first.
    """
    found = msgspec.json.decode(answer, type=GridAnswer)
    places = order_columns([column.name for column in found.columns], keys)[:COLUMNS_MAX]
    columns = tuple(found.columns[place] for place in places)
    rows: list[list[str | None]] = []
    left = GRID_CHARACTERS_MAX
    for row in found.rows:
        cells = [_show_cell(row[place]) for place in places]
        left -= sum(len(cell or "") + CELL_CHARACTERS for cell in cells)
        if left < 0 and rows:
            break
        rows.append(cells)
    grid = RowGrid(columns, len(found.columns) - len(columns), rows, len(found.rows) - len(rows))
    return grid, found.milliseconds


def _show_cell(value: msgspec.Raw) -> str | None:
    raw = bytes(value)
    if raw == b"null":
        return None
    text = msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else raw.decode()
    return show_text(text, CELL_CHARACTERS_MAX)
