"""Rows beyond all keys that PostgreSQL's tables hold are copied straight to their place."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from treadle.destinations.layout import order_key, pair_parent_key
from treadle.destinations.sql.text import Quoted, compose, join
from treadle.destinations.sql.upsert import StagedRows
from treadle.destinations.sql.writer import TableWriter
from treadle.tables import arrow_column
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Relation, RelationRows, TableWrite
from treadle.tables.prepare.convert import INT64_MIN
from treadle.tables.prepare.frame import make_row_picker

ANALYZE_ROWS_MIN: Final = 1_000
"""A smaller stage joins well whatever the planner believes of it."""

NEW_SHARE: Final = 4
"""Rows are told apart where at least one of so many is new."""


class PostgresWriter(TableWriter):
    """Writes one `TableWrite`, new rows by COPY."""

    def _stage(self, rows: RelationRows) -> StagedRows:
        stage = super()._stage(rows)
        if len(rows) >= ANALYZE_ROWS_MIN and (self._write.stale or self._write.children):
            self._connection.run(compose("ANALYZE {stage}", stage=stage.name))
        return stage

    def _append_new(self) -> TableWrite:
        """Append the rows that are beyond all keys that are there; returns what is left.

        Most sources number what they send. Rows with greater keys than all that are there replace
        nothing, so they are copied straight to their place, which takes half of the server's work;
        the greatest key is one look into an index. Whoever else writes such a key meanwhile makes
        the COPY fail, and the load is tried again.
        """
        write, root = self._write, self._write.root.relation
        places = self._led_by_key() if len(write.root) else []
        if not places:
            return write
        leads = {relation.name: name for relation, name in places}
        greatest = self._greatest(places)
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

    def _led_by_key(self) -> list[tuple[Relation, str]]:
        """Return the relations of the write with the first column of each one's index.

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

    def _greatest(self, places: Sequence[tuple[Relation, str]]) -> int | None:
        """Return the greatest key that the relations hold; None where COPY may not go."""
        tables = [self._place(relation) for relation, _ in places]
        asked = [
            compose(
                "SELECT max({name}) AS key, row_security_active({mark}) AS shut FROM {table}",
                name=self._dialect.quote(name),
                mark=Quoted(f"${number:d}::text"),
                table=table,
            )
            for number, ((_, name), table) in enumerate(zip(places, tables, strict=True), 1)
        ]
        [(key, shut)] = self._connection.rows(
            compose(
                "SELECT max(key), bool_or(shut) FROM ({asked}) g", asked=join(" UNION ALL ", asked)
            ),
            *tables,
        )
        if shut:
            return None
        return INT64_MIN if key is None else int(key)


def split(
    rows: RelationRows, leads: arrow_column.TypedColumn, greatest: int
) -> tuple[RelationRows, RelationRows]:
    """Return the rows whose leading key is at most the greatest one, and those beyond it."""
    held = arrow_column.to_values(leads)
    beyond = [row for row, lead in enumerate(held) if lead > greatest]
    if len(beyond) == len(held):
        return RelationRows(rows.relation, {}), rows
    rest = [row for row, lead in enumerate(held) if lead <= greatest]
    return _some(rows, rest), _some(rows, beyond)


def _some(rows: RelationRows, chosen: Sequence[int]) -> RelationRows:
    pick = make_row_picker(chosen)
    return RelationRows(
        rows.relation,
        {name: pick(column) for name, column in rows.columns.items()} if chosen else {},
        arrow_column.to_values(pick(rows.entries)) if rows.entries else (),
    )
