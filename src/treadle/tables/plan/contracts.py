"""Schema contracts: what new tables, columns and types of columns may come (loading.md 12.2).

They speak of the live table as it is before the load; a table that is new under `evolve` takes
whatever its first records bring. A new subtable is a value of its parent's records: `discard_value`
leaves the array out and loads the rest. A new top-level table has nothing but its records, so for
it that is the same as `discard_row`.
"""

from collections.abc import Mapping
from typing import Literal

from treadle.errors import TableStoppedError
from treadle.tables.model import Rejection, Relation, TableOptions
from treadle.tables.names import Namer
from treadle.tables.plan.target import NeedsRejections, find_rows_with_type
from treadle.tables.prepare.frame import Frame, RelationPath, is_blank
from treadle.tables.prepare.prepare import PreparedLoad, RecordRef, VersionGroup, encode_record

ContractRule = Literal["evolve", "freeze", "discard_row", "discard_value"]

OmittedFields = dict[tuple[str, str], Rejection]
"""Fields left out: (table, field) -> its row for `_sdc_rejected`, one a load, table and name."""


def allows_everything(options: TableOptions) -> bool:
    """Whether everything may come."""
    return options.contract_tables == options.contract_columns == options.contract_types == "evolve"


def apply_contracts(
    group: VersionGroup,
    relations: Mapping[RelationPath, Relation],
    prepared: PreparedLoad,
    namer: Namer,
) -> tuple[VersionGroup, OmittedFields]:
    """Hold the winners of a load to the contract.

    Args:
        group: the winners.
        relations: live ones by folded path, as they are.
        prepared: where they come from.
        namer: for names of subtables.

    Returns:
        The group without discarded values, and for each such field a row for `_sdc_rejected`:
        (table, field) -> row.

    Raises:
        TableStopped: something new came and the contract is frozen.
        Again: records that bring something new are rejected.
    """
    options, fold = prepared.options, prepared.profile.fold
    refused: dict[RecordRef, str] = {}
    left_out: OmittedFields = {}
    gone: list[RelationPath] = []
    for frame in group.frames:
        path = tuple(map(fold, frame.path))
        if any(path[: len(above)] == above for above in gone):
            continue
        table = namer.name_subtable(prepared.table_name, frame.path)[0]
        relation = relations.get(path)
        if relation is None:
            if () not in relations and path:
                continue
            rows = sorted(set(frame.root_rows)) if path else list(range(group.size))
            reason = f"Table {table} is not in the contract"
            if path and options.contract_tables == "discard_value":
                text = encode_record(prepared.log_batches, _record_ref(group, rows[0]))
                parent = namer.name_subtable(prepared.table_name, frame.path[:-1])[0]
                left = Rejection(text, reason, parent, -1, -1)
                left_out.setdefault((table, frame.path[-1]), left)
                gone.append(path)
                continue
            _apply_rule(options.contract_tables, reason, group, rows, prepared, refused)
            continue
        held: dict[str, set[str]] = {}
        for column in relation.columns:
            held.setdefault(fold(column.field), set()).add(column.type)
        for folded, each in list(frame.fields.items()):
            for type_ in list(each.columns):
                if type_ in held.get(folded, ()):
                    continue
                rule: ContractRule = options.contract_columns
                reason = f"Column {each.name} is not in the contract"
                if folded in held:
                    rule = options.contract_types
                    reason = f"Type {type_.value} of column {each.name} is not in the contract"
                rows = find_rows_with_type(frame, folded, type_)
                if rule == "discard_value":
                    text = encode_record(prepared.log_batches, _record_ref(group, rows[0]))
                    left = Rejection(text, reason, table, -1, -1)
                    left_out.setdefault((table, each.name), left)
                    del each.columns[type_]
                else:
                    _apply_rule(rule, reason, group, rows, prepared, refused)
            _drop_blank_field(frame, folded)
    if refused:
        raise NeedsRejections(refused)
    group.frames = [
        frame
        for frame in group.frames
        if not any(tuple(map(fold, frame.path))[: len(above)] == above for above in gone)
    ]
    return group, left_out


def _drop_blank_field(frame: Frame, folded: str) -> None:
    if all(is_blank(column) for column in frame.fields[folded].columns.values()):
        del frame.fields[folded]


def _apply_rule(
    rule: ContractRule,
    reason: str,
    group: VersionGroup,
    rows: list[int],
    prepared: PreparedLoad,
    refused: dict[RecordRef, str],
) -> None:
    if rule == "evolve":
        return
    if rule == "freeze":
        text = encode_record(prepared.log_batches, _record_ref(group, rows[0]))
        raise TableStoppedError(
            f"{reason}, which is frozen; found in the record {text[:500]}. Change the contract, "
            "or the destination's table, and load again."
        )
    for row in rows:
        refused.setdefault(_record_ref(group, row), reason)


def _record_ref(group: VersionGroup, row: int) -> RecordRef:
    return RecordRef(group.entries[row], group.indexes[row])
