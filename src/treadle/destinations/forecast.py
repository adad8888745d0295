"""Forecasts a load without doing it: for `treadle plan` and for dry runs.

It looks at the destination as it is now. It leaves out records that were accepted and are not
loaded yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import dedent, indent
from typing import Any

from treadle.destinations.planning import execute_accepted, plan_with_session
from treadle.destinations.protocol import Session
from treadle.errors import TableStoppedError
from treadle.records.message_batch import MessageBatch
from treadle.tables.arrow_column import to_values
from treadle.tables.model import (
    AddColumn,
    CopyStage,
    CreateRelation,
    EmptyRelation,
    LoadPlan,
    OffsetCommit,
    Relation,
    RenameColumn,
    TableState,
    TableWrite,
)
from treadle.tables.options import make_options
from treadle.tables.plan.explain import explain_plan
from treadle.tables.prepare.prepare import LogBatch, prepare_load
from treadle.tables.profile import DestinationProfile
from treadle.tables.schema_owner import UNOWNED, SchemaOwner

DRY_RUN_LOG = "dry run"
"""Stands for the log in marks that are never kept."""


@dataclass(frozen=True, slots=True)
class LoadForecast:
    """The outcome that a load of some records of one table would have.

    Attributes:
        table_name: as sent.
        batches: the requests' parts, in order.
        plan: None when the table would stop.
        statements: SQL that would change the schema, in order.
        superseded: records that would lose against a row in the table, beyond those of the plan.
        stopped: why the table would stop; None when it would not.
    """

    table_name: str
    batches: Sequence[MessageBatch]
    plan: LoadPlan | None
    statements: tuple[str, ...]
    superseded: int
    stopped: str | None


def forecast_load(
    session: Session,
    batches: Sequence[MessageBatch],
    *,
    schema: str,
    profile: DestinationProfile,
    settings: Mapping[str, Any],
    now: int,
    rehearse: bool = False,
    owner: SchemaOwner = UNOWNED,
    shown_as: str | None = None,
) -> LoadForecast:
    """Find out what a load would do.

    Args:
        session: on the destination; one for reading is enough without `rehearse`.
        batches: of one table, in order.
        schema: the source's.
        profile: the destination's.
        settings: of the source, with its options in them.
        now: microseconds since 1970.
        rehearse: run the load in a transaction and roll it back, to find records that only the
            database refuses. It locks the table meanwhile, as a load does.
        owner: of the schema.
        shown_as: the name to show for the schema; None for its own.

    Raises:
        DestinationUnavailableError, AccessDeniedError: the destination cannot be asked.
    """
    table_name = batches[0].table_name
    offset = OffsetCommit(DRY_RUN_LOG, 0, table_name, -1, len(batches))
    try:
        prepared = prepare_load(
            [LogBatch(batch, position, now) for position, batch in enumerate(batches)],
            schema=schema,
            source_name=table_name,
            profile=profile,
            options=make_options(settings, table_name),
            owner=owner,
        )
        if rehearse:
            prepared, _, _ = execute_accepted(
                session, prepared, offset=offset, now=now, rehearse=True
            )
        session.check_owner(schema, owner)
        plan = plan_with_session(session, prepared, offset=offset, now=now)
    except TableStoppedError as stopped:
        return LoadForecast(table_name, batches, None, (), 0, str(stopped))
    state = session.state(schema, prepared.table_name)
    superseded = sum(_lost(session, plan, write, state) for write in plan.writes)
    return LoadForecast(
        table_name, batches, plan, tuple(session.ddl(plan, shown_as)), superseded, None
    )


def _lost(session: Session, plan: LoadPlan, write: TableWrite, state: TableState) -> int:
    """Return how many root rows of a write would lose against rows that are there."""
    met = _met(plan, write, state)
    root = write.root
    if write.mode != "upsert" or met is None or not len(root) or not met.key:
        return 0
    fields = {column.name: column.field for column in met.columns}
    names = {column.field: column.name for column in root.relation.columns}
    keys = [to_values(root.columns[names[fields[name]]]) for name in met.key]
    private = any(met in stage.relations for stage in (state.table.stages if state.table else ()))
    there = session.sequences(plan.schema, met, keys, private)
    last = write.tie == "last"
    return sum(
        held is not None and (sequence < held or (sequence == held and not last))
        for held, sequence in zip(there, to_values(root.columns["_sdc_sequence"]), strict=True)
    )


def _met(plan: LoadPlan, write: TableWrite, state: TableState) -> Relation | None:
    """Return the relation that the root rows of a write meet, as it is now; None for no rows."""
    name = write.root.relation.name
    staged = {
        relation.name: relation
        for stage in (state.table.stages if state.table else ())
        for relation in stage.relations
    }
    if not write.private:
        for change in plan.changes:
            if isinstance(change, CopyStage) and change.relation == name:
                return staged[change.stage]
    for change in plan.changes:
        if isinstance(change, EmptyRelation) and change.relation == name and not write.private:
            return None
        if (
            isinstance(change, CreateRelation)
            and change.relation.name == name
            and change.private == write.private
        ):
            return None
    return staged[name] if write.private else write.root.relation


def describe_forecast(found: LoadForecast) -> str:
    """Return a forecast in words, for a person."""
    if found.plan is None:
        return f"Table {found.table_name} would stop: {found.stopped}"
    lines = [explain_plan(found.plan)]
    if found.superseded:
        lines.append(f"  {found.superseded} of the rows lose against newer ones in the table.")
    if found.statements:
        lines.append("  Statements that change the schema, in order:")
        lines += [indent(f"{dedent(text).strip()};", "    ") for text in found.statements]
    else:
        lines.append("  The schema stays as it is.")
    return "\n".join(lines)


def forecast_document(found: LoadForecast) -> dict[str, Any]:
    """Return a forecast as JSON, with the keys of a load report (loading.md 11.2) where they fit.

    `record` counts the records of the table in the request, from 0. Columns of subtables are named
    with their table, as in the report of the load.
    """
    plan = found.plan
    received = sum(map(len, found.batches))
    if plan is None:
        return {"table": found.table_name, "rows_received": received, "error": found.stopped}
    before = [sum(map(len, found.batches[:entry])) for entry in range(len(found.batches))]
    rejected = [each for each in plan.rejections if each.entry >= 0]
    discarded = found.superseded + sum(plan.superseded.values()) + sum(plan.ignored.values())
    relations = plan.table_after.relations if plan.table_after is not None else ()
    root = next((relation.name for relation in relations), plan.table_name)

    def named(relation: str, column: str) -> str:
        return column if relation == root else f"{relation}.{column}"

    return {
        "table": found.table_name,
        "destination_table": plan.table_name,
        "rows_received": received,
        "rows_loaded": received - discarded - len(rejected),
        "rows_discarded": discarded,
        "rows_rejected": len(rejected),
        "rejected": [
            {"record": before[each.entry] + each.index, "reason": each.reason} for each in rejected
        ],
        "fields_left_out": list(dict.fromkeys(note.field for note in plan.left_out)),
        "left_out": [
            {
                "table": note.table,
                "field": note.field,
                "reason": note.reason,
                "records": note.total,
            }
            for note in plan.left_out
        ],
        "rounded": [
            {"table": note.table, "field": note.field, "values": note.total}
            for note in plan.rounded
        ],
        "key_conflicts": [
            {
                "field": each.field,
                "table_type": each.table_type.value,
                "record_type": each.record_type.value,
                "records": each.records,
                "record": before[each.entry] + each.index,
            }
            for each in plan.key_conflicts
        ],
        "columns_added": [
            named(change.relation, change.column.name)
            for change in plan.changes
            if isinstance(change, AddColumn) and not change.private
        ],
        "columns_renamed": [
            [named(change.relation, change.old), named(change.relation, change.new)]
            for change in plan.changes
            if isinstance(change, RenameColumn) and not change.private
        ],
        "tables_created": [
            change.relation.name
            for change in plan.changes
            if isinstance(change, CreateRelation) and not change.private
        ],
        "statements": [dedent(text).strip() for text in found.statements],
        "nul_characters_removed": plan.nul_removed,
        "table_version": plan.table_after.version if plan.table_after else 0,
        "new_version": plan.new_version,
        "error": None,
    }
