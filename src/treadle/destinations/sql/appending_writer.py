"""Rows beyond all keys that a database's tables hold are sent straight to their place."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from treadle.destinations.layout import order_key, pair_parent_key
from treadle.destinations.sql.row_choice import pick_rows
from treadle.destinations.sql.text import compose, join
from treadle.destinations.sql.writer import TableWriter
from treadle.tables import arrow_column
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Relation, RelationRows, TableWrite
from treadle.tables.prepare.convert import INT64_MIN

NEW_SHARE: Final = 4
"""Rows are told apart where at least one of so many is new."""

KeyPlace = tuple[Relation, str]
"""A relation, and the first column of its index."""


class AppendingWriter(TableWriter):
    """Writes one `TableWrite`, new rows without a stage.

    For databases that find the greatest key by one look into an index.
    """

    def _append_new(self) -> TableWrite:
        """Append the rows that are beyond all keys that are there; returns what is left.

        Most sources number what they send. Rows with greater keys than all that are there replace
        nothing, so they are sent straight to their place, which takes half of the server's work.
        Whoever else writes such a key meanwhile makes that fail, and the load is tried again.
        """
        write, root = self._write, self._write.root.relation
        places = self._list_places() if len(write.root) else []
        if not places:
            return write
        leads = {relation.name: name for relation, name in places}
        greatest = self._read_greatest(places)
        if greatest is None:
            return write
        held = write.root.columns[leads[root.name]]
        new = sum(map(greatest.__lt__, arrow_column.to_values(held)))
        if new * NEW_SHARE < len(held):
            return write
        parts = [
            split(rows, rows.columns[leads[rows.relation.name]], greatest)
            for rows in (write.root, *write.children)
        ]
        for _, beyond in parts:
            self._append(beyond)
        (rest, _), *children = parts
        return replace(write, root=rest, children=tuple(each for each, _ in children))

    def _list_places(self) -> list[KeyPlace]:
        """Return the relations of the write, each with the first column of its index.

        There are none where an index is not led by the parent's key, or where rows may be kept out.
        """
        write, root = self._write, self._write.root.relation
        if not root.key or self._tombstones or write.deletes is not None:
            return []
        lead = order_key(root.key)[0]
        type_ = next(column.type for column in root.columns if column.name == lead)
        if type_ is not ColumnType.BIGINT:  # its order is the same here and there
            return []
        places = [(root, lead)]
        children = {rows.relation.name: rows.relation for rows in write.children}
        children.update((child.name, child) for child in write.stale)
        for child in children.values():
            repeated = dict(pair_parent_key(root, child))[lead]
            if not child.key or order_key(child.key)[0] != repeated:
                return []
            places.append((child, repeated))
        return places

    def _read_greatest(self, places: Sequence[KeyPlace]) -> int | None:
        """Return the greatest key that relations hold; None where rows have to be staged."""
        asked = [
            compose(
                "SELECT max({name}) AS greatest FROM {table}",
                name=self._dialect.quote(name),
                table=self._place(relation),
            )
            for relation, name in places
        ]
        [(greatest,)] = self._connection.rows(
            compose("SELECT max(greatest) FROM ({asked}) g", asked=join(" UNION ALL ", asked))
        )
        return INT64_MIN if greatest is None else int(greatest)


def split(
    rows: RelationRows, leads: arrow_column.TypedColumn, greatest: int
) -> tuple[RelationRows, RelationRows]:
    """Return the rows whose leading key is at most the greatest one, and those beyond it."""
    held = arrow_column.to_values(leads)
    beyond = [row for row, lead in enumerate(held) if lead > greatest]
    if len(beyond) == len(held):
        return RelationRows(rows.relation, {}), rows
    rest = [row for row, lead in enumerate(held) if lead <= greatest]
    return pick_rows(rows, rest), pick_rows(rows, beyond)
