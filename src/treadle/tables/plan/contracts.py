"""Schema contracts: which new tables, columns and column types may come (loading.md 12.2).

They speak of the live table as it is before the load; a table that is new under `evolve` takes
whatever its first records bring. A new subtable is a value of its parent's records: `discard_value`
leaves the array out and loads the rest. A new top-level table has nothing but its records, so for
it that is the same as `discard_row`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from treadle.errors import TableStoppedError
from treadle.tables.column_type import ColumnType
from treadle.tables.model import Rejection, Relation, TableOptions
from treadle.tables.names import SEPARATOR, Namer
from treadle.tables.plan.target import NeedsRejections, find_rows_with_type
from treadle.tables.prepare.frame import Frame, RelationPath, is_blank
from treadle.tables.prepare.prepare import PreparedLoad
from treadle.tables.prepare.rejections import encode_record, make_rejection
from treadle.tables.prepare.version_group import RecordRef, VersionGroup
from treadle.tables.rejection_reason import RejectionCode, RejectionReason

ContractRule = Literal["evolve", "freeze", "discard_row", "discard_value"]


class OmittedValues(NamedTuple):
    """A field left out: its row for `_sdc_rejected`, and how many records of each entry hold it."""

    rejection: Rejection
    counts: Counter[int]


OmittedFields = dict[tuple[str, str], OmittedValues]
"""Fields left out by (table, field): one a load, table and name."""


def allows_everything(options: TableOptions) -> bool:
    """Return whether the contract allows everything."""
    return options.contract_tables == options.contract_columns == options.contract_types == "evolve"


def apply_contracts(
    group: VersionGroup,
    relations: Mapping[RelationPath, Relation],
    prepared: PreparedLoad,
    namer: Namer,
) -> tuple[VersionGroup, OmittedFields] | NeedsRejections:
    """Check the rows of a load against the contract.

    Args:
        group: the latest row of each key.
        relations: live ones by folded path, as they are.
        prepared: where they come from.
        namer: for names of subtables.

    Returns:
        The group without discarded values, and for each such field a row for `_sdc_rejected`:
        (table, field) -> row. Or the records that are to be rejected for what they bring.

    Raises:
        TableStoppedError: something new came and the contract is frozen.
    """
    # A load may be planned again from what was prepared, so nothing of that is changed.
    group = _copy_fields(group)
    check = _ContractCheck(group, relations, prepared, namer)
    for frame in group.frames:
        check.check_frame(frame)
    if check.refused:
        return NeedsRejections(check.refused)
    group.frames = [frame for frame in group.frames if not check.is_discarded(frame)]
    return group, check.left_out


def _copy_fields(group: VersionGroup) -> VersionGroup:
    """Return a group of which fields may be removed without a change of the one that is given."""
    return replace(
        group,
        frames=[
            replace(
                frame,
                fields={
                    name: replace(each, columns=dict(each.columns))
                    for name, each in frame.fields.items()
                },
            )
            for frame in group.frames
        ],
    )


class _ContractCheck:
    """Checks the relations of a group against the contract, one after the other.

    Attributes:
        refused: records that are to be rejected, and why.
        left_out: fields that are left out.
    """

    def __init__(
        self,
        group: VersionGroup,
        relations: Mapping[RelationPath, Relation],
        prepared: PreparedLoad,
        namer: Namer,
    ) -> None:
        self.refused: dict[RecordRef, RejectionReason] = {}
        self.left_out: OmittedFields = {}
        self._group = group
        self._relations = relations
        self._prepared = prepared
        self._options = prepared.options
        self._namer = namer
        self._discarded: list[RelationPath] = []

    def is_discarded(self, frame: Frame) -> bool:
        """Return whether a subtable is left out, by itself or with one that it is in."""
        path = self._fold_path(frame)
        return any(path[: len(above)] == above for above in self._discarded)

    def check_frame(self, frame: Frame) -> None:
        """Check the rows of one relation."""
        if self.is_discarded(frame):
            return
        relation = self._relations.get(self._fold_path(frame))
        if relation is not None:
            self._check_columns(frame, relation)
        elif () in self._relations or not frame.path:  # else the new table brings it along
            self._check_new_relation(frame)

    def _fold_path(self, frame: Frame) -> RelationPath:
        return tuple(map(self._prepared.profile.fold, frame.path))

    def _name_table(self, path: RelationPath) -> str:
        return self._namer.name_subtable(self._prepared.table_name, path)[0]

    def _check_new_relation(self, frame: Frame) -> None:
        table = self._name_table(frame.path)
        rows = sorted(set(frame.root_rows)) if frame.path else list(range(self._group.size))
        reason = f"Table {table} is not in the contract"
        if frame.path and self._options.contract_tables == "discard_value":
            parent = self._name_table(frame.path[:-1])
            self._leave_out((table, frame.path[-1]), parent, reason, rows)
            self._discarded.append(self._fold_path(frame))
        else:
            self._apply_rule(
                self._options.contract_tables, reason, SEPARATOR.join(frame.path) or None, rows
            )

    def _check_columns(self, frame: Frame, relation: Relation) -> None:
        fold = self._prepared.profile.fold
        table = self._name_table(frame.path)
        held: dict[str, set[ColumnType]] = {}
        for column in relation.columns:
            held.setdefault(fold(column.field), set()).add(column.type)
        for folded, each in list(frame.fields.items()):
            for type_ in list(each.columns):
                if type_ in held.get(folded, ()):
                    continue
                rule: ContractRule = self._options.contract_columns
                reason = f"Column {each.name} is not in the contract"
                if folded in held:
                    rule = self._options.contract_types
                    reason = f"Type {type_.value} of column {each.name} is not in the contract"
                rows = find_rows_with_type(frame, folded, type_)
                if rule == "discard_value":
                    self._leave_out((table, each.name), table, reason, rows)
                    del each.columns[type_]
                else:
                    place = SEPARATOR.join((*frame.path, each.name))
                    self._apply_rule(rule, reason, place, rows)
            if all(map(is_blank, each.columns.values())):
                del frame.fields[folded]

    def _leave_out(
        self, field: tuple[str, str], table: str, reason: str, rows: Sequence[int]
    ) -> None:
        if field not in self.left_out:
            why = RejectionReason(reason, RejectionCode.NOT_IN_CONTRACT, field[1])
            rejection = make_rejection(self._record_text(rows[0]), why, table)
            self.left_out[field] = OmittedValues(rejection, Counter())
        entries = (self._group.entries[row] for row in sorted(set(rows)))
        self.left_out[field].counts.update(entries)

    def _apply_rule(
        self, rule: ContractRule, reason: str, field: str | None, rows: Sequence[int]
    ) -> None:
        if rule == "evolve":
            return
        if rule == "freeze":
            raise TableStoppedError(
                f"{reason}, which is frozen; found in the record "
                f"{self._record_text(rows[0])[:500]}. Change the contract, or the destination's "
                "table, and load again."
            )
        why = RejectionReason(reason, RejectionCode.NOT_IN_CONTRACT, field)
        for row in rows:
            self.refused.setdefault(self._at(row), why)

    def _record_text(self, row: int) -> str:
        return encode_record(self._prepared.log_batches, self._at(row))

    def _at(self, row: int) -> RecordRef:
        return RecordRef(self._group.entries[row], self._group.indexes[row])
