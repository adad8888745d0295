"""Some rows of a load, or the same rows in another order."""

from collections.abc import Sequence
from typing import cast

import pyarrow.compute as pc

from treadle.destinations.layout import order_key
from treadle.tables.arrow_column import ArrowColumn, to_values
from treadle.tables.model import RelationRows
from treadle.tables.prepare.frame import make_row_picker


def pick_rows(rows: RelationRows, chosen: Sequence[int]) -> RelationRows:
    """Return these rows, in that order."""
    pick = make_row_picker(chosen)
    return RelationRows(
        rows.relation,
        {name: pick(column) for name, column in rows.columns.items()} if chosen else {},
        to_values(pick(rows.entries)) if rows.entries else (),
    )


def sort_rows(rows: RelationRows) -> RelationRows:
    """Return rows by the first column of their index, which a database finds quicker in a row.

    Few rows, and those of a table without a key, stay as they are.
    """
    if not rows.relation.key:
        return rows
    lead = rows.columns.get(order_key(rows.relation.key)[0])
    if not isinstance(lead, ArrowColumn) or _is_sorted(lead):
        return rows
    order = cast("list[int]", pc.sort_indices(lead.array).to_pylist())
    return pick_rows(rows, order)


def _is_sorted(column: ArrowColumn) -> bool:
    array = column.array
    return bool(pc.all(pc.less_equal(array[:-1], array[1:])).as_py())
