"""What a load does to the columns of one Iceberg table, before it is committed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyiceberg.schema import Schema
from pyiceberg.table import Table

from treadle.destinations.iceberg.row_delta import KeptTransaction, get_metadata, stage_schema
from treadle.destinations.iceberg.schema_types import (
    ICEBERG_TYPES,
    JSON_DOC,
    KEY_PROPERTY,
    is_identifier,
    make_schema,
    may_identify,
)
from treadle.destinations.protocol import PlanOutdatedError
from treadle.errors import InternalError, TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import AddColumn, ChangeKey, Column, Relation, RenameColumn


class ColumnDraft:
    """Collects what a load does to the columns of a table.

    Args:
        table: as it was loaded; None while a load is rehearsed that would make it.
        relation: as it is after the load; None where rows are only taken away.
    """

    def __init__(self, table: Table | None, relation: Relation | None) -> None:
        self.table = table
        self.relation = relation
        self.properties: dict[str, str] = {}
        self.is_emptied = False
        self.is_touched = False
        self._transaction = None if table is None else KeptTransaction(table)
        self._imagined = None if relation is None or table is not None else make_schema(relation)

    @property
    def schema(self) -> Schema:
        """The columns after the load."""
        if self._transaction is not None:
            return get_metadata(self._transaction).schema()
        if self._imagined is None:
            raise InternalError("a draft has neither a table nor a relation")
        return self._imagined

    def _require(self) -> tuple[Table, KeptTransaction]:
        """Return the table and what is staged for it."""
        if self.table is None or self._transaction is None:
            raise InternalError("a draft of a table that is not there was to be written")
        return self.table, self._transaction

    def reshape(self, relation: Relation) -> None:
        """Make a table that an unfinished load left what a new one would be."""
        self.is_touched = self.is_emptied = True
        if self._transaction is None:
            return
        wanted = make_schema(relation)
        held = self.schema
        if [_describe(field) for field in held.fields] != [_describe(f) for f in wanted.fields]:
            update = self._transaction.update_schema(allow_incompatible_changes=True)
            update.set_identifier_fields()
            for field in held.fields:
                update.delete_column((field.name,))
            for field in wanted.fields:
                update.add_column((field.name,), field.field_type, field.doc, field.required)
            update.commit()
        self._set_key(relation.key, may_identify(relation))

    def add_columns(self, changes: Sequence[AddColumn]) -> None:
        """Add columns at the end.

        Raises:
            PlanOutdatedError: there is one of that name.
        """
        self.is_touched = True
        held = {field.name for field in self.schema.fields}
        for change in changes:
            if change.column.name in held:
                raise PlanOutdatedError(f"the column {change.column.name!r} is there by now")
        if self._transaction is None:
            return
        update = self._transaction.update_schema(allow_incompatible_changes=True)
        for change in changes:
            column = change.column
            doc = JSON_DOC if column.type is ColumnType.JSON else None
            update.add_column((column.name,), ICEBERG_TYPES[column.type], doc)
        update.commit()

    def rename_column(self, change: RenameColumn) -> None:
        """Give a column another name; its field keeps its id, so no file is written anew."""
        self.is_touched = True
        self._require_columns([change.old])
        if self._transaction is not None:
            with self._transaction.update_schema() as update:
                update.rename_column((change.old,), change.new)

    def change_key(self, change: ChangeKey, columns: Mapping[str, Column]) -> None:
        """Replace the key; see `ChangeKey`."""
        self.is_touched = True
        if self._transaction is None:
            return
        self._require_columns(change.key)
        identifies = is_identifier([columns[name] for name in change.key if name in columns])
        update = self._transaction.update_schema(allow_incompatible_changes=True)
        update.set_identifier_fields()
        held = {field.name: field for field in self.schema.fields}
        for name in change.old:
            if name not in change.key and name in held and held[name].required:
                update.make_column_optional((name,))
        for name in change.key:
            update.update_column((name,), required=True)
        update.commit()
        self._set_key(change.key, identifies)

    def _set_key(self, key: Sequence[str], identifies: bool) -> None:
        _, transaction = self._require()
        if identifies:
            if self.schema.identifier_field_names() != set(key):
                update = transaction.update_schema(allow_incompatible_changes=True)
                update.set_identifier_fields(*key)
                update.commit()
            self.properties[KEY_PROPERTY] = ""
        else:
            self.properties[KEY_PROPERTY] = "\n".join(key)

    def _require_columns(self, names: Iterable[str]) -> None:
        held = {field.name for field in self.schema.fields}
        for name in names:
            if name not in held:
                raise PlanOutdatedError(f"the column {name!r} is not there any more")

    def require_free_columns(self) -> None:
        """Check that every column that has to have a value is one that the load fills.

        Raises:
            TableStoppedError: one is the user's.
        """
        ours = set() if self.relation is None else {c.name for c in self.relation.columns}
        for field in self.schema.fields:
            if field.required and field.name not in ours:
                raise TableStoppedError(
                    f"The column {field.name!r} of an Iceberg table must have a value, and treadle "
                    "has none for it. Make the column optional."
                )

    def list_foreign_columns(self) -> list[str]:
        """Return the columns that the user made, whose values stay when a row is replaced."""
        ours = set() if self.relation is None else {c.name for c in self.relation.columns}
        return [field.name for field in self.schema.fields if field.name not in ours]

    def restore_columns(self, schema_id: int) -> None:
        """Make the columns those of an earlier schema."""
        self.is_touched = True
        _, transaction = self._require()
        stage_schema(transaction, schema_id)


def _describe(field: Any) -> tuple[str, str, bool, str | None]:
    return field.name, str(field.field_type), field.required, field.doc
