"""The columns of tables as loads leave them, for the store.

The store keeps them so that whoever lists tables and columns need not open a destination. They are
sent to it with the report of a load, and only where they changed: a table may have thousands.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from treadle.loader.schedule import TableKey
from treadle.store.model import KeptColumn, KeptColumns, KeptRelation
from treadle.store.schema_event import LEFT_OUT_MAX
from treadle.tables.model import Column, FieldNote, Table
from treadle.tables.plan.target import is_system_column
from treadle.tracking.field_notes import NOTES_MAX


@dataclass(slots=True)
class ColumnWatch:
    """Remembers the columns of which tables the store has."""

    _digests: dict[TableKey, int] = field(default_factory=dict)
    _left_out: dict[TableKey, set[int]] = field(default_factory=dict)
    """The digests of the left-out fields that the store was told of."""

    def find_change(
        self, key: TableKey, table: Table | None, left_out: Sequence[FieldNote] = ()
    ) -> KeptColumns | None:
        """Return the columns of a table; None where the store has them.

        They are also sent where a load leaves out a field that none left out before, so that the
        store looks at the left-out fields that the report has.

        Args:
            key: of the table.
            table: as it is after a load; None when there is still none.
            left_out: of the load.
        """
        if table is None:
            return None
        known = self._left_out.get(key, set())
        is_known = len(known) >= LEFT_OUT_MAX or _digest_fields(left_out) <= known
        if is_known and self._digests.get(key) == _digest_columns(table):
            return None
        return describe_columns(table)

    def note_kept(
        self, key: TableKey, table: Table | None, left_out: Sequence[FieldNote] = ()
    ) -> None:
        """Note that a report with these columns goes to the store before anything else is loaded.

        A report that is lost is lost with its process, and the next one begins anew.
        """
        if table is not None:
            self._digests[key] = _digest_columns(table)
            if left_out:
                self._left_out.setdefault(key, set()).update(_digest_fields(left_out))


def describe_columns(table: Table) -> KeptColumns:
    """Return the columns of a table and its subtables, without those of stages."""
    return KeptColumns(
        () if table.keyless else tuple(column.field for column in table.keys),
        tuple(
            KeptRelation(
                relation.path,
                relation.name,
                tuple(_describe_column(column) for column in relation.columns),
            )
            for relation in table.relations
        ),
    )


def _describe_column(column: Column) -> KeptColumn:
    return KeptColumn(
        column.name, column.field, column.type.value, column.nullable, is_system_column(column)
    )


def _digest_fields(left_out: Sequence[FieldNote]) -> set[int]:
    return {hash((note.table, note.field)) for note in left_out[:NOTES_MAX]}


def _digest_columns(table: Table) -> int:
    """Return a number that changes with the columns: they themselves would take much memory."""
    return hash((table.keyless, table.keys, table.relations))
