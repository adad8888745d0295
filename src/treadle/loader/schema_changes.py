"""What a load changes of the schema of its table, as its report has it.

The changes of a plan are those that the destination carries out, in its terms; these are the ones
that somebody wants to know of afterwards, with the record that brought each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from treadle.store.schema_event import SchemaChangeKind
from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    RenameColumn,
    Table,
    WidenColumn,
)


def describe_schema_changes(plan: LoadPlan, positions: Sequence[int]) -> list[dict[str, Any]]:
    """Return the changes of a plan that are not in a stage, in order.

    Args:
        plan: of the load.
        positions: of its entries.
    """
    if not plan.changes or plan.table_after is None:
        return []
    columns = _list_columns(plan.table_after)
    found: list[dict[str, Any]] = []
    made: set[str] = set()
    is_new = any(
        isinstance(change, CreateRelation) and not change.private and not change.relation.path
        for change in plan.changes
    )
    for change in plan.changes:
        if getattr(change, "private", False):
            continue
        match change:
            case CreateRelation(relation):
                kind = SchemaChangeKind.SUBTABLE_ADDED
                if not relation.path:
                    kind = SchemaChangeKind.TABLE_ADDED
                described = {"relation": relation.name, "columns": len(relation.columns)}
                found.append(_describe(kind, described, plan, positions, ""))
            case AddColumn(name, column):
                beside = [one for one in columns.get((name, column.field), ()) if one != column]
                split = SchemaChangeKind.COLUMN_SPLIT if beside else SchemaChangeKind.COLUMN_ADDED
                described = _describe_column(name, column)
                if beside:
                    described["beside"] = [[one.name, one.type.value] for one in beside]
                found.append(_describe(split, described, plan, positions, column.name))
            case RenameColumn(name, old, new):
                described = {"relation": name, "from": old, "column": new}
                found.append({"kind": SchemaChangeKind.COLUMN_RENAMED.value, **described})
            case WidenColumn(name, column, before):
                described = {**_describe_column(name, column), "from": before.value}
                found.append(
                    _describe(
                        SchemaChangeKind.COLUMN_WIDENED, described, plan, positions, column.name
                    )
                )
            case ChangeKey(name, old_key, key):
                found.append(
                    {
                        "kind": SchemaChangeKind.KEY_CHANGED.value,
                        "relation": name,
                        "from": list(old_key),
                        "key": list(key),
                    }
                )
                found += [
                    {
                        "kind": SchemaChangeKind.COLUMN_NULLABLE.value,
                        "relation": name,
                        "column": column_name,
                    }
                    for column_name in old_key
                    if column_name not in key
                ]
            case EmptyRelation(name):
                made.add(name)
            case _:
                pass
    if made and not is_new:
        version = plan.table_after.version
        found.append({"kind": SchemaChangeKind.VERSION_SWITCHED.value, "version": version})
    return found


def _list_columns(table: Table) -> Mapping[tuple[str, str], list[Column]]:
    """Return (relation, field) -> its columns."""
    found: dict[tuple[str, str], list[Column]] = {}
    for relation in table.relations:
        for column in relation.columns:
            found.setdefault((relation.name, column.field), []).append(column)
    return found


def _describe_column(relation: str, column: Column) -> dict[str, Any]:
    return {
        "relation": relation,
        "column": column.name,
        "field": column.field,
        "type": column.type.value,
    }


def _describe(
    kind: SchemaChangeKind,
    described: dict[str, Any],
    plan: LoadPlan,
    positions: Sequence[int],
    column: str,
) -> dict[str, Any]:
    """Return a change with the record that brought it, as `treadle rejects` names records."""
    origin = plan.origins.get((described["relation"], column))
    record = None if origin is None else f"{positions[origin[0]]}.{origin[1]}"
    return {"kind": kind.value, **described, "record": record}
