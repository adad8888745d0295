"""A load plan in words, for a person who wants to know what a load would do."""

from collections import Counter
from collections.abc import Iterator

from treadle.tables.model import (
    AddColumn,
    ChangeKey,
    Column,
    CopyStage,
    CreateRelation,
    DropStage,
    EmptyRelation,
    LoadPlan,
    RenameColumn,
    SchemaChange,
    TableWrite,
    WidenColumn,
)
from treadle.text import escape_unprintable

EXAMPLES_MAX = 3
"""Rejected records shown for each reason."""


def explain_plan(plan: LoadPlan) -> str:
    """Describe what a plan would do, line by line, whatever characters its names have."""
    return "\n".join(map(escape_unprintable, _explain_lines(plan)))


def _explain_lines(plan: LoadPlan) -> Iterator[str]:
    rejected = [each for each in plan.rejections if each.entry >= 0]
    lost, ignored = sum(plan.superseded.values()), sum(plan.ignored.values())
    yield (
        f"Table {plan.schema}.{plan.table_name}: {_format_count(plan.received, 'record')} "
        f"received, {len(rejected)} rejected, {lost} superseded within the load"
        + (f", {ignored} of an older version ignored" if ignored else "")
        + "."
    )
    if plan.new_version and plan.table_after is not None:
        yield f"  Version {plan.table_after.version} replaces the rows there are."
    if plan.writes and plan.table_after is not None and plan.table_after.append:
        yield "  Rows are only added: those that are there with the same key stay."
    for change in plan.changes:
        yield f"  {_explain_change(change)}"
    for write in plan.writes:
        yield from _explain_write(write)
    if not plan.changes and not plan.writes:
        yield "  Nothing is written to the table."
    if plan.nul_removed:
        yield f"  {_format_count(plan.nul_removed, 'NUL character')} removed from texts."
    for note in plan.left_out:
        records = _format_count(note.total, "record")
        yield f"  Field {note.field!r} is left out of {records}: {note.reason}."
    for note in plan.rounded:
        values = _format_count(note.total, "value")
        yield f"  {values} of field {note.field!r} rounded or cut to what its column holds."
    reasons = Counter((each.table_name, each.reason) for each in rejected)
    for (table, reason), count in reasons.most_common():
        yield f"  Rejected, {_format_count(count, 'record')} of {table}: {reason}"
        shown = [each for each in rejected if (each.table_name, each.reason) == (table, reason)]
        for each in shown[:EXAMPLES_MAX]:
            yield f"    entry {each.entry}, record {each.index}: {each.record[:200]}"
    for each in plan.rejections:
        if each.entry < 0:
            yield f"  Noted in _sdc_rejected for {each.table_name}: {each.reason}"


def _format_count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _format_column(column: Column) -> str:
    return f"{column.name} {column.type.value}{'' if column.nullable else ' not null'}"


def _explain_change(change: SchemaChange) -> str:
    match change:
        case CreateRelation(relation, private):
            columns = ", ".join(map(_format_column, relation.columns))
            key = f", key {', '.join(relation.key)}" if relation.key else ", no key"
            return f"{_name_place(private)} {relation.name} is made: {columns}{key}."
        case RenameColumn(relation, old, new, private):
            return (
                f"{_name_place(private)} {relation}: column {old} becomes {new}, its type splits."
            )
        case AddColumn(relation, column, private):
            return f"{_name_place(private)} {relation}: new column {_format_column(column)}."
        case WidenColumn(relation, column, old, private):
            return (
                f"{_name_place(private)} {relation}: column {column.name} becomes "
                f"{column.type.value}, it was {old.value}."
            )
        case ChangeKey(relation, old, key):
            return (
                f"Table {relation}: the primary key becomes {', '.join(key) or 'none'}, "
                f"it was {', '.join(old) or 'none'}."
            )
        case EmptyRelation(relation):
            return f"Table {relation} is emptied."
        case CopyStage(stage, relation, _):
            return f"Table {relation} gets the rows of stage {stage}."
        case DropStage(relation):
            return f"Stage {relation} is dropped."


def _name_place(private: bool) -> str:
    return "Stage" if private else "Table"


def _explain_write(write: TableWrite) -> Iterator[str]:
    verb = "upserted into" if write.mode == "upsert" else "appended to"
    where = "stage" if write.private else "table"
    for rows in (write.root, *write.children):
        if len(rows):
            yield f"  {_format_count(len(rows), 'row')} {verb} {where} {rows.relation.name}."
    if write.stale:
        names = ", ".join(relation.name for relation in write.stale)
        yield f"  Older rows of the same keys go from {names}."
    if write.deletes is not None:
        count = _format_count(len(write.deletes), "key")
        yield f"  {count} removed from {where}, with their subtables."
