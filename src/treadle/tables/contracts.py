"""Schema contracts: what new tables, columns and types of columns may come (loading.md 12.2).

They speak of the live table as it is before the load; a table that is new under `evolve` takes
whatever its first records bring. A new subtable is a value of its parent's records: `discard_value`
leaves the array out and loads the rest. A new top-level table has nothing but its records, so for
it that is the same as `discard_row`.
"""

from collections.abc import Mapping
from typing import Literal

from treadle.errors import TableStopped
from treadle.tables.frame import Frame, Path, blank
from treadle.tables.model import Options, Rejection, Relation
from treadle.tables.names import Namer
from treadle.tables.prepare import At, Group, Prepared, record_text
from treadle.tables.target import Again, holders

_Rule = Literal["evolve", "freeze", "discard_row", "discard_value"]

LeftOut = dict[tuple[str, str], Rejection]
"""Fields left out: (table, field) -> its row for `_sdc_rejected`, one a load, table and name."""


def frees(options: Options) -> bool:
    """Whether everything may come."""
    return options.contract_tables == options.contract_columns == options.contract_types == "evolve"


def keep(
    group: Group,
    relations: Mapping[Path, Relation],
    prepared: Prepared,
    namer: Namer,
) -> tuple[Group, LeftOut]:
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
    refused: dict[At, str] = {}
    left_out: LeftOut = {}
    gone: list[Path] = []
    for frame in group.frames:
        path = tuple(map(fold, frame.path))
        if any(path[: len(above)] == above for above in gone):
            continue
        table = namer.subtable(prepared.table_name, frame.path)[0]
        relation = relations.get(path)
        if relation is None:
            if () not in relations and path:
                continue
            rows = sorted(set(frame.root)) if path else list(range(group.size))
            reason = f"Table {table} is not in the contract"
            if path and options.contract_tables == "discard_value":
                text = record_text(prepared.arrivals, _at(group, rows[0]))
                parent = namer.subtable(prepared.table_name, frame.path[:-1])[0]
                left = Rejection(text, reason, parent, -1, -1)
                left_out.setdefault((table, frame.path[-1]), left)
                gone.append(path)
                continue
            _apply(options.contract_tables, reason, group, rows, prepared, refused)
            continue
        held: dict[str, set[str]] = {}
        for column in relation.columns:
            held.setdefault(fold(column.field), set()).add(column.type)
        for folded, each in list(frame.fields.items()):
            for type_ in list(each.columns):
                if type_ in held.get(folded, ()):
                    continue
                rule: _Rule = options.contract_columns
                reason = f"Column {each.name} is not in the contract"
                if folded in held:
                    rule = options.contract_types
                    reason = f"Type {type_.value} of column {each.name} is not in the contract"
                rows = holders(frame, folded, type_)
                if rule == "discard_value":
                    text = record_text(prepared.arrivals, _at(group, rows[0]))
                    left = Rejection(text, reason, table, -1, -1)
                    left_out.setdefault((table, each.name), left)
                    del each.columns[type_]
                else:
                    _apply(rule, reason, group, rows, prepared, refused)
            _tidy(frame, folded)
    if refused:
        raise Again(refused)
    group.frames = [
        frame
        for frame in group.frames
        if not any(tuple(map(fold, frame.path))[: len(above)] == above for above in gone)
    ]
    return group, left_out


def _tidy(frame: Frame, folded: str) -> None:
    if all(blank(column) for column in frame.fields[folded].columns.values()):
        del frame.fields[folded]


def _apply(
    rule: _Rule,
    reason: str,
    group: Group,
    rows: list[int],
    prepared: Prepared,
    refused: dict[At, str],
) -> None:
    if rule == "evolve":
        return
    if rule == "freeze":
        text = record_text(prepared.arrivals, _at(group, rows[0]))
        raise TableStopped(
            f"{reason}, which is frozen; found in the record {text[:500]}. Change the contract, "
            "or the destination's table, and load again."
        )
    for row in rows:
        refused.setdefault(_at(group, row), reason)


def _at(group: Group, row: int) -> At:
    return At(group.entries[row], group.indexes[row])
